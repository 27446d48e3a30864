// What rows about moves have in common: shards of which only the first ones own anything, proxies
// as processes of their own, one table by tenant, and moves run through as a command would.
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Client } from 'pg'
import { initialise } from '../catalog/migrate.ts'
import { createMove, type Move, type MoveOptions, type NewMove } from '../catalog/move-store.ts'
import { assert } from '../core/assert.ts'
import { type ShardId, shardId, vnode } from '../core/ids.ts'
import { createLog } from '../core/log.ts'
import { type Cluster, startCluster } from '../demo/cluster.ts'
import type { Installation } from '../demo/installation.ts'
import { demoRole } from '../demo/roles.ts'
import type { Settings } from '../demo/settings.ts'
import { withClient } from '../demo/sql.ts'
import { type MoverDatabase, openCatalog, runMove } from '../rebalancer/run-move.ts'
import type { ShardingRules } from '../router/schema.ts'
import { serveRingfence } from './ringfence-peers.ts'
import type { LoggedTransaction } from './pgbench.ts'
import { createShardedDatabase, databaseUrl, shardedDatabase } from './servers.ts'

/** Several moves of one row need the same of their surroundings. */
export type MovingBench = {
  readonly installation: Installation
  readonly pgbench: string
  readonly signal: AbortSignal
}

type MovingOptions = {
  readonly shards: number
  /** The first so many share the virtual nodes; the others have joined and own nothing. */
  readonly owning: number
  readonly proxies: number
  /** Of each tenant. */
  readonly tenants: number
  readonly rowsPerTenant: number
}

/** Servers, proxies and the mover's view of them; ends with its `stop`. */
export type Moving = {
  readonly cluster: Cluster
  readonly database: MoverDatabase
  readonly proxyPorts: readonly number[]
  stop(): Promise<void>
}

/**
 * Commits are as durable as in earnest, since clients wait for some of them; nothing else happens
 * on a timer.
 */
const settings: Settings = {
  fsync: 'on',
  full_page_writes: 'on',
  shared_buffers: '256MB',
  max_wal_size: '4GB',
  checkpoint_timeout: '1d',
  autovacuum: 'off',
  jit: 'off',
  log_min_messages: 'error',
}

const rules: ShardingRules = {
  key: 'tenant_id',
  keyType: 'bigint',
  vnodeCount: 4096,
  tables: new Map(),
}

const tableSql = `CREATE TABLE item (tenant_id bigint NOT NULL, id int NOT NULL, amount int NOT NULL,
  note text NOT NULL, PRIMARY KEY (tenant_id, id))`

/** Starts and fills everything. */
export async function startMoving(
  { installation, signal }: MovingBench,
  options: MovingOptions,
): Promise<Moving> {
  const { shards: count, owning, proxies: proxyCount } = options
  const log = createLog('error')
  await using resources = new AsyncDisposableStack()
  const cluster = await startCluster({
    shards: count,
    replicas: 0,
    installation,
    dir: null,
    log,
    settings,
  })
  resources.defer(() => cluster.stop())
  await createShardedDatabase(cluster)
  const shards = cluster.shards.map(({ id, primary }) => {
    return { id: shardId(id), url: databaseUrl(primary, shardedDatabase), weight: 1 }
  })
  await initialise({ shards: shards.slice(0, owning), rules })
  await initialise({ shards, rules })
  const database = moverOf(cluster)
  await fill(shards, database, options)
  signal.throwIfAborted()
  const proxyPorts: number[] = []
  for (let number = 1; number <= proxyCount; number += 1) {
    const dir = join(cluster.dir, `proxy-${number}`)
    await mkdir(dir)
    const serving = await serveRingfence(dir, settingsOf(cluster), shardedDatabase)
    resources.defer(() => serving.stop())
    proxyPorts.push(serving.port)
  }
  const owned = resources.move()
  return { cluster, database, proxyPorts, stop: () => owned.disposeAsync() }
}

