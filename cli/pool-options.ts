// Settings of pools as the proxy is given them.
import type { Config, DatabaseConfig } from '../config/config.ts'
import type { UserPoolConfig } from '../config/pool-config.ts'
import type { PoolLimits } from '../pool/pool-options.ts'
import type { DatabaseOptions, ServerOptions } from '../proxy/database-options.ts'
import type { SharedLimits } from '../proxy/entrance.ts'
import type { SessionLimits, UserLimits } from '../proxy/session-limits.ts'

type OfPools = SessionLimits &
  ServerOptions &
  Pick<DatabaseOptions, 'aliases' | 'addsHost' | 'inFlightPerKeyMax' | 'clientsMax' | 'pin'>

/** What `pool` and its neighbours in a database say of sessions and servers. */
export function sessionOptions(database: DatabaseConfig): OfPools {
  const { pool, aliases, serverSettings } = database
  return {
    mode: pool.mode,
    queryWaitNotifyMs: pool.queryWaitNotifyMs,
    queryTimeoutMs: pool.queryTimeoutMs,
    transactionTimeoutMs: pool.transactionTimeoutMs,
    idleTransactionTimeoutMs: pool.idleTransactionTimeoutMs,
    clientIdleTimeoutMs: pool.clientIdleTimeoutMs,
    connectTimeoutMs: pool.serverConnectTimeoutMs,
    serverConnectionsMax: pool.serverConnectionsMax,
    replicationConnectionsMax: pool.replicationConnectionsMax,
    serverSettings,
    resetQuery: pool.resetQuery,
    aliases,
    addsHost: pool.addsHost,
    inFlightPerKeyMax: pool.inFlightPerKeyMax,
    clientsMax: pool.clientConnectionsMax,
    pin: pool.pin,
  }
}

/** Limits of the pools of one database. */
export function poolLimits(
  { pool, connectQuery }: DatabaseConfig,
  config: Config,
): Omit<PoolLimits, 'laneServersMax'> {
  return {
    size: pool.sizeMax,
    min: pool.sizeMin,
    reserve: pool.reserve,
    reserveTimeoutMs: pool.reserveTimeoutMs,
    waitersMax: config.limits.queueMax,
    queryWaitTimeoutMs: pool.queryWaitTimeoutMs,
    queueTargetMs: pool.queueTargetMs,
    serverLifetimeMs: pool.serverLifetimeMs,
    serverIdleTimeoutMs: pool.serverIdleTimeoutMs,
    loginRetryMs: pool.serverLoginRetryMs,
    cancelTimeoutMs: pool.cancelWaitTimeoutMs,
    roundRobin: pool.roundRobin,
    connectQuery,
  }
}

/** What holds for all databases together. */
export function sharedLimits({ sharedLimits: shared, userPools }: Config): SharedLimits {
  return {
    clientsMax: shared.clientConnectionsMax,
    clientsPerUserMax: shared.clientConnectionsPerUserMax,
    serversPerUserMax: shared.serverConnectionsPerUserMax,
    users: new Map([...userPools].map(([name, user]) => [name, userLimits(user)])),
    autoDatabasesMax: shared.autoDatabasesMax,
    autoDatabaseIdleMs: shared.autoDatabaseIdleMs,
  }
}

function userLimits(user: UserPoolConfig): UserLimits {
  return { ...user }
}
