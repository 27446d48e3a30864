// Settings of pools under the program's own names.
import type { FileSettings } from './settings.ts'

type FilePool = FileSettings['databases'][string]['pool']
type PoolMode = FilePool['mode']

/** Pools of one database. 0 stands for no limit where that makes sense. */
export type PoolConfig = {
  readonly mode: PoolMode
  /** Server connections per shard, role and user. */
  readonly sizeMax: number
  /** Whether short reads of several clients may share servers. */
  readonly fastLane: boolean
  readonly autoPrepare: boolean
  readonly sizeMin: number
  readonly reserve: number
  readonly reserveTimeoutMs: number
  readonly clientConnectionsMax: number
  readonly serverConnectionsMax: number
  readonly queryWaitTimeoutMs: number
  readonly queryWaitNotifyMs: number
  readonly queueTargetMs: number | null
  readonly inFlightPerKeyMax: number
  readonly serverLifetimeMs: number
  readonly serverIdleTimeoutMs: number
  readonly serverConnectTimeoutMs: number
  readonly serverLoginRetryMs: number
  readonly roundRobin: boolean
  readonly resetQuery: string
  readonly queryTimeoutMs: number
  readonly transactionTimeoutMs: number
  readonly idleTransactionTimeoutMs: number
  readonly clientIdleTimeoutMs: number
  readonly cancelWaitTimeoutMs: number
  readonly addsHost: boolean
  readonly replicationConnectionsMax: number
  readonly pin: 'allow' | 'refuse'
}

/** What differs for one user; null: nothing. */
export type UserPoolConfig = {
  readonly mode: PoolMode | null
  readonly size: number | null
  readonly reserve: number | null
  readonly serverConnectionsMax: number | null
  readonly clientConnectionsMax: number | null
  readonly queryTimeoutMs: number | null
  readonly queryWaitTimeoutMs: number | null
  readonly transactionTimeoutMs: number | null
  readonly idleTransactionTimeoutMs: number | null
  readonly clientIdleTimeoutMs: number | null
}

/** Limits over all databases; 0: none. */
export type SharedLimits = {
  readonly clientConnectionsMax: number
  readonly serverConnectionsPerUserMax: number
  readonly clientConnectionsPerUserMax: number
  readonly autoDatabasesMax: number
  readonly autoDatabaseIdleMs: number
}

/** The section `pool` of a database. */
export function poolOf(pool: FilePool): PoolConfig {
  return {
    mode: pool.mode,
    sizeMax: pool.size,
    sizeMin: pool.min,
    reserve: pool.reserve,
    reserveTimeoutMs: pool.reserve_timeout,
    clientConnectionsMax: pool.max_client_conn,
    serverConnectionsMax: pool.max_db_connections,
    queryWaitTimeoutMs: pool.query_wait_timeout,
    queryWaitNotifyMs: pool.query_wait_notify,
    queueTargetMs: pool.queue_target,
    inFlightPerKeyMax: pool.max_in_flight_per_key,
    serverLifetimeMs: pool.server_lifetime,
    serverIdleTimeoutMs: pool.server_idle_timeout,
    serverConnectTimeoutMs: pool.server_connect_timeout,
    serverLoginRetryMs: pool.server_login_retry,
    roundRobin: pool.server_round_robin,
    resetQuery: pool.server_reset_query,
    queryTimeoutMs: pool.query_timeout,
    transactionTimeoutMs: pool.transaction_timeout,
    idleTransactionTimeoutMs: pool.idle_transaction_timeout,
    clientIdleTimeoutMs: pool.client_idle_timeout,
    cancelWaitTimeoutMs: pool.cancel_wait_timeout,
    addsHost: pool.application_name_add_host,
    replicationConnectionsMax: pool.replication_connections,
    fastLane: pool.fast_lane === 'auto',
    autoPrepare: pool.auto_prepare === 'on',
    pin: pool.pin,
  }
}

/** One entry of `user_settings`. */
export function userPoolOf(user: FileSettings['user_settings'][string]): UserPoolConfig {
  return {
    mode: user.pool_mode,
    size: user.pool_size,
    reserve: user.reserve_pool_size,
    serverConnectionsMax: user.max_user_connections,
    clientConnectionsMax: user.max_user_client_connections,
    queryTimeoutMs: user.query_timeout,
    queryWaitTimeoutMs: user.query_wait_timeout,
    transactionTimeoutMs: user.transaction_timeout,
    idleTransactionTimeoutMs: user.idle_transaction_timeout,
    clientIdleTimeoutMs: user.client_idle_timeout,
  }
}

/** What `limits` says about all databases. */
export function sharedLimitsOf(limits: FileSettings['limits']): SharedLimits {
  return {
    clientConnectionsMax: limits.max_client_conn,
    serverConnectionsPerUserMax: limits.max_user_connections,
    clientConnectionsPerUserMax: limits.max_user_client_connections,
    autoDatabasesMax: limits.auto_databases,
    autoDatabaseIdleMs: limits.autodb_idle_timeout,
  }
}
