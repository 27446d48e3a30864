// What a client has prepared and bound, under its own names.
import type { ShardId } from '../core/ids.ts'
import type { CachedStatement } from '../pool/statement-cache.ts'
import type { PinReason, Plan, SessionCommand } from '../router/plan.ts'
import type { BoundParams, Prepared, Router, RouterContext } from '../router/router.ts'

/** One prepared statement of a client. Its name on servers is `cached.name`, or unnamed. */
export class ClientStatement {
  readonly cached: CachedStatement
  readonly named: boolean
  #context: RouterContext
  #prepared: Prepared

  constructor(cached: CachedStatement, named: boolean, context: RouterContext, prepared: Prepared) {
    this.cached = cached
    this.named = named
    this.#context = context
    this.#prepared = prepared
  }

  /** As it reads now: after DDL or with another search_path its names may mean other tables. */
  preparedIn(router: Router, context: RouterContext): Prepared {
    if (context === this.#context) return this.#prepared
    this.#prepared = router.statements(this.cached.sql, context)
    this.#context = context
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
