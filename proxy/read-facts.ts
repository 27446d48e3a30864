// What a query or pipeline allows: to run on a replica, to be run once more when its server fails.
import type { Hints } from '../router/hints.ts'
import type { Prepared } from '../router/router.ts'

export type ReadFacts = {
  /** Every statement of it may run on a replica. */
  readonly onReplica: boolean
  /** Nothing is changed by running it twice. */
  readonly repeatable: boolean
  readonly hints: Hints | null
}

/** Of what writes, or what nothing is known of. */
export const noRead: ReadFacts = { onReplica: false, repeatable: false, hints: null }

/** Facts of all statements of one text. */
export function readFactsOf({ statements, hints }: Prepared): ReadFacts {
  let onReplica = true
  let repeatable = true
  for (const { replica, isReadOnly, pin } of statements) {
    if (replica.kind !== 'allowed') onReplica = false
    if (!isReadOnly || pin !== null) repeatable = false
  }
  return { onReplica, repeatable, hints }
}

/** Facts of one statement among several steps. */
export function unitFacts({ prepared, index }: { prepared: Prepared; index: number }): ReadFacts {
  const statement = prepared.statements[index]
  if (statement === undefined) return noRead
  const { replica, isReadOnly, pin } = statement
  const repeatable = isReadOnly && pin === null
  return { onReplica: replica.kind === 'allowed', repeatable, hints: prepared.hints }
}

/** Facts of both together. */
export function mergeFacts(a: ReadFacts | null, b: ReadFacts): ReadFacts {
  if (a === null) return b
  return {
    onReplica: a.onReplica && b.onReplica,
    repeatable: a.repeatable && b.repeatable,
    hints: a.hints ?? b.hints,
  }
}
