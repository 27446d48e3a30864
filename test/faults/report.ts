// What a part of the suite found.

/** `counts`: how often each outcome was seen; `complaints`: what should not have been. */
export type Report = {
  readonly what: string
  readonly counts: Map<string, number>
  readonly complaints: string[]
}

/** An empty one. */
export function newReport(what: string): Report {
  return { what, counts: new Map(), complaints: [] }
}

/** So many more of `outcome`. */
export function tally({ counts }: Report, outcome: string, count = 1): void {
  counts.set(outcome, (counts.get(outcome) ?? 0) + count)
}

/** One line for people. */
export function describeReport({ what, counts, complaints }: Report): string {
  const parts = [...counts].sort(([a], [b]) => (a < b ? -1 : 1)).map(([of, n]) => `${of}: ${n}`)
  return `${what}: ${parts.join(', ')}; ${complaints.length} complaints`
}

/** Says of each case in turn whether it is played. */
export type Share = () => boolean

/** Every `n`th case: 1 is all of them. */
export function everyNth(n: number): Share {
  let count = 0
  return () => {
    count += 1
    return count % n === 0
  }
}
