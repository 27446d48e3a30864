// Prepared statements by content: clients that prepare the same SQL share one name on the servers, so a
// server connection parses it once however many clients use it.
import { LRUCache } from 'lru-cache'

/** One statement under the name that Ringfence gives it on servers. */
export type CachedStatement = {
  readonly name: string
  readonly sql: Uint8Array
  /** Parameter types as declared in Parse; 0 = left to the server. */
  readonly paramTypes: readonly number[]
}

/** Interns statements. Bounded: a forgotten entry only means that a twin gets another name. */
export class StatementCache {
  readonly #byContent: LRUCache<string, CachedStatement>
  /** How often a statement was known. */
  hits = 0
  #count = 0

  constructor(entriesMax: number) {
    this.#byContent = new LRUCache({ max: entriesMax })
  }

  get size(): number {
    return this.#byContent.size
  }

  get misses(): number {
    return this.#count
  }

  /**
   * The shared entry of this SQL with these declared types. `scope` is what its names are looked up by and its
   * constants are read by: a server's statement that met another search_path would change its result type, one that
   * met another DateStyle would mean another day. `sql` is copied when it is new.
   */
  intern(sql: Uint8Array, paramTypes: readonly number[], scope: string): CachedStatement {
    // Latin-1 maps bytes to characters one to one, so equal keys are equal bytes.
    const text = Buffer.from(sql.buffer, sql.byteOffset, sql.length).toString('latin1')
    const plain = paramTypes.length === 0 && scope === ''
    const key = plain ? text : `${text}\0${paramTypes.join()}\0${scope}`
    const known = this.#byContent.get(key)
    if (known !== undefined) {
      this.hits += 1
      return known
    }
    const entry = this.alone(sql, paramTypes)
    this.#byContent.set(key, entry)
    return entry
  }

  /** An entry that nobody else shares: what its constants are read by is not known. */
  alone(sql: Uint8Array, paramTypes: readonly number[]): CachedStatement {
    this.#count += 1
    return { name: `ringfence_${this.#count}`, sql: Uint8Array.from(sql), paramTypes }
  }
}
