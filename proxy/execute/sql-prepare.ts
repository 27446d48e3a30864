// SQL's PREPARE and EXECUTE on the cache of the protocol's prepared statements: a statement has one name on all servers,
// whoever has prepared it and how. What a server lacks it is sent first.
import { PgError, pgError } from '../../core/errors.ts'
import { ask, ServerError, shiftPosition } from '../../pool/exchange.ts'
import type { ReplySink, ServerConnection } from '../../pool/server-connection.ts'
import { quoteLiteral } from '../../pool/settings-profile.ts'
import type { CachedStatement } from '../../pool/statement-cache.ts'
import type { ScalarSource, SessionCommand } from '../../router/plan.ts'
import {
  executedName,
  prepareParts,
  type PrepareText,
  type Span,
} from '../../router/prepare-text.ts'
import { noTraces } from '../../router/traces.ts'
import { backend } from '../../wire/codes.ts'
import { writeParse, writeSync } from '../../wire/frontend.ts'
import { effectOf, refusePin } from '../effects.ts'
import { noRead } from '../read-facts.ts'
import type { Session } from '../session.ts'
import { noteLook } from '../session-look.ts'
import { internNow } from '../statement-scope.ts'
import { ClientStatement, type Effect } from '../statements.ts'
import { joinShard } from './join-shard.ts'
import { acknowledge, complete } from './local-replies.ts'
import { refuseChannels } from './own-channels.ts'
import { describeOn } from './prove-columns.ts'
import { type Outcome, runUnit, type Unit } from './unit.ts'

type Prepare = Extract<SessionCommand, { kind: 'prepare' }>
type Execute = Extract<SessionCommand, { kind: 'execute' }>

const resultTypeChanged = 'cached plan must not change result type'

/** @throws PgError what the server says of the statement, 42P05 for a name that is taken */
export async function runPrepare(session: Session, unit: Unit, { name }: Prepare): Promise<void> {
  const { state } = session
  const { router } = state.database
  const { server } = await joinShard(session, joinedShard(session), false)
  const parts = prepareParts(unit.sql)
  if (parts === null) throw pgError('unsupported', ['this PREPARE'])
  const types = await typeOids(server, parts.types)
  const { reading } = state
  const body = Buffer.from(parts.body)
  const prepared = router.statements(body, reading.context)
  refusePin(prepared, state)
  const cached = internNow(state, { sql: body, types }, false)
  const statement = new ClientStatement(true, cached, prepared, reading, parts.bodyAt)
  const { definitions } = state.database
  statement.told(await describeFresh(session, server, statement))
  statement.asked(definitions)
  if (state.statements.has(name)) throw pgError('preparedStatementExists', [name])
  state.statements.set(name, statement)
  complete(session, unit, 'PREPARE')
}

/** @throws PgError the statement's own error, 26000 */
export async function runExecute(session: Session, unit: Unit, command: Execute): Promise<void> {
  const { state } = session
  const statement = state.statements.get(command.name)
  if (statement === undefined) {
    acknowledge(session, unit)
    throw pgError('preparedStatementUnknown', [command.name])
  }
  const prepared = state.preparedNow(statement)
  refusePin(prepared, state)
  refuseChannels(state, { prepared, index: 0 })
  const [inner] = prepared.statements
  const outer = unit.prepared.statements[unit.index]
  const writes = inner?.isReadOnly !== true || outer?.traces.ddl === true
  const lease = await joinShard(session, joinedShard(session), writes, noRead)
  const { server } = lease
  const plan = state.plan(prepared, 0, null)
  const effects = [
    effectOf(state, unit),
    withoutValues(effectOf(state, { prepared, index: 0, plan, params: null })),
  ]
  for (const effect of effects) if (effect !== null) noteLook(state, effect, server.shard)
  await proveResult(session, server, statement)
  let outcome = await executeOn(session, server, unit, { command, statement })
  if (isOutdated(outcome.error) && outcome.told === 'nothing' && state.transaction === null) {
    // DDL that nobody here has seen; what the server had may be of any time before it.
    await forgetStatements(server)
    if (!statement.gives(await describeNow(session, server, statement))) throw outcome.error
    outcome = await executeOn(session, server, unit, { command, statement })
  }
  const { error, tag, complete: end } = outcome
  if (error !== null) throw error
  for (const effect of effects) if (effect !== null) state.apply(effect, tag, server)
  if (end !== null) session.output.defer(end)
}

/** EXECUTE has the values of set_config(): what it has set is looked up, and kept where it is when even the name is not known. */
function withoutValues(effect: Effect | null): Effect | null {
  if (effect?.command?.kind !== 'setConfig') return effect
  const { calls } = effect.command
  if (calls.every((call) => [call.name, call.value, call.local].every(isWritten))) return effect
  const names = calls.flatMap(({ name }) => ('constant' in name ? [name.constant ?? ''] : []))
  const settings = names.filter((name) => name.includes('.'))
  const pin = names.length < calls.length ? ('session state' as const) : effect.pin
  return {
    ...effect,
    command: null,
    pin,
    look: 'settings',
    traces: { ...noTraces, opaque: true, settings },
  }
}

function isWritten(source: ScalarSource): boolean {
  return 'constant' in source
}

