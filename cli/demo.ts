// `ringfence demo`: a whole cluster on this machine in one command; the tests and the quick start stand on it.
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parse, stringify } from 'yaml'
import { TopologyStore } from '../catalog/topology-store.ts'
import type { Config } from '../config/config.ts'
import { createLog, type Log } from '../core/log.ts'
import { type Cluster, demoUrl, startCluster } from '../demo/cluster.ts'
import { findInstallation } from '../demo/installation.ts'
import { demoRole, superuser } from '../demo/roles.ts'
import { loadSample } from '../demo/sample.ts'
import { Proxy } from '../proxy/proxy.ts'
import { vnodeBitsOf, vnodeOfInt } from '../router/key-hash.ts'
import { demoScreen } from './demo-screen.ts'
import { initialiseAll } from './init.ts'
import { readConfig } from './load-config.ts'
import { databaseOptions, proxyOptions } from './proxy-options.ts'
import { untilStopped } from './serve.ts'
import { programVersion } from './version.ts'

export type DemoOptions = {
  readonly shards: number
  readonly replicas: number
  /** 0 = any free port. */
  readonly port: number
  /** Null: a temporary directory, removed at the end. */
  readonly dir: string | null
  /** `embedded` or a directory of PostgreSQL's programs. */
  readonly postgres: string
  readonly empty: boolean
  /** Configuration merged over the demo's own; null = none. */
  readonly config: string | null
  readonly json: boolean
}

/** What `--json` prints once everything is ready. */
export type DemoReady = {
  readonly ready: true
  readonly proxy: string
  readonly admin: string
  readonly http: string
  readonly shards: readonly {
    readonly id: string
    readonly primary: string
    readonly replicas: readonly string[]
  }[]
  readonly redis: string
  readonly config: string
  readonly pid: number
}

const httpPortDefault = 9632
// As many as may be prepared (demo/settings.ts): every transaction can then commit in two phases.
const settings = { max_connections: 100 }
const drainMs = 500

/** Runs until a signal. Resolves with the exit code. */
export async function demoCommand(options: DemoOptions): Promise<number> {
  const log = createLog(options.json ? 'info' : 'warn')
  const stopped = untilStopped(() => {
    log.info('stopping')
    // A terminal and npm both pass Ctrl-C on: the second one must not cut the cleaning up short.
    void untilStopped(() => log.info('already stopping'))
  })
  const installation = await findInstallation(options.postgres)
  const { shards, replicas, dir } = options
  const cluster = await startCluster({ shards, replicas, installation, dir, log, settings })
  try {
    const file = await writeConfig(cluster, options)
    const config = await readConfig(file)
    await initialiseAll(config)
    if (cluster.fresh && !options.empty) await loadSampleRows(cluster, config, log)
    const proxy = await Proxy.start(proxyOptions(config, programVersion(), log))
    try {
      const ready = readyLine(cluster, proxy, file)
      process.stdout.write(options.json ? `${JSON.stringify(ready)}\n` : demoScreen(ready))
      await stopped
      await proxy.drain(drainMs)
    } finally {
      await proxy.close()
    }
  } finally {
    await cluster.stop()
  }
  return 0
}

/** Writes the effective configuration into the run's directory; gives its path. */
async function writeConfig(cluster: Cluster, options: DemoOptions): Promise<string> {
  const { name, password, database } = demoRole
  const own = {
    listen: { host: '127.0.0.1', port: options.port },
    http: { host: '127.0.0.1', port: options.port === 0 ? 0 : httpPortDefault },
    users: [{ name, password, admin: true }],
    redis: { url: cluster.redisUrl },
    session_tokens: { key: randomBytes(32).toString('hex') },
    databases: {
      [database]: {
        server_user: { name, password },
        // Moving rows takes rights that an application's role should not have.
        mover_user: { name: superuser, password: cluster.shards[0]?.primary.password ?? null },
        shards: cluster.shards.map((shard) => ({
          id: shard.id,
          primary: bareUrl(demoUrl(shard.primary)),
          replicas: shard.replicas.map((replica) => bareUrl(demoUrl(replica))),
        })),
        sharding: {
          key: 'tenant_id',
          key_type: 'bigint',
          tables: { products: { placement: 'reference' } },
        },
      },
    },
  }
  const over: unknown = options.config === null ? {} : parse(await readFile(options.config, 'utf8'))
  const file = join(cluster.dir, 'ringfence.yaml')
  await writeFile(file, stringify(merged(own, over)), { mode: 0o600 })
  return file
}

/** Mappings are merged, anything else of `over` takes the place of what stands in `base`. */
function merged(base: unknown, over: unknown): unknown {
  if (!isMapping(base) || !isMapping(over)) return over ?? base
  const keys = new Set([...Object.keys(base), ...Object.keys(over)])
  return Object.fromEntries([...keys].map((key) => [key, merged(base[key], over[key])]))
}

function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The same place without the login, which stands in the file once. */
function bareUrl(url: string): string {
  const bare = new URL(url)
  bare.username = ''
  bare.password = ''
  return bare.href
}

async function loadSampleRows(cluster: Cluster, config: Config, log: Log): Promise<void> {
  const database = config.databases.find(({ name }) => name === demoRole.database)
  if (database?.sharding === undefined || database.sharding === null) return
  const ids = databaseOptions(database, config).shards.map(({ id }) => id)
  const urls = cluster.shards.map((shard) => demoUrl(shard.primary))
  const store = new TopologyStore({ url: urls[0] ?? '', shards: ids, log, pollMs: 60_000 })
  try {
    const { owners } = await store.start()
    const bits = vnodeBitsOf(database.sharding.vnodeCount)
    await loadSample({ urls, shardOf: (tenant) => owners[vnodeOfInt(tenant, bits)] ?? 0 })
  } finally {
    await store.close()
  }
}

function readyLine(cluster: Cluster, proxy: Proxy, config: string): DemoReady {
  const { name, password, database } = demoRole
  const login = `postgres://${name}:${password}@127.0.0.1:${proxy.port}`
  return {
    ready: true,
    proxy: `${login}/${database}`,
    admin: `${login}/ringfence`,
    http: `http://127.0.0.1:${proxy.httpPort}`,
    shards: cluster.shards.map(({ id, primary, replicas }) => ({
      id,
      primary: demoUrl(primary),
      replicas: replicas.map(demoUrl),
    })),
    redis: cluster.redisUrl,
    config,
    pid: process.pid,
  }
}
