// All states that can be reached from a first one, breadth first, so that the shortest way to a broken one is told.

export type Step<State> = {
  readonly name: string
  readonly state: State
  /** What this step has broken; absent: nothing. */
  readonly broken?: string
}

export type Exploration = {
  readonly states: number
  readonly steps: number
  /** The shortest way to something broken, step by step; null: nothing is. */
  readonly broken: readonly string[] | null
  /** States from which no end can be reached any more. */
  readonly stuck: number
}

export type Model<State> = {
  readonly first: State
  readonly next: (state: State) => readonly Step<State>[]
  /** The same text for states that behave alike. */
  readonly keyOf: (state: State) => string
  readonly hasEnded: (state: State) => boolean
}

/** Follows every step from every state. */
export function explore<State>({ first, next, keyOf, hasEnded }: Model<State>): Exploration {
  const numbers = new Map<string, number>([[keyOf(first), 0]])
  let frontier: State[] = [first]
  const cameFrom: { readonly from: number; readonly name: string }[] = [{ from: -1, name: '' }]
  /** By state: those that lead to it. */
  const before: number[][] = [[]]
  const ends: number[] = []
  let number = 0
  let steps = 0
  while (frontier.length > 0) {
    const found: State[] = []
    for (const state of frontier) {
      if (hasEnded(state)) ends.push(number)
      for (const step of next(state)) {
        steps += 1
        if (step.broken !== undefined) {
          const way = [...wayTo(cameFrom, number), step.name, step.broken]
          return { states: numbers.size, steps, broken: way, stuck: 0 }
        }
        const key = keyOf(step.state)
        let to = numbers.get(key)
        if (to === undefined) {
          to = numbers.size
          numbers.set(key, to)
          cameFrom.push({ from: number, name: step.name })
          before.push([])
          found.push(step.state)
        }
        before[to]?.push(number)
      }
      number += 1
    }
    frontier = found
  }
  const states = numbers.size
  return { states, steps, broken: null, stuck: states - countLeadingTo(ends, before) }
}

function wayTo(
  cameFrom: readonly { readonly from: number; readonly name: string }[],
  number: number,
): readonly string[] {
  const names: string[] = []
  for (let at = number; at > 0; at = cameFrom[at]?.from ?? 0) names.push(cameFrom[at]?.name ?? '')
  return names.reverse()
}

function countLeadingTo(ends: readonly number[], before: readonly (readonly number[])[]): number {
  const reached = new Set(ends)
  const waiting = [...ends]
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    for (const earlier of before[at] ?? []) {
      if (reached.has(earlier)) continue
      reached.add(earlier)
      waiting.push(earlier)
    }
  }
  return reached.size
}