/** @throws PgError 0A000 when it gives other columns now than when it was prepared, as PostgreSQL does */
async function proveResult(
  session: Session,
  server: ServerConnection,
  statement: ClientStatement,
): Promise<void> {
  const { definitions } = session.state.database
  if (statement.isUnproven(definitions)) {
    statement.prove(await describeNow(session, server, statement), definitions)
  }
  if (!statement.isOutdated(definitions)) return
  throw pgError('resultTypeChanged', [], { routine: 'RevalidateCachedQuery' })
}

/** What a statement gives that has just been prepared. @throws PgError the server's error */
async function describeFresh(
  session: Session,
  server: ServerConnection,
  statement: ClientStatement,
): Promise<Uint8Array> {
  try {
    return await describeNow(session, server, statement)
  } catch (error) {
    if (!isOutdated(error) || session.state.transaction !== null) throw error
    // Another client has prepared the same before DDL that nobody here has seen.
    await forgetStatements(server)
    return await describeNow(session, server, statement)
  }
}

async function describeNow(
  session: Session,
  server: ServerConnection,
  statement: ClientStatement,
): Promise<Uint8Array> {
  await prepareOn(session, server, statement)
  try {
    return await describeOn(session, server, statement)
  } catch (error) {
    throw error instanceof ServerError ? shiftPosition(error, statement.bodyAt) : error
  }
}

async function forgetStatements(server: ServerConnection): Promise<void> {
  await ask(server, 'DEALLOCATE ALL')
  server.prepared.clear()
}

/** The text of an EXECUTE as servers understand it. */
export function executeSql(sql: string, { name }: Execute, { cached }: ClientStatement): string {
  const { start, end } = spanOf(sql, name)
  return `${sql.slice(0, start)}${cached.name}${sql.slice(end)}`
}

function spanOf(sql: string, name: string): Span {
  const span = executedName(sql, name)
  if (span === null) throw pgError('unsupported', ['this EXECUTE'])
  return span
}

/**
 * Makes sure that `server` has the statement, parsed as it was for its client. @throws PgError the server's error
 */
export async function prepareOn(
  session: Session,
  server: ServerConnection,
  statement: ClientStatement,
): Promise<void> {
  const { cached, bodyAt } = statement
  if (server.prepared.has(cached.name)) return
  const { effective, transaction } = session.state
  const under = statement.readUnder(effective)
  const there = under.replayFrom(effective)
  if (there !== '') await ask(server, there)
  const failure = await parseOn(session, server, cached)
  // A transaction that has failed takes the settings back with it.
  const needsNone = there === '' || (failure !== null && transaction !== null)
  if (!needsNone) await ask(server, effective.replayFrom(under))
  if (failure !== null) throw shiftPosition(failure, bodyAt)
  server.prepared.set(cached.name, cached)
}

/** What the server says against it; null when it has it now. */
async function parseOn(
  { context: { writer } }: Session,
  server: ServerConnection,
  cached: CachedStatement,
): Promise<ServerError | null> {
  writer.reset()
  writeParse(writer, cached.name, cached.sql, cached.paramTypes)
  writeSync(writer)
  let failure: ServerError | null = null
  await new Promise<void>((resolve, reject) => {
    const sink: ReplySink = {
      rows: 'whole',
      slice: () => {},
      frame: (code, bytes) => {
        if (code === backend.errorResponse) failure = new ServerError(bytes)
        else if (code === backend.readyForQuery) resolve()
      },
      lost: reject,
    }
    server.begin(sink)
    server.send(writer.bytes())
  })
  return failure
}

type Executed = { readonly command: Execute; readonly statement: ClientStatement }

async function executeOn(
  session: Session,
  server: ServerConnection,
  unit: Unit,
  { command, statement }: Executed,
): Promise<Outcome> {
  await prepareOn(session, server, statement)
  const sql = executeSql(unit.sql, command, statement)
  const outcome = await runUnit(session, server, unit, { audience: 'all', sql })
  const { error } = outcome
  if (!(error instanceof ServerError)) return outcome
  return { ...outcome, error: asTold(error, unit.sql, command.name, statement.cached.name) }
}

/** Errors speak of the client's name, at the client's positions. */
function asTold(error: ServerError, sql: string, name: string, serverName: string): PgError {
  const span = spanOf(sql, name)
  const longer = span.end - span.start - serverName.length
  const moved = (error.position ?? 0) > span.start ? shiftPosition(error, longer) : error
  if (!moved.message.includes(`"${serverName}"`)) return moved
  const { sqlstate, detail, hint, position } = moved
  const message = moved.message.replace(`"${serverName}"`, `"${name}"`)
  return new PgError(message, { sqlstate, detail, hint, position })
}

function isOutdated(error: unknown): boolean {
  return error instanceof ServerError && error.message === resultTypeChanged
}

function joinedShard({ state }: Session) {
  return state.transaction?.participants.keys().next().value ?? state.database.home
}

/** Types as the server knows them now. @throws PgError 42704, 42601 */
async function typeOids(
  server: ServerConnection,
  types: PrepareText['types'],
): Promise<readonly number[]> {
  const oids: number[] = []
  for (const { text, at } of types) {
    const sql = `SELECT ${quoteLiteral(text)}::pg_catalog.regtype::pg_catalog.oid`
    try {
      const { rows } = await ask(server, sql)
      oids.push(Number(rows[0]?.[0] ?? 0))
    } catch (error) {
      if (!(error instanceof ServerError)) throw error
      const { message, sqlstate, detail, hint } = error
      throw new PgError(message, { sqlstate, detail, hint, position: at + 1 })
    }
  }
  return oids
}
