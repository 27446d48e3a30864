// Where a command goes: to one server as it is (single.ts), or through steps of our own (steps.ts). A command that must
// wait for a server is read and planned again once it has one: the topology may have changed meanwhile.
import { pgError, toPgError } from '../../core/errors.ts'
import type { ShardId } from '../../core/ids.ts'
import type { ServerConnection } from '../../pool/server-connection.ts'
import type { Plan } from '../../router/plan.ts'
import { writeNotice } from '../../wire/backend.ts'
import { frontend } from '../../wire/codes.ts'
import type { Frame } from '../../wire/framer.ts'
import { decodeQuery } from '../../wire/frontend.ts'
import { type Batch, continued, factsOf, readBatch, writesOf } from '../batch.ts'
import { effectsOfCall } from '../function-calls.ts'
import { ownFrames, type PipelineEnd } from '../intake.ts'
import { noRead } from '../read-facts.ts'
import { readQuery, type SimpleQuery } from '../query.ts'
import type { Session } from '../session.ts'
import { isShard, type Where } from '../where.ts'
import { vnodeIn, vnodeOf } from './key-slot.ts'
import { reworded, sendReworded } from './auto-prepare.ts'
import { leaseOn, waitHeld, waitUntil } from './lease.ts'
import { framesIn } from './ride.ts'
import { proveColumns } from './prove-columns.ts'
import { joinServer, sendBatch, sendSimple } from './single.ts'
import { runBatchSteps, runQuerySteps } from './steps.ts'

/** Runs a Query or FunctionCall message; its view may die afterwards. */
export function runSimple(session: Session, { code, bytes }: Frame): void {
  if (code === frontend.query) return runQuery(session, bytes)
  const { database } = session.state
  if (database.options.rules !== null) {
    return session.refuse(pgError('unsupported', ['the function call protocol']), 'sync')
  }
  // A server that does not know of the failure would run it.
  if (session.state.failure === 'local') return session.refuse(session.state.aborted, 'sync')
  const shared = { writes: true, facts: noRead, hintProblem: null, prepared: null, plans: [] }
  let query: SimpleQuery
  try {
    query = { ...shared, where: database.home, effects: effectsOfCall(bytes, session.state) }
  } catch (error) {
    return refuseHere(session, error, 'sync')
  }
  sendQuery(session, query, bytes, (owned) => runSimple(session, { code, bytes: owned }))
}

function runQuery(session: Session, bytes: Uint8Array): void {
  const { state } = session
  if (state.statements.size > 0) state.statements.delete('')
  if (state.portals.size > 0) state.portals.delete('')
  let query: SimpleQuery
  try {
    query = readQuery(decodeQuery(bytes), state)
  } catch (error) {
    return refuseHere(session, error, 'sync')
  }
  warnOfHints(session, query.hintProblem)
  const open = session.relay.server
  if (query.where === '(held)' && open === null) {
    const owned = new Uint8Array(bytes)
    return waitHeld(session, { again: () => runQuery(session, owned), end: 'sync' })
  }
  if (query.where === '(steps)' || query.where === '(nowhere)') {
    if (open !== null) return refusedBehindFlush(session)
    const sql = Uint8Array.from(decodeQuery(bytes))
    return session.work(() => runQuerySteps(session, sql), 'sync')
  }
  sendQuery(session, query, bytes, (owned) => runQuery(session, owned))
}

function sendQuery(
  session: Session,
  query: SimpleQuery,
  bytes: Uint8Array,
  again: (owned: Uint8Array) => void,
): void {
  const { where, writes, facts, effects } = query
  const open = session.relay.server
  const shard = shardOf(session, where)
  if (open !== null && where !== '(any)' && shard !== open.shard) return refusedBehindFlush(session)
  let owned = bytes
  session.state.reads.take(facts.hints)
  const inOtherWords = open === null ? reworded(session, query) : null
  const on = { shard, bytes, reworded: inOtherWords }
  if (open === null && session.ride.takeQuery(query, on, runQuery)) return
  const lease = leaseOn(session, {
    shard: open?.shard ?? shard,
    facts,
    vnode: vnodeOf(session, query.plans),
    again: () => again(owned),
    end: 'sync',
  })
  if (lease === null) {
    owned = new Uint8Array(bytes)
    return
  }
  if (open === null) {
    const isRead = session.repeats.allowed(facts, lease)
    const atFence = session.repeats.allowedAtFence(query.plans.some(isOnTheMove), lease)
    if (isRead || atFence || inOtherWords !== null) {
      owned = new Uint8Array(bytes)
      const how = { isRead, reworded: inOtherWords?.auto ?? null }
      session.repeats.arm(lease, () => again(owned), how)
    }
    session.replies.expect(effects)
    joinServer(session, lease, writes)
  } else {
    for (const effect of effects) session.replies.addEffect(effect)
  }
  measure(session, query)
  session.enter('running')
  if (inOtherWords === null) sendSimple(session, lease.server, bytes)
  else sendReworded(session, lease.server, inOtherWords)
  if (open === null && facts.repeatable) askBehind(session, lease.server)
}

