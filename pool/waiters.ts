// Who waits for a server connection: one bounded first-in first-out queue, each with a deadline.
import type { Clock, Timer } from '../core/clock.ts'
import type { PgError } from '../core/errors.ts'
import { BoundedQueue } from '../core/queue.ts'
import type { ServerConnection } from './server-connection.ts'

/** Who asked for a server and could not have one at once. Exactly one of the two is called, once. */
export interface Waiter {
  granted(server: ServerConnection): void
  refused(error: PgError): void
}

type Waiting = { readonly waiter: Waiter; readonly deadline: Timer }

export class Waiters {
  readonly #clock: Clock
  readonly #queue: BoundedQueue<Waiting>
  readonly #waiting = new Map<Waiter, Waiting>()

  constructor(sizeMax: number, clock: Clock) {
    this.#clock = clock
    this.#queue = new BoundedQueue(sizeMax)
  }

  get size(): number {
    return this.#queue.size
  }

  /** Puts `waiter` at the end, for `waitMs` at most: then it is refused with `late`. False when the queue is full. */
  push(waiter: Waiter, waitMs: number, late: () => PgError): boolean {
    const deadline = this.#clock.after(waitMs, () => {
      this.leave(waiter)
      waiter.refused(late())
    })
    const waiting = { waiter, deadline }
    if (this.#queue.push(waiting)) {
      this.#waiting.set(waiter, waiting)
      return true
    }
    deadline.cancel()
    return false
  }

  /** Takes `waiter` out of the queue; it hears nothing any more. */
  leave(waiter: Waiter): void {
    const waiting = this.#waiting.get(waiter)
    if (waiting === undefined) return
    this.#waiting.delete(waiter)
    this.#queue.remove(waiting)
    waiting.deadline.cancel()
  }

  /** Who has waited longest, taken out; undefined when nobody waits. */
  shift(): Waiter | undefined {
    const next = this.#queue.shift()
    if (next === undefined) return undefined
    this.#waiting.delete(next.waiter)
    next.deadline.cancel()
    return next.waiter
  }

  refuseAll(error: PgError): void {
    for (let next = this.shift(); next !== undefined; next = this.shift()) next.refused(error)
  }
}
