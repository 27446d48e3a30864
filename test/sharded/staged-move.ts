// A move of one virtual node between two shards, its states published by hand: what clients may see
// between any two of them can be looked at, and rows planted, for as long as it takes.
import type { Client } from 'pg'
import { vnodeOfInt } from '../../router/key-hash.ts'
import { column, connected, present, until, value } from '../support/clients.ts'
import type { Stack } from '../support/stack.ts'

const vnodeBits = 12

/** Of the virtual node of tenant 1, from its owner to the other one of two shards. */
export class StagedMove {
  /** Of tenant 1. */
  readonly vnode = vnodeOfInt(1n, vnodeBits)
  readonly source: Client
  readonly target: Client
  /** A tenant of the target, which stays there. */
  readonly neighbour: number
  readonly #stack: Stack
  readonly #home: Client
  readonly #from: number

  private constructor(
    stack: Stack,
    [home, ...shards]: readonly Client[],
    place: { readonly from: number; readonly neighbour: number },
  ) {
    this.#stack = stack
    this.#home = present(home)
    this.#from = place.from
    this.neighbour = place.neighbour
    this.source = present(shards[place.from])
    this.target = present(shards[1 - place.from])
  }

  /** Nothing moves yet. `stack` has two shards. */
  static async prepare(stack: Stack): Promise<StagedMove> {
    const urls = [stack.shardUrls[0], ...stack.shardUrls]
    const clients = await Promise.all(
      urls.map((connectionString) => connected({ connectionString: present(connectionString) })),
    )
    const owners = await column(
      present(clients[0]),
      'SELECT ordinal FROM ringfence.vnode v JOIN ringfence.shard s ON s.id = shard ORDER BY vnode',
    )
    const ownerOf = (tenant: number) => Number(owners[vnodeOfInt(BigInt(tenant), vnodeBits)])
    const from = ownerOf(1)
    let neighbour = 2
    while (ownerOf(neighbour) === from) neighbour += 1
    return new StagedMove(stack, clients, { from, neighbour })
  }

  async close(): Promise<void> {
    await Promise.all([this.#home, this.source, this.target].map((client) => client.end()))
  }

  /** Ends all other connections to the shards; they are opened anew. */
  async endOthers(): Promise<void> {
    const own = [this.#home, this.source, this.target]
    const pids = await Promise.all(own.map((client) => value(client, 'SELECT pg_backend_pid()')))
    const sql = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND pid <> ALL ($1)`
    await this.source.query(sql, [pids])
    await this.target.query(sql, [pids])
  }

  /** The target is being filled: what `target` is given now is hidden. */
  begin(): Promise<void> {
    return this.publish(
      `INSERT INTO ringfence.move (vnodes, keys, except_keys, from_shard, to_shard, state)
       SELECT '{${this.vnode}}', '{}', '{}', a.id, b.id, 'copying'
       FROM ringfence.shard a, ringfence.shard b
       WHERE a.ordinal = ${this.#from} AND b.ordinal = ${1 - this.#from}`,
    )
  }

  state(name: string): Promise<void> {
    return this.publish(`UPDATE ringfence.move SET state = '${name}'`)
  }

  /** The target serves. */
  async switched(): Promise<void> {
    await this.state('fencing')
    await this.publish(this.ownersSql('switched', 'to_shard'))
  }

  /** SQL that gives the virtual node to a side of the move. */
  ownersSql(state: string, side: 'from_shard' | 'to_shard'): string {
    return `UPDATE ringfence.move SET state = '${state}';
      UPDATE ringfence.vnode SET shard = m.${side} FROM ringfence.move m WHERE vnode = ${this.vnode}`
  }

  /** Resolves once the proxy has acknowledged, as the runner of a move waits for it. */
  async publish(sql: string): Promise<void> {
    const epoch = await this.announce(sql)
    const seen = 'SELECT min(epoch_seen) FROM ringfence.proxy'
    await until('acknowledged', async () => (await value(this.#home, seen)) === epoch)
  }

  /** The same without waiting; gives the epoch. */
  async announce(sql: string): Promise<string> {
    const next = 'UPDATE ringfence.topology SET epoch = epoch + 1 RETURNING epoch'
    await this.#home.query(sql)
    const [epoch] = await column(this.#home, next)
    await this.#home.query('NOTIFY ringfence_topology')
    return epoch ?? ''
  }

  /** Resolves once the proxy routes by `epoch`. */
  async known(epoch: string): Promise<void> {
    const [database] = this.#stack.instance.databases.values()
    await until('known', () => String(database?.topology.epoch) === epoch)
  }
}
