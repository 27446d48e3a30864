// An assertion that fails is a bug of ours, never a client's mistake: those are PgErrors (core/errors.ts).

/** Throws when `condition` is false: an invariant of this program does not hold. */
export function assert(condition: boolean, invariant: string): asserts condition {
  if (!condition) throw new Error(`broken invariant: ${invariant}`)
}

/** Closes an exhaustive `switch`: a new kind that is not handled no longer compiles. */
export function unreachable(value: never): never {
  throw new Error(`broken invariant: unexpected ${JSON.stringify(value)}`)
}
