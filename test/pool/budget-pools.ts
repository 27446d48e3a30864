// Pools that share a limit of connections, each as a user of its own.
import { systemClock } from '../../core/clock.ts'
import { ask } from '../../pool/exchange.ts'
import type { Pool } from '../../pool/pool.ts'
import { ServerBudget } from '../../pool/server-budget.ts'
import { present } from '../support/clients.ts'
import type { TestServers } from '../support/servers.ts'
import { closePools, lease, poolTo } from './pools.ts'
import { shardId } from '../../core/ids.ts'

type Wish = { readonly placesMax: number; readonly size: number; readonly users: number }

export class BudgetPools {
  /** Most connections that were there at once. */
  placesSeenMax = 0
  readonly #pools: readonly Pool[]
  readonly #budget: ServerBudget

  constructor(servers: TestServers, { placesMax, size, users }: Wish) {
    const url = new URL(present(servers.shards[0]).url)
    const [host, port] = [url.hostname, Number(url.port)]
    const login = { user: url.username, password: url.password, database: 'postgres' }
    const place = { shard: shardId('s1'), role: 'primary', host, port, tlsMode: null } as const
    this.#budget = new ServerBudget(placesMax, systemClock)
    const budgets = [this.#budget]
    this.#pools = Array.from({ length: users }, () =>
      poolTo({ ...place, ...login, secret: undefined }, { size, budgets }),
    )
  }

  /** One statement of that user. */
  async ask(user: number): Promise<void> {
    const pool = present(this.#pools[user])
    const server = await lease(pool)
    const open = this.#pools.reduce((sum, each) => sum + each.connections.size, 0)
    this.placesSeenMax = Math.max(this.placesSeenMax, open, this.#budget.taken)
    await ask(server, 'SELECT 1')
    pool.release(server)
  }

  /** Every user asks, four at a time, until so many statements were served in all; gives how many of each. */
  async flood(total: number): Promise<readonly number[]> {
    const served = this.#pools.map(() => 0)
    const sum = () => served.reduce((all, each) => all + each, 0)
    const turns = this.#pools.flatMap((_, user) =>
      Array.from({ length: 4 }, async () => {
        while (sum() < total || present(served[user]) <= 20) {
          await this.ask(user)
          served[user] = present(served[user]) + 1
        }
      }),
    )
    await Promise.all(turns)
    return served
  }

  async [Symbol.asyncDispose](): Promise<void> {
    closePools()
  }
}
