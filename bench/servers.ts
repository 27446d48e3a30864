// The PostgreSQL servers of a benchmark and what is in them. Server s1 has pgbench's tables in the
// demo's own database; a second database holds pgbench_accounts sharded by aid over all three.
import type { Client } from 'pg'
import { TopologyStore } from '../catalog/topology-store.ts'
import { initialiseAll } from '../cli/init.ts'
import { readConfig } from '../cli/load-config.ts'
import { shardId } from '../core/ids.ts'
import type { Log } from '../core/log.ts'
import { type Cluster, startCluster } from '../demo/cluster.ts'
import type { Installation } from '../demo/installation.ts'
import { demoRole } from '../demo/roles.ts'
import type { Settings } from '../demo/settings.ts'
import { withClient } from '../demo/sql.ts'
import { accountsPerScale, referenceRows, referenceTable } from './rows.ts'

/** The database of the sharded rows, on every server. */
export const shardedDatabase = 'sharded'
/** What its table is sharded by. */
export const shardKey = 'aid'
/** Clients that may connect without a proxy; the rest of max_connections is for the proxies. */
export const directClientsMax = 300

const shardCount = 3

/**
 * Beside demo/settings.ts. Nothing may happen on a timer, since it would hit one peer and not the
 * other; the tables stay in memory; there is room for direct clients, for pgpool and for all pools.
 */
const settings: Settings = {
  shared_buffers: '512MB',
  max_connections: 800,
  max_wal_size: '4GB',
  checkpoint_timeout: '1d',
  autovacuum: 'off',
  jit: 'off',
  wal_level: 'replica',
  log_min_messages: 'error',
}

/** Starts the servers; nobody but us uses them until `stop`. */
export function startServers(installation: Installation, log: Log): Promise<Cluster> {
  return startCluster({ shards: shardCount, replicas: 0, installation, dir: null, log, settings })
}

/** Starts one primary and two replicas which apply every commit `delayMs` late. */
export function startReplicated(
  installation: Installation,
  log: Log,
  delayMs: number,
): Promise<Cluster> {
  const late = { ...settings, recovery_min_apply_delay: `${delayMs}ms` }
  return startCluster({ shards: 1, replicas: 2, installation, dir: null, log, settings: late })
}

/** URL of a database on that server for the role of the benchmark. */
export function databaseUrl(server: { readonly port: number }, database: string): string {
  return `postgres://${demoRole.name}:${demoRole.password}@127.0.0.1:${server.port}/${database}`
}

/** Creates the database of the sharded rows on every server; still empty. */
export async function createShardedDatabase(cluster: Cluster): Promise<void> {
  const sql = `CREATE DATABASE ${shardedDatabase} OWNER ${demoRole.name}`
  const create = ({ primary }: Cluster['shards'][number]) =>
    withClient(primary.url(), (client) => client.query(sql))
  await Promise.all(cluster.shards.map(create))
}

/** Creates and fills the table of the writes to every shard, in the database of that URL. */
export async function createReferenceTable(url: string): Promise<void> {
  await withClient(url, async (client) => {
    await client.query(`CREATE TABLE ${referenceTable} (id int PRIMARY KEY, value int NOT NULL)`)
    await client.query(
      `INSERT INTO ${referenceTable} SELECT id, 0 FROM generate_series(1, ${referenceRows}) AS id`,
    )
    await client.query(`VACUUM ANALYZE ${referenceTable}`)
  })
}

/**
 * Writes the catalog and fills every shard with the accounts that are its own, past the proxy: no
 * proxy runs yet.
 */
export async function fillShards(
  cluster: Cluster,
  options: { readonly configFile: string; readonly scale: number; readonly log: Log },
): Promise<void> {
  await initialiseAll(await readConfig(options.configFile))
  const urls = cluster.shards.map(({ primary }) => databaseUrl(primary, shardedDatabase))
  const owners = await readOwners(cluster, urls[0] ?? '', options.log)
  const accounts = options.scale * accountsPerScale
  await Promise.all(
    urls.map((url, shard) =>
      withClient(url, (client) => fillShard(client, { owners, shard, accounts })),
    ),
  )
  for (const url of urls) await createReferenceTable(url)
}

async function readOwners(cluster: Cluster, url: string, log: Log): Promise<readonly number[]> {
  const shards = cluster.shards.map(({ id }) => shardId(id))
  const store = new TopologyStore({ url, shards, log, pollMs: 60_000 })
  try {
    return [...(await store.start()).owners]
  } finally {
    await store.close()
  }
}

type Share = {
  /** Shard of every vnode. */
  readonly owners: readonly number[]
  readonly shard: number
  readonly accounts: number
}

/** The table as pgbench makes it, with the rows of one shard. */
async function fillShard(client: Client, { owners, shard, accounts }: Share): Promise<void> {
  await client.query(
    `CREATE TABLE pgbench_accounts (aid int NOT NULL, bid int, abalance int, filler char(84))
     WITH (fillfactor = 100)`,
  )
  await client.query(
    `INSERT INTO pgbench_accounts
     SELECT aid, (aid - 1) / ${accountsPerScale} + 1, 0, ''
     FROM generate_series(1, ${accounts}) AS aid
     WHERE ($1::int[])[ringfence.vnode(aid) + 1] = $2`,
    [owners, shard],
  )
  await client.query('ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid)')
  await client.query('VACUUM ANALYZE pgbench_accounts')
}
