// Server connections to one shard, in one role, as one user. A connection is in exactly one place:
//   idle      in `#idle`, clean: status I, no exchange owed
//   leased    with a client, from `acquire` or `granted` until `release` or `discard`
//   parked    given back while a cancel request is on its way to it
//   opening   being dialled; when ready it goes to the oldest waiter, else to `#idle`
// Waiters stand in one bounded first-in first-out queue, each with a deadline.
//
// Where the connections lead to may change (`point`): a failover has another server follow as the primary. While
// there is none, or it cannot be reached, waiters stay in the queue until the outage has lasted
// `outageWaitMs`; from then on statements fail at once, but for one that tries again now and then (outage.ts).
// One connection at a time is tried while it lasts. The time of a pause does not count.
import type { Clock, Timer } from '../core/clock.ts'
import { type PgError, pgError, toPgError } from '../core/errors.ts'
import type { ShardId } from '../core/ids.ts'
import type { Log } from '../core/log.ts'
import { cancelStatement } from './cancel.ts'
import { type DialOptions, dial } from './dial.ts'
import { takeIdle } from './idle-servers.ts'
import { isOutage, Outage } from './outage.ts'
import type { PoolStats } from './pool-stats.ts'
import type { ServerConnection, ServerOwner, ServerTarget } from './server-connection.ts'
import type { SettingsProfile } from './settings-profile.ts'
import { isSamePlace } from './stranded.ts'
import { type Waiter, Waiters } from './waiters.ts'

export type PoolOptions = {
  readonly shard: ShardId
  readonly user: string
  readonly dial: DialOptions
  readonly clock: Clock
  readonly log: Log
  /** Server connections at most. */
  readonly size: number
  readonly waitersMax: number
  readonly queryWaitTimeoutMs: number
  readonly serverLifetimeMs: number
  readonly serverIdleTimeoutMs: number
  /** How long statements wait for a server that cannot be reached, counted from when it was lost. */
  readonly outageWaitMs: number
  /** Looks at a new connection before anybody gets it. Rejects when it leads to the wrong server. */
  readonly admit: ((server: ServerConnection, dialledAtMs: number) => Promise<void>) | null
  /** The server could not be reached, or was lost: whoever follows the shard's servers should look. */
  readonly suspect: (reason: string) => void
}

// After a login that the server refused, new statements fail fast for a moment instead of dialling again each.
const retryAfterMs = 500
// A login costs what many statements do: the first connections serve who waits while the next ones are opened.
const openingMax = 4

export class Pool implements ServerOwner {
  readonly shard: ShardId
  readonly user: string
  readonly #options: PoolOptions
  readonly #idle: ServerConnection[] = []
  readonly #all = new Set<ServerConnection>()
  readonly #parked = new Set<ServerConnection>()
  readonly #waiters: Waiters
  #target: ServerTarget | null
  #opening = 0
  /** Grows with every change of target: what was dialled for an older one is closed. */
  #targetNumber = 0
  #failure: { readonly error: PgError; readonly untilMs: number } | null = null
  #outage: Outage | null = null
  #retry: Timer | null = null
  #preparedGeneration = 0
  /** Told once nobody holds a server any more, or why that is not waited for; null when the pool is not paused. */
  #paused: ((error: PgError | null) => void)[] | null = null
  #closed = false

  /** `target` null: there is no server to connect to yet. */
  constructor(options: PoolOptions, target: ServerTarget | null) {
    this.#options = options
    this.shard = options.shard
    this.user = options.user
    this.#target = target
    this.#waiters = new Waiters(options.waitersMax, options.clock)
    if (target === null) this.#outage = this.#newOutage('no primary is known')
  }

