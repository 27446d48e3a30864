// Whatever one server cannot do by itself: several shards, transaction control without a server, strings and
// pipelines whose statements belong to different places. Statement by statement, each awaited; off the hot
// path. A string or pipeline with several statements is one transaction, as in PostgreSQL.
import { type PgError, pgError, toPgError } from '../../core/errors.ts'
import type { Plan, SessionCommand } from '../../router/plan.ts'
import type { BoundParams, Prepared } from '../../router/router.ts'
import {
  writeBindComplete,
  writeCloseComplete,
  writeEmptyQueryResponse,
  writeNoData,
  writeParseComplete,
} from '../../wire/backend.ts'
import { type BatchItem, readBatch } from '../batch.ts'
import { effectOf, refusePin } from '../effects.ts'
import { ask, ServerError, shiftPosition } from '../../pool/exchange.ts'
import type { PipelineEnd } from '../intake.ts'
import { endsFailure } from '../query.ts'
import { unitFacts } from '../read-facts.ts'
import type { Session } from '../session.ts'
import type { StatementClass } from '../traffic.ts'
import { Transaction } from '../transaction.ts'
import { noteLook } from '../session-look.ts'
import { isHeld } from '../where.ts'
import { decodeExecute } from '../../wire/frontend.ts'
import type { Frame } from '../../wire/framer.ts'
import { runCommand } from './commands.ts'
import { commitTransaction, rollbackTransaction } from './commit.ts'
import { runCopyIn } from './copy-in.ts'
import { runDescribeStatement } from './describe.ts'
import { runEverywhere } from './everywhere.ts'
import { runScatter } from './scatter.ts'
import { prepareOn } from './sql-prepare.ts'
import { joinShard } from './join-shard.ts'
import { refuseChannels, withOwnChannels } from './own-channels.ts'
import { untilUnheld } from './lease.ts'
import { runReadUnit } from './read-unit.ts'
import type { Unit } from './unit.ts'

type Single = Extract<Plan, { kind: 'single' }>

const unknownRelation = '42P01'
const ownSavepoint = 'ringfence_schema'

/** Runs a simple query of any number of statements. @throws PgError what the client is told at its end. */
export async function runQuerySteps(session: Session, sql: Uint8Array): Promise<void> {
  const { state } = session
  const first = await prepare(session, sql)
  refusePin(first, state)
  state.reads.take(first.hints)
  const count = first.statements.length
  if (count === 0) return session.output.emit(writeEmptyQueryResponse)
  for (let index = 0; index < count; index += 1) {
    if (session.closed) return
    if (count > 1) openImplicit(session)
    const { prepared, plan } = await planStep(session, sql, index, null)
    const statement = prepared.statements[index]
    if (statement === undefined) return
    const unit: Unit = { plan, prepared, index, params: null, sql: statement.sql, extended: null }
    try {
      await runStep(session, unit)
    } catch (error) {
      const shifted = error instanceof ServerError && statement.start > 0
      throw shifted ? shiftPosition(error, statement.start) : error
    }
  }
}

/** Runs the messages of a pipeline. @throws PgError what the client is told; the rest is skipped. */
export async function runBatchSteps(
  session: Session,
  frames: readonly Frame[],
  end: PipelineEnd,
): Promise<void> {
  const { state } = session
  if (state.needsOwnSchema) await loadOwnSchema(session)
  let batch = readBatch(frames, state)
  if (batch.error?.sqlstate === unknownRelation && (await state.database.refreshSchema('rarely'))) {
    state.undoDefinitions()
    batch = readBatch(frames, state)
  }
  const { items, error } = batch
  const executes = items.filter((item) => item.kind === 'execute').length
  // Behind a Flush more of the same transaction may come.
  const more = executes > 1 || error !== null || end === 'flush'
  for (let at = 0; at < items.length; at += 1) {
    if (session.closed) return
    // Behind a COMMIT of the client's, too.
    if (executes > 0 && more) openImplicit(session)
    at += await runItem(session, items, at)
  }
  if (error !== null) throw error
}

/** Runs the item at `at` with those behind it that belong to the same portal; gives how many more it took. */
async function runItem(session: Session, items: readonly BatchItem[], at: number): Promise<number> {
  const item = items[at]
  const { state } = session
  switch (item?.kind) {
    case 'parse':
      if (item.statement.named) session.times.traffic.clientParses += 1
      state.confirmDefinition()
      session.output.emit(writeParseComplete)
      return 0
    case 'closeStatement':
      state.confirmDefinition()
      session.output.emit(writeCloseComplete)
      return 0
    case 'closePortal':
      session.output.emit(writeCloseComplete)
      return 0
    case 'describeStatement':
      await runDescribeStatement(session, item.statement)
      return 0
    case 'bind':
      return runPortal(session, items, at)
    case 'describePortal':
    case 'execute':
      await runBound(session, item)
      return 0
    case 'foreign':
      throw pgError('unsupported', ['a portal that stays open over several shards'])
    case undefined:
      return 0
  }
}

