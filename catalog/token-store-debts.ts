// Publishes that Redis does not have yet. Bounded: beyond the bound nothing is remembered but that, and all
// tokens have to become void before this proxy may say again that it owes nothing.
import type { ShardId } from '../core/ids.ts'
import { laterPosition, type Position, type Positions } from '../core/position.ts'

/** `stored`: Redis has it. `lost`: nobody trusts what Redis had before. */
export type Published = 'stored' | 'lost'

type Waiter = { unpaid: number; readonly settle: (published: Published) => void }
type Debt = { readonly positions: Map<ShardId, Position>; readonly waiters: Set<Waiter> }

/** Of one publish. Whoever no longer waits says so; the debt stays. */
export type DebtWait = {
  readonly settled: Promise<Published>
  readonly abandon: () => void
}

/** Ids paid at once: as many as Redis can store well within the time of one command. */
const paidAtOnceMax = 256

/** What is owed, by session id. */
export class Debts {
  readonly #idsMax: number
  readonly #waiters = new Set<Waiter>()
  #owed = new Map<string, Debt>()
  /** Taken by pay() and on its way. */
  #paying = new Map<string, Debt>()
  #overflown = false

  constructor(idsMax: number) {
    this.#idsMax = idsMax
  }

  /** Redis lacks something. */
  get owing(): boolean {
    return this.#overflown || this.#owed.size > 0 || this.#paying.size > 0
  }

  /** There were more ids than can be remembered: every token has to become void. */
  get overflown(): boolean {
    return this.#overflown
  }

  /** Settles once all of it is paid, or forgiven. */
  add(ids: ReadonlySet<string>, positions: Positions): DebtWait {
    const { promise, resolve } = Promise.withResolvers<Published>()
    const waiter: Waiter = { unpaid: ids.size, settle: resolve }
    this.#waiters.add(waiter)
    if (this.#overflown || this.#owed.size + ids.size > this.#idsMax) {
      this.#overflown = true
      this.#owed.clear()
    } else {
      for (const id of ids) {
        this.#owe(id, { positions: new Map(positions), waiters: new Set([waiter]) })
      }
    }
    const abandon = () => {
      this.#waiters.delete(waiter)
      for (const id of ids) {
        this.#owed.get(id)?.waiters.delete(waiter)
        this.#paying.get(id)?.waiters.delete(waiter)
      }
    }
    return { settled: promise, abandon }
  }

  /** Hands some of what is owed to `store`; what it does not confirm stays owed. One call at a time. */
  async pay(store: (id: string, positions: Positions) => Promise<boolean>): Promise<boolean> {
    const taken = [...this.#owed].slice(0, paidAtOnceMax)
    for (const [id, debt] of taken) {
      this.#owed.delete(id)
      this.#paying.set(id, debt)
    }
    const stored = await Promise.all(taken.map(([id, { positions }]) => store(id, positions)))
    this.#paying.clear()
    for (const [at, [id, debt]] of taken.entries()) {
      if (stored[at] === true) this.#paid(debt)
      else if (!this.#overflown) this.#owe(id, debt)
    }
    return stored.every(Boolean)
  }

  /** Every token became void after the bound was passed. */
  forgive(): void {
    this.#overflown = false
    for (const { settle } of this.#waiters) settle('lost')
    this.#waiters.clear()
  }

  #paid({ waiters }: Debt): void {
    for (const waiter of waiters) {
      waiter.unpaid -= 1
      if (waiter.unpaid > 0) continue
      this.#waiters.delete(waiter)
      waiter.settle('stored')
    }
  }

  #owe(id: string, debt: Debt): void {
    const known = this.#owed.get(id)
    if (known === undefined) {
      this.#owed.set(id, debt)
      return
    }
    for (const [shard, position] of debt.positions) {
      known.positions.set(shard, laterPosition(known.positions.get(shard), position))
    }
    for (const waiter of debt.waiters) known.waiters.add(waiter)
  }
}
