// Limits of server connections over several pools: of a database, and of a user over all databases. A session that holds
// servers of several shards must never wait for a place that another such session holds: limits of
// sharded databases count shard by shard.
import type { Clock } from '../core/clock.ts'
import type { ShardId } from '../core/ids.ts'
import type { PoolLimits } from '../pool/pool-options.ts'
import { ServerBudget } from '../pool/server-budget.ts'
import type { ServerRole } from '../pool/server-connection.ts'
import type { DatabaseOptions } from './database-options.ts'
import type { UserLimits } from './session-limits.ts'

export class ServerBudgets {
  readonly #clock: Clock
  readonly #perUserMax: number
  readonly #users: ReadonlyMap<string, UserLimits>
  readonly #budgets = new Map<string, ServerBudget>()

  /** `perUserMax`: of a user without a limit of his own; 0: none. */
  constructor(clock: Clock, perUserMax: number, users: ReadonlyMap<string, UserLimits>) {
    this.#clock = clock
    this.#perUserMax = perUserMax
    this.#users = users
  }

  /** Limits of a pool in which servers know `user`, who may have some of his own. */
  limitsOf(user: string, pool: PoolLimits): PoolLimits {
    const own = this.#users.get(user)
    if (own === undefined) return pool
    const queryWaitTimeoutMs = own.queryWaitTimeoutMs ?? pool.queryWaitTimeoutMs
    const [size, reserve] = [own.size ?? pool.size, own.reserve ?? pool.reserve]
    const laneServersMax = Math.min(pool.laneServersMax, Math.floor(size / 2))
    return { ...pool, size, reserve, queryWaitTimeoutMs, laneServersMax }
  }

  /** Budgets that a pool of `user` at `place`, a shard in one role, belongs to. */
  of(database: DatabaseOptions, place: string, user: string): readonly ServerBudget[] {
    const { name, rules, serverConnectionsMax } = database
    const userMax = this.#users.get(user)?.serverConnectionsMax ?? this.#perUserMax
    const userKey = rules === null ? `user\0${user}` : `user\0${user}\0${name}\0${place}`
    const found: ServerBudget[] = []
    if (serverConnectionsMax > 0) {
      found.push(this.#budget(`database\0${name}\0${place}`, serverConnectionsMax))
    }
    if (userMax > 0) found.push(this.#budget(userKey, userMax))
    return found
  }

  #budget(key: string, placesMax: number): ServerBudget {
    const known = this.#budgets.get(key)
    if (known !== undefined) return known
    const budget = new ServerBudget(placesMax, this.#clock)
    this.#budgets.set(key, budget)
    return budget
  }
}

type Address = { readonly host: string; readonly port: number }

/** The primary counts as one server, wherever it is; each replica is one of its own. */
export function placeOf(shard: ShardId, role: ServerRole, address: Address | null): string {
  if (role === 'primary' || address === null) return `${shard}\0primary`
  return `${shard}\0${address.host}\0${address.port}`
}
