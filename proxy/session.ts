// One client after login. Socket events only bring bytes; the pump decides.
//
// Phases: ready    the next frame may be taken
//         waiting  a statement stands in a pool's queue; its frames are owned
//         running  one server works; the relay forwards its replies
//         copyIn   the client's COPY data goes to that server
//         working  steps of our own run (execute/steps.ts): several shards, transaction control
//         closed   nothing more happens
// After an error in a pipeline `skipping` drops everything up to Sync.
import type { Socket } from 'node:net'
import { type PgError, pgError, toPgError } from '../core/errors.ts'
import type { ShardId } from '../core/ids.ts'
import type { Outbox } from '../pool/outbox.ts'
import type { ServerConnection, ServerOwner } from '../pool/server-connection.ts'
import type { SettingsProfile } from '../pool/settings-profile.ts'
import { frontend } from '../wire/codes.ts'
import type { Frame, Framer } from '../wire/framer.ts'
import { decodeQuery } from '../wire/frontend.ts'
import { type Batch, continued, readBatch, writesOf } from './batch.ts'
import { ClientOutput } from './client-output.ts'
import type { ProxyContext } from './context.ts'
import { CopyIntake } from './copy-intake.ts'
import type { Credentials, Database, ReportedParameters } from './database.ts'
import { joinServer, sendBatch, sendSimple } from './execute/single.ts'
import { finishImplicit, runBatchSteps, runQuerySteps } from './execute/steps.ts'
import { type Lease, Leases } from './leases.ts'
import { readQuery, type SimpleQuery } from './query.ts'
import type { Relay } from './relay.ts'
import { type ExchangeEvents, Replies } from './replies.ts'
import { SessionState } from './session-state.ts'
import { isShard, type Where } from './where.ts'

type Phase = 'ready' | 'waiting' | 'running' | 'copyIn' | 'working' | 'closed'
type End = 'sync' | 'flush'

// A pipeline longer than this is handed to the server before its Sync has come.
const batchBytesMax = 1024 * 1024
// The client is not read while this much of it waits.
const highWaterBytes = 256 * 1024

export type SessionOptions = {
  readonly socket: Socket
  readonly framer: Framer
  readonly outbox: Outbox
  readonly database: Database
  readonly client: Credentials
  readonly startup: SettingsProfile
  readonly reported: ReportedParameters
  readonly closed: () => void
}

export class Session implements ExchangeEvents, ServerOwner {
  readonly state: SessionState
  readonly context: ProxyContext
  readonly replies: Replies
  readonly output: ClientOutput
  readonly connectedAtMs: number
  /** Since when the client has been silent inside a transaction; null outside. */
  idleInTransactionSinceMs: number | null = null
  readonly #socket: Socket
  readonly #framer: Framer
  readonly #onClosed: () => void
  readonly #copy = new CopyIntake()
  #phase: Phase = 'ready'
  #skipping = false
  #frames: Frame[] = []
  #framesBytes = 0
  /** A Query that waits until the pipeline before it has been run. */
  #held: Frame | null = null
  #draining = false
  #pumping = false
  /** COPY data waits for the server's socket: the client is not read. */
  #serverLags = false

  constructor(options: SessionOptions, context: ProxyContext) {
    this.context = context
    this.#socket = options.socket
    this.#framer = options.framer
    this.#onClosed = options.closed
    const leases = new Leases(this)
    this.output = new ClientOutput(options.socket, options.outbox, leases, options.reported)
    this.state = new SessionState(options.database, options.client, options.startup, leases)
    this.replies = new Replies(this.state, this.output, this)
    this.connectedAtMs = context.clock.nowMs()
  }

  get relay(): Relay {
    return this.replies.relay
  }

  get closed(): boolean {
    return this.#phase === 'closed'
  }

  get phase(): Phase {
    return this.#phase
  }

  /** Servers that are working for this client now: what a CancelRequest is for. */
  get workingServers(): readonly Lease[] {
    return [...this.state.leases].filter(({ server }) => server.exchangesOwed > 0)
  }

  /** CancelRequest: stops what its servers are doing for it now, and nobody else. */
  cancel(): void {
    for (const { pool, server } of this.workingServers) void pool.cancel(server)
  }

