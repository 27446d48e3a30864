// Virtual nodes as people write them: `0-99,120`.

/** Ascending numbers, runs of them with a hyphen; empty for none. */
export function formatVnodes(vnodes: readonly number[]): string {
  const sorted = vnodes.toSorted((a, b) => a - b)
  const runs: string[] = []
  for (let start = 0; start < sorted.length; ) {
    let end = start
    while (sorted[end + 1] === (sorted[end] ?? 0) + 1) end += 1
    runs.push(start === end ? `${sorted[start]}` : `${sorted[start]}-${sorted[end]}`)
    start = end + 1
  }
  return runs.join(',')
}

/** Ascending, each once; undefined when the text is not of that form or names a node beyond `last`. */
export function parseVnodes(text: string, last: number): readonly number[] | undefined {
  const vnodes = new Set<number>()
  for (const run of text.split(',')) {
    const [, first, second] = /^\s*(\d{1,5})(?:\s*-\s*(\d{1,5}))?\s*$/.exec(run) ?? []
    const from = Number(first)
    const to = Number(second ?? first)
    if (first === undefined || from > to || to > last) return undefined
    for (let number = from; number <= to; number += 1) vnodes.add(number)
  }
  return [...vnodes].sort((a, b) => a - b)
}
