// Virtual time. Whatever happens in the simulation is an event of this scheduler; delays come from the seed, so the seed
// chooses the interleaving and the same seed gives the same run. Between two events the promises that the first has
// settled go on for a bounded number of turns.
import type { Timer } from '../../core/clock.ts'
import { createRandom, type Random } from '../support/random.ts'

type Event = { readonly atMs: number; readonly order: number; fire: (() => void) | null }

/** Turns of the promise queue after each event; who needs more goes on beside later events, which is an order too. */
const turnsPerEvent = 6
const settled = Promise.resolve()
const fractions = 1_048_576

export class Scheduler {
  readonly random: Random
  readonly #heap: Event[] = []
  #nowMs = 0
  #order = 0
  /** Events so far. */
  fired = 0

  constructor(seed: number) {
    this.random = createRandom(seed)
  }

  get nowMs(): number {
    return this.#nowMs
  }

  /** Calls `fire` once after `delayMs`. */
  after(delayMs: number, fire: () => void): Timer {
    this.#order += 1
    const event: Event = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order, fire }
    this.#push(event)
    return {
      cancel: () => {
        event.fire = null
      },
    }
  }

  /** A time between the two, chosen by the seed. */
  between(leastMs: number, mostMs: number): number {
    return leastMs + (this.random.below(fractions) / fractions) * (mostMs - leastMs)
  }

  /** Runs events until `done`; false when `untilMs` came first. */
  async run(done: () => boolean, untilMs: number): Promise<boolean> {
    while (!done()) {
      const event = this.#pop()
      if (event === undefined) {
        // Promises may still be on their way to the next timer.
        await new Promise((resolve) => setImmediate(resolve))
        if (this.#heap.length > 0) continue
        return done()
      }
      if (event.atMs > untilMs) {
        this.#push(event)
        return false
      }
      if (event.fire === null) continue
      this.#nowMs = event.atMs
      this.fired += 1
      event.fire()
      for (let turn = 0; turn < turnsPerEvent; turn += 1) await settled
    }
    return true
  }

  #push(event: Event): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(event)
    while (at > 0) {
      const above = (at - 1) >> 1
      const parent = heap[above]
      if (parent === undefined || !isBefore(event, parent)) break
      heap[at] = parent
      at = above
    }
    heap[at] = event
  }

  #pop(): Event | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (last === undefined || last === first) return first
    let at = 0
    for (;;) {
      const left = heap[2 * at + 1]
      const right = heap[2 * at + 2]
      if (left === undefined) break
      const isRight = right !== undefined && isBefore(right, left)
      const child = isRight ? right : left
      if (!isBefore(child, last)) break
      heap[at] = child
      at = 2 * at + (isRight ? 2 : 1)
    }
    heap[at] = last
    return first
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.atMs === b.atMs ? a.order < b.order : a.atMs < b.atMs
}
