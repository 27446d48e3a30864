// One client after login. Socket events only bring bytes; the pump decides. Phases:
//         ready    the next frame may be taken
//         waiting  a statement stands in a pool's queue; its frames are owned
//         running  one server works; the relay forwards its replies
//         copyIn   the client's COPY data goes to that server
//         working  steps of our own run (execute/steps.ts): several shards, transaction control
//         closed   nothing more happens
import type { Socket } from 'node:net'
import { type PgError, pgError, toPgError } from '../core/errors.ts'
import type { ServerConnection, ServerOwner } from '../pool/server-connection.ts'
import type { Frame } from '../wire/framer.ts'
import type { Writer } from '../wire/writer.ts'
import { ClientOutput } from './client-output.ts'
import type { ProxyContext } from './context.ts'
import { CopyIntake } from './copy-intake.ts'
import { repeatCommand } from './execute/repeat.ts'
import { Ride } from './execute/ride.ts'
import { runBatch, runOn, runSimple } from './execute/run.ts'
import { runSteps } from './execute/run-steps.ts'
import { type ClientCommand, Intake, type PipelineEnd } from './intake.ts'
import { Leases } from './leases.ts'
import { loseServer } from './lost-server.ts'
import { ownNames } from './own-settings.ts'
import type { Relay } from './relay.ts'
import { Repeats } from './repeats.ts'
import { type ExchangeEvents, Replies } from './replies.ts'
import type { SessionOptions } from './session-options.ts'
import { lookAtServers } from './session-look.ts'
import { SessionState } from './session-state.ts'
import type { SessionLimits } from './session-limits.ts'
import { SessionTimes } from './session-times.ts'

type Phase = 'ready' | 'waiting' | 'running' | 'copyIn' | 'working' | 'closed'

// The client is not read while this much of it waits.
const highWaterBytes = 256 * 1024

export class Session implements ExchangeEvents, ServerOwner {
  readonly state: SessionState
  readonly context: ProxyContext
  readonly replies: Replies
  readonly repeats: Repeats
  readonly output: ClientOutput
  /** Statements that share a server with those of other clients. */
  readonly ride: Ride
  readonly times: SessionTimes
  readonly limits: SessionLimits
  readonly connectedAtMs: number
  /** What the client knows as the process that serves it. */
  processId = 0
  readonly socket: Socket
  readonly #intake: Intake
  readonly #onClosed: (session: Session) => void
  /** When a move began to hold the command; null when none does. */
  heldSinceMs: number | null = null
  readonly #copy = new CopyIntake()
  /** An operator has it rest: nothing more is taken from the client. */
  suspended = false
  // One more field here costs every client 0.75 KiB (test/memory).
  #phase: Phase = 'ready'
  #draining = false
  #pumping = false
  /** COPY data waits for the server's socket: the client is not read. */
  #serverLags = false

  constructor(options: SessionOptions, context: ProxyContext) {
    this.context = context
    this.socket = options.socket
    this.#intake = new Intake(options.framer)
    this.#onClosed = options.closed
    this.times = new SessionTimes(options.database.traffic, context.turn)
    const { limits, client, database } = options
    this.limits = limits
    const resetQuery = limits.mode === 'session' ? database.options.resetQuery : null
    const leases = new Leases(this, this.times, { share: client.name, resetQuery })
    this.output = new ClientOutput(options, leases)
    this.state = new SessionState(options, leases, this.output.dialect)
    const token = options.startup.own(ownNames.sessionToken)
    if (token !== undefined) this.state.reads.mergeToken(token, context.tokenKey)
    this.state.database.sessions.add(this.state)
    this.repeats = new Repeats(this.state)
    this.ride = new Ride(this)
    this.replies = new Replies(this)
    this.connectedAtMs = context.clock.nowMs()
  }

  /** The client takes what it has asked for again. */
  drained(): void {
    this.output.resumeServers()
    this.state.listening?.drained()
    this.pump()
  }

  get relay(): Relay {
    return this.replies.relay
  }

  enter(phase: Phase): void {
    this.#phase = phase
    if (phase === 'running') this.times.sent()
  }

  get closed(): boolean {
    return this.#phase === 'closed'
  }

  get phase(): Phase {
    return this.#phase
  }