function measure({ replies: { load } }: Session, { prepared, plans }: SimpleQuery): void {
  if (load === null || prepared === null) return
  for (const [index, plan] of plans.entries()) load.add(prepared, index, plan, null)
}

/** Of a read outside a transaction: one that writes may wait for COPY data, in which a question has no place. */
function askBehind({ state }: Session, server: ServerConnection): void {
  if (state.transaction === null) state.reads.ids.askBehind(server, state.settings)
}

/** The pipeline's server must roll back before the client hears that it has failed. */
function refusedBehindFlush(session: Session): void {
  const { server } = session.relay
  const error = pgError('unsupported', ['a pipeline that goes on to another shard after Flush'])
  if (server === null) return session.refuse(error, 'sync')
  runOn(session, server, { items: [], where: '(nowhere)', error }, 'sync')
}

/** Runs the messages of a pipeline up to its Sync or Flush. */
export function runBatch(session: Session, frames: readonly Frame[], end: PipelineEnd): void {
  const { state, relay } = session
  if (state.needsOwnSchema && frames.length > 0 && relay.server === null) {
    const owned = ownFrames(frames)
    return session.work(() => runBatchSteps(session, owned, end), end)
  }
  const batch = readBatch(frames, state)
  const known = factsOf(batch)
  state.reads.take(known.hints)
  for (const item of batch.items) {
    if (item.kind === 'parse') warnOfHints(session, item.prepared.hintProblem)
  }
  const open = relay.server
  if (open !== null) return runOn(session, open, continued(batch, open.shard), end)
  if (batch.items.length === 0) {
    if (batch.error !== null) return refuseHere(session, batch.error, end)
    if (end === 'flush') return
    if (state.transaction?.implicit !== true) return session.ready()
    return session.work(() => Promise.resolve(), end)
  }
  if (batch.where === '(held)') {
    const owned = ownFrames(frames)
    state.undoDefinitions()
    return waitHeld(session, { again: () => runBatch(session, owned, end), end })
  }
  if (batch.where === '(unproven)') {
    const owned = ownFrames(frames)
    state.undoDefinitions()
    const again = () => runBatch(session, owned, end)
    return waitUntil(session, proveColumns(session, batch), { again, end })
  }
  if (batch.where === '(steps)' || batch.where === '(nowhere)') {
    state.undoDefinitions()
    const owned = ownFrames(frames)
    return session.work(() => runBatchSteps(session, owned, end), end)
  }
  const shard = shardOf(session, batch.where)
  if (end === 'sync' && session.ride.takeBatch(batch, frames, shard, runKept)) return
  let owned = frames
  const again = () => runBatch(session, owned, end)
  // Without its Sync the pipeline may go on to write.
  const facts = end === 'sync' ? known : noRead
  const lease = leaseOn(session, { shard, facts, vnode: vnodeIn(session, batch), again, end })
  if (lease === null) {
    owned = ownFrames(frames)
    state.undoDefinitions()
    return
  }
  const isRead = session.repeats.allowed(facts, lease)
  const onTheMove = end === 'sync' && mayMeetFence(session, batch)
  if (isRead || session.repeats.allowedAtFence(onTheMove, lease)) {
    owned = ownFrames(frames)
    session.repeats.arm(lease, again, { isRead })
  }
  joinServer(session, lease, writesOf(batch))
  session.replies.expect([])
  runOn(session, lease.server, batch, end)
  if (facts.repeatable) askBehind(session, lease.server)
}

function runKept(session: Session, bytes: Uint8Array): void {
  runBatch(session, framesIn(bytes), 'sync')
}

/** A mistake that needed no server to be found; the transaction's server is told of it. */
function refuseHere(session: Session, error: unknown, end: PipelineEnd): void {
  const { transaction } = session.state
  const open = session.relay.server !== null
  if (transaction === null || transaction.failed || open) return session.refuse(error, end)
  session.work(() => Promise.reject(toPgError(error)), end)
}

function mayMeetFence({ state }: Session, { items }: Batch): boolean {
  if (state.database.topology.moves.length === 0) return false
  return items.some((item) => item.kind === 'execute' && isOnTheMove(item.portal.plan))
}

function isOnTheMove(plan: Plan): boolean {
  return plan.kind === 'single' && plan.moves.length > 0
}

/** Once for a command, however often it is run. */
function warnOfHints(session: Session, problem: string | null): void {
  if (!session.state.reads.warnsOf(problem)) return
  session.output.emit((writer) =>
    writeNotice(writer, { severity: 'WARNING', sqlstate: '01000', message: problem }),
  )
}

/** Hands a pipeline to `server`, whose exchange is open or is opened now. */
export function runOn(
  session: Session,
  server: ServerConnection,
  batch: Batch,
  end: PipelineEnd,
): void {
  session.enter('running')
  sendBatch(session, server, batch, end)
}

function shardOf(session: Session, where: Where): ShardId {
  if (isShard(where)) return where
  const joined = session.state.transaction?.participants.keys().next().value
  return joined ?? session.state.database.home
}
