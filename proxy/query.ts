// Reads a simple query: one statement or several, and where the string can run as it is.
import type { Plan } from '../router/plan.ts'
import type { Prepared } from '../router/router.ts'
import { asksForChannels } from './asked-channels.ts'
import { effectOf, refusePin } from './effects.ts'
import { type ReadFacts, readFactsOf } from './read-facts.ts'
import type { SessionState } from './session-state.ts'
import type { Effect } from './statements.ts'
import { mergeWhere, type Where, whereOf } from './where.ts'

export type SimpleQuery = {
  readonly where: Where
  readonly writes: boolean
  readonly facts: ReadFacts
  /** What of its hints cannot be followed. */
  readonly hintProblem: string | null
  readonly prepared: Prepared | null
  /** One per statement, in order. */
  readonly plans: readonly Plan[]
  /** One per statement, in order. */
  readonly effects: readonly (Effect | null)[]
}

const unknownRelation = '42P01'

/** @throws PgError what the client is told instead of an answer. */
export function readQuery(sql: Uint8Array, state: SessionState): SimpleQuery {
  const prepared = state.database.router.statements(sql, state.context())
  refusePin(prepared, state)
  const { statements } = prepared
  const plans = statements.map((_, index) => state.plan(prepared, index, null))
  const [first] = plans
  if (first !== undefined && plans.length === 1) refuse(first, state)
  let where: Where = '(nowhere)'
  for (const plan of plans) {
    where = mergeWhere(where, plan.kind === 'refuse' ? '(steps)' : whereOf(plan, state))
  }
  // What follows a ROLLBACK in the same string may belong elsewhere than the failed server.
  if (state.failure === 'server') where = plans.length === 1 ? '(any)' : '(steps)'
  // A server that does not know of the failure would run what must be refused.
  if (state.failure === 'local' && plans.length > 1) where = '(steps)'
  if (where === '(begin)' || state.needsOwnSchema) where = '(steps)'
  if (state.listening !== null && asksForChannels(state, prepared)) {
    where = mergeWhere(where, '(steps)')
  }
  const writes = plans.some((plan) => plan.kind === 'single' && plan.writes)
  const effects = plans.map((plan, index) =>
    effectOf(state, { prepared, index, plan, params: null }, writes),
  )
  const { hintProblem } = prepared
  const facts = readFactsOf(prepared)
  return { where, writes, facts, hintProblem, prepared, plans, effects }
}

/** A lone statement is refused at once, unless a fresh look at the schema may still find its relation. */
function refuse(plan: Plan, state: SessionState): void {
  if (state.failure === 'server') return
  if (state.failure === 'local' && !endsFailure(plan)) throw state.aborted
  if (plan.kind !== 'refuse') return
  if (plan.error.sqlstate !== unknownRelation && !state.needsOwnSchema) throw plan.error
}

/** True for what a failed transaction still takes. */
export function endsFailure(plan: Plan): boolean {
  if (plan.kind !== 'session') return false
  const { kind } = plan.command
  return kind === 'commit' || kind === 'rollback' || kind === 'rollbackTo' || kind === 'empty'
}
