// Server connections to one shard as one user. A connection is in exactly one place:
//   idle      in `#idle`, clean: status I, no exchange owed
//   leased    with a client, from `acquire` or `granted` until `release` or `discard`
//   parked    given back while a cancel request is on its way to it
//   opening   being dialled; when ready it goes to the oldest waiter, else to `#idle`
// Waiters stand in one bounded first-in first-out queue, each with a deadline.
import type { Clock, Timer } from '../core/clock.ts'
import { type PgError, pgError, toPgError } from '../core/errors.ts'
import type { ShardId } from '../core/ids.ts'
import type { Log } from '../core/log.ts'
import { BoundedQueue } from '../core/queue.ts'
import { cancelStatement } from './cancel.ts'
import { type DialOptions, dial, type ServerTarget } from './dial.ts'
import type { ServerConnection, ServerOwner } from './server-connection.ts'
import type { SettingsProfile } from './settings-profile.ts'

export type PoolOptions = {
  readonly target: ServerTarget
  readonly dial: DialOptions
  readonly clock: Clock
  readonly log: Log
  /** Server connections at most. */
  readonly size: number
  readonly waitersMax: number
  readonly queryWaitTimeoutMs: number
  readonly serverLifetimeMs: number
  readonly serverIdleTimeoutMs: number
}

/** Who asked for a server and could not have one at once. Exactly one of the two is called, once. */
export interface Waiter {
  granted(server: ServerConnection): void
  refused(error: PgError): void
}

export type PoolStats = {
  readonly idle: number
  readonly leased: number
  readonly opening: number
  readonly waiting: number
}

type Waiting = { readonly waiter: Waiter; readonly deadline: Timer }

// After a failed login new statements fail fast for a moment instead of dialling again each.
const retryAfterMs = 500
// How many idle connections are looked at for one that already has the client's settings.
const profileProbes = 8

export class Pool implements ServerOwner {
  readonly shard: ShardId
  readonly user: string
  readonly #options: PoolOptions
  readonly #idle: ServerConnection[] = []
  readonly #all = new Set<ServerConnection>()
  readonly #parked = new Set<ServerConnection>()
  readonly #queue: BoundedQueue<Waiting>
  readonly #waiting = new Map<Waiter, Waiting>()
  #opening = 0
  #failure: { readonly error: PgError; readonly untilMs: number } | null = null
  #preparedGeneration = 0
  #closed = false

  constructor(options: PoolOptions) {
    this.#options = options
    this.shard = options.target.shard
    this.user = options.target.user
    this.#queue = new BoundedQueue(options.waitersMax)
  }

