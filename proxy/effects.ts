// What a planned statement leaves behind in the session once a server has completed it.
import { pgError } from '../core/errors.ts'
import type { PinReason, Plan } from '../router/plan.ts'
import type { BoundParams, Prepared } from '../router/router.ts'
import { lookFor, noTraces, type SessionCode } from '../router/traces.ts'
import { mayLeaveState } from './dialect.ts'
import type { Lease } from './leases.ts'
import { noteLook } from './session-look.ts'
import type { SessionState } from './session-state.ts'
import type { Effect, Portal } from './statements.ts'

/** Null for most statements: they leave nothing. `writes`: of what is sent along with it. */
export function effectOf(
  state: SessionState,
  { prepared, index, plan, params }: Planned,
  writes = false,
): Effect | null {
  const statement = prepared.statements[index]
  if (statement === undefined) return null
  const command = plan.kind === 'session' ? plan.command : null
  const { sql, traces } = statement
  const look = traces === noTraces ? 'none' : lookFor(traces, knownCode(state))
  const ddl = statement.command === 'ddl' || traces.ddl
  const pin = statement.pin !== null && pinsAtOnce.has(statement.pin) ? statement.pin : null
  const doubted = state.dialect.differs && state.dialect.doubts(prepared)
  if (doubted)
    return doubtful({ command, sql, params: owned(params), pin, look, traces, ddl, writes })
  if (command === null && pin === null && look === 'none' && !ddl) {
    if (statement.command !== 'session' || !isPrepare(sql)) return null
  }
  const kept = command?.kind === 'setConfig' ? owned(params) : params
  return { command, sql, params: kept, pin, look, traces, ddl, writes }
}

/**
 * The same for an Execute of `portal`. What goes on where it had stopped has run its command before, and others may have
 * run since: what is in force then is looked up.
 */
export function effectOfPortal(state: SessionState, portal: Portal, writes = false): Effect | null {
  const { prepared, plan, params, begun, hides } = portal
  const effect = effectOf(state, { prepared, index: 0, plan, params }, writes)
  portal.begun = true
  if (hides !== null) return eitherOf(effect, hides, writes)
  if (!begun || effect === null || effect.command === null) return effect
  return { ...effect, command: null, look: 'settings', traces: { ...effect.traces, opaque: true } }
}

/** Servers that a planned statement is about to run on are looked at behind it, as far as its traces ask for that. */
export function noteLooks(state: SessionState, planned: Planned, leases: readonly Lease[]): void {
  const effect = effectOf(state, planned)
  if (effect === null) return
  for (const { server } of leases) noteLook(state, effect, server.shard)
}

/** Of a portal that only its server knows: nobody here has seen what it runs. */
export function effectOfForeign(writes: boolean): Effect {
  return { ...unseen, writes }
}

const unseen: Effect = {
  command: null,
  sql: '',
  params: null,
  pin: null,
  look: 'settings',
  traces: { ...noTraces, opaque: true },
  ddl: false,
  writes: true,
}

/** Where the Bind has failed for its name, what runs is the portal that had it before. */
function eitherOf(effect: Effect | null, { prepared }: Portal, writes: boolean): Effect {
  const before = prepared.statements[0]
  const traces = before?.traces ?? noTraces
  const settings = [...traces.settings, ...(effect?.traces.settings ?? [])]
  const known = effect ?? { ...unseen, sql: before?.sql ?? '', writes }
  const pin = known.pin ?? before?.pin ?? null
  return { ...known, pin, look: 'settings', traces: { ...traces, opaque: true, settings } }
}

/** Of a text in which its server may see more than we do: it is looked at as one that could not be read. */
function doubtful(effect: Effect): Effect {
  const { sql, traces } = effect
  const pin = effect.pin ?? (mayLeaveState(sql) ? ('session state' as const) : null)
  return { ...effect, pin, look: 'settings', traces: { ...traces, opaque: true } }
}

/** They are read again when the server has answered, and the client's bytes are gone by then. */
function owned(params: BoundParams | null): BoundParams | null {
  if (params === null) return null
  const values = params.values.map((value) => (value === null ? null : new Uint8Array(value)))
  return { ...params, values }
}

type Planned = {
  readonly prepared: Prepared
  readonly index: number
  readonly plan: Plan
  readonly params: BoundParams | null
}

/** Looking would not find them. */
const pinsAtOnce: ReadonlySet<PinReason> = new Set<PinReason>(['LOAD', 'session state'])

/** A transaction knows code that others do not see yet. */
function knownCode({ database, transaction }: SessionState): SessionCode | null {
  return transaction?.codeChanged === true ? null : database.code.known
}

const preparesTransaction = /^\s*prepare\s+transaction\b/i

/** True for PREPARE TRANSACTION. */
export function isPrepare(sql: string): boolean {
  const at = sql.search(/\bprepare\b/i)
  return at >= 0 && /\btransaction\b/i.test(sql.slice(at))
}

/**
 * @throws PgError 0A000 when the statement would pin its server and the configuration forbids that, or when that server
 * is a replica, where the client could do nothing but read from then on
 */
export function refusePin(prepared: Prepared, state: SessionState): void {
  for (const { traces } of prepared.statements) {
    // A string of several statements is a transaction, whether it says so or not.
    const alone = state.transaction === null && prepared.statements.length === 1
    if (traces.remembers) state.database.code.sequences.asked(state, alone)
  }
  if (state.database.options.rules !== null && state.dialect.doubts(prepared)) {
    throw pgError('unsupported', ['a backslash that servers read otherwise on a sharded database'])
  }
  // PostgreSQL's own rule; its server does not know of them.
  if (state.transaction !== null && state.transaction.listens.length > 0) {
    if (prepared.statements.some(({ sql }) => preparesTransaction.test(sql))) {
      throw pgError('unsupported', ['PREPARE TRANSACTION behind LISTEN or UNLISTEN'])
    }
  }
  const allowed = state.leases.keeps || state.database.options.pin === 'allow'
  const onReplica = state.transaction?.onReplicas === true && !state.reads.readOnly
  if (allowed && !onReplica) return
  for (const { pin } of prepared.statements) {
    if (pin !== null) throw pgError(allowed ? 'pinOnReplica' : 'pinRefused', [pin])
  }
}
