// Server connections to one shard, in one role, as one user. A connection is in exactly one place:
//   idle      in `#idle`, clean: status I, no exchange owed
//   leased    with a client, from `acquire` or `granted` until `release` or `discard`
//   parked    given back while something of its last client would reach the next (unburden.ts)
//   opening   being dialled (opener.ts); when ready it goes to a waiter, else to `#idle`
// Who waits stands in one bounded queue, fair among users (waiters.ts).
import { type PgError, pgError } from '../core/errors.ts'
import type { ShardId } from '../core/ids.ts'
import { cancelStatement } from './cancel.ts'
import { expiryOf, idleTooLong, takeIdle } from './idle-servers.ts'
import { Lane } from './lane.ts'
import { Opener, type OpenerHost } from './opener.ts'
import { Pause } from './pause.ts'
import type { PoolLimits, PoolOptions } from './pool-options.ts'
import type { PoolStats } from './pool-stats.ts'
import { QueueDelay } from './queue-delay.ts'
import { Renewals } from './renewals.ts'
import type { ServerConnection, ServerOwner, ServerTarget } from './server-connection.ts'
import type { SettingsProfile } from './settings-profile.ts'
import { isSamePlace } from './stranded.ts'
import { isBurdened, unburden } from './unburden.ts'
import { type Waiter, Waiters } from './waiters.ts'

// How often a pool with a reserve looks whether somebody has waited long, per reserve timeout.
const reserveLooks = 4
const smaller = 'the pool has become smaller'

export class Pool implements ServerOwner, OpenerHost {
  readonly shard: ShardId
  readonly user: string
  /** Statements of several clients on one server. */
  readonly lane: Lane
  readonly #options: PoolOptions
  readonly #idle: ServerConnection[] = []
  readonly #all = new Set<ServerConnection>()
  readonly #parked = new Set<ServerConnection>()
  readonly #waiters: Waiters
  readonly #opener: Opener
  #limits: PoolLimits
  #delay = new QueueDelay(null)
  #preparedGeneration = 0
  readonly #pause = new Pause()
  readonly #renewals: Renewals
  #closed = false
  /** Whether a client has asked for a server since the last sweep. */
  #asked = false
  #askedAtMs: number

  /** `target` null: there is no server to connect to yet. */
  constructor(options: PoolOptions, target: ServerTarget | null) {
    this.#options = options
    this.#limits = options
    this.shard = options.shard
    this.user = options.user
    const { clock, log } = options
    this.#askedAtMs = clock.nowMs()
    this.#waiters = new Waiters({
      clock,
      late: () => pgError('poolTimeout', [this.shard, this.#limits.queryWaitTimeoutMs]),
      reminded: () => this.#openAll(),
    })
    const starves = (ms: number) => this.#waiters.starves(ms)
    this.lane = new Lane(this, { starves, clock, log, turn: options.dial.turn })
    this.#opener = new Opener(options, this, target)
    this.#renewals = new Renewals(this.#all, this.#opener)
    this.#bind(options)
    for (const budget of options.budgets) budget.join(this)
  }

