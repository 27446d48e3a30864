// Where the time of one session's statements goes: asked, waiting for a server, at a server, answered. Each of these is one
// reading of the turn's clock and a few additions; what they add up to is in the database's Traffic.
import type { Histogram } from './histogram.ts'
import type { StatementClass, Traffic } from './traffic.ts'

/** Milliseconds of a monotonic clock, read once per turn of the event loop. */
export type TurnTime = { nowMs(): number }

export class SessionTimes {
  readonly traffic: Traffic
  /** When the client has last asked for something. */
  requestAtMs: number
  /** Since when it has been waiting for a server; null when it is not. */
  waitingSinceMs: number | null = null
  /** Of the statement under way, or the last one: what it is, where it ran, what came of it. */
  class: StatementClass = 'single'
  /** Last of the shards that worked for it; null when none has. */
  shard: string | null = null
  /** How long it waited for servers. */
  waitUs = 0
  /** Last CommandComplete; '' before. */
  tag = ''
  failed = false
  /** Text of the statement under way, and the trace that it belongs to; null unless somebody watches. */
  sql: Uint8Array | null = null
  traceparent: string | null = null
  /** When it was asked, by the turn's clock, and how long its answer took, the wait included. */
  beganMs = 0
  tookUs = 0
  /** When the last answer went out, by the turn's clock. */
  answeredAtMs: number
  readonly #turn: TurnTime
  #served: Histogram | null = null
  #servedShard = ''
  /** 0: no statement is under way. */
  #queryAtMs = 0
  #transactionAtMs = 0
  #transactionWaitUs = 0
  #sentAtMs = 0

  constructor(traffic: Traffic, turn: TurnTime) {
    this.traffic = traffic
    this.#turn = turn
    this.requestAtMs = turn.nowMs()
    this.answeredAtMs = this.requestAtMs
  }

  /** Since when a transaction is open, or a statement of its own under way; null: none is. */
  get transactionSinceMs(): number | null {
    return this.#transactionAtMs === 0 ? null : this.#transactionAtMs
  }

  /** The client has asked for something; what comes after a Flush belongs to what was before it. */
  begun(): void {
    const nowMs = this.#turn.nowMs()
    this.requestAtMs = nowMs
    if (this.#queryAtMs !== 0) return
    this.#queryAtMs = nowMs
    this.beganMs = nowMs
    this.traffic.queries += 1
    this.class = 'single'
    this.shard = null
    this.waitUs = 0
    this.tag = ''
    this.failed = false
    this.#sentAtMs = 0
    if (this.#transactionAtMs !== 0) return
    this.#transactionAtMs = nowMs
    this.#transactionWaitUs = 0
    this.traffic.transactions += 1
  }

  /** No server is free. */
  waits(): void {
    this.waitingSinceMs ??= this.#turn.nowMs()
  }

  /** The wait has ended without a server. */
  waitsNoMore(): void {
    this.#waited()
  }

  /** The client has been given a server, at once or after a wait. */
  assigned(): void {
    const { traffic } = this
    traffic.assignments += 1
    const us = this.#waited()
    if (us === null) return
    traffic.waitUs += us
    traffic.waits += 1
    traffic.waitTimes.add(us)
  }

  /** A wait is over, however it has ended: how long it was, in microseconds; null when there was none. */
  #waited(): number | null {
    const { waitingSinceMs } = this
    if (waitingSinceMs === null) return null
    const us = (this.#turn.nowMs() - waitingSinceMs) * 1_000
    this.waitingSinceMs = null
    this.waitUs += us
    this.#transactionWaitUs += us
    return us
  }

  /** Something is about to be sent to a server. */
  sent(): void {
    if (this.#sentAtMs === 0) this.#sentAtMs = this.#turn.nowMs()
  }

  /** A server of `shard` has answered all that it was asked. */
  served(shard: string): void {
    this.shard = shard
    if (this.#sentAtMs === 0) return
    if (this.#served === null || this.#servedShard !== shard) {
      this.#served = this.traffic.serverTimes(shard)
      this.#servedShard = shard
    }
    this.#served.add((this.#turn.nowMs() - this.#sentAtMs) * 1_000)
    this.#sentAtMs = 0
  }

  /** The session ends, and with it the statement under way: how long it took until then. */
  cutOff(): void {
    if (this.#queryAtMs === 0) return
    this.tookUs = (this.#turn.nowMs() - this.#queryAtMs) * 1_000
    this.failed = true
  }

  /** ReadyForQuery goes to the client. */
  answered(inTransaction: boolean): void {
    const nowMs = this.#turn.nowMs()
    const { traffic } = this
    this.answeredAtMs = nowMs
    if (this.#queryAtMs !== 0) {
      this.tookUs = (nowMs - this.#queryAtMs) * 1_000
      traffic.queryUs += this.tookUs - this.waitUs
      traffic.clientTimes[this.class].add(this.tookUs)
      this.#queryAtMs = 0
    }
    if (inTransaction || this.#transactionAtMs === 0) return
    traffic.transactionUs += (nowMs - this.#transactionAtMs) * 1_000 - this.#transactionWaitUs
    this.#transactionAtMs = 0
  }
}
