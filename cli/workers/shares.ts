// What each of several workers may have of what the file allows to the whole proxy: the shares differ by one at most
// and add up exactly. Limits of connections are never smaller than the number of workers (config/worker-contradictions.ts).
import { availableParallelism } from 'node:os'
import type { Config, DatabaseConfig } from '../../config/config.ts'
import type { SharedLimits, UserPoolConfig } from '../../config/pool-config.ts'

/** Which of how many. */
export type Place = { readonly index: number; readonly count: number }

/** Part of `total` for one of `count`; all parts add up to it. 0 of 0, which stands for no limit or for nothing. */
export function share(total: number, { index, count }: Place): number {
  return Math.floor(total / count) + (index < total % count ? 1 : 0)
}

/** The configuration of one worker. */
export function shareOf(config: Config, place: Place): Config {
  const { limits, auth, databases, userPools, sharedLimits } = config
  return {
    ...config,
    limits: {
      ...limits,
      queueMax: atLeastOne(limits.queueMax, place),
      loginsMax: atLeastOne(limits.loginsMax, place),
    },
    auth: { ...auth, query: queryOf(auth.query, place) },
    databases: databases.map((database) => ({ ...database, pool: poolOf(database.pool, place) })),
    userPools: new Map([...userPools].map(([name, pool]) => [name, userPoolOf(pool, place)])),
    sharedLimits: sharedOf(sharedLimits, place),
  }
}

function poolOf(pool: DatabaseConfig['pool'], place: Place): DatabaseConfig['pool'] {
  return {
    ...pool,
    sizeMax: share(pool.sizeMax, place),
    sizeMin: share(pool.sizeMin, place),
    reserve: share(pool.reserve, place),
    clientConnectionsMax: share(pool.clientConnectionsMax, place),
    serverConnectionsMax: share(pool.serverConnectionsMax, place),
    inFlightPerKeyMax: atLeastOne(pool.inFlightPerKeyMax, place),
    replicationConnectionsMax: atLeastOne(pool.replicationConnectionsMax, place),
  }
}

function userPoolOf(pool: UserPoolConfig, place: Place): UserPoolConfig {
  const of = (total: number | null) => (total === null ? null : share(total, place))
  return {
    ...pool,
    size: of(pool.size),
    reserve: of(pool.reserve),
    serverConnectionsMax: of(pool.serverConnectionsMax),
    clientConnectionsMax: of(pool.clientConnectionsMax),
  }
}

function sharedOf(limits: SharedLimits, place: Place): SharedLimits {
  return {
    ...limits,
    clientConnectionsMax: share(limits.clientConnectionsMax, place),
    serverConnectionsPerUserMax: share(limits.serverConnectionsPerUserMax, place),
    clientConnectionsPerUserMax: share(limits.clientConnectionsPerUserMax, place),
  }
}

function queryOf(query: Config['auth']['query'], place: Place): Config['auth']['query'] {
  if (query === null) return null
  return { ...query, connectionsMax: atLeastOne(query.connectionsMax, place) }
}

/** Of what a worker cannot do without; 0 stays 0. Together they may have some more than the file says. */
function atLeastOne(total: number, place: Place): number {
  return total === 0 ? 0 : Math.max(1, share(total, place))
}

/** How many processes serve: `auto` is one for each core, as far as the smallest limit can be divided. */
export function workerCount({ workers, databases, userPools, sharedLimits }: Config): number {
  if (workers !== 'auto') return workers
  const limits = [
    ...databases.flatMap(({ pool }) => [
      pool.sizeMax,
      pool.clientConnectionsMax,
      pool.serverConnectionsMax,
    ]),
    ...[...userPools.values()].flatMap((pool) => [
      pool.size,
      pool.serverConnectionsMax,
      pool.clientConnectionsMax,
    ]),
    sharedLimits.clientConnectionsMax,
    sharedLimits.serverConnectionsPerUserMax,
    sharedLimits.clientConnectionsPerUserMax,
  ].filter((limit) => limit !== null && limit > 0)
  return Math.max(1, Math.min(availableParallelism(), ...limits.map(Number)))
}
