// The brake of a move: whoever copies, deletes or compares rows asks it before each piece of work.
// It holds a bound on bytes per second, and stands still while a replica is too far behind or the
// source has become slow; what the servers say comes from rebalancer/throttle-probe.ts. Under a
// bound, pieces are small and come one by one: clients then find a core of the servers that is free.
// States: running ⇄ paused (a bound is exceeded, or nothing was heard of the servers for too long).
import type { Clock } from '../core/clock.ts'
import { admit, pauseReason, type Readings, type ThrottleLimits } from './throttle-verdict.ts'

/** For people; `sinceMs` by the clock. */
export type ThrottleState =
  | { readonly kind: 'running' }
  | { readonly kind: 'paused'; readonly reason: string; readonly sinceMs: number }

const pollMs = 50
// One piece of work is a burst on servers that have others to serve: clients feel it from a millisecond on.
const pieceMs = 1.6
const pieceBytesMin = 32 * 1024
/** Pieces that may be worked on before they are paid for. */
const creditPieces = 2
const silenceMaxMs = 5_000

export class Throttle {
  readonly #limits: ThrottleLimits
  readonly #clock: Clock
  /** All that has passed is paid for then. */
  #freeAtMs = 0
  #pause: { readonly reason: string; readonly sinceMs: number } | null = null
  /** When the servers last answered; null: nobody asks them. */
  #heardAtMs: number | null = null
  #turns = 0
  #turnBeganMs = 0
  readonly #waitingForTurn = new Set<() => void>()

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
   * Resolves when a piece may be worked on, which ends with what it gives. Under a bound on bytes that is when all that has
   * passed is paid for, and no other piece is worked on, but for one that takes longer than the bound gives it. @throws the
   * signal's reason.
   */
  async turn(signal: AbortSignal): Promise<Disposable> {
    await this.pass(0, signal)
    const { bytesPerSecondMax } = this.#limits
    if (bytesPerSecondMax === null) return { [Symbol.dispose]: () => undefined }
    for (let waitMs = this.#turnInMs(bytesPerSecondMax); waitMs > 0; ) {
      await this.#wait(waitMs, signal, this.#waitingForTurn)
      await this.pass(0, signal)
      waitMs = this.#turnInMs(bytesPerSecondMax)
    }
    this.#turns += 1
    this.#turnBeganMs = this.#clock.nowMs()
    const end = () => {
      this.#turns -= 1
      for (const wake of this.#waitingForTurn) wake()
    }
    return { [Symbol.dispose]: end }
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
    if (waitMs > creditPieces * this.#pieceMs(bytesPerSecondMax)) await this.#wait(waitMs, signal)
  }

  #turnInMs(bytesPerSecondMax: number): number {
    const nowMs = this.#clock.nowMs()
    const paidInMs = this.#freeAtMs - nowMs
    if (this.#turns === 0) return paidInMs
    return Math.max(paidInMs, this.#turnBeganMs + this.#pieceMs(bytesPerSecondMax) - nowMs)
  }

  /** That the bound gives to one piece. */
  #pieceMs(bytesPerSecondMax: number): number {
    return (this.pieceBytesMax / bytesPerSecondMax) * 1_000
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

  /** Ends early when woken by one of `wakers`. */
  #wait(ms: number, signal: AbortSignal, wakers?: Set<() => void>): Promise<void> {
    return new Promise((resolve, reject) => {
      const clear = () => {
        timer.cancel()
        signal.removeEventListener('abort', stop)
        wakers?.delete(end)
      }
      const end = () => {
        clear()
        resolve()
      }
      const stop = () => {
        clear()
        reject(signal.reason)
      }
      const timer = this.#clock.after(ms, end)
      if (signal.aborted) return stop()
      wakers?.add(end)
      signal.addEventListener('abort', stop, { once: true })
    })
  }
}
