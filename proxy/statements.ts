// What a client has prepared and bound, under its own names.
import type { ShardId } from '../core/ids.ts'
import type { CachedStatement } from '../pool/statement-cache.ts'
import type { PinReason, Plan, SessionCommand } from '../router/plan.ts'
import type { BoundParams, Prepared, RouterContext } from '../router/router.ts'
import type { Database } from './database.ts'

/** How a session reads names now: `searchPath` as it was set, '' for the server's default. */
export type Reading = { readonly context: RouterContext; readonly searchPath: string }

/** One prepared statement of a client. Its name on servers is `cached.name`, or unnamed. */
export class ClientStatement {
  readonly named: boolean
  #cached: CachedStatement
  #prepared: Prepared
  #reading: Reading

  constructor(named: boolean, cached: CachedStatement, prepared: Prepared, reading: Reading) {
    this.named = named
    this.#cached = cached
    this.#prepared = prepared
    this.#reading = reading
  }

  get cached(): CachedStatement {
    return this.#cached
  }

  /** As it reads now: after DDL or with another search_path its names may mean other tables. */
  preparedIn({ router, statements }: Database, reading: Reading): Prepared {
    const { context, searchPath } = reading
    if (context === this.#reading.context) return this.#prepared
    const { sql, paramTypes } = this.#cached
    const { hints, hintProblem, hintSpans } = this.#prepared
    // What servers are given has no hints any more.
    this.#prepared = { ...router.statements(sql, context), hints, hintProblem, hintSpans }
    if (searchPath !== this.#reading.searchPath) {
      this.#cached = statements.intern(sql, paramTypes, searchPath)
    }
    this.#reading = reading
    return this.#prepared
  }
}

/** A bound statement; lives until its transaction ends. */
export type Portal = {
  readonly statement: ClientStatement
  readonly prepared: Prepared
  readonly params: BoundParams
  readonly plan: Plan
  /** The Bind message, for portals that are executed on several shards. */
  readonly bindFrame: Uint8Array
  /** Shard where the portal is open on a server; null when none has it. */
  shard: ShardId | null
}

/** What is left to note once a statement has been completed by a server. */
export type Effect = {
  readonly command: SessionCommand | null
  readonly sql: string
  readonly params: BoundParams | null
  readonly pin: PinReason | null
  /** DDL: prepared plans of all servers are outdated. */
  readonly ddl: boolean
  /** For a BEGIN that was sent along with statements that may write. */
  readonly writes: boolean
}