async function runPortal(
  session: Session,
  items: readonly BatchItem[],
  at: number,
): Promise<number> {
  const bind = items[at]
  if (bind?.kind !== 'bind') return 0
  const { portal, name } = bind
  const next = items[at + 1]
  const describe = next?.kind === 'describePortal' && next.portal === portal
  const last = items[at + (describe ? 2 : 1)]
  const execute = last?.kind === 'execute' && last.portal === portal
  const { prepared, params } = portal
  const text = prepared.statements[0]?.sql ?? ''
  const plan = session.state.plan(prepared, 0, params)
  if (!execute && isOurs(plan)) {
    session.output.emit(writeBindComplete)
    if (describe) session.output.emit(writeNoData)
    return describe ? 1 : 0
  }
  if (!execute || (last.maxRows > 0 && mayStayOpen(plan, text))) {
    throw pgError('unsupported', ['a portal that stays open over several shards'])
  }
  const { maxRows } = last
  portal.begun = true
  await runStep(session, {
    plan,
    prepared,
    index: 0,
    params,
    sql: text,
    extended: { portal, portalName: name, bind: true, describe, execute, maxRows },
  })
  return describe ? 2 : 1
}

/** Of a portal that was bound ahead of a Flush. */
async function runBound(
  session: Session,
  item: Extract<BatchItem, { kind: 'describePortal' | 'execute' }>,
): Promise<void> {
  const { portal } = item
  const { prepared, params, shard } = portal
  const plan = session.state.plan(prepared, 0, params)
  if (shard !== null || !isOurs(plan)) {
    throw pgError('unsupported', ['a portal that stays open over several shards'])
  }
  if (item.kind === 'describePortal') return session.output.emit(writeNoData)
  const { portal: portalName, maxRows } = decodeExecute(item.frame)
  await runStep(session, {
    plan,
    prepared,
    index: 0,
    params,
    sql: prepared.statements[0]?.sql ?? '',
    extended: { portal, portalName, bind: false, describe: false, execute: true, maxRows },
  })
}

const withRowsOfOurs: ReadonlySet<SessionCommand['kind']> = new Set<SessionCommand['kind']>([
  'execute',
  'listeningChannels',
  'explainRoute',
  'showRingfence',
])

/** True for commands without rows: nobody needs a server to bind or to describe them. */
function isOurs(plan: Plan): boolean {
  return plan.kind === 'session' && !withRowsOfOurs.has(plan.command.kind)
}

/** Commands that give no rows: PostgreSQL runs them to their end, however few rows are asked for. */
const withoutRows =
  /^\s*(?:insert|update|delete|merge|create|alter|drop|truncate|copy|grant|revoke|comment)\b/i

/** False for what one server does, which keeps its portal, and for what gives one row at most. */
function mayStayOpen(plan: Plan, sql: string): boolean {
  switch (plan.kind) {
    case 'single':
    case 'refuse':
      return false
    case 'session':
      return plan.command.kind === 'explainRoute'
    case 'scatter':
    case 'everywhere':
    case 'copyIn':
      return !withoutRows.test(sql) || /\breturning\b/i.test(sql)
  }
}

async function runStep(session: Session, step: Unit): Promise<void> {
  const { state } = session
  // Planned anew: its plan may be of a moment ago. From the last look at the topology on nothing is
  // waited for before the step has begun, so that no other topology comes between its shards, what
  // they hide, and its entry at the gate.
  let plan = planNow(session, step)
  while (isHeld(plan, state)) {
    await state.leases.waitFor(untilUnheld(session))
    plan = planNow(session, step)
  }
  return startStep(session, { ...step, plan })
}

function planNow({ state }: Session, { prepared, index, params }: Unit): Plan {
  return state.plan(prepared, index, params)
}

/** The step begins before this returns. */
function startStep(session: Session, unit: Unit): Promise<void> | void {
  const { plan } = unit
  const { state } = session
  session.times.class = classOf(plan)
  if (state.transaction?.failed === true && !endsFailure(plan)) throw state.aborted
  switch (plan.kind) {
    case 'refuse':
      throw plan.error
    case 'single':
      return runSingle(session, unit, plan)
    case 'scatter':
      refuseChannels(state, unit)
      return spanning(session, () => runScatter(session, unit, plan))
    case 'everywhere':
      if (plan.what === 'reference') refuseChannels(state, unit)
      return spanning(session, () => runEverywhere(session, unit, plan))
    case 'copyIn':
      return runCopyIn(session, unit, plan.copy)
    case 'session':
      return runCommand(session, unit, plan.command)
  }
}

