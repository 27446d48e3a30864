// What a planned statement leaves behind in the session once a server has completed it.
import { pgError } from '../core/errors.ts'
import type { Plan } from '../router/plan.ts'
import type { BoundParams, Prepared } from '../router/router.ts'
import type { SessionState } from './session-state.ts'
import type { Effect } from './statements.ts'

/** Null for most statements: they leave nothing. */
export function effectOf(
  prepared: Prepared,
  index: number,
  plan: Plan,
  params: BoundParams | null,
  writes = false,
): Effect | null {
  const statement = prepared.statements[index]
  if (statement === undefined) return null
  const command = plan.kind === 'session' ? plan.command : null
  const { sql, pin } = statement
  if (command === null && pin === null && statement.command !== 'ddl') {
    if (statement.command !== 'session' || !isPrepare(sql)) return null
  }
  return { command, sql, params, pin, ddl: statement.command === 'ddl', writes }
}

/** True for PREPARE TRANSACTION. */
export function isPrepare(sql: string): boolean {
  return /\bprepare\b[^]*\btransaction\b/i.test(sql)
}

/**
 * @throws PgError 0A000 when the statement would pin its server and the configuration forbids that, or when that server
 * is a replica, where the client could do nothing but read from then on
 */
export function refusePin(prepared: Prepared, state: SessionState): void {
  const allowed = state.leases.keeps || state.database.options.pin === 'allow'
  const onReplica = state.transaction?.onReplicas === true && !state.reads.readOnly
  if (allowed && !onReplica) return
  for (const { pin } of prepared.statements) {
    if (pin !== null) throw pgError(allowed ? 'pinOnReplica' : 'pinRefused', [pin])
  }
}
