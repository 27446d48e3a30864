// What all workers of a run share: the history that they write, the tokens that they leave for each other, and what
// keys there are.
import type { Random } from '../support/random.ts'
import { History } from '../support/history.ts'
import { Tally } from './tally.ts'

/** A token of a session that has ended, for another one to take over. */
export type LeftToken = { readonly session: number; readonly token: string }

/** A session that is kept in Redis under an id, while it is open to more workers. */
export type OpenId = { readonly session: number; readonly id: string }

const leftMax = 64

export class World {
  readonly history = new History()
  readonly tally = new Tally()
  readonly random: Random
  /** Shard of each key. */
  readonly shardOf: readonly number[]
  readonly openIds: OpenId[] = []
  /** What was done, how and where, by index of the history. */
  readonly #notes: string[] = []
  readonly #left: LeftToken[] = []
  readonly #keysOf: readonly (readonly number[])[]
  #attempts = 0
  #sessions = 0

  constructor(random: Random, shardOf: readonly number[]) {
    this.random = random
    this.shardOf = shardOf
    const shards = new Set(shardOf).size
    this.#keysOf = Array.from({ length: shards }, (_, shard) =>
      shardOf.flatMap((of, key) => (of === shard ? [key] : [])),
    )
  }

  note(index: number, note: string): void {
    this.#notes[index] = note
  }

  noteOf(index: number): string {
    const note = this.#notes[index]
    return note === undefined ? '' : ` [${note}]`
  }

  nextAttempt(): number {
    this.#attempts += 1
    return this.#attempts
  }

  nextSession(): number {
    this.#sessions += 1
    this.tally.sessions += 1
    return this.#sessions
  }

  leave(left: LeftToken): void {
    if (this.#left.length < leftMax) this.#left.push(left)
  }

  takeLeft(): LeftToken | null {
    return this.#left.splice(this.random.below(this.#left.length || 1), 1)[0] ?? null
  }

  /** Any key, more often one of the few that everybody likes. */
  anyKey(): number {
    const hot = Math.min(8, this.shardOf.length)
    return this.random.below(this.random.oneIn(4) ? hot : this.shardOf.length)
  }

  /** A key of the same shard. */
  neighbour(key: number): number {
    const keys = this.#keysOf[this.shardOf[key] ?? 0] ?? []
    return keys[this.random.below(keys.length || 1)] ?? key
  }
}
