// A server that cannot be reached: how long statements wait for it, when the next connection is tried, what they
// are told. The breaker of a pool: closed without an outage, open while it lasts longer than statements wait, half
// open for the one statement that may try again.
import { PgError, pgError } from '../core/errors.ts'
import type { ShardId } from '../core/ids.ts'

const pauseMsMin = 50
const pauseMsMax = 1_000
/** SQLSTATEs with which a server that starts, stops or recovers turns logins away (manual, appendix A). */
export const notAccepting: ReadonlySet<string> = new Set(['57P01', '57P02', '57P03'])

/** True when `error`, from dialling, may pass by itself; false for what the server refuses for good. */
export function isOutage(error: PgError): boolean {
  const { cause } = error
  if (error.sqlstate !== '08001') return false
  return !(cause instanceof PgError) || notAccepting.has(cause.sqlstate)
}

export class Outage {
  readonly #shard: ShardId
  readonly #sinceMs: number
  readonly #waitMs: number
  #waitedSinceMs: number
  #reason: string
  #last: PgError | null = null
  #pauseMs = pauseMsMin
  #nextTryMs: number

  /** `waitMs`: how long statements wait, counted from the beginning of the outage. */
  constructor(shard: ShardId, reason: string, nowMs: number, waitMs: number) {
    this.#shard = shard
    this.#sinceMs = nowMs
    this.#waitMs = waitMs
    this.#waitedSinceMs = nowMs
    this.#reason = reason
    this.#nextTryMs = nowMs
  }

  /** True once no statement waits any more: each is told at once. */
  isOver(nowMs: number): boolean {
    return nowMs - this.#waitedSinceMs >= this.#waitMs
  }

  /** How long it has lasted until now is nobody's fault: statements wait from now on. */
  waitAnew(nowMs: number): void {
    this.#waitedSinceMs = nowMs
  }

  /** True when the next connection may be tried. */
  mayTry(nowMs: number): boolean {
    return nowMs >= this.#nextTryMs
  }

  /** Milliseconds until there is something to do: the next try, if one can be made, or the end of the waiting. */
  pauseMs(nowMs: number, canTry: boolean): number {
    const untilEnd = this.#waitedSinceMs + this.#waitMs - nowMs
    const untilTry = canTry ? this.#nextTryMs - nowMs : untilEnd
    return Math.ceil(Math.max(1, Math.min(untilTry, untilEnd)))
  }

  /** A connection has failed: the pause before the next one grows. */
  failed(nowMs: number, error: PgError): void {
    const { cause } = error
    this.#last = error
    this.#reason = cause instanceof PgError ? cause.message : error.message
    this.#nextTryMs = nowMs + this.#pauseMs
    this.#pauseMs = Math.min(pauseMsMax, this.#pauseMs * 2)
  }

  /** Something has changed: the next try need not wait. */
  retryNow(): void {
    this.#pauseMs = pauseMsMin
    this.#nextTryMs = Number.NEGATIVE_INFINITY
  }

  /** 08001: which shard, since when, why; at first the failure itself. */
  error(nowMs: number): PgError {
    const lastedMs = nowMs - this.#sinceMs
    if (lastedMs < 1_000 && this.#last !== null) return this.#last
    const seconds = (lastedMs / 1_000).toFixed(1)
    return pgError('shardDown', [this.#shard, seconds, this.#reason])
  }
}
