// The brake of a move: whoever copies, deletes or compares rows asks it before each piece of work.
// It holds a bound on bytes per second, and stands still while a replica is too far behind or the
// source has become slow; what the servers say comes from rebalancer/throttle-probe.ts.
// States: running ⇄ paused (a bound is exceeded, or nothing was heard of the servers for too long).
import type { Clock } from '../core/clock.ts'
import { admit, pauseReason, type Readings, type ThrottleLimits } from './throttle-verdict.ts'

/** For people; `sinceMs` by the clock. */
export type ThrottleState =
  | { readonly kind: 'running' }
  | { readonly kind: 'paused'; readonly reason: string; readonly sinceMs: number }

const pollMs = 50
// One piece of work is a burst on servers that have others to serve: it should be over before a scheduler would take
// the core away from it, and be worth the question.
const pieceMs = 4
const pieceBytesMin = 32 * 1024
const silenceMaxMs = 5_000

export class Throttle {
  readonly #limits: ThrottleLimits
  readonly #clock: Clock
  /** All that has passed is paid for then. */
  #freeAtMs = 0
  #pause: { readonly reason: string; readonly sinceMs: number } | null = null
  /** When the servers last answered; null: nobody asks them. */
  #heardAtMs: number | null = null

  constructor(limits: ThrottleLimits, clock: Clock) {
    this.#limits = limits
    this.#clock = clock
  }

  /** What the servers say now. From the first call on, silence is a reason to pause too. */
  observe(readings: Readings): void {
    this.#heardAtMs = this.#clock.nowMs()
    this.#settle(pauseReason(readings, this.#limits, this.#pause !== null))
  }

  /** Nobody will observe any more. */
  unobserve(): void {
    this.#heardAtMs = null
    this.#settle(null)
  }

  get state(): ThrottleState {
    this.#noticeSilence()
    return this.#pause === null ? { kind: 'running' } : { kind: 'paused', ...this.#pause }
  }

  /** Bytes that one piece of work should have at most: what the bound lets through in a moment. */
  get pieceBytesMax(): number {
    const { bytesPerSecondMax } = this.#limits
    if (bytesPerSecondMax === null) return Number.POSITIVE_INFINITY
    return Math.max(pieceBytesMin, (bytesPerSecondMax * pieceMs) / 1_000)
  }

  /**
   * Resolves when `bytes` more may be worked on; 0 bytes wait for pauses alone. A pause lasts as
   * long as its reason. @throws the signal's reason.
   */
  async pass(bytes: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    while (this.state.kind === 'paused') await this.#wait(pollMs, signal)
    const { bytesPerSecondMax } = this.#limits
    if (bytesPerSecondMax === null || bytes === 0) return
    const now = { ms: this.#clock.nowMs(), bytes }
    const { freeAtMs, waitMs } = admit(bytesPerSecondMax, this.#freeAtMs, now)
    this.#freeAtMs = freeAtMs
    if (waitMs > 0) await this.#wait(waitMs, signal)
  }

  #noticeSilence(): void {
    if (this.#heardAtMs === null) return
    const silentMs = this.#clock.nowMs() - this.#heardAtMs
    if (silentMs <= silenceMaxMs) return
    this.#settle(`the servers have not answered for ${Math.floor(silentMs / 1_000)} s`)
  }

  #settle(reason: string | null): void {
    if (reason === null) this.#pause = null
    else this.#pause = { reason, sinceMs: this.#pause?.sinceMs ?? this.#clock.nowMs() }
  }

  #wait(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const stop = () => {
        timer.cancel()
        reject(signal.reason)
      }
      const timer = this.#clock.after(ms, () => {
        signal.removeEventListener('abort', stop)
        resolve()
      })
      signal.addEventListener('abort', stop, { once: true })
    })
  }
}