/** As statistics tell statements apart. */
function classOf({ kind }: Plan): StatementClass {
  if (kind === 'copyIn') return 'copy'
  return kind === 'refuse' ? 'single' : kind
}

/** Moves wait for what goes to several shards by the topology of now. */
async function spanning(session: Session, run: () => Promise<void>): Promise<void> {
  const leave = session.state.database.gate?.enter()
  try {
    await run()
  } finally {
    leave?.()
  }
}

async function runSingle(session: Session, unit: Unit, plan: Single): Promise<void> {
  const { state } = session
  const joined = state.transaction?.participants.keys().next().value
  const shard = plan.anyShard ? (joined ?? state.database.home) : plan.shard
  if (!state.mayWrite(plan)) {
    const written = state.transaction?.written.find((other) => other !== shard) ?? ''
    throw pgError('secondShardWritten', [shard, written])
  }
  refusePin(unit.prepared, state)
  const facts = unitFacts(unit)
  const inOwnWords = withOwnChannels(state, unit)
  const { version } = state.database
  const lease = await joinShard(session, shard, plan.writes, facts)
  if (state.database.version !== version || isHeld(plan, state)) {
    // While it waited for a server, its virtual node may have gone elsewhere.
    const now = planNow(session, unit)
    const same = now.kind === 'single' && now.shard === plan.shard && !isHeld(now, state)
    if (!same) return runStep(session, unit)
  }
  const options = { audience: 'all', facts, sql: inOwnWords?.sql } as const
  const statement = unit.extended?.portal.statement
  if (statement?.meansTheSame(state.effective) === false) {
    await prepareOn(session, lease.server, statement)
  }
  const { load } = session.replies
  load?.begin()
  load?.add(unit.prepared, unit.index, plan, unit.params)
  const effect = effectOf(state, { ...unit, plan })
  const { error, tag, complete } = await runReadUnit(session, lease, unit, options)
  load?.completed(tag)
  load?.end()
  const { server } = lease
  // A lock that was taken before the failure is kept.
  if (effect !== null && error !== null) noteLook(state, effect, server.shard)
  if (error !== null) throw inOwnWords === null ? error : inOwnWords.asTold(error)
  if (effect !== null) state.apply(effect, tag, server)
  if (complete !== null) session.output.defer(complete)
}

/** Ends the transaction that a string or pipeline had by itself; gives the error that is to be told. */
export async function finishImplicit(
  session: Session,
  failure: PgError | null,
): Promise<PgError | null> {
  const { transaction } = session.state
  if (transaction?.implicit !== true) return failure
  try {
    const { failed, lost } = transaction
    if (failure === null && !failed) await commitTransaction(session)
    else await rollbackTransaction(session)
    return failure ?? lost
  } catch (error) {
    return failure ?? toPgError(error)
  }
}

/** The transaction that PostgreSQL opens by itself around several statements. */
function openImplicit(session: Session): void {
  const { state } = session
  state.transaction ??= new Transaction('BEGIN', state.settings, true)
}

async function prepare(session: Session, sql: Uint8Array): Promise<Prepared> {
  const { state } = session
  if (state.needsOwnSchema) await loadOwnSchema(session)
  return state.database.router.statements(sql, state.context())
}

/** Plans one statement with what is known now; a relation that is not known is looked for once more. */
async function planStep(
  session: Session,
  sql: Uint8Array,
  index: number,
  params: BoundParams | null,
): Promise<{ prepared: Prepared; plan: Plan }> {
  const { state } = session
  const prepared = await prepare(session, sql)
  const plan = state.plan(prepared, index, params)
  const unknown = plan.kind === 'refuse' && plan.error.sqlstate === unknownRelation
  if (!unknown || !(await state.database.refreshSchema('rarely'))) return { prepared, plan }
  const fresh = await prepare(session, sql)
  return { prepared: fresh, plan: state.plan(fresh, index, params) }
}

/** After DDL in the transaction only its own servers know the schema. */
async function loadOwnSchema(session: Session): Promise<void> {
  const { state } = session
  const { server } = await joinShard(session, state.database.home, false)
  const question = async (sql: string) => (await ask(server, sql)).rows
  // The catalog queries set search_path for their transaction: this one is the client's.
  await ask(server, `SAVEPOINT ${ownSavepoint}`)
  state.ownSchema = await state.database.loadSchemaBy(question)
  await ask(server, `ROLLBACK TO SAVEPOINT ${ownSavepoint};RELEASE SAVEPOINT ${ownSavepoint}`)
}