  /** CancelRequest: stops what its servers are doing for it now, or its wait for one, and nobody else; resolves once they know. */
  async cancel(): Promise<void> {
    // What was sent during a look begins behind it.
    if (this.#intake.bufferedBytes > 0) await this.state.leases.looked?.catch(() => undefined)
    const riding = this.ride.cancel()
    this.state.leases.stopWaiting(pgError('statementCancelled'))
    await Promise.all([riding, this.state.leases.cancel()])
  }

  /** Bytes from the client; `chunk` may be reused when the call returns. */
  received(chunk: Uint8Array): void {
    if (this.#phase === 'closed') return
    this.times.traffic.receivedBytes += chunk.length
    this.#intake.push(chunk)
    this.pump()
    if (!this.#takes && this.#intake.bufferedBytes > highWaterBytes) this.socket.pause()
  }

  /** The client is gone or must go: its transaction is rolled back, its servers given back or closed. */
  close(): void {
    if (this.#phase === 'closed') return
    this.state.database.sessions.delete(this.state)
    this.ride.abandon()
    const working = this.#phase === 'working' || this.#copy.reading
    this.#phase = 'closed'
    this.output.end()
    this.state.leases.stopWaiting(pgError('shuttingDown'))
    this.context.observation.watch?.cutOff(this)
    this.state.listening?.clear()
    // Steps under way notice the closed session themselves and roll back what they have begun.
    if (working) void this.state.leases.cancel()
    else this.state.leases.abandon()
    this.#copy.abandon()
    this.#onClosed(this)
  }

  /** Ends the session with a FATAL error. */
  fatal(error: PgError): void {
    if (this.#phase === 'closed') return
    if (!this.relay.torn) this.output.error(error)
    this.context.metrics.errors.inc({ sqlstate: error.sqlstate })
    this.context.observation.failed(this, error)
    this.close()
  }

  /** Shutdown: closes now when idle outside a transaction, else as soon as it is. */
  drain(): void {
    this.#draining = true
    this.#closeIfDrained()
  }

  /** Takes commands as long as the phase lets it. */
  pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    try {
      while (this.#takes) {
        const command = this.#intake.next(this.#phase === 'copyIn')
        if (command === undefined) break
        this.heldSinceMs = null
        this.repeats.nextCommand()
        this.relay.nextCommand()
        this.state.reads.nextCommand()
        this.#take(command)
      }
    } catch (error) {
      this.fatal(toPgError(error))
    } finally {
      this.#pumping = false
    }
    if (this.#phase === 'closed') return
    this.#intake.own()
    if (this.#takes && !this.#serverLags) this.socket.resume()
  }

  /** True when the next message may be taken: not from who asks on and on and does not read the answers. */
  get #takes(): boolean {
    if (this.#phase === 'copyIn') return true
    return this.#phase === 'ready' && !this.output.full && !this.suspended
  }

  #take(command: ClientCommand): void {
    if (command.kind === 'simple' || command.kind === 'pipeline') {
      this.times.begun()
      this.context.observation.watch?.began(this, command)
    }
    switch (command.kind) {
      case 'simple':
        return runSimple(this, command.frame)
      case 'pipeline':
        return runBatch(this, command.frames, command.end)
      case 'syncAfterFailure':
        return this.#syncAfterFailure()
      case 'copy':
        return this.#takeCopy(command.frame)
      case 'terminate':
        return this.close()
    }
  }

  #syncAfterFailure(): void {
    const { server } = this.relay
    if (server === null) return this.ready()
    runOn(this, server, { items: [], where: '(nowhere)', error: null }, 'sync')
  }

  repeatCommand(server: ServerConnection, sqlstate: string | null): void {
    repeatCommand(this, server, sqlstate)
  }

  /** Runs steps of our own; the client's next command waits for their end. */
  work(steps: () => Promise<void>, end: PipelineEnd): void {
    // Steps would tell again what the client was told before.
    if (this.relay.repeatsHalfTold) return this.refuse(pgError('resultChanged'), end)
    this.#phase = 'working'
    this.#copy.syncIgnored = false
    runSteps(this, steps, () => end === 'sync' && !this.#copy.syncIgnored)
      .then((outcome) => this.#worked(outcome.failure, outcome.end))
      .catch((error: unknown) => this.fatal(toPgError(error)))
  }

  #worked(failure: PgError | null, end: PipelineEnd): void {
    if (this.#phase === 'closed') return this.state.leases.abandon()
    // The steps are over: whatever closes the session from here on gives its servers back.
    this.#phase = 'running'
    if (failure !== null) this.output.dropDeferred()
    if (failure !== null) this.refuse(failure, end)
    else if (end === 'sync') this.ready()
    else this.#phase = 'ready'
    this.pump()
  }

  copyInStarted(): void {
    this.times.class = 'copy'
    this.#phase = 'copyIn'
    this.pump()
  }

  copyInFailed(): void {
    if (this.#phase === 'copyIn') this.#phase = 'running'
  }

  exchangeOver(): void {
    if (this.#phase === 'closed') return
    if (this.state.transaction?.implicit === true) {
      return this.work(() => Promise.resolve(), 'sync')
    }
    this.ready()
    this.pump()
  }

  exchangePaused(failed: boolean): void {
    if (this.#phase === 'closed') return
    if (failed) this.#intake.skipToSync()
    if (this.relay.server === null) this.state.settle()
    this.#phase = 'ready'
    this.pump()
  }

  serverSpoke(_server: ServerConnection, _code: number, bytes: Uint8Array): void {
    this.output.forward(bytes)
  }

  /** A message that is no answer; it waits while the client has a part of another. */
  tell(write: (writer: Writer) => void): void {
    if (this.relay.torn) this.output.emitLate(write)
    else this.output.emit(write)
  }

  serverClosed(server: ServerConnection, error: PgError): void {
    const end = loseServer(this.state, server, error)
    if (end !== null) this.fatal(end)
  }

  /** ReadyForQuery to the client: the statement or pipeline is over. */
  ready(): void {
    if (this.#phase === 'closed') return
    const { state } = this
    state.closeJournal()
    const { transaction, listening } = state
    const over = transaction === null || state.reads.hasEnded
    if (over && state.reads.ids.mustPublish(state.settings, state.leases)) {
      return this.#publishThenReady()
    }
    if (transaction === null && listening?.isBehind === true) {
      return this.#until(listening.catchUp(), () => this.ready())
    }
    const status = transaction === null ? 'I' : transaction.failed ? 'E' : 'T'
    if (status === 'I') {
      if (state.portals.size > 0) state.portals.clear()
      state.settle()
      listening?.flush()
    } else {
      if (this.limits.mode === 'statement') return this.fatal(pgError('blockInStatementMode'))
    }
    this.#phase = 'ready'
    this.times.answered(status !== 'I')
    this.context.observation.watch?.over(this)
    this.output.readyForQuery(status)
    if (status === 'I' && state.leases.wantLook) return this.#lookBehind()
    this.#closeIfDrained()
  }

  /** The client has its answer; what the statement has left on servers is found out before they serve anybody else. */
  #lookBehind(): void {
    this.state.leases.looked = lookAtServers(this.state)
    this.#until(this.state.leases.looked, () => {
      this.state.settle()
      this.#phase = 'ready'
      this.#closeIfDrained()
    })
  }

  /** Whoever shares a session id with this client may read elsewhere once it is told: what it saw goes ahead. */
  #publishThenReady(): void {
    const { reads, settings, leases } = this.state
    const published = reads.ids.publish(settings, leases, () => this.state.settle())
    this.#until(published, () => this.ready())
  }

  /** The client's next command waits for `steps`. */
  #until(steps: Promise<void>, then: () => void): void {
    this.#phase = 'working'
    const over = () => {
      if (this.#phase === 'closed') return this.state.leases.abandon()
      this.#phase = 'running'
      then()
      this.pump()
    }
    steps.then(over, (error: unknown) => {
      this.fatal(toPgError(error))
      this.state.leases.abandon()
    })
  }

  /** The statement or pipeline ends with an error of our own. */
  refuse(error: unknown, end: PipelineEnd): void {
    if (this.closed) return
    const known = this.state.meaningOf(toPgError(error))
    this.times.failed = true
    if (known.severity === 'FATAL') return this.fatal(known)
    this.context.metrics.errors.inc({ sqlstate: known.sqlstate })
    if (known.sqlstate === 'XX000') this.context.log.error({ error: known }, 'internal error')
    this.output.error(known)
    this.state.undoDefinitions()
    this.state.fail()
    if (end === 'sync') return this.ready()
    this.#intake.skipToSync()
    this.#phase = 'ready'
  }

  /** The next COPY message, for a step of ours; others wait. @throws PgError when the client goes */
  nextCopyFrame(extended: boolean): Promise<Frame> {
    if (this.closed) return Promise.reject(pgError('shuttingDown'))
    if (extended) this.#copy.syncIgnored = true
    const frame = this.#copy.read()
    this.#phase = 'copyIn'
    this.pump()
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
      this.socket.pause()
      server.onDrain(() => {
        this.#serverLags = false
        this.socket.resume()
      })
    }
  }

  #closeIfDrained(): void {
    if (!this.#draining || this.#phase !== 'ready') return
    if (this.state.transaction !== null || this.relay.server !== null) return
    this.fatal(pgError('shuttingDown'))
  }
}
