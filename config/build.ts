// From the file's settings to the Config that the program uses. Also used for what is right in a file
// that was refused: a user without a password or a table without a placement is left out then.
import { assert } from '../core/assert.ts'
import type {
  AuthMethod,
  AuthRule,
  Config,
  ConfigUser,
  DatabaseConfig,
  ShardingConfig,
  TableConfig,
} from './config.ts'
import type { FileSettings } from './settings.ts'

type FileDatabase = FileSettings['databases'][string]
type FileSharding = NonNullable<FileDatabase['sharding']>

/** `file` under the program's own names; no value of a later version may stand in it. */
export function buildConfig(file: FileSettings): Config {
  const { listen, http, limits, log } = file
  return {
    listen: { host: listen.host, port: listen.port },
    http: { host: http.host, port: http.port },
    users: file.users.flatMap(userOf),
    authRules: file.auth.rules?.map(ruleOf) ?? [scramForAll],
    databases: Object.entries(file.databases).map(([name, database]) => databaseOf(name, database)),
    limits: {
      frameBytesMax: limits.frame_bytes,
      frameBytesBeforeLoginMax: limits.frame_bytes_before_login,
      loginTimeoutMs: limits.login_timeout,
      queueMax: limits.queue,
    },
    log: { level: log.level },
  }
}

const scramForAll: AuthRule = { database: null, user: null, address: null, method: 'scram' }

function userOf(user: FileSettings['users'][number]): ConfigUser[] {
  const { name, admin, password, verifier } = user
  if (password !== null) return [{ name, admin, secret: { kind: 'password', password } }]
  return verifier === null ? [] : [{ name, admin, secret: { kind: 'verifier', verifier } }]
}

function ruleOf(rule: NonNullable<FileSettings['auth']['rules']>[number]): AuthRule {
  const nameOrAll = (name: string) => (name === 'all' ? null : name)
  return {
    database: nameOrAll(rule.database),
    user: nameOrAll(rule.user),
    address: rule.address,
    method: methodOf(rule.method),
  }
}

function methodOf(method: AuthMethod | 'cert'): AuthMethod {
  assert(method !== 'cert', 'method cert is refused before')
  return method
}

function databaseOf(name: string, database: FileDatabase): DatabaseConfig {
  const { pool, server_user: serverUser, shards, sharding } = database
  return {
    name,
    pool: {
      sizeMax: pool.size,
      clientConnectionsMax: pool.max_client_conn,
      queryWaitTimeoutMs: pool.query_wait_timeout,
      serverLifetimeMs: pool.server_lifetime,
      serverIdleTimeoutMs: pool.server_idle_timeout,
      idleTransactionTimeoutMs: pool.idle_transaction_timeout,
      pin: pool.pin,
    },
    serverUser: serverUser ?? null,
    shards: shards.map(({ id, primary, replicas, weight }) => ({ id, primary, replicas, weight })),
    sharding: sharding === undefined ? null : shardingOf(sharding),
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