  /** Bytes from the client; `chunk` may be reused when the call returns. */
  received(chunk: Uint8Array): void {
    if (this.#phase === 'closed') return
    this.#framer.push(chunk)
    this.#pump()
    const reading = this.#phase === 'ready' || this.#phase === 'copyIn'
    if (!reading && this.#framer.bufferedBytes > highWaterBytes) this.#socket.pause()
  }

  /** The client is gone or must go: its transaction is rolled back, its servers given back or closed. */
  close(): void {
    if (this.#phase === 'closed') return
    const working = this.#phase === 'working' || this.#copy.reading
    this.#phase = 'closed'
    this.output.end()
    this.state.leases.stopWaiting()
    // Steps under way notice the closed session themselves and roll back what they have begun.
    if (working) for (const { pool, server } of this.workingServers) void pool.cancel(server)
    else this.state.leases.abandon()
    this.#copy.abandon()
    this.#onClosed()
  }

  /** Ends the session with a FATAL error. */
  fatal(error: PgError): void {
    if (this.#phase === 'closed') return
    this.output.error(error)
    this.context.metrics.errors.inc({ sqlstate: error.sqlstate })
    this.close()
  }

  /** Shutdown: closes now when idle outside a transaction, else as soon as it is. */
  drain(): void {
    this.#draining = true
    this.#closeIfDrained()
  }

  // ---- the pump

  #pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    try {
      while (this.#phase === 'ready' || this.#phase === 'copyIn') {
        const frame = this.#held ?? this.#framer.next()
        this.#held = null
        if (frame === undefined) break
        this.#take(frame)
      }
    } catch (error) {
      this.fatal(toPgError(error))
    } finally {
      this.#pumping = false
    }
    if (this.#phase === 'closed') return
    // What is kept until more comes must survive the caller's buffer.
    this.#framer.own()
    this.#ownFrames()
    if (this.#phase === 'ready' || (this.#phase === 'copyIn' && !this.#serverLags)) {
      this.#socket.resume()
    }
  }

  #take(frame: Frame): void {
    this.idleInTransactionSinceMs = null
    const { code } = frame
    if (this.#phase === 'copyIn') return this.#takeCopy(frame)
    if (this.#skipping && code !== frontend.sync && code !== frontend.terminate) return
    switch (code) {
      case frontend.query:
      case frontend.functionCall:
        return this.#frames.length === 0 ? this.#runSimple(frame) : this.#hold(frame)
      case frontend.parse:
      case frontend.bind:
      case frontend.describe:
      case frontend.execute:
      case frontend.close:
        return this.#collect(frame)
      case frontend.flush:
        return this.#runBatch(this.#takeFrames(), 'flush')
      case frontend.sync:
        return this.#sync()
      case frontend.terminate:
        return this.close()
      case frontend.copyData:
      case frontend.copyDone:
      case frontend.copyFail:
        // Left over from a COPY that has failed: PostgreSQL drops them too.
        return
      default:
        throw pgError('protocolViolation', [`invalid frontend message type ${code}`])
    }
  }

  #collect(frame: Frame): void {
    this.#frames.push(frame)
    this.#framesBytes += frame.bytes.length
    if (this.#framesBytes > batchBytesMax) this.#runBatch(this.#takeFrames(), 'flush')
  }

  #takeFrames(): readonly Frame[] {
    const frames = this.#frames
    this.#frames = []
    this.#framesBytes = 0
    return frames
  }

  #sync(): void {
    if (!this.#skipping) return this.#runBatch(this.#takeFrames(), 'sync')
    this.#skipping = false
    const { server } = this.relay
    if (server === null) return this.ready()
    this.#phase = 'running'
    sendBatch(this, server, { items: [], where: '(nowhere)', error: null }, 'sync')
  }

  // ---- one simple query

  /** Without Sync before it, a Query runs behind the pipeline that came first. */
  #hold({ code, bytes }: Frame): void {
    this.#held = { code, bytes: Uint8Array.from(bytes) }
    this.#runBatch(this.#takeFrames(), 'flush')
  }

  #runSimple({ code, bytes }: Frame): void {
    if (code === frontend.query) return this.#runQuery(bytes)
    const { database } = this.state
    if (database.options.rules !== null) {
      return this.#refused(pgError('unsupported', ['the function call protocol']), 'sync')
    }
    const query: SimpleQuery = { where: database.home, writes: true, effects: [] }
    this.#sendQuery(query, bytes, (owned) => this.#runSimple({ code, bytes: owned }))
  }

  #runQuery(bytes: Uint8Array): void {
    const { state } = this
    state.statements.delete('')
    state.portals.delete('')
    let query: SimpleQuery
    try {
      query = readQuery(decodeQuery(bytes), state)
    } catch (error) {
      return this.#refused(error, 'sync')
    }
    const open = this.relay.server
    if (query.where === '(steps)' || query.where === '(nowhere)') {
      if (open !== null) return this.#refusedBehindFlush()
      const sql = Uint8Array.from(decodeQuery(bytes))
      return this.#work(() => runQuerySteps(this, sql), 'sync')
    }
    this.#sendQuery(query, bytes, (owned) => this.#runQuery(owned))
  }