  get stats(): PoolStats {
    const idle = this.#idle.length + this.lane.idle
    const { opening } = this.#opener
    return { idle, leased: this.#all.size - idle, opening, waiting: this.#waiters.size }
  }

  /** Statements that servers are working on, or that wait for one. */
  get inFlight(): number {
    return this.#all.size - this.#idle.length - this.lane.idle + this.#waiters.size
  }

  get connections(): ReadonlySet<ServerConnection> {
    return this.#all
  }

  /** Other limits from now on: what is too many closes as it becomes free. */
  adopt(limits: PoolLimits): void {
    this.#bind(limits)
    this.#opener.loginRetryMs = limits.loginRetryMs
    const surplus = Math.max(0, this.#all.size - limits.size - limits.reserve)
    for (const server of this.#idle.slice(0, surplus)) server.close(smaller)
    this.#openAll()
  }

  #bind(limits: PoolLimits): void {
    this.#limits = limits
    const { waitersMax: sizeMax, queryWaitTimeoutMs: waitMs, queueTargetMs } = limits
    this.lane.serversMax = limits.laneServersMax
    this.#delay = new QueueDelay(queueTargetMs)
    const looksMs = Math.max(1, Math.ceil(limits.reserveTimeoutMs / reserveLooks))
    this.#waiters.bind({ sizeMax, waitMs, reminderMs: limits.reserve > 0 ? looksMs : 0 })
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
    return this.#opener.target
  }

  /** True while statements would have to wait for a server that cannot be reached. */
  get isOut(): boolean {
    return this.#opener.isOut
  }

  /**
   * Leads to another server from now on, or with null to none for the time being. Connections to a server that was
   * replaced are closed, whatever they do: what they say is no longer the shard's word. One that was out of reach goes on.
   */
  point(target: ServerTarget | null, reason: string): void {
    if (!this.#opener.leadsElsewhere(target)) return
    this.#opener.renew(target)
    // Idle ones first: who loses a server asks for another one at once.
    this.#closeIdle(reason)
    for (const server of Array.from(this.#all)) {
      if (target !== null && !isSamePlace(server.target, target)) server.close(reason)
    }
    this.#opener.pointed(reason)
  }

  /** Every connection is replaced: idle ones at once, leased ones as they come back. */
  reconnect(): void {
    this.#opener.renew(this.#opener.target)
    this.lane.sweep()
    this.#closeIdle('reconnecting')
    this.#opener.pointed('reconnecting')
  }

  /** Resolves once no connection from before the last `reconnect` is left. */
  untilRenewed(): Promise<void> {
    return this.#renewals.wait()
  }

  /** Closes every connection at once, whatever it does, and refuses who waits. */
  kill(error: PgError): void {
    this.#waiters.refuseAll(error)
    this.#opener.renew(this.#opener.target)
    this.#closeIdle(error.message)
    for (const server of Array.from(this.#all)) server.close(error.message)
  }

  /** Lends no server any more; resolves once every server is back and closed. @throws PgError 57014 when resumed before */
  pause(): Promise<void> {
    const ended = this.#pause.begin()
    this.lane.sweep()
    this.#closeIdle('the shard is paused')
    if (this.#all.size === 0) this.#pause.allBack()
    return ended
  }

  /** Ends a pause: who waits gets servers again. */
  resume(): void {
    this.#pause.end(pgError('pauseEnded', [this.shard]))
    this.#opener.resumed()
  }

  /** An idle server, one with `profile` in force if there is; null: one has to wait. */
  lend(profile: SettingsProfile): ServerConnection | null {
    this.#asked = true
    if (this.#waiters.size > 0 || this.#pause.isOn) return null
    return takeIdle(this.#idle, profile, this.#limits.roundRobin)
  }

  /** A server at once, or null: then `waiter` waits. */
  acquire(profile: SettingsProfile, waiter: Waiter): ServerConnection | null {
    const server = this.lend(profile)
    if (server === null) this.wait(waiter)
    return server
  }

  wantsBack(server: ServerConnection): boolean {
    return this.#closeReason(server) !== null
  }

  /** Opens some connections, unless there are `count` already: who comes later need not wait for logins. */
  warm(count: number): void {
    while (!this.#opener.isOut && this.#opener.open(count));
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
    if (isBurdened(server)) {
      this.#parked.add(server)
      return void unburden(server, this.#options.clock, this.#limits.cancelTimeoutMs).then(() => {
        if (this.#parked.delete(server)) this.release(server)
      })
    }
    const reason = this.#closeReason(server)
    if (reason !== null) return this.discard(server, reason)
    if (this.#grant(server)) return
    server.idleSinceMs = this.#options.clock.nowMs()
    this.#idle.push(server)
  }

  /** Why a server that is free is not lent any more; null when it is. */
  #closeReason(server: ServerConnection): string | null {
    if (this.#closed || this.#options.clock.nowMs() > server.expiresAtMs)
      return 'its lifetime is over'
    if (server.targetNumber !== this.#opener.targetNumber) {
      return 'another server has taken its place'
    }
    if (this.#pause.isOn) return 'the shard is paused'
    if (this.#all.size > this.#limits.size + this.#limits.reserve) return smaller
    for (const budget of this.#options.budgets) {
      if (budget.mustYield(this)) return 'another pool has waited for its place'
    }
    return null
  }

  /** Closes a leased server; somebody who waits gets a new one. */
  discard(server: ServerConnection, reason: string): void {
    server.owner = this
    server.close(reason)
  }

  /** Cancels what `server`, leased now, is doing. Resolves when the server is free of the cancel again. */
  cancel(server: ServerConnection): Promise<void> {
    return cancelStatement(server, this.#limits.cancelTimeoutMs)
  }

  /** Closes what has been idle or alive for too long, opens what should be there; called on a timer. */
  sweep(): void {
    this.lane.sweep()
    const now = this.#options.clock.nowMs()
    if (this.#asked) this.#askedAtMs = now
    this.#asked = false
    const kept = this.#kept(now)
    for (const server of this.#idle.slice()) {
      const reason = idleTooLong(server, this.#limits, { nowMs: now, there: this.there, kept })
      if (reason !== null) server.close(reason)
    }
    if (kept > 0) this.warm(kept)
  }

  /** Connections that are kept though nobody uses them. */
  #kept(now: number): number {
    const { min, size, serverIdleTimeoutMs } = this.#limits
    const used = serverIdleTimeoutMs === 0 || now - this.#askedAtMs <= serverIdleTimeoutMs
    return this.#options.forced || used ? Math.min(min, size) : 0
  }

  /** Refuses who waits and closes what is idle; leased servers are closed as they come back. */
  close(error: PgError): void {
    this.#closed = true
    this.#opener.close()
    this.#waiters.refuseAll(error)
    this.#waiters.close()
    this.lane.sweep()
    this.#closeIdle('the pool is closed')
    for (const budget of this.#options.budgets) budget.leave(this)
  }

  /** Notices to an idle connection concern nobody. */
  serverSpoke(): void {}

  serverClosed(server: ServerConnection, error: PgError): void {
    const at = this.#idle.indexOf(server)
    if (at >= 0) this.#idle.splice(at, 1)
    this.#lost(server, error.message)
  }

  // ---- as the opener and budgets see it

  get waiting(): number {
    return this.#waiters.size
  }

  get there(): number {
    return this.#all.size
  }

  get mayOpen(): boolean {
    return !this.#closed && !this.#pause.isOn
  }

  get sizeNow(): number {
    const { size, reserve, reserveTimeoutMs } = this.#limits
    if (reserve === 0) return size
    const since = this.#waiters.oldestSinceMs
    const waitedMs = since === null ? -1 : this.#options.clock.nowMs() - since
    return waitedMs >= reserveTimeoutMs ? size + reserve : size
  }

  get places(): number {
    return this.#all.size + this.#opener.opening
  }

  get wantsPlace(): boolean {
    return this.#waiters.size > 0
  }

  giveUpIdle(): boolean {
    const [oldest] = this.#idle
    oldest?.close('another pool has taken its place')
    return oldest !== undefined
  }

  placeFree(): void {
    this.#openAll()
  }

  opened(server: ServerConnection): void {
    const { clock, random } = this.#options
    server.expiresAtMs = expiryOf(this.#limits, clock.nowMs(), random)
    server.preparedGeneration = this.#preparedGeneration
    this.#all.add(server)
    this.release(server)
  }

  refuseAll(error: PgError): void {
    this.#waiters.refuseAll(error)
  }

  #openAll(): void {
    while (this.#opener.open());
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
    if (!this.#all.delete(server)) return
    this.#parked.delete(server)
    if (this.#all.size === 0) this.#pause.allBack()
    this.#renewals.look()
    for (const budget of this.#options.budgets) budget.give()
    if (this.#waiters.size > 0) this.#opener.open()
  }

  /** Puts `waiter` into the queue, or refuses it later in this turn. */
  wait(waiter: Waiter): void {
    const now = this.#options.clock.nowMs()
    const unwanted = this.#pause.isOn ? null : this.#refusalNow(waiter.share, now)
    if (unwanted !== null) {
      queueMicrotask(() => waiter.refused(unwanted))
      return
    }
    const placeless = this.#waiters.push(waiter)
    if (placeless !== null) {
      queueMicrotask(() => placeless.refused(pgError('poolQueueFull', [this.shard])))
    }
    // Not now: who is still asking would be granted its servers in the middle of that.
    if (this.lane.servers.length > 0) queueMicrotask(() => this.lane.sweep())
    if (placeless !== waiter) this.#opener.queued(now)
  }

  /** Why one more of that share should not wait; null when it may. */
  #refusalNow(share: string, now: number): PgError | null {
    if (!this.#delay.refuses(share, this.#waiters, now)) return this.#opener.refusalNow(now)
    return pgError('poolOverloaded', [this.shard, this.#limits.queueTargetMs ?? 0])
  }

  #grant(server: ServerConnection): boolean {
    if (this.lane.offer(server)) return true
    const next = this.#waiters.shift()
    if (next === undefined) return false
    this.#delay.served(next.queuedAtMs, this.#options.clock.nowMs(), this.#waiters.size)
    next.granted(server)
    return true
  }
}
