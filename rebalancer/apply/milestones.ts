// How far a move has been applied, who waits for which position, and where applying has to rest.
// Outlives connections.
import { formatLsn, type Lsn, lsn } from '../../core/lsn.ts'
import type { Signal } from '../stream/signal.ts'

type Waiter = {
  readonly position: Lsn
  readonly resolve: () => void
  readonly reject: (reason: unknown) => void
}

/** Positions only grow; `changed` wakes the applier when it has to look again. */
export class Milestones {
  readonly #changed: Signal
  readonly #waiting = new Set<Waiter>()
  readonly #pausing = new Set<Waiter>()
  /** Everything that was committed before is durable on the target. */
  #applied: Lsn
  /** Final LSN of the last transaction that was applied. */
  #lastFinal = lsn(0n)
  #pauseAt: Lsn | null = null
  #ended: { readonly error: unknown } | null = null

  constructor(applied: Lsn, changed: Signal) {
    this.#applied = applied
    this.#changed = changed
  }

  get applied(): Lsn {
    return this.#applied
  }

  /** True while somebody waits for a position that the source has not told yet. */
  get awaited(): boolean {
    return this.#waiting.size > 0 || this.#pausing.size > 0
  }

  /** True when what stands at `position` has to stay unapplied for now. */
  blocks(position: Lsn): boolean {
    return this.#pauseAt !== null && position >= this.#pauseAt
  }

  /**
   * Everything before `position` is applied. `finalLsn`: of the last transaction among it, if any.
   */
  advance(position: Lsn, finalLsn?: Lsn): void {
    if (finalLsn !== undefined) this.#lastFinal = finalLsn
    if (position > this.#applied) this.#applied = position
    for (const waiter of this.#waiting) {
      if (waiter.position <= this.#applied) waiter.resolve()
    }
  }

  /** Called between transactions: `next` is the oldest thing that waits to be applied. */
  rest(next: Lsn | undefined): void {
    const pause = this.#pauseAt
    if (pause === null) return
    if (next !== undefined && next >= pause) this.advance(pause)
    if (this.#applied >= pause) for (const waiter of this.#pausing) waiter.resolve()
  }

  /** See Follower. */
  reached(position: Lsn, signal?: AbortSignal): Promise<void> {
    const wanted = recordEnd(position)
    if (this.#ended === null && wanted <= this.#applied) return Promise.resolve()
    return this.#wait(this.#waiting, wanted, signal)
  }

  /** See Follower. */
  async pauseAt(position: Lsn, signal?: AbortSignal): Promise<void> {
    if (this.#lastFinal >= position && position > 0n) {
      const passed = `${formatLsn(this.#lastFinal)} has been applied`
      throw new Error(`cannot pause at ${formatLsn(position)}: ${passed}`)
    }
    this.#pauseAt = position
    try {
      await this.#wait(this.#pausing, position, signal)
    } catch (cause) {
      if (this.#pauseAt === position) this.resume()
      throw cause
    }
  }

  /** See Follower. */
  resume(): void {
    this.#pauseAt = null
    this.#changed.notify()
  }

  /** Nothing will be applied any more. */
  end(error: unknown): void {
    this.#ended ??= { error }
    for (const { reject } of [...this.#waiting, ...this.#pausing]) reject(error)
  }

  #wait(waiters: Set<Waiter>, position: Lsn, signal?: AbortSignal): Promise<void> {
    if (this.#ended !== null) return Promise.reject(this.#ended.error)
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted()
      const settle = () => {
        waiters.delete(waiter)
        signal?.removeEventListener('abort', aborted)
      }
      const aborted = () => waiter.reject(signal?.reason)
      const waiter: Waiter = {
        position,
        resolve: () => {
          settle()
          resolve()
        },
        reject: (reason) => {
          settle()
          reject(reason)
        },
      }
      waiters.add(waiter)
      signal?.addEventListener('abort', aborted, { once: true })
      this.#changed.notify()
    })
  }
}

const pageBytes = 8192n
const pageHeaderBytes = 24n

/**
 * PostgreSQL tells a position at the start of a page as the one behind the page's header, where no
 * record can end.
 */
function recordEnd(position: Lsn): Lsn {
  return position % pageBytes === pageHeaderBytes ? lsn(position - pageHeaderBytes) : position
}
