// What clients were told, and what they may see because of it. Instants are numbers of a counter: a write that was
// acknowledged before a read began has to be in it; one that failed never; one whose fate is unknown may turn up, once, at
// any time.

import { LineError } from './line.ts'

export type Fate = 'open' | 'done' | 'failed' | 'unknown'

export type Write = {
  fate: Fate
  /** When it was acknowledged; 0 before. */
  doneAt: number
}

export type Transfer = Write & {
  readonly tenant: number
  readonly source: number
  readonly target: number
  readonly amount: number
}

/** The items of one list, in the order in which they were asked for. */
export type ListHistory = {
  readonly writes: Map<number, Write>
  /** The longest state that anybody has read: all reads are beginnings of it, or go on from it. */
  truth: readonly number[]
}

/** Identity and state of a token. */
export type Token = { readonly id: string; readonly state: number }

/** A row that one client changes, until the fate of a change is unknown. */
export type TokenHistory = {
  readonly tenant: number
  /** What it may be now; null: not there. */
  possible: readonly (Token | null)[]
}

const violationsMax = 200

export class Ledger {
  #now = 0
  readonly #onViolation: (what: string) => void
  /** By client, then by number; the tenant is a part of each. */
  readonly entries = new Map<number, Map<number, Write & { readonly tenant: number }>>()
  readonly lists = new Map<string, ListHistory>()
  readonly transfers = new Map<string, Transfer>()
  readonly tokens: TokenHistory[] = []
  /** How often prices were raised, by their number. */
  readonly raises = new Map<number, { done: number; unknown: number }>()
  readonly violations: string[] = []
  violationCount = 0
  writes = 0

  /** `onViolation`: told of the first ones at once. */
  constructor(onViolation: (what: string) => void) {
    this.#onViolation = onViolation
  }

  /** The next instant. */
  tick(): number {
    this.#now += 1
    return this.#now
  }

  begin(): Write {
    return { fate: 'open', doneAt: 0 }
  }

  end(write: Write, fate: Exclude<Fate, 'open'>): void {
    write.fate = fate
    if (fate !== 'done') return
    write.doneAt = this.tick()
    this.writes += 1
  }

  /** Runs what `write` stands for, and notes how it ended. @throws LineError */
  async settle<T>(write: Write, run: () => Promise<T>): Promise<T> {
    try {
      const result = await run()
      this.end(write, 'done')
      return result
    } catch (error) {
      this.end(write, error instanceof LineError ? error.fate : 'unknown')
      throw error
    }
  }

  violation(what: string): void {
    this.violationCount += 1
    if (this.violations.length >= violationsMax) return
    this.violations.push(what)
    this.#onViolation(what)
  }

  entriesOf(client: number): Map<number, Write & { readonly tenant: number }> {
    const found = this.entries.get(client) ?? new Map<number, Write & { readonly tenant: number }>()
    this.entries.set(client, found)
    return found
  }

  list(tenant: number, id: number): ListHistory {
    const key = `${tenant}/${id}`
    const found = this.lists.get(key) ?? { writes: new Map<number, Write>(), truth: [] }
    this.lists.set(key, found)
    return found
  }

  /** A read of a list that began at `beganAt`, when the longest state known had `lengthThen` items. */
  sawList(
    name: string,
    history: ListHistory,
    items: readonly number[],
    { beganAt, lengthThen }: { readonly beganAt: number; readonly lengthThen: number },
  ): void {
    const { truth, writes } = history
    const common = Math.min(truth.length, items.length)
    for (let at = 0; at < common; at += 1) {
      if (truth[at] !== items[at]) {
        this.violation(`list ${name}: item ${at} was ${truth[at]} and is ${items[at]}`)
        return
      }
    }
    if (items.length < lengthThen) {
      this.violation(`list ${name}: a read gave ${items.length} items after one of ${lengthThen}`)
    }
    const seen = new Set(items)
    if (seen.size < items.length) this.violation(`list ${name}: an item stands there twice`)
    for (const item of items) {
      if ((writes.get(item)?.fate ?? 'failed') === 'failed') {
        this.violation(`list ${name}: item ${item} was never appended, or failed`)
      }
    }
    for (const [item, { doneAt }] of writes) {
      if (doneAt > 0 && doneAt < beganAt && !seen.has(item)) {
        this.violation(`list ${name}: item ${item} was acknowledged and is not there`)
      }
    }
    this.#checkOrder(name, items, writes)
    if (items.length > truth.length) history.truth = items
  }

  /** What one client appended and was told stands in its order: the client waited for each. */
  #checkOrder(name: string, items: readonly number[], writes: ListHistory['writes']): void {
    const last = new Map<number, number>()
    for (const item of items) {
      if (writes.get(item)?.fate !== 'done') continue
      const client = clientOf(item)
      if ((last.get(client) ?? 0) > item) {
        this.violation(`list ${name}: item ${item} stands behind a later one of its client`)
      }
      last.set(client, item)
    }
  }
}

const itemsPerClient = 1_000_000_000

/** Items tell who appended them. */
export function itemOf(client: number, number: number): number {
  return client * itemsPerClient + number
}

function clientOf(item: number): number {
  return Math.floor(item / itemsPerClient)
}
