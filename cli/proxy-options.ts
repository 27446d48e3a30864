// The one place that turns settings into what the modules are given.
import type { Config, DatabaseConfig, ShardingConfig } from '../config/config.ts'
import { systemClock } from '../core/clock.ts'
import { shardId } from '../core/ids.ts'
import type { Log } from '../core/log.ts'
import type { DatabaseOptions } from '../proxy/database-options.ts'
import type { ProxyOptions } from '../proxy/proxy.ts'
import type { ShardingRules } from '../router/schema.ts'
import { poolLimits, sessionOptions, sharedLimits } from './pool-options.ts'

// More would spread what few can do: the less of them, the more statements each takes at a time.
const laneServersMax = 4
const connectTimeoutMs = 5_000

/** Options of the proxy that `ringfence serve` runs. */
export function proxyOptions(config: Config, version: string, log: Log): ProxyOptions {
  const { listen, http, users, authRules, auth, limits } = config
  return {
    version,
    listen: { ...listen, host: listen.hosts },
    tls: config.tls,
    http,
    users,
    authRules,
    auth,
    databases: config.databases.map((database) => databaseOptions(database, config)),
    shared: sharedLimits(config),
    redis: config.redis,
    tokenKey: config.tokenKey,
    limits: { ...limits, connectTimeoutMs },
    observation: config.observation,
    consoleUsers: {
      admins: new Set(config.consoleUsers.admins),
      stats: new Set(config.consoleUsers.stats),
    },
    clock: systemClock,
    log,
  }
}

/** Options of one database of the file. */
export function databaseOptions(database: DatabaseConfig, config: Config): DatabaseOptions {
  const { name, pool, serverUser, shards, sharding, reads } = database
  return {
    name,
    shards: shards.map(({ id, primary, replicas, zone, patroniUrls }) => ({
      id: shardId(id),
      host: primary.host,
      port: primary.port,
      database: primary.database,
      tlsMode: primary.tlsMode,
      login: primary.user === null ? null : { name: primary.user, password: primary.password },
      zone,
      replicas: replicas.map(({ address: { host, port, tlsMode }, ...rest }) => {
        return { host, port, tlsMode, ...rest }
      }),
      patroniUrls,
    })),
    serverUser,
    catalogUser: serverUser ?? passThroughUser(config),
    serverTls: config.tls.server,
    rules: sharding === null ? null : shardingRules(sharding),
    scatter: sharding?.scatterMode ?? 'allow',
    crossShardWrites: sharding?.crossShardWrites ?? 'two_phase',
    ...sessionOptions(database),
    autoPrepare: pool.autoPrepare,
    reads: {
      ...reads,
      zone: config.zone,
      functions: {
        allow: new Set(reads.functions.allow),
        deny: new Set(reads.functions.deny),
      },
    },
    failover: database.failover,
    measureLoad: database.rebalance.measure,
    readOnlyAlias: database.readOnlyAlias,
    pool: {
      ...poolLimits(database, config),
      laneServersMax: pool.fastLane ? Math.min(laneServersMax, Math.floor(pool.sizeMax / 2)) : 0,
    },
  }
}

/** Sharding rules of a database as the router and the catalog read them. */
export function shardingRules(sharding: ShardingConfig): ShardingRules {
  const { key, keyType, vnodeCount, tables } = sharding
  return { key, keyType, vnodeCount, tables }
}

/** Where clients log in with their own names, the catalog is read with the first name whose password we have. */
function passThroughUser({ users, auth }: Config): { name: string; password: string | null } {
  const ranked = [...users].sort((a, b) => Number(b.admin) - Number(a.admin))
  for (const { name, secret } of ranked) {
    if (secret.kind === 'password') return { name, password: secret.password }
  }
  const { query } = auth
  const name = query?.user ?? ranked[0]?.name ?? 'postgres'
  return { name, password: query?.password ?? null }
}