  get stats(): PoolStats {
    const idle = this.#idle.length
    const opening = this.#opening
    return { idle, leased: this.#all.size - idle, opening, waiting: this.#waiters.size }
  }

  /** Statements that servers are working on, or that wait for one. */
  get inFlight(): number {
    return this.#all.size - this.#idle.length + this.#waiters.size
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

  /** Where new connections lead to; null while there is no such server. */
  get target(): ServerTarget | null {
    return this.#target
  }

  /** True while statements would have to wait for a server that cannot be reached. */
  get isOut(): boolean {
    return this.#outage !== null
  }

  /**
   * Leads to another server from now on, or with null to none for the time being. Connections to a server that was
   * replaced are closed, whatever they do: what they say is no longer the shard's word. One that was out of reach goes on.
   */
  point(target: ServerTarget | null, reason: string): void {
    if (isSamePlace(this.#target, target) && target !== null && this.#outage === null) return
    this.#target = target
    this.#targetNumber += 1
    this.#opening = 0
    // Idle ones first: who loses a server asks for another one at once.
    this.#closeIdle(reason)
    for (const server of Array.from(this.#all)) {
      if (target !== null && !isSamePlace(server.target, target)) server.close(reason)
    }
    if (target === null) this.#outage ??= this.#newOutage(reason)
    this.#outage?.retryNow()
    this.#failure = null
    this.#open()
    this.#retryLater()
  }

  /** Lends no server any more; resolves once every server is back and closed. @throws PgError 57014 when resumed before */
  pause(): Promise<void> {
    this.#paused ??= []
    this.#closeIdle('the shard is paused')
    return new Promise((resolve, reject) => {
      if (this.#all.size === 0) resolve()
      else this.#paused?.push((error) => (error === null ? resolve() : reject(error)))
    })
  }

  /** Ends a pause: who waits gets servers again. */
  resume(): void {
    const waiting = this.#paused
    this.#paused = null
    for (const end of waiting ?? []) end(pgError('pauseEnded', [this.shard]))
    this.#outage?.waitAnew(this.#options.clock.nowMs())
    this.#open()
    this.#retryLater()
  }

  /** An idle server at once, one with `profile` in force if there is; else null and `waiter` waits. */
  acquire(profile: SettingsProfile, waiter: Waiter): ServerConnection | null {
    const free = this.#waiters.size === 0 && this.#paused === null
    const server = free ? takeIdle(this.#idle, profile) : null
    if (server !== null) return server
    this.#wait(waiter)
    return null
  }

  /** Opens some connections, unless there are `count` already: who comes later need not wait for logins. */
  warm(count: number): void {
    while (this.#outage === null && this.#open(count));
  }

  /** Takes `waiter` out of the queue; it hears nothing any more. */
  leave(waiter: Waiter): void {
    this.#waiters.leave(waiter)
  }

  /** Gives back a server in state I with nothing owed; anything else is closed instead. */
  release(server: ServerConnection): void {
    if (server.closed) return this.#lost(server, 'it was lost in use')
    server.owner = this
    server.resumeForAll()
    if (server.transactionStatus !== 'I' || server.exchangesOwed > 0) {
      return this.discard(server, 'it was given back in the middle of a transaction')
    }
    if (server.cancelsInFlight > 0) {
      this.#parked.add(server)
      return
    }
    if (this.#closed || this.#expired(server)) return this.discard(server, 'its lifetime is over')
    if (server.targetNumber !== this.#targetNumber) {
      return this.discard(server, 'another server has taken its place')
    }
    if (this.#paused !== null) return this.discard(server, 'the shard is paused')
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
    await cancelStatement(server)
    if (server.cancelsInFlight === 0 && this.#parked.delete(server)) this.release(server)
  }

  /** Closes what has been idle or alive for too long; called on a timer. */
  sweep(): void {
    const now = this.#options.clock.nowMs()
    for (const server of this.#idle.slice()) {
      if (now - server.idleSinceMs > this.#options.serverIdleTimeoutMs || this.#expired(server)) {
        server.close('idle for too long')
      }
    }
  }

  /** Refuses who waits and closes what is idle; leased servers are closed as they come back. */
  close(error: PgError): void {
    this.#closed = true
    this.#retry?.cancel()
    this.#waiters.refuseAll(error)
    this.#closeIdle('the pool is closed')
  }

  serverSpoke(): void {
    // Notices to an idle connection concern nobody.
  }

  serverClosed(server: ServerConnection, error: PgError): void {
    const at = this.#idle.indexOf(server)
    if (at >= 0) this.#idle.splice(at, 1)
    this.#lost(server, error.message)
  }

  #lost(server: ServerConnection, reason: string): void {
    if (server.diedByItself) {
      this.#options.suspect(reason)
      // What has killed it may have killed the others: nobody is lent one whose end is on its way.
      this.#closeIdle('another connection to its server died')
    }
    this.#forget(server)
  }

  #closeIdle(reason: string): void {
    for (const server of this.#idle.slice()) server.close(reason)
  }

  /** It is dead: its place is free for another. */
  #forget(server: ServerConnection): void {
    this.#all.delete(server)
    this.#parked.delete(server)
    if (this.#paused !== null && this.#all.size === 0) {
      for (const end of this.#paused.splice(0)) end(null)
    }
    if (this.#waiters.size > 0) this.#open()
  }

  #wait(waiter: Waiter): void {
    const { queryWaitTimeoutMs } = this.#options
    const refusal = this.#paused === null ? this.#refusalNow() : null
    if (refusal !== null) {
      queueMicrotask(() => waiter.refused(refusal))
      return
    }
    const late = () => pgError('poolTimeout', [this.shard, queryWaitTimeoutMs])
    if (!this.#waiters.push(waiter, queryWaitTimeoutMs, late)) {
      queueMicrotask(() => waiter.refused(pgError('poolQueueFull', [this.shard])))
      return
    }
    this.#open()
    if (this.#outage !== null && this.#retry === null) this.#retryLater()
  }

  /** Why waiting is of no use now; null when it may be. */
  #refusalNow(): PgError | null {
    const now = this.#options.clock.nowMs()
    const outage = this.#outage
    if (outage?.isOver(now) === true) {
      const tries = this.#target !== null && this.#opening === 0 && outage.mayTry(now)
      return tries ? null : outage.error(now)
    }
    if (this.#all.size > 0) return null
    const failure = this.#failure
    return failure !== null && now < failure.untilMs ? failure.error : null
  }

  /** Dials when somebody waits for whom no connection is being opened yet, or there are not `count`. True when it does. */
  #open(count = 0): boolean {
    const target = this.#target
    if (this.#closed || target === null || this.#paused !== null) return false
    const there = this.#all.size + this.#opening
    const wanted = Math.max(this.#waiters.size, this.#opening + count - there)
    if (this.#opening >= Math.min(wanted, openingMax) || there >= this.#options.size) return false
    if (this.#outage !== null) {
      if (this.#opening > 0 || !this.#outage.mayTry(this.#options.clock.nowMs())) return false
    }
    this.#opening += 1
    const number = this.#targetNumber
    this.#dial(target).then(
      (server) => this.#opened(server, number),
      (error: unknown) => this.#failed(toPgError(error), number),
    )
    return true
  }

  async #dial(target: ServerTarget): Promise<ServerConnection> {
    const { admit, clock } = this.#options
    const dialledAtMs = clock.nowMs()
    const server = await dial(target, this.#options.dial)
    if (admit === null) return server
    try {
      await admit(server, dialledAtMs)
      return server
    } catch (error) {
      server.close('it is not the server that is wanted')
      throw error
    }
  }

  #opened(server: ServerConnection, number: number): void {
    if (number !== this.#targetNumber) return server.close('another server has taken its place')
    if (server.closed) {
      return this.#failed(pgError('serverUnreachable', [this.shard, 'it hung up']), number)
    }
    this.#opening -= 1
    this.#failure = null
    this.#outage = null
    this.#retry?.cancel()
    this.#retry = null
    this.#all.add(server)
    server.preparedGeneration = this.#preparedGeneration
    server.targetNumber = number
    this.release(server)
    // After an outage many may wait for whom none was being opened.
    while (this.#open());
  }

  #failed(error: PgError, number: number): void {
    if (number !== this.#targetNumber) return
    this.#opening -= 1
    const { clock, log, suspect } = this.#options
    log.warn({ shard: this.shard, reason: error.message }, 'server connection failed')
    // With connections alive the waiters still have a chance.
    const alone = this.#all.size === 0
    if (isOutage(error)) {
      if (alone) this.#outage ??= this.#newOutage(error.message)
      this.#outage?.failed(clock.nowMs(), error)
      suspect(error.message)
    } else {
      this.#failure = { error, untilMs: clock.nowMs() + retryAfterMs }
      if (alone) this.#waiters.refuseAll(error)
    }
    this.#retryLater()
  }

  #newOutage(reason: string): Outage {
    const { clock, outageWaitMs } = this.#options
    return new Outage(this.shard, reason, clock.nowMs(), outageWaitMs)
  }

  /** While somebody waits for a connection that failed: the next try, or the end of the waiting. */
  #retryLater(): void {
    this.#retry?.cancel()
    this.#retry = null
    if (this.#closed || this.#waiters.size === 0 || this.#paused !== null) return
    const { clock } = this.#options
    const now = clock.nowMs()
    const outage = this.#outage
    if (outage?.isOver(now) === true) {
      // Who waits now has come since, to try: the end of the try decides.
      if (this.#opening === 0) this.#waiters.refuseAll(outage.error(now))
      return
    }
    const canTry = this.#target !== null && this.#opening === 0
    this.#retry = clock.after(outage?.pauseMs(now, canTry) ?? retryAfterMs, () => this.#retryNow())
  }

  #retryNow(): void {
    const now = this.#options.clock.nowMs()
    const outage = this.#outage
    if (outage?.isOver(now) === true) return this.#waiters.refuseAll(outage.error(now))
    this.#open()
    this.#retryLater()
  }

  #grant(server: ServerConnection): boolean {
    const next = this.#waiters.shift()
    if (next === undefined) return false
    next.granted(server)
    return true
  }

  #expired(server: ServerConnection): boolean {
    const { clock, serverLifetimeMs } = this.#options
    return serverLifetimeMs > 0 && clock.nowMs() - server.connectedAtMs > serverLifetimeMs
  }
}
