// The embedded cluster: shards of one primary and its replicas each, and Redis when there is one.
// Every server has the role and the database that clients of the demo use (demo/roles.ts).
import { access } from 'node:fs/promises'
import { join } from 'node:path'
import type { Log } from '../core/log.ts'
import type { Installation } from './installation.ts'
import { PostgresServer } from './postgres-server.ts'
import { waitUntil } from './process.ts'
import { startRedis, type RedisServer } from './redis-server.ts'
import { demoRole } from './roles.ts'
import { openRun, type Run } from './run.ts'
import type { Settings } from './settings.ts'
import { withClient } from './sql.ts'
import { findTemplate } from './template.ts'

/** What to start. */
export type ClusterOptions = {
  /** 1 or more; they are named s1, s2, … */
  readonly shards: number
  /** Of each shard, 0 or more. */
  readonly replicas: number
  readonly installation: Installation
  /** Kept between runs; null: a temporary directory that is removed at the end. */
  readonly dir: string | null
  readonly log: Log
  /** Over those of demo/settings.ts, for every server. */
  readonly settings?: Settings
}

type ClusterShard = {
  readonly id: string
  readonly primary: PostgresServer
  readonly replicas: readonly PostgresServer[]
}

/** Servers that run until `stop`. */
export type Cluster = {
  /** Of the run; others may put files into it, which go with a temporary one. */
  readonly dir: string
  /** False when the servers were kept from an earlier run. */
  readonly fresh: boolean
  readonly shards: readonly ClusterShard[]
  readonly redisUrl: string
  /** Of the process that cleans up when ours is killed. */
  readonly watchdogPid: number
  /** Stops every server and removes a temporary directory. Safe to call again. */
  stop(): Promise<void>
}

const replayDeadlineMs = 10_000

/** URL of the demo's database on that server, for the demo's role. */
export function demoUrl(server: PostgresServer): string {
  const { name, password, database } = demoRole
  return `postgres://${name}:${password}@127.0.0.1:${server.port}/${database}`
}

/** Starts everything and waits until each replica has what its primary has. */
export async function startCluster(options: ClusterOptions): Promise<Cluster> {
  const run = await openRun(options.dir)
  const started: PostgresServer[] = []
  let redis: RedisServer | null = null
  try {
    const fresh = await isFresh(run.dir, options.shards)
    // Made once here rather than by every shard at the same time.
    await findTemplate(options.installation)
    const ids = Array.from({ length: options.shards }, (_, index) => `s${index + 1}`)
    const starting = ids.map((id) => startShard(id, run.dir, options, started))
    const shards = await allOrFirstFailure(starting)
    redis = await startRedis({ dir: join(run.dir, 'redis'), env: process.env })
    options.log.debug({ dir: run.dir, servers: started.length }, 'servers are ready')
    return {
      dir: run.dir,
      fresh,
      shards,
      redisUrl: redis.url,
      watchdogPid: run.watchdogPid,
      stop: once(() => stopAll(run, started, redis, options.dir !== null)),
    }
  } catch (thrown) {
    await stopAll(run, started, redis, options.dir !== null)
    throw thrown
  }
}

/** A shard that fails does not leave the others starting behind our back. */
async function allOrFirstFailure<T>(starting: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(starting)
  return Promise.all(starting)
}

async function isFresh(dir: string, shardCount: number): Promise<boolean> {
  const exists = (id: string) =>
    access(join(dir, `${id}-primary`)).then(
      () => true,
      () => false,
    )
  if (await exists(`s${shardCount + 1}`)) {
    throw new Error(`"${dir}" was made with more than ${shardCount} shards: ask for as many again`)
  }
  return !(await exists('s1'))
}

async function startShard(
  id: string,
  dir: string,
  options: ClusterOptions,
  started: PostgresServer[],
): Promise<ClusterShard> {
  const { installation, replicas: replicaCount, settings = {} } = options
  const primary = await PostgresServer.create({
    installation,
    settings,
    dir: join(dir, `${id}-primary`),
  })
  const open = (index: number) =>
    PostgresServer.createReplica(primary, { settings, dir: join(dir, `${id}-replica-${index}`) })
  const indexes = Array.from({ length: replicaCount }, (_, index) => index + 1)
  const openReplicas = () => allOrFirstFailure(indexes.map(open))
  const start = (server: PostgresServer) => {
    started.push(server)
    return server.start()
  }
  // Copying files that nobody writes to is the quicker way; after a crash they need recovery first.
  const early = (await primary.isCleanlyStopped()) ? await openReplicas() : null
  await start(primary)
  const replicas = early ?? (await openReplicas())
  await allOrFirstFailure(replicas.map(start))
  await allOrFirstFailure(replicas.map((replica) => waitForReplay(primary, replica)))
  return { id, primary, replicas }
}

async function waitForReplay(primary: PostgresServer, replica: PostgresServer): Promise<void> {
  const lsn = await withClient(primary.url(), async (client) => {
    const answer = await client.query<{ lsn: string }>('SELECT pg_current_wal_lsn() AS lsn')
    return answer.rows[0]?.lsn ?? ''
  })
  const caughtUp = await withClient(replica.url(), (client) => {
    const sql = 'SELECT FROM pg_last_wal_replay_lsn() AS replayed WHERE replayed >= $1::pg_lsn'
    const arrived = async () => (await client.query(sql, [lsn])).rowCount === 1
    return waitUntil(arrived, replayDeadlineMs)
  })
  if (!caughtUp) throw new Error(`the replica in "${replica.dir}" does not follow its primary`)
}

async function stopAll(
  run: Run,
  servers: readonly PostgresServer[],
  redis: RedisServer | null,
  kept: boolean,
): Promise<void> {
  const mode = kept ? 'fast' : 'immediate'
  const stopping = servers.map((server) => server.stop(mode))
  await Promise.allSettled([...stopping, redis?.stop()])
  await run.end()
}

function once(action: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | null = null
  return () => (running ??= action())
}
