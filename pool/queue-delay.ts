// Whether a queue stands: its waiting time has stayed above the target for a while, so that more who wait only make
// everybody wait longer. After CoDel (Nichols and Jacobson 2012), which drops packets; here who comes is refused, unless
// nobody of his share waits yet.
import type { Waiters } from './waiters.ts'

const intervalMsMin = 100
const intervalsOfTarget = 4

export class QueueDelay {
  readonly #targetMs: number | null
  readonly #intervalMs: number
  /** Since when nobody has left the queue after less than the target; null: not above it. */
  #aboveSinceMs: number | null = null

  /** `targetMs`: waiting time that is fine however long it lasts; null: any is. */
  constructor(targetMs: number | null) {
    this.#targetMs = targetMs
    this.#intervalMs = Math.max(intervalMsMin, (targetMs ?? 0) * intervalsOfTarget)
  }

  /** Somebody has got a server at `nowMs` for whom he had waited since `sinceMs`; `left`: so many wait still. */
  served(sinceMs: number, nowMs: number, left: number): void {
    if (this.#targetMs === null) return
    if (left === 0 || nowMs - sinceMs < this.#targetMs) this.#aboveSinceMs = null
    else this.#aboveSinceMs ??= nowMs
  }

  /** True when one more of that share should not be let in. */
  refuses(share: string, waiters: Waiters, nowMs: number): boolean {
    if (this.#targetMs === null || !waiters.has(share)) return false
    const oldest = waiters.oldestSinceMs
    // Nobody leaves at all: the oldest tells.
    if (oldest !== null && nowMs - oldest >= this.#targetMs + this.#intervalMs) return true
    return this.#aboveSinceMs !== null && nowMs - this.#aboveSinceMs >= this.#intervalMs
  }
}
