// From the file's settings to the Config that the program uses. Also used for what is right in a file
// that was refused: a user without a password or a table without a placement is left out then.
import { resolve } from 'node:path'
import { assert } from '../core/assert.ts'
import type {
  AuthRule,
  Config,
  ConfigUser,
  DatabaseConfig,
  ShardingConfig,
  TableConfig,
} from './config.ts'
import { poolOf, sharedLimitsOf, userPoolOf } from './pool-config.ts'
import type { FileSettings } from './settings.ts'
import { listenOf, tlsOf } from './tls-config.ts'

type FileDatabase = FileSettings['databases'][string]
type FileSharding = NonNullable<FileDatabase['sharding']>

/**
 * `file` under the program's own names; no value of a later version may stand in it. Paths in it are relative to
 * `directory`.
 */
export function buildConfig(file: FileSettings, directory: string): Config {
  const { listen, http, zone, redis, limits, log } = file
  return {
    listen: listenOf(listen, directory),
    tls: tlsOf(file.tls, directory),
    http: { host: http.host, port: http.port },
    workers: file.workers,
    pidFile: file.pid_file === null ? null : resolve(directory, file.pid_file),
    watch: file.watch,
    drainTimeoutMs: file.drain_timeout,
    users: file.users.flatMap(userOf),
    authRules: file.auth.rules?.map(ruleOf) ?? [scramForAll],
    auth: authOf(file.auth, directory),
    userPools: new Map(
      Object.entries(file.user_settings).map(([name, user]) => [name, userPoolOf(user)]),
    ),
    sharedLimits: sharedLimitsOf(limits),
    zone,
    redis: redis.url === null ? null : redisOf(redis.url, redis),
    tokenKey: file.session_tokens.key,
    databases: Object.entries(file.databases).map(([name, database]) => databaseOf(name, database)),
    limits: {
      frameBytesMax: limits.frame_bytes,
      frameBytesBeforeLoginMax: limits.frame_bytes_before_login,
      loginTimeoutMs: limits.login_timeout,
      loginsMax: limits.logins,
      queueMax: limits.queue,
    },
    log: { level: log.level },
    observation: observationOf(file),
    consoleUsers: consoleUsersOf(file),
  }
}

function observationOf({ log, trace }: FileSettings): Config['observation'] {
  const { otlp_url: url, sample } = trace
  return {
    slowStatementMs: log.slow_statement,
    logsConnections: log.connections,
    logsDisconnections: log.disconnections,
    logsErrors: log.pooler_errors,
    statsPeriodMs: log.stats_period,
    trace: url === null ? null : { url, sample },
  }
}

function consoleUsersOf({ users, auth }: FileSettings): Config['consoleUsers'] {
  const looking = users.filter(({ stats }) => stats).map(({ name }) => name)
  return { admins: auth.admin_users, stats: [...looking, ...auth.stats_users] }
}

const scramForAll: AuthRule = {
  type: 'all',
  database: null,
  user: null,
  address: null,
  method: 'scram',
  map: null,
}

function userOf(user: FileSettings['users'][number]): ConfigUser[] {
  const { name, admin, password, verifier } = user
  if (password !== null) return [{ name, admin, secret: { kind: 'password', password } }]
  return verifier === null ? [] : [{ name, admin, secret: { kind: 'verifier', verifier } }]
}

function ruleOf(rule: NonNullable<FileSettings['auth']['rules']>[number]): AuthRule {
  const namesOrAll = (names: readonly string[]) => (names.includes('all') ? null : names)
  const { type, database, user, address, method, map } = rule
  assert(method !== 'peer', `method ${method} is refused before`)
  // Physical replication is not a part of all databases.
  const isAll = database.includes('all') && !database.includes('replication')
  const databases = database.map((name) => {
    const isSpecial = name === 'all' || name === 'sameuser' || name === 'replication'
    return isSpecial ? ({ special: name } as const) : name
  })
  const ofDatabases = isAll ? null : databases
  return { type, database: ofDatabases, user: namesOrAll(user), address, method, map }
}

function authOf(auth: FileSettings['auth'], directory: string): Config['auth'] {
  const { query, failures } = auth
  const place = (file: string | null) => (file === null ? null : resolve(directory, file))
  return {
    hbaFile: place(auth.hba_file),
    file: place(auth.file),
    query: query === null ? null : queryOf(query),
    userMap: auth.user_map,
    failures: {
      max: failures.max,
      windowMs: failures.window,
      delayMs: failures.delay,
      delayMsMax: failures.delay_max,
    },
  }
}

function queryOf(query: NonNullable<FileSettings['auth']['query']>): Config['auth']['query'] {
  const { cache, timeout, connections, ...rest } = query
  return { ...rest, cacheMs: cache, timeoutMs: timeout, connectionsMax: connections }
}

function databaseOf(name: string, database: FileDatabase): DatabaseConfig {
  const { pool, server_user: serverUser, mover_user: moverUser } = database
  const { shards, sharding, reads } = database
  return {
    name,
    aliases: database.aliases,
    pool: poolOf(pool),
    serverSettings: new Map(Object.entries(database.server_settings)),
    connectQuery: database.connect_query,
    serverUser: serverUser ?? null,
    moverUser: moverUser ?? null,
    shards: shards.map(shardOf),
    sharding: sharding === undefined ? null : shardingOf(sharding),
    reads: {
      target: reads.target,
      consistency: reads.consistency,
      maxLagMs: reads.max_lag,
      rywWaitMs: reads.ryw_wait,
      includePrimary: reads.include_primary,
      functions: reads.functions,
    },
    failover: { waitMs: database.failover.wait, probeMs: database.failover.probe },
    rebalance: rebalanceOf(database.rebalance),
    readOnlyAlias: database.read_only_alias,
  }
}

function rebalanceOf(rebalance: FileDatabase['rebalance']): DatabaseConfig['rebalance'] {
  const { measure, auto, start, stop, window } = rebalance
  return {
    measure,
    auto,
    start,
    stop,
    lastingMs: rebalance.lasting,
    intervalMs: rebalance.interval,
    loadMin: rebalance.load_min,
    bytesMax: rebalance.max_bytes,
    budgetMs: rebalance.budget_period,
    window,
  }
}

function redisOf(url: string, { ttl, timeout }: FileSettings['redis']): Config['redis'] {
  return { url, ttlMs: ttl, timeoutMs: timeout }
}

function shardOf({ replicas, patroni, ...shard }: FileDatabase['shards'][number]) {
  const { id, primary, weight, zone } = shard
  return {
    id,
    primary,
    replicas: replicas.map(({ url, ...rest }) => ({ address: url, ...rest })),
    patroniUrls: patroni,
    weight,
    zone,
  }
}

function shardingOf(sharding: FileSharding): ShardingConfig {
  const writes = sharding.cross_shard_writes
  assert(writes !== 'best_effort', 'best_effort is refused before')
  return {
    key: sharding.key,
    keyType: sharding.key_type,
    vnodeCount: sharding.vnodes,
    tables: new Map(Object.entries(sharding.tables).flatMap(tableOf)),
    scatterMode: sharding.scatter.mode,
    crossShardWrites: writes,
  }
}

function tableOf([name, table]: [string, FileSharding['tables'][string]]): [string, TableConfig][] {
  const { key, placement } = table
  if (key !== null) return [[name, { key }]]
  return placement === null ? [] : [[name, { placement }]]
}
