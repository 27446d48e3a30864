// One shard: the client's own messages go to its server as they are, statement names rewritten only. What the
// server must know first (settings, BEGIN, a Parse it has not seen) goes ahead of them in the same write.
import { pgError } from '../../core/errors.ts'
import type { ServerConnection } from '../../pool/server-connection.ts'
import { writeErrorResponse } from '../../wire/backend.ts'
import { isSerializable } from '../../router/setting-value.ts'
import {
  writeClose,
  writeDescribe,
  writeFlush,
  writeRenamedBind,
  writeRenamedDescribe,
  writeRenamedParse,
  writeSync,
} from '../../wire/frontend.ts'
import { Writer } from '../../wire/writer.ts'
import { type Batch, type BatchItem, writesOf } from '../batch.ts'
import { effectOf, effectOfForeign, effectOfPortal } from '../effects.ts'
import { PreparingSink, sendQuery, ServerError } from '../../pool/exchange.ts'
import type { Lease } from '../leases.ts'
import { noteLook } from '../session-look.ts'
import type { Session } from '../session.ts'
import type { ClientStatement, Portal } from '../statements.ts'
import { inject } from './inject.ts'

// Named statements that one server keeps; the oldest are closed to make room.
const preparedMax = 1_000
const isolation = 'default_transaction_isolation'
// No statement of this name exists on any server: Describe of it fails, which is what it is sent for.
const poisonName = 'ringfence_no_such_statement'

/** Brings `lease`'s server to where the client's next statement expects it; costs no round trip. */
export function joinServer(session: Session, lease: Lease, writes: boolean): void {
  const { server, pool } = lease
  const { state } = session
  const { transaction } = state
  const joined = transaction?.participants.has(server.shard) === true
  if (writes) lease.writes = true
  // Not in the middle of a transaction: it may have failed, and then takes nothing of ours.
  if (!joined && server.preparedGeneration !== pool.preparedGeneration) {
    server.preparedGeneration = pool.preparedGeneration
    if (server.prepared.size > 0) prepend(session, server, 'DEALLOCATE ALL')
    server.prepared.clear()
  }
  if (!joined) {
    allowQueries(session, server)
    const replay = state.settings.replayFrom(server.settings)
    if (replay !== '') prepend(session, server, replay)
    server.settings = state.settings
    const forgets = state.database.code.sequences.join(state, lease, writes)
    if (forgets !== '') prepend(session, server, forgets)
  }
  state.routedBy = state.database.topology
  if (transaction === null) return
  if (!joined || !transaction.hasRouted) transaction.routedBy(state.routedBy)
  if (!joined) prepend(session, server, transaction.joinSql)
  transaction.participants.set(
    server.shard,
    writes || transaction.participants.get(server.shard) === true,
  )
}

/**
 * A standby whose session is SERIALIZABLE by default refuses every query, our set_config() too: what an earlier client
 * has left there is taken back by a statement of its own.
 */
function allowQueries(session: Session, server: ServerConnection): void {
  const { target, settings } = server
  if (target.role !== 'replica' || !isSerializable(settings.get(isolation))) return
  prepend(session, server, `RESET ${isolation}`)
  server.settings = settings.without(isolation)
}

/** A statement of ours ahead of the client's. It was accepted before, so it does not fail; if it does, the
 * session ends: what follows it may have run in a state that the client did not ask for. */
function prepend(session: Session, server: ServerConnection, sql: string): void {
  const sink = new PreparingSink((error) => {
    // A server that died is told of by the statement behind; a client that is gone hears nothing.
    if (!(error instanceof ServerError) || session.closed) return
    session.context.log.error({ shard: server.shard, error }, 'session state could not be replayed')
    session.fatal(pgError('replayFailed', [server.shard, error.message], { cause: error }))
  })
  sendQuery(server, sql, sink)
}

/** Sends a Query or FunctionCall message; a pipeline that is open on the server ends with it. */
export function sendSimple(session: Session, server: ServerConnection, frame: Uint8Array): void {
  const { relay } = session
  if (relay.server === null) relay.open(server)
  relay.expect('query')
  server.unnamed = null
  server.send(frame)
}

/** Sends a pipeline up to its Sync or Flush; opens the exchange unless an earlier Flush left it open. */
export function sendBatch(
  session: Session,
  server: ServerConnection,
  batch: Batch,
  end: 'sync' | 'flush',
): void {
  const { relay } = session
  const writer = session.context.writer
  writer.reset()
  const opened = relay.server === null
  if (opened) {
    relay.open(server)
    evict(session, server, writer)
  }
  const how = { writes: writesOf(batch), writer }
  for (const item of batch.items) writeItem(session, server, item, how)
  for (const item of batch.items) {
    if (item.kind === 'bind' && !item.portal.begun) notePlanned(session, server, item.portal)
  }
  if (batch.error !== null) {
    const error = new Writer(256)
    writeErrorResponse(error, batch.error)
    relay.poison(error.take())
    writeDescribe(writer, 'S', poisonName)
  }
  if (end === 'flush' && opened && definesOnly(batch)) {
    // No statement has run: the server may go, whatever shard the next messages are for.
    relay.quiet = true
    relay.expect('sync')
    writeSync(writer)
  } else if (end === 'sync') {
    relay.expect('sync')
    writeSync(writer)
  } else {
    writeFlush(writer)
  }
  server.send(writer.bytes())
  relay.pump()
  if (relay.settled) session.replies.flushed()
}

