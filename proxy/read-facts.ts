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

type Statement = Pick<Prepared['statements'][number], 'replica' | 'isReadOnly' | 'pin'>

/** Facts of all statements of one text. */
export function readFactsOf({ statements, hints }: Prepared): ReadFacts {
  let onReplica = true
  let repeatable = true
  for (const statement of statements) {
    onReplica &&= suitsReplica(statement)
    repeatable &&= isRepeatable(statement)
  }
  return { onReplica, repeatable, hints }
}

/** Facts of one statement among several steps. */
export function unitFacts({ prepared, index }: { prepared: Prepared; index: number }): ReadFacts {
  const statement = prepared.statements[index]
  if (statement === undefined) return noRead
  const { hints } = prepared
  return { onReplica: suitsReplica(statement), repeatable: isRepeatable(statement), hints }
}

/** True for what may run on a replica. */
export function suitsReplica({ replica }: Statement): boolean {
  return replica.kind === 'allowed'
}

/** True for what changes nothing when it runs twice. */
export function isRepeatable({ isReadOnly, pin }: Statement): boolean {
  return isReadOnly && pin === null
}
