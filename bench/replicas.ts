// Ringfence before a primary and two replicas that are late: one process with a database for each level of
// consistency, so that nothing else differs between them.
import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { programVersion } from '../cli/version.ts'
import { assert } from '../core/assert.ts'
import type { Cluster } from '../demo/cluster.ts'
import { waitUntil } from '../demo/process.ts'
import { demoRole } from '../demo/roles.ts'
import { withClient } from '../demo/sql.ts'
import { type Peer, peerDirectory, type PeerName, type ReadCounts, takesAll } from './peers.ts'
import { serveRingfence } from './ringfence-peers.ts'
import { databaseUrl } from './servers.ts'

/** How late the replicas of these rows are. */
export const replayDelayMs = 20

type Level = {
  readonly peer: PeerName
  readonly database: string
  readonly consistency: 'strong' | 'eventual' | 'session'
  /** What a client's number is made a comment with. */
  readonly tag: string
}

const levels: readonly Level[] = [
  { peer: 'Ringfence, strong', database: 'strong', consistency: 'strong', tag: 'bench-' },
  { peer: 'Ringfence, eventual', database: 'eventual', consistency: 'eventual', tag: 'bench-' },
  { peer: 'Ringfence, session', database: 'session', consistency: 'session', tag: 'bench-' },
  {
    peer: 'Ringfence, session ids',
    database: 'ids',
    consistency: 'session',
    tag: 'ringfence:session_id=bench-',
  },
]
const serverConnections = 20
/** For session ids to count: a lease, max_lag and failover.probe must have passed since the start. */
const readyDeadlineMs = 30_000

/** Starts the process; its peers are stopped by whichever is stopped first. */
export async function startReplicaPeers(cluster: Cluster): Promise<readonly Peer[]> {
  const dir = await peerDirectory(cluster, 'ringfence-replicas')
  const [shard] = cluster.shards
  assert(shard !== undefined, 'there is a shard')
  const url = ({ port }: { readonly port: number }) =>
    `postgres://127.0.0.1:${port}/${demoRole.database}`
  const databases = levels.map(({ database, consistency }) => [
    database,
    {
      pool: { size: serverConnections },
      server_user: { name: demoRole.name, password: demoRole.password },
      shards: [{ id: shard.id, primary: url(shard.primary), replicas: shard.replicas.map(url) }],
      reads: { consistency },
    },
  ])
  const settings = {
    databases: Object.fromEntries(databases),
    redis: { url: cluster.redisUrl },
  }
  const serving = await serveRingfence(dir, settings, 'strong')
  const { port, httpPort, proxyPid, stop } = serving
  const peers = levels.map(({ peer: name, database, tag }): Peer => {
    const readCounts = () => readCountsOf(httpPort, database)
    const version = programVersion()
    const variables = { tag }
    return {
      name,
      version,
      port,
      database,
      proxyPid,
      cannot: takesAll,
      variables,
      readCounts,
      stop,
    }
  })
  for (const peer of peers) await untilReady(peer)
  return peers
}

/** Which Redis the session ids live in: its version, or that it is the stand-in, which lives in this process. */
export async function redisVersion({ redisUrl }: Cluster): Promise<string> {
  const redis = new Redis(redisUrl)
  try {
    const said = await redis.info('server')
    const told = (name: string) => new RegExp(`^${name}:(\\S+)`, 'm').exec(said)?.[1]
    if (told('process_id') === String(process.pid)) return 'stand-in'
    return told('redis_version') ?? 'unknown'
  } finally {
    redis.disconnect()
  }
}

/** Resolves once replicas serve whatever may be read there. */
async function untilReady(peer: Peer): Promise<void> {
  const { readCounts, port, database, variables } = peer
  if (readCounts === null || database === 'strong') return
  const sql = `SELECT abalance FROM pgbench_accounts WHERE aid = 1 /* ${variables['tag']}0 */`
  const served = await withClient(databaseUrl({ port }, database), (client) =>
    waitUntil(async () => {
      const before = await readCounts()
      await client.query(sql)
      await delay(50)
      return (await readCounts()).replica > before.replica
    }, readyDeadlineMs),
  )
  assert(served, `replicas serve reads of the database "${database}"`)
}

async function readCountsOf(httpPort: number, database: string): Promise<ReadCounts> {
  const response = await fetch(`http://127.0.0.1:${httpPort}/metrics`)
  return parseReadCounts(await response.text(), database)
}

/** Sums of ringfence_reads_total over shards and reasons. */
export function parseReadCounts(metrics: string, database: string): ReadCounts {
  const sums = { replica: 0, primary: 0 }
  for (const [, labels = '', value] of metrics.matchAll(
    /^ringfence_reads_total\{(.*)\} (\S+)$/gm,
  )) {
    if (!labels.includes(`database="${database}"`)) continue
    sums[labels.includes('target="replica"') ? 'replica' : 'primary'] += Number(value)
  }
  return sums
}