/** Planning runs functions that call themselves immutable, also for a portal that is never executed. */
function notePlanned({ state }: Session, server: ServerConnection, portal: Portal): void {
  const effect = effectOf(state, { ...portal, index: 0 })
  if (effect !== null) noteLook(state, effect, server.shard)
}

/** Parse, Describe and Close of statements: nothing that a transaction could hold. */
function definesOnly({ items, error }: Batch): boolean {
  const defining = ['parse', 'describeStatement', 'closeStatement']
  return error === null && items.every(({ kind }) => defining.includes(kind))
}

function writeItem(
  session: Session,
  server: ServerConnection,
  item: BatchItem,
  { writes, writer }: { readonly writes: boolean; readonly writer: Writer },
): void {
  const { relay } = session
  switch (item.kind) {
    case 'parse':
      return parse(session, server, item, writer)
    case 'bind': {
      const { statement } = item.portal
      if (inject(server, statement, session.replies.parses, writer)) {
        session.times.traffic.serverParses += 1
        relay.expect('swallowParse')
      }
      if (statement.named) {
        session.times.traffic.binds += 1
        writeRenamedBind(writer, item.frame, statement.cached.name)
      } else writer.raw(item.frame)
      item.portal.shard = server.shard
      return relay.expect('bind')
    }
    case 'describeStatement': {
      const { statement } = item
      if (inject(server, statement, session.replies.parses, writer)) relay.expect('swallowParse')
      if (statement.named) writeRenamedDescribe(writer, item.frame, statement.cached.name)
      else writer.raw(item.frame)
      noteDescribe(session, statement)
      return relay.expect('describe')
    }
    case 'describePortal':
      writer.raw(item.frame)
      noteDescribe(session, item.portal.statement)
      return relay.expect('describe')
    case 'execute': {
      writer.raw(item.frame)
      const { prepared, plan, params } = item.portal
      session.replies.addEffect(effectOfPortal(session.state, item.portal, writes))
      session.replies.load?.add(prepared, 0, plan, params)
      return relay.expect('execute')
    }
    case 'closeStatement':
      return relay.expect('synthClose')
    case 'closePortal':
      if (item.portal === undefined) return relay.expect('synthClosePortal')
      writer.raw(item.frame)
      return relay.expect('close')
    case 'foreign':
      writer.raw(item.frame)
      if (item.owes === 'describe') session.replies.describes.push(null)
      if (item.owes === 'execute') session.replies.addEffect(effectOfForeign(writes))
      return relay.expect(item.owes)
  }
}

/** An unnamed statement is seldom run again, and what has been told once need not be noted again. */
function noteDescribe({ state, replies }: Session, statement: ClientStatement): void {
  const noted = statement.named && !statement.isTold
  if (noted) statement.asked(state.database.definitions)
  replies.describes.push(noted ? statement : null)
}

function parse(
  session: Session,
  server: ServerConnection,
  item: Extract<BatchItem, { kind: 'parse' }>,
  writer: Writer,
): void {
  const { relay } = session
  const { cached, named } = item.statement
  if (!named) {
    writer.raw(item.frame)
    server.unnamed = cached
    session.replies.parses.push('')
    return relay.expect('parse')
  }
  session.times.traffic.clientParses += 1
  if (server.prepared.has(cached.name)) {
    if (server.transactionStatus !== 'E') return relay.expect('synthParse')
    // A failed transaction prepares nothing, unless it ends further up in the pipeline: the server knows.
    writeRenamedParse(writer, item.frame, '')
    server.unnamed = null
    session.replies.parses.push('')
    return relay.expect('parse')
  }
  writeRenamedParse(writer, item.frame, cached.name)
  server.prepared.set(cached.name, cached)
  session.times.traffic.serverParses += 1
  session.replies.parses.push(cached.name)
  relay.expect('parse')
}

/** Closes the oldest of too many prepared statements, ahead of what `writer` is about to say. */
export function evict(session: Session, server: ServerConnection, writer: Writer): void {
  for (const name of server.prepared.keys()) {
    if (server.prepared.size <= preparedMax) return
    server.prepared.delete(name)
    writeClose(writer, 'S', name)
    session.relay.expect('swallowClose')
  }
}
