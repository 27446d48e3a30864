// Repeatable randomness for tests that print their seed: the same seed gives the same run.

/** Random numbers that depend on the seed alone. */
export type Random = {
  /** Integer from 0 to `limit` − 1. */
  readonly below: (limit: number) => number
  /** True once in `times` times. */
  readonly oneIn: (times: number) => boolean
  readonly pick: <T>(choices: readonly [T, ...T[]]) => T
  readonly bytes: (length: number) => Buffer
}

/** mulberry32 (Tommy Ettinger, public domain): 32 bits of state, enough to choose test cases. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
  const below = (limit: number): number => next() % limit
  return {
    below,
    oneIn: (times) => below(times) === 0,
    pick: ([first, ...others]) => others[below(others.length + 1) - 1] ?? first,
    bytes: (length) => Buffer.from(Uint8Array.from({ length }, () => below(256))),
  }
}

/** Seed of case number `index` of a run, so that one case can be played alone. */
export function seedOf(runSeed: number, index: number): number {
  return Math.imul(runSeed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(index + 1, 0xc2b2ae35)
}
