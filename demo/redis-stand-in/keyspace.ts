// The keys of one database: strings and hashes, each with an end or none. What has ended is gone for every
// reader at once and is swept away now and then.
import { performance } from 'node:perf_hooks'

/** An error reply, in Redis' own words, code first. */
export class RedisError extends Error {}

type Value = string | Map<string, string>
type Entry = { readonly value: Value; endMs: number | null }

const keysMax = 1_000_000

/** Milliseconds since 1970: the clock of TIME, and of what ends. */
export function wallClockMs(): number {
  return performance.timeOrigin + performance.now()
}

/** One database. */
export class Keyspace {
  readonly #entries = new Map<string, Entry>()

  get size(): number {
    this.sweep()
    return this.#entries.size
  }

  keys(): readonly string[] {
    this.sweep()
    return [...this.#entries.keys()]
  }

  has(key: string): boolean {
    return this.#find(key) !== undefined
  }

  /** @throws RedisError WRONGTYPE when it is a hash. */
  string(key: string): string | undefined {
    const value = this.#find(key)?.value
    if (typeof value === 'object') throw wrongType()
    return value
  }

  /** @throws RedisError WRONGTYPE when it is a string. */
  hash(key: string): ReadonlyMap<string, string> | undefined {
    const value = this.#find(key)?.value
    if (typeof value === 'string') throw wrongType()
    return value
  }

  /** `endMs` null: without an end. @throws RedisError OOM */
  setString(key: string, value: string, endMs: number | null): void {
    this.#put(key, { value, endMs })
  }

  /** True when the field is new. @throws RedisError WRONGTYPE, OOM */
  setField(key: string, field: string, value: string): boolean {
    const known = this.#find(key)?.value
    if (typeof known === 'string') throw wrongType()
    if (known === undefined) {
      this.#put(key, { value: new Map([[field, value]]), endMs: null })
      return true
    }
    const added = !known.has(field)
    known.set(field, value)
    return added
  }

  /** A hash without fields is gone. @throws RedisError WRONGTYPE */
  deleteField(key: string, field: string): boolean {
    const known = this.#find(key)?.value
    if (typeof known === 'string') throw wrongType()
    const deleted = known?.delete(field) ?? false
    if (known?.size === 0) this.#entries.delete(key)
    return deleted
  }

  delete(key: string): boolean {
    return this.#find(key) !== undefined && this.#entries.delete(key)
  }

  /** False when there is no such key. */
  expire(key: string, endMs: number): boolean {
    const entry = this.#find(key)
    if (entry === undefined) return false
    entry.endMs = endMs
    return true
  }

  /** Null: it has no end. Undefined: no such key. */
  endOf(key: string): number | null | undefined {
    return this.#find(key)?.endMs
  }

  clear(): void {
    this.#entries.clear()
  }

  /** Removes what has ended. */
  sweep(): void {
    const nowMs = wallClockMs()
    for (const [key, { endMs }] of this.#entries) {
      if (endMs !== null && endMs <= nowMs) this.#entries.delete(key)
    }
  }

  #find(key: string): Entry | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined || entry.endMs === null || entry.endMs > wallClockMs()) return entry
    this.#entries.delete(key)
    return undefined
  }

  #put(key: string, entry: Entry): void {
    if (this.#entries.size >= keysMax && !this.#entries.has(key)) {
      throw new RedisError("OOM command not allowed when used memory > 'maxmemory'.")
    }
    this.#entries.set(key, entry)
  }
}

function wrongType(): RedisError {
  return new RedisError('WRONGTYPE Operation against a key holding the wrong kind of value')
}