  get stats(): PoolStats {
    const idle = this.#idle.length
    const opening = this.#opening
    return { idle, leased: this.#all.size - idle, opening, waiting: this.#queue.size }
  }

  get connections(): ReadonlySet<ServerConnection> {
    return this.#all
  }

  /** Grows with every schema change: a server with an older number has outdated prepared plans. */
  get preparedGeneration(): number {
    return this.#preparedGeneration
  }

  /** Prepared statements of all servers are forgotten at their next checkout. */
  invalidatePrepared(): void {
    this.#preparedGeneration += 1
  }

  /** An idle server at once, one with `profile` in force if there is; else null and `waiter` waits. */
  acquire(profile: SettingsProfile, waiter: Waiter): ServerConnection | null {
    const server = this.#queue.size === 0 ? this.#takeIdle(profile) : null
    if (server !== null) return server
    this.#wait(waiter)
    return null
  }

  /** Takes `waiter` out of the queue; it hears nothing any more. */
  leave(waiter: Waiter): void {
    const waiting = this.#waiting.get(waiter)
    if (waiting === undefined) return
    this.#waiting.delete(waiter)
    this.#queue.remove(waiting)
    waiting.deadline.cancel()
  }

  /** Gives back a server in state I with nothing owed; anything else is closed instead. */
  release(server: ServerConnection): void {
    if (server.closed) return this.#forget(server)
    server.owner = this
    if (server.transactionStatus !== 'I' || server.exchangesOwed > 0) {
      return this.discard(server, 'it was given back in the middle of a transaction')
    }
    if (server.cancelsInFlight > 0) {
      this.#parked.add(server)
      return
    }
    if (this.#closed || this.#expired(server)) return this.discard(server, 'its lifetime is over')
    if (this.#grant(server)) return
    server.idleSinceMs = this.#options.clock.nowMs()
    this.#idle.push(server)
  }

  /** Closes a leased server; somebody who waits gets a new one. */
  discard(server: ServerConnection, reason: string): void {
    server.owner = this
    server.close(reason)
  }

  /** Cancels what `server`, leased now, is doing. Resolves when the server is free of the cancel again. */
  async cancel(server: ServerConnection): Promise<void> {
    await cancelStatement(server, this.#options.target)
    if (server.cancelsInFlight === 0 && this.#parked.delete(server)) this.release(server)
  }

  /** Closes what has been idle or alive for too long; called on a timer. */
  sweep(): void {
    const now = this.#options.clock.nowMs()
    for (const server of this.#idle.slice()) {
      const idleMs = now - server.idleSinceMs
      if (idleMs > this.#options.serverIdleTimeoutMs || this.#expired(server)) {
        server.close('idle for too long')
      }
    }
  }

  /** Refuses who waits and closes what is idle; leased servers are closed as they come back. */
  close(error: PgError): void {
    this.#closed = true
    this.#refuseAll(error)
    for (const server of this.#idle.slice()) server.close('the pool is closed')
  }

  serverSpoke(): void {
    // Notices to an idle connection concern nobody.
  }

  serverClosed(server: ServerConnection, error: PgError): void {
    const at = this.#idle.indexOf(server)
    if (at >= 0) {
      this.#idle.splice(at, 1)
      this.#options.log.debug({ shard: this.shard, reason: error.message }, 'idle server closed')
    }
    this.#forget(server)
  }

  /** It is dead: its place is free for another. */
  #forget(server: ServerConnection): void {
    this.#all.delete(server)
    this.#parked.delete(server)
    if (this.#queue.size > 0) this.#open()
  }

  #takeIdle(profile: SettingsProfile): ServerConnection | null {
    const last = this.#idle.length - 1
    if (last < 0) return null
    let at = last
    for (let probe = last; probe >= 0 && probe > last - profileProbes; probe -= 1) {
      if (this.#idle[probe]?.settings.equals(profile) === true) {
        at = probe
        break
      }
    }
    const [server] = this.#idle.splice(at, 1)
    return server ?? null
  }

  #wait(waiter: Waiter): void {
    const { clock, queryWaitTimeoutMs } = this.#options
    const failure = this.#failure
    if (failure !== null && clock.nowMs() < failure.untilMs && this.#all.size === 0) {
      queueMicrotask(() => waiter.refused(failure.error))
      return
    }
    const deadline = clock.after(queryWaitTimeoutMs, () => {
      this.leave(waiter)
      waiter.refused(pgError('poolTimeout', [this.shard, queryWaitTimeoutMs]))
    })
    const waiting = { waiter, deadline }
    if (!this.#queue.push(waiting)) {
      deadline.cancel()
      queueMicrotask(() => waiter.refused(pgError('poolQueueFull', [this.shard])))
      return
    }
    this.#waiting.set(waiter, waiting)
    this.#open()
  }

  /** Dials when somebody waits for whom no connection is being opened yet. */
  #open(): void {
    if (this.#closed || this.#opening >= this.#queue.size) return
    if (this.#all.size + this.#opening >= this.#options.size) return
    this.#opening += 1
    dial(this.#options.target, this.#options.dial).then(
      (server) => this.#opened(server),
      (error: unknown) => this.#failed(toPgError(error)),
    )
  }

  #opened(server: ServerConnection): void {
    this.#opening -= 1
    this.#failure = null
    if (server.closed) return
    this.#all.add(server)
    server.preparedGeneration = this.#preparedGeneration
    this.release(server)
    this.#open()
  }

  #failed(error: PgError): void {
    this.#opening -= 1
    const { clock, log } = this.#options
    this.#failure = { error, untilMs: clock.nowMs() + retryAfterMs }
    log.warn({ shard: this.shard, reason: error.message }, 'server connection failed')
    // With connections alive the waiters still have a chance; without, waiting is of no use.
    if (this.#all.size === 0) this.#refuseAll(error)
  }

  #grant(server: ServerConnection): boolean {
    const next = this.#queue.shift()
    if (next === undefined) return false
    this.#waiting.delete(next.waiter)
    next.deadline.cancel()
    next.waiter.granted(server)
    return true
  }

  #refuseAll(error: PgError): void {
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      this.#waiting.delete(next.waiter)
      next.deadline.cancel()
      next.waiter.refused(error)
    }
  }

  #expired(server: ServerConnection): boolean {
    const { clock, serverLifetimeMs } = this.#options
    return serverLifetimeMs > 0 && clock.nowMs() - server.connectedAtMs > serverLifetimeMs
  }
}
