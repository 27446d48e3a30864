// All checks of a history at once.
import type { History } from './history.ts'
import { VersionOrder } from './history-order.ts'
import { checkRegisters } from './history-registers.ts'
import { checkSessions } from './history-sessions.ts'
import { checkFinalState, checkValues, type FinalState } from './history-values.ts'
import type { Violation } from './history-violation.ts'

export type CheckOptions = {
  readonly history: History
  /** Shard of a key, from 0. */
  readonly shardOf: (key: number) => number
  /** Null: the database was not asked. */
  readonly finalState: FinalState | null
}

/** Everything that is wrong with a history. About 4 s and 400 MB for a million operations. */
export function checkHistory({ history, shardOf, finalState }: CheckOptions): Violation[] {
  const order = new VersionOrder(history)
  return [
    ...checkSessions(history, order, shardOf),
    ...checkRegisters(history, order),
    ...checkValues(history, order),
    ...(finalState === null ? [] : checkFinalState(history, order, finalState)),
  ]
}
