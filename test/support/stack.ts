// A proxy in front of databases of its own on the shared test servers, and beside it the oracle: one plain
// PostgreSQL database of the same version that holds everything.
import { Client } from 'pg'
import { initialise } from '../../catalog/migrate.ts'
import { systemClock } from '../../core/clock.ts'
import { shardId } from '../../core/ids.ts'
import { createLog } from '../../core/log.ts'
import type { DatabaseOptions } from '../../proxy/database-options.ts'
import { Proxy, type ProxyOptions } from '../../proxy/proxy.ts'
import type { PoolStats } from '../../pool/pool-stats.ts'
import { usualLimits } from '../../pool/pool-options.ts'
import { usualServers } from '../../proxy/database-options.ts'
import { type SharedLimits, unlimited } from '../../proxy/entrance.ts'
import { usualSessions } from '../../proxy/session-limits.ts'
import type { ShardingRules } from '../../router/schema.ts'
import { createDatabases } from './databases.ts'
import type { TestServers } from './servers.ts'

/** Where a client connects. */
export type Place = {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly password: string
  readonly database: string
}

export type Stack = {
  readonly proxy: Place
  /** Plain PostgreSQL, without Ringfence. */
  readonly direct: Place
  /** Superuser connection URLs of the proxy's shards, home first. */
  readonly shardUrls: readonly string[]
  readonly instance: Proxy
  /** What `instance` was started with. */
  readonly options: ProxyOptions
  poolStats(): PoolStats
  close(): Promise<void>
}

export type StackOptions = {
  /** 1 to 3. */
  readonly shards: number
  /** Sharded by tenant_id, products a reference table. Default: with more than one shard. */
  readonly sharded?: boolean
  /** Run through the proxy and on the oracle before `startStack` returns. */
  readonly setupSql?: string
  readonly rules?: Partial<ShardingRules>
  readonly database?: Partial<DatabaseOptions>
  readonly pool?: Partial<DatabaseOptions['pool']>
  readonly limits?: Partial<ProxyOptions['limits']>
  readonly authRules?: ProxyOptions['authRules']
  readonly auth?: ProxyOptions['auth']
  readonly users?: ProxyOptions['users']
  readonly http?: boolean
  readonly listen?: Partial<ProxyOptions['listen']>
  readonly tls?: ProxyOptions['tls']
  readonly shared?: Partial<SharedLimits>
  /** Whatever else the proxy is told. */
  readonly more?: Partial<ProxyOptions>
}

const testRules: ShardingRules = {
  key: 'tenant_id',
  keyType: 'bigint',
  vnodeCount: 4096,
  tables: new Map([['products', { placement: 'reference' }]]),
}

/** Reads of a database without replicas. */
const noReplicaReads: DatabaseOptions['reads'] = {
  target: 'auto',
  consistency: 'session',
  maxLagMs: 1_000,
  rywWaitMs: 50,
  includePrimary: false,
  zone: null,
  functions: { allow: new Set(), deny: new Set() },
}

/** Starts a proxy with databases of its own. */
export async function startStack(servers: TestServers, options: StackOptions): Promise<Stack> {
  const shardServers = { ...servers, shards: servers.shards.slice(0, options.shards) }
  const homeServer = { ...servers, shards: servers.shards.slice(0, 1) }
  const databases = await createDatabases(shardServers, 'stack')
  const oracle = await createDatabases(homeServer, 'oracle')
  const shardUrls = databases.urls
  const sharded = options.sharded ?? options.shards > 1
  const rules = sharded ? { ...testRules, ...options.rules } : null
  const ids = shardServers.shards.map(({ id }) => shardId(id))
  if (rules !== null) {
    const shards = shardUrls.map((url, at) => ({ id: ids[at] ?? shardId(''), url, weight: 1 }))
    await initialise({ shards, rules })
  }
  const direct = placeOf(oracle.urls[0] ?? '')
  const login = { name: direct.user, password: direct.password }
  const proxyOptions: ProxyOptions = {
    version: 'test',
    listen: { host: '127.0.0.1', port: 0, ...options.listen },
    ...(options.tls === undefined ? {} : { tls: options.tls }),
    http: options.http === true ? { host: '127.0.0.1', port: 0 } : null,
    users: options.users ?? [
      { name: login.name, secret: { kind: 'password', password: login.password }, admin: true },
    ],
    ...(options.auth === undefined ? {} : { auth: options.auth }),
    authRules: options.authRules ?? [
      { database: null, user: null, address: null, method: 'scram' },
    ],
    shared: { ...unlimited, ...options.shared },
    databases: [
      {
        name: direct.database,
        shards: shardUrls.map((url, at) => ({
          ...placeOf(url),
          id: ids[at] ?? shardId(''),
          login: null,
          zone: null,
          replicas: [],
          patroniUrls: [],
        })),
        serverUser: login,
        catalogUser: login,
        rules,
        scatter: 'allow',
        crossShardWrites: 'two_phase',
        clientsMax: 1_000,
        pin: 'allow',
        ...usualSessions,
        ...usualServers,
        reads: noReplicaReads,
        failover: { waitMs: 0, probeMs: 1_000 },
        readOnlyAlias: null,
        ...options.database,
        pool: {
          ...usualLimits,
          size: 10,
          waitersMax: 1_000,
          queryWaitTimeoutMs: 10_000,
          serverLifetimeMs: 3_600_000,
          serverIdleTimeoutMs: 600_000,
          ...options.pool,
        },
      },
    ],
    redis: null,
    tokenKey: null,
    limits: {
      frameBytesMax: 256 * 1024 * 1024,
      frameBytesBeforeLoginMax: 16 * 1024,
      loginTimeoutMs: 10_000,
      connectTimeoutMs: 5_000,
      ...options.limits,
    },
    clock: systemClock,
    log: createLog('error'),
    ...options.more,
  }
  const instance = await Proxy.start(proxyOptions)
  // The client sees the oracle's database name on both sides: some answers contain it.
  const proxy = { ...direct, host: '127.0.0.1', port: instance.port }
  const stack: Stack = {
    proxy,
    direct,
    shardUrls,
    instance,
    options: proxyOptions,
    poolStats: () => {
      const [database] = instance.databases.values()
      return database?.stats() ?? { idle: 0, leased: 0, opening: 0, waiting: 0 }
    },
    close: async () => {
      await instance.close()
      await Promise.all([databases.drop(), oracle.drop()])
    },
  }
  if (options.setupSql !== undefined) {
    await runSql(direct, options.setupSql)
    await runSql(proxy, options.setupSql)
  }
  return stack
}

/** Runs a string of statements, one by one where they are separated by empty lines. */
export async function runSql(place: Place, sql: string): Promise<void> {
  const client = new Client(place)
  await client.connect()
  try {
    for (const statement of sql.split(/\n\s*\n/))
      if (statement.trim() !== '') await client.query(statement)
  } finally {
    await client.end()
  }
}

function placeOf(text: string): Place {
  const url = new URL(text)
  return {
    host: url.hostname,
    port: Number(url.port),
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    database: decodeURIComponent(url.pathname.slice(1)),
  }
}