/** Makes a move and runs it to its end. @throws when it ends in any other way than done */
export async function moveNow(moving: Moving, wanted: NewMove, signal: AbortSignal): Promise<Move> {
  const { database } = moving
  const { id } = await withCatalog(database, (catalog) => createMove(catalog, wanted))
  const ended = await runMove({ database, moveId: id, log: createLog('error'), signal })
  assert(ended.state === 'done', `move ${id} is done, not ${ended.state}: ${ended.error ?? ''}`)
  return ended
}

/** Everything that a shard owns goes to another one. */
export async function wholeShard(
  { database }: Moving,
  way: { readonly from: ShardId; readonly to: ShardId },
  options: MoveOptions,
): Promise<NewMove> {
  const found = await withCatalog(database, (catalog) =>
    catalog.query<{ vnode: number }>(
      'SELECT vnode FROM ringfence.vnode WHERE shard = $1 ORDER BY vnode',
      [way.from],
    ),
  )
  return { ...way, vnodes: found.rows.map((row) => vnode(row.vnode)), keys: [], options }
}

/** A connection to the catalog for as long as `use` takes. */
export async function withCatalog<T>(
  database: MoverDatabase,
  use: (catalog: Client) => Promise<T>,
): Promise<T> {
  const catalog = await openCatalog(database)
  try {
    return await use(catalog.client)
  } finally {
    await catalog.end()
  }
}

/** A transaction's begin as it was offered, and its end, milliseconds since 1970. */
export function spanOf({ endedMicros, latencyMicros }: LoggedTransaction) {
  const endMs = endedMicros / 1000
  return { beginMs: endMs - (latencyMicros ?? 0) / 1000, endMs }
}

/** Latencies in order, for `percentile`. */
export function latenciesMs(transactions: readonly LoggedTransaction[]): Float64Array {
  return Float64Array.from(transactions, ({ latencyMicros }) => (latencyMicros ?? 0) / 1000).sort()
}

/** Rests; ends early with the signal. */
export function rest(ms: number, signal: AbortSignal): Promise<void> {
  return delay(ms, undefined, { signal })
}

function moverOf({ shards }: Cluster): MoverDatabase {
  const addresses = shards.map(({ id, primary }) => {
    return [shardId(id), { urls: [primary.url(shardedDatabase)] }] as const
  })
  const home = addresses[0]?.[0]
  assert(home !== undefined, 'there is a shard')
  return { name: shardedDatabase, rules, home, shards: new Map(addresses) }
}

function settingsOf({ shards }: Cluster): object {
  const { name, password } = demoRole
  const sharded = {
    pool: { size: 20 },
    server_user: { name, password },
    shards: shards.map(({ id, primary }) => {
      return { id, primary: `postgres://127.0.0.1:${primary.port}/${shardedDatabase}` }
    }),
    sharding: { key: rules.key },
    rebalance: { measure: true },
  }
  return { databases: { [shardedDatabase]: sharded } }
}

/** Every shard gets the table and the rows that it owns. */
async function fill(
  shards: readonly { readonly id: ShardId; readonly url: string }[],
  database: MoverDatabase,
  { tenants, rowsPerTenant }: MovingOptions,
): Promise<void> {
  const owned = await withCatalog(database, (catalog) =>
    catalog.query<{ vnode: number; shard: string }>('SELECT vnode, shard FROM ringfence.vnode'),
  )
  for (const { id, url } of shards) {
    const vnodes = owned.rows.filter(({ shard }) => shard === id).map((row) => row.vnode)
    await withClient(url, async (client) => {
      await client.query(tableSql)
      await client.query(
        `INSERT INTO item
         SELECT t, i, 0, 'the note of item ' || i || ' of tenant ' || t || ', which is short'
         FROM generate_series(1, ${tenants}) t, generate_series(1, ${rowsPerTenant}) i
         WHERE ringfence.vnode(t::bigint) = ANY ($1::int[])`,
        [vnodes],
      )
      await client.query('VACUUM ANALYZE item')
    })
  }
}
