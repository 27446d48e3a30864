// At most so many statements of one virtual node at once: a tenant that floods does not take all servers. What is over
// the limit waits in a queue of its own virtual node, and is refused when that is full or its time is up.
import type { Clock } from '../core/clock.ts'
import { type PgError, pgError } from '../core/errors.ts'
import type { Vnode } from '../core/ids.ts'
import type { DatabaseOptions } from './database-options.ts'

/** A place; its owner gives it back once. */
export type Slot = { readonly vnode: Vnode }

/** A place in the queue for one. */
export type SlotTurn = {
  /** Rejects with 53300. */
  readonly granted: Promise<Slot>
  /** Leaves the queue; a slot that was granted already goes to the next. */
  readonly leave: () => void
}

type Waiting = { readonly grant: (slot: Slot) => void }
type Cell = { inside: number; readonly queue: Set<Waiting> }

export type BulkheadOptions = {
  readonly clock: Clock
  readonly insideMax: number
  /** Of one virtual node. */
  readonly waitersMax: number
  readonly waitMs: number
}

export class Bulkhead {
  readonly #options: BulkheadOptions
  readonly #cells = new Map<Vnode, Cell>()

  constructor(options: BulkheadOptions) {
    this.#options = options
  }

  /** Null: all places of the virtual node are taken. */
  enter(vnode: Vnode): Slot | null {
    const cell = this.#cells.get(vnode) ?? { inside: 0, queue: new Set() }
    if (cell.inside >= this.#options.insideMax) return null
    this.#cells.set(vnode, cell)
    cell.inside += 1
    return { vnode }
  }

  /** Waits for a place. */
  queue(vnode: Vnode): SlotTurn {
    const { clock, waitersMax, waitMs } = this.#options
    const cell = this.#cells.get(vnode)
    if (cell === undefined || cell.queue.size >= waitersMax) {
      return { granted: Promise.reject(refusal(vnode)), leave: () => {} }
    }
    let slot: Slot | null = null
    let leave = () => {}
    const granted = new Promise<Slot>((resolve, reject) => {
      const deadline = clock.after(waitMs, () => {
        cell.queue.delete(waiting)
        reject(refusal(vnode))
      })
      const waiting: Waiting = {
        grant: (free) => {
          deadline.cancel()
          slot = free
          resolve(free)
        },
      }
      leave = () => {
        deadline.cancel()
        if (slot === null) cell.queue.delete(waiting)
        else this.leave(slot)
        slot = null
      }
      cell.queue.add(waiting)
    })
    return { granted, leave: () => leave() }
  }

  /** Gives a place back: to who has waited longest, if anybody waits. */
  leave(slot: Slot): void {
    const cell = this.#cells.get(slot.vnode)
    if (cell === undefined) return
    for (const waiting of cell.queue) {
      cell.queue.delete(waiting)
      return waiting.grant({ vnode: slot.vnode })
    }
    cell.inside -= 1
    if (cell.inside === 0) this.#cells.delete(slot.vnode)
  }
}

function refusal(vnode: Vnode): PgError {
  return pgError('keyOverloaded', [vnode])
}

/** As that database is configured; null: without one. */
export function bulkheadOf(options: DatabaseOptions, clock: Clock): Bulkhead | null {
  const { rules, inFlightPerKeyMax = 0, pool } = options
  if (rules === null || inFlightPerKeyMax === 0) return null
  const { waitersMax, queryWaitTimeoutMs } = pool
  const waitMs = queryWaitTimeoutMs === 0 ? waitMsMax : queryWaitTimeoutMs
  return new Bulkhead({ clock, insideMax: inFlightPerKeyMax, waitersMax, waitMs })
}

// As long as a timer can be: where statements wait for ever.
const waitMsMax = 2 ** 31 - 1