  #sendQuery(query: SimpleQuery, bytes: Uint8Array, again: (owned: Uint8Array) => void): void {
    const { where, writes, effects } = query
    const open = this.relay.server
    const shard = this.#shardOf(where)
    if (open !== null && where !== '(any)' && shard !== open.shard)
      return this.#refusedBehindFlush()
    let owned = bytes
    const lease = this.#lease(open?.shard ?? shard, () => again(owned), 'sync')
    if (lease === null) {
      owned = Uint8Array.from(bytes)
      return
    }
    if (open === null) {
      this.replies.expect(effects)
      joinServer(this, lease, writes)
    } else {
      for (const effect of effects) this.replies.addEffect(effect)
    }
    this.#phase = 'running'
    sendSimple(this, lease.server, bytes)
  }

  /** The pipeline's server must roll back before the client hears that it has failed. */
  #refusedBehindFlush(): void {
    const { server } = this.relay
    const error = pgError('unsupported', ['a pipeline that goes on to another shard after Flush'])
    if (server === null) return this.#refused(error, 'sync')
    this.#runOn(server, { items: [], where: '(nowhere)', error }, 'sync')
  }

  // ---- one pipeline up to Sync or Flush

  #runBatch(frames: readonly Frame[], end: End): void {
    const { state, relay } = this
    const batch = readBatch(frames, state)
    const open = relay.server
    if (open !== null) return this.#runOn(open, continued(batch, open.shard), end)
    if (batch.items.length === 0) {
      if (batch.error !== null) return this.#refused(batch.error, end)
      if (end === 'flush') return
      if (state.transaction?.implicit !== true) return this.ready()
      return this.#work(() => Promise.resolve(), end)
    }
    if (batch.where === '(steps)' || batch.where === '(nowhere)') {
      state.undoDefinitions()
      const owned = ownFrames(frames)
      return this.#work(() => runBatchSteps(this, owned), end)
    }
    let owned = frames
    const lease = this.#lease(this.#shardOf(batch.where), () => this.#runBatch(owned, end), end)
    if (lease === null) {
      owned = ownFrames(frames)
      state.undoDefinitions()
      return
    }
    joinServer(this, lease, writesOf(batch))
    this.replies.expect([])
    this.#runOn(lease.server, batch, end)
  }

  #runOn(server: ServerConnection, batch: Batch, end: End): void {
    this.#phase = 'running'
    sendBatch(this, server, batch, end)
  }

  #shardOf(where: Where): ShardId {
    if (isShard(where)) return where
    const joined = this.state.transaction?.participants.keys().next().value
    return joined ?? this.state.database.home
  }

  /** The session's server on `shard`; null when it must wait: then `again` runs once there is one. */
  #lease(shard: ShardId, again: () => void, end: End): Lease | null {
    const { state } = this
    const held = state.leases.get(shard)
    if (held !== undefined) return held
    const pool = state.database.poolFor(shard, state.client)
    const granted = () => {
      this.#phase = 'ready'
      this.#guarded(again)
      this.#pump()
    }
    const refused = (error: PgError) => {
      if (this.closed) return
      this.#phase = 'ready'
      this.#refused(error, end)
      this.#pump()
    }
    const lease = state.leases.take(pool, state.settings, granted, refused)
    if (lease === null) this.#phase = 'waiting'
    return lease
  }

  // ---- steps of our own

  #work(steps: () => Promise<void>, end: End): void {
    this.#phase = 'working'
    this.#copy.syncIgnored = false
    const run = async () => {
      let failure: PgError | null = null
      try {
        await steps()
      } catch (error) {
        failure = toPgError(error)
        // What came before has been done: only a failure at the end takes the last answer back.
        this.output.flushDeferred()
      }
      // The transaction that PostgreSQL puts around a string or a pipeline ends with it.
      const over = end === 'sync' && !this.#copy.syncIgnored
      if (over || failure !== null) failure = await finishImplicit(this, failure)
      this.#worked(failure, over ? 'sync' : 'flush')
    }
    run().catch((error: unknown) => this.fatal(toPgError(error)))
  }

  #worked(failure: PgError | null, end: End): void {
    if (this.#phase === 'closed') return this.state.leases.abandon()
    if (failure !== null) this.output.dropDeferred()
    if (failure !== null) this.#refused(failure, end)
    else if (end === 'sync') this.ready()
    else this.#phase = 'ready'
    this.#pump()
  }

  // ---- replies to the client

  copyInStarted(): void {
    this.#phase = 'copyIn'
    this.#pump()
  }

  copyInFailed(): void {
    if (this.#phase === 'copyIn') this.#phase = 'running'
  }

  exchangeOver(): void {
    if (this.#phase === 'closed') return
    if (this.state.transaction?.implicit === true) {
      return this.#work(() => Promise.resolve(), 'sync')
    }
    this.ready()
    this.#pump()
  }

  exchangePaused(failed: boolean): void {
    if (this.#phase === 'closed') return
    this.#skipping = failed
    this.#phase = 'ready'
    this.#pump()
  }

  serverSpoke(_server: ServerConnection, _code: number, bytes: Uint8Array): void {
    this.output.forward(bytes)
  }

  serverClosed(server: ServerConnection): void {
    this.state.leases.forget(server)
    if (this.state.transaction?.participants.delete(server.shard) === true) this.state.fail()
  }

  /** ReadyForQuery to the client: the statement or pipeline is over. */
  ready(): void {
    if (this.#phase === 'closed') return
    const { state } = this
    state.closeJournal()
    const { transaction } = state
    const status = transaction === null ? 'I' : transaction.failed ? 'E' : 'T'
    if (status === 'I') {
      state.portals.clear()
      state.settle()
    } else {
      this.idleInTransactionSinceMs = this.context.clock.nowMs()
    }
    this.#phase = 'ready'
    this.output.readyForQuery(status)
    this.#closeIfDrained()
  }

  /** The statement or pipeline ends with an error of our own. */
  #refused(error: unknown, end: End): void {
    if (this.closed) return
    const known = toPgError(error)
    if (known.severity === 'FATAL') return this.fatal(known)
    this.context.metrics.errors.inc({ sqlstate: known.sqlstate })
    if (known.sqlstate === 'XX000') this.context.log.error({ error: known }, 'internal error')
    this.output.error(known)
    this.state.undoDefinitions()
    this.state.fail()
    if (end === 'sync') return this.ready()
    this.#skipping = true
    this.#phase = 'ready'
  }

  // ---- COPY from the client

  /** The next COPY message, for a step of ours; others wait. @throws PgError when the client goes */
  nextCopyFrame(extended: boolean): Promise<Frame> {
    if (this.closed) return Promise.reject(pgError('shuttingDown'))
    if (extended) this.#copy.syncIgnored = true
    const frame = this.#copy.read()
    this.#phase = 'copyIn'
    this.#pump()
    return frame
  }

  #takeCopy(frame: Frame): void {
    const { server, simple } = this.relay
    const turn = this.#copy.take(frame, server)
    if (turn === 'taken') this.#phase = 'working'
    else if (turn === 'ended') this.#phase = simple ? 'running' : 'ready'
    else if (turn === 'terminate') this.close()
    else if (server !== null && server.pendingBytes > highWaterBytes) {
      this.#serverLags = true
      this.#socket.pause()
      server.onDrain(() => {
        this.#serverLags = false
        this.#socket.resume()
      })
    }
  }

  #ownFrames(): void {
    if (this.#frames.length > 0) this.#frames = [...ownFrames(this.#frames)]
  }

  #closeIfDrained(): void {
    if (!this.#draining || this.#phase !== 'ready') return
    if (this.state.transaction !== null || this.relay.server !== null) return
    this.fatal(pgError('shuttingDown'))
  }

  #guarded(run: () => void): void {
    try {
      run()
    } catch (error) {
      this.fatal(toPgError(error))
    }
  }
}

/** Views of frames die with the turn: what waits is copied. */
function ownFrames(frames: readonly Frame[]): readonly Frame[] {
  return frames.map(({ code, bytes }) => ({ code, bytes: Uint8Array.from(bytes) }))
}
