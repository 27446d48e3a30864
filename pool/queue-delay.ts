// Whether a queue stands: its waiting time has stayed above the target for a while, so that more who wait only make
// everybody wait longer. After CoDel (Nichols and Jacobson 2012), which drops packets; here who comes is refused.

const intervalMsMin = 100
const intervalsOfTarget = 4

export class QueueDelay {
  readonly #targetMs: number
  readonly #intervalMs: number
  /** Since when nobody has left the queue after less than the target; null: not above it. */
  #aboveSinceMs: number | null = null

  /** `targetMs`: waiting time that is fine however long it lasts. */
  constructor(targetMs: number) {
    this.#targetMs = targetMs
    this.#intervalMs = Math.max(intervalMsMin, targetMs * intervalsOfTarget)
  }

  /** Somebody has got a server at `nowMs` for whom he had waited since `sinceMs`. */
  left(sinceMs: number, nowMs: number): void {
    if (nowMs - sinceMs < this.#targetMs) this.#aboveSinceMs = null
    else this.#aboveSinceMs ??= nowMs
  }

  /** Nobody waits any more. */
  emptied(): void {
    this.#aboveSinceMs = null
  }

  /** True when one more should not be let in; `oldestSinceMs` as in `Waiters`. */
  stands(oldestSinceMs: number | null, nowMs: number): boolean {
    if (oldestSinceMs === null) return false
    // Nobody leaves at all: the oldest tells.
    if (nowMs - oldestSinceMs >= this.#targetMs + this.#intervalMs) return true
    return this.#aboveSinceMs !== null && nowMs - this.#aboveSinceMs >= this.#intervalMs
  }
}
