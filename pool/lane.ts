// The fast lane: statements of several clients in flight on one server. PostgreSQL answers a pipeline in order, and each Sync
// (or simple query) ends a transaction of its own, so that an error stays with its client. What may ride is decided by who
// sends it (proxy/execute/ride.ts): reads of one statement outside transactions that leave nothing behind.
//
// A server of the lane is one that its pool has lent for a while:
//   idle     nothing in flight; it goes back to the pool once it has been for some time
//   open     a few are in flight, the head for a short time only: more may board
//   sealed   nothing boards until it is empty: the last in flight is not known to be fast, or something has to be put right
//
// The lane has its own part of the pool: where more is asked for than all servers can do, it would never get any otherwise.
//
// A new statement goes to an idle server, else to the open one with the fewest in flight, else it does not ride. Behind a
// head that turns out to be slow nobody is left waiting: those behind it are run again elsewhere, which reads allow, and
// what this server says of them is dropped.
import { assert } from '../core/assert.ts'
import type { Clock, Timer } from '../core/clock.ts'
import type { PgError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import { DroppedReply } from './dropped-reply.ts'
import { AnswerSink, sendQuery } from './exchange.ts'
import type { FlushTurn } from './outbox.ts'
import type { Pace } from './pace.ts'
import type { ReplySink, ServerConnection, ServerOwner } from './server-connection.ts'
import type { SettingsProfile } from './settings-profile.ts'

/** Who has a statement in flight. */
export interface Rider {
  /** Takes the replies. */
  readonly sink: ReplySink
  /** Of its statement; known once it boards. */
  readonly pace: Pace | null
  /** Bytes of the answer so far. */
  readonly answerBytes: number
  /** Its statement must run elsewhere; nothing of it was answered, and nothing will be. */
  rescued(server: ServerConnection): void
}

/** The pool that servers are borrowed from. */
export interface Lender {
  /** Grows with every schema change. */
  readonly preparedGeneration: number
  /** True when a free server is of no more use: it is to be given back, to be closed. */
  wantsBack(server: ServerConnection): boolean
  /** An idle server at once, or null. */
  lend(profile: SettingsProfile): ServerConnection | null
  /** Opens connections unless there are so many. */
  warm(count: number): void
  release(server: ServerConnection): void
  cancel(server: ServerConnection): Promise<void>
  serverClosed(server: ServerConnection, error: PgError): void
}

export type LaneOptions = {
  /** True when of those who wait for a server of the pool nobody was given one for `ms`. */
  readonly starves: (ms: number) => boolean
  readonly clock: Clock
  readonly turn: FlushTurn
  readonly log: Log
}

/** What the lane has done, for metrics. */
export type LaneCounts = {
  /** Statements that were sent on it. */
  rides: number
  /** Of those: taken away from behind a slow one and run elsewhere. */
  rescues: number
  /** Statements that might have ridden and found no place. */
  full: number
}

const inFlightMax = 256
const pendingBytesMax = 64 * 1024
// A head is late that has run for longer than so many ms and than a multiple of what heads usually take: on a machine that is
// short of CPU all of them take longer. The event loop looks at sockets once a turn: what was there at the second look
// nobody has waited for, however long those turns were.
const lateMsMin = 1
const lateFactor = 6
const lateTurns = 2
// Behind a head that is late nobody boards; behind one that has been for some time nobody stays.
const stuckMsMin = 10
const watchMs = 2
const usualMsMax = 4
// Idle for longer, a server may as well serve somebody else.
const idleMsMax = 5
// Where the rest of the pool is held by transactions that do not end, who waits for it gets of the lane's part; for some time
// the lane takes no server then, and what finds no place on it waits with the others.
const starvingMs = 50
const yieldMs = 1_000
const fading = 1 / 64

/** A server of the lane. */
export class LaneServer {
  readonly server: ServerConnection
  /** In the order of their statements; null for one whose answer nobody waits for any more. */
  readonly riders: (Rider | null)[] = []
  /** Names of statements that it was sent to prepare and has not accepted yet. */
  readonly preparing = new Set<string>()
  sealed = false
  /** Goes back to the pool once it is empty. */
  yields = false
  /** Its head was cancelled: how long that took tells nothing of its shape. */
  cancelled = false
  /** When the head was sent, or became the head; of an idle server, when it became idle. */
  headSinceMs = 0
  headTurn = 0

  constructor(server: ServerConnection) {
    this.server = server
  }
}

export class Lane implements ServerOwner {
  readonly counts: LaneCounts = { rides: 0, rescues: 0, full: 0 }
  /** Servers that it may borrow at a time; 0: nothing rides. */
  serversMax = 0
  readonly #options: LaneOptions
  readonly #lender: Lender
  readonly #servers: LaneServer[] = []
  #watch: Timer | null = null
  /** Some statement has found no server. */
  #wants = false
  /** What heads have taken of late; at first nothing is known, and nothing is late easily. */
  #usualMs = usualMsMax
  /** When it has last left a server to those who wait. */
  #yieldedAtMs = Number.NEGATIVE_INFINITY
  /** A server whose last statement is not known to be fast; one at a time. */
  #trial: LaneServer | null = null

  constructor(lender: Lender, options: LaneOptions) {
    this.#lender = lender
    this.#options = options
  }

  /** Servers that are lent to it now, for SHOW LANES. */
  get servers(): readonly LaneServer[] {
    return this.#servers
  }

  /** Of these: how many do nothing now. */
  get idle(): number {
    let count = 0
    for (const { riders } of this.#servers) if (riders.length === 0) count += 1
    return count
  }

  /**
   * A server that `rider`'s statement is sent on now: the caller does so in the same turn, and tells `left` once it was
   * answered. Null: it does not ride. `statement`: name of the prepared statement that it runs, '' for none.
   */
  board(rider: Rider, profile: SettingsProfile, statement: string): LaneServer | null {
    if (this.serversMax === 0 || profile.isHasty) return null
    const { clock, turn } = this.#options
    const nowMs = clock.nowMs()
    const { pace } = rider
    if (pace?.mayTry(nowMs) !== true) return null
    const fast = pace.isFast
    if (!fast && this.#trial !== null) return null
    const chosen = this.#choose(profile, statement, nowMs)
    if (chosen === null) {
      this.counts.full += 1
      return null
    }
    if (chosen.riders.length === 0) {
      this.#join(chosen, profile)
      chosen.headSinceMs = nowMs
      chosen.headTurn = turn.count
    }
    chosen.riders.push(rider)
    this.counts.rides += 1
    if (!fast) {
      chosen.sealed = true
      this.#trial = chosen
    }
    this.#watchOn()
    return chosen
  }

  /** The statement at the head was answered, or whoever waited for it is gone. */
  left(lent: LaneServer): void {
    const rider = lent.riders.shift()
    assert(rider !== undefined, 'answers come in the order of the statements')
    const { clock, turn, log } = this.#options
    const nowMs = clock.nowMs()
    const tells = rider !== null && !lent.server.closed && !lent.cancelled
    lent.cancelled = false
    if (tells) {
      rider.pace?.ran(
        { late: this.#isLate(lent, nowMs, lateMsMin), bytes: rider.answerBytes },
        nowMs,
      )
      const ms = Math.min(nowMs - lent.headSinceMs, usualMsMax)
      this.#usualMs += (ms - this.#usualMs) * fading
    }
    lent.headSinceMs = nowMs
    lent.headTurn = turn.count
    const { server } = lent
    if (server.transactionStatus !== 'I' && !server.closed) {
      log.error({ shard: server.shard }, 'a statement on the fast lane has left a transaction open')
      return server.close('it was left in a transaction')
    }
    if (lent.riders.length > 0) return
    if (this.#trial === lent) this.#trial = null
    lent.sealed = false
    // A cancel request that is on its way would hit whoever comes next.
    const wanted = lent.yields || this.#lender.wantsBack(server)
    if (server.cancels.size > 0 || wanted) this.#giveBack(lent)
  }

  /** Nobody waits for the rider's answer any more; its server goes on with it. */
  forget(lent: LaneServer, rider: Rider): void {
    const at = lent.riders.indexOf(rider)
    if (at < 0) return
    lent.riders[at] = null
    lent.server.replace(rider.sink, new DroppedReply(() => this.left(lent)))
  }

  /** Cancels the rider's statement where it runs; null: it had not begun, and its answer will be dropped. */
  cancel(lent: LaneServer, rider: Rider): Promise<void> | null {
    if (lent.riders[0] !== rider) {
      this.forget(lent, rider)
      return null
    }
    lent.cancelled = true
    // The request may come late: whoever stood behind would be stopped in the middle of his rows.
    this.#rescue(lent)
    return this.#lender.cancel(lent.server)
  }

  /** Gives back what nothing has been in flight on for some time; called on a timer, and when the pool needs servers. */
  sweep(): void {
    const idleMs = this.#options.clock.nowMs() - idleMsMax
    for (const lent of this.#servers.slice()) {
      const wanted = this.#lender.wantsBack(lent.server)
      if (lent.riders.length > 0) lent.sealed ||= wanted
      else if (wanted || lent.headSinceMs < idleMs) this.#giveBack(lent)
    }
  }

  /** Takes a server that has become free, if it needs one more. */
  offer(server: ServerConnection): boolean {
    if (!this.#wants || this.#servers.length >= this.serversMax) return false
    const nowMs = this.#options.clock.nowMs()
    if (nowMs - this.#yieldedAtMs < yieldMs) return false
    this.#wants = false
    this.#adopt(server).headSinceMs = nowMs
    this.#watchOn()
    return true
  }

  serverSpoke(): void {
    // Notices of a server that nobody has asked anything concern nobody.
  }

  serverClosed(server: ServerConnection, error: PgError): void {
    const at = this.#servers.findIndex((lent) => lent.server === server)
    const [lent] = at < 0 ? [] : this.#servers.splice(at, 1)
    if (lent !== undefined && this.#trial === lent) this.#trial = null
    this.#lender.serverClosed(server, error)
  }

  #isLate({ headSinceMs, headTurn }: LaneServer, nowMs: number, msMin: number): boolean {
    const lateMs = Math.max(msMin, this.#usualMs * lateFactor)
    return nowMs - headSinceMs > lateMs && this.#options.turn.count - headTurn > lateTurns
  }

  #choose(profile: SettingsProfile, statement: string, nowMs: number): LaneServer | null {
    let best: LaneServer | null = null
    for (const lent of this.#servers) {
      const inFlight = lent.riders.length
      if (inFlight === 0) return lent
      if (best !== null && inFlight >= best.riders.length) continue
      if (this.#takesMore(lent, profile, statement, nowMs)) best = lent
    }
    return this.#borrow(profile, nowMs) ?? best
  }

  #takesMore(
    lent: LaneServer,
    profile: SettingsProfile,
    statement: string,
    nowMs: number,
  ): boolean {
    const { server, riders } = lent
    if (lent.sealed || riders.length >= inFlightMax) return false
    if (this.#isLate(lent, nowMs, lateMsMin)) return false
    if (server.preparedGeneration !== this.#lender.preparedGeneration) return false
    if (!server.settings.equals(profile) || server.pendingBytes > pendingBytesMax) return false
    return !lent.preparing.has(statement)
  }

  #borrow(profile: SettingsProfile, nowMs: number): LaneServer | null {
    const { serversMax } = this
    if (this.#servers.length >= serversMax || nowMs - this.#yieldedAtMs < yieldMs) return null
    const server = this.#lender.lend(profile)
    if (server !== null) return this.#adopt(server)
    this.#wants = true
    this.#lender.warm(serversMax)
    return null
  }

  #adopt(server: ServerConnection): LaneServer {
    server.owner = this
    const lent = new LaneServer(server)
    this.#servers.push(lent)
    return lent
  }

  /** Brings an idle server to where the statements of `profile` expect it; costs no round trip. */
  #join(lent: LaneServer, profile: SettingsProfile): void {
    const { server } = lent
    const generation = this.#lender.preparedGeneration
    if (server.preparedGeneration !== generation) {
      server.preparedGeneration = generation
      if (server.prepared.size > 0) this.#prepend(lent, 'DEALLOCATE ALL')
      server.prepared.clear()
      lent.preparing.clear()
    }
    const replay = profile.replayFrom(server.settings)
    if (replay !== '') this.#prepend(lent, replay)
    server.settings = profile
  }

  #prepend({ server }: LaneServer, sql: string): void {
    const sink = new AnswerSink((error) => {
      if (error === null || server.closed) return
      this.#options.log.warn({ shard: server.shard, error }, 'settings could not be replayed')
      server.close('its session state is not known')
    })
    sendQuery(server, sql, sink)
  }

  #giveBack(lent: LaneServer): void {
    const at = this.#servers.indexOf(lent)
    if (at < 0) return
    this.#servers.splice(at, 1)
    const { server } = lent
    this.#lender.release(server)
  }

  #watchOn(): void {
    if (this.#watch !== null) return
    this.#watch = this.#options.clock.after(watchMs, () => this.#look())
  }

  /** Takes away who waits behind a head that does not end, and gives back what somebody else needs more. */
  #look(): void {
    this.#watch = null
    const { clock, turn } = this.#options
    turn.passes()
    const nowMs = clock.nowMs()
    this.#yield(nowMs)
    for (const lent of this.#servers.slice()) {
      if (lent.riders.length === 0) {
        if (lent.headSinceMs < nowMs - idleMsMax) this.#giveBack(lent)
        continue
      }
      if (this.#lender.wantsBack(lent.server)) lent.sealed = true
      if (!this.#isLate(lent, nowMs, stuckMsMin)) continue
      if (lent.riders.length > 1) this.#rescue(lent)
      if (lent.riders[0] === null) this.#stop(lent)
    }
    if (this.#servers.length > 0) this.#watchOn()
  }

  /** Nobody waits for what the server does: PAUSE and others would, for the server. */
  #stop(lent: LaneServer): void {
    if (lent.cancelled) return
    lent.cancelled = true
    lent.sealed = true
    void this.#lender.cancel(lent.server)
  }

  #yield(nowMs: number): void {
    const lent = this.#servers.find(({ yields }) => !yields)
    if (lent === undefined || !this.#options.starves(starvingMs)) return
    this.#yieldedAtMs = nowMs
    lent.sealed = true
    lent.yields = true
    if (lent.riders.length === 0) this.#giveBack(lent)
  }

  #rescue(lent: LaneServer): void {
    lent.sealed = true
    if (lent.riders.length < 2) return
    // Some of what it was sent to prepare belongs to those who go: whether it will have it, nobody hears.
    lent.server.forgetPrepared()
    for (const rider of lent.riders.slice(1)) {
      if (rider === null) continue
      this.counts.rescues += 1
      this.forget(lent, rider)
      rider.rescued(lent.server)
    }
  }
}
