// What each of several workers may have of what the file allows to the whole proxy: the shares differ by one at most
// and add up exactly.
import { availableParallelism } from 'node:os'
import type { Config } from '../../config/config.ts'

/** Which of how many. */
export type Place = { readonly index: number; readonly count: number }

/** Part of `total` for one of `count`; all parts add up to it. */
export function share(total: number, { index, count }: Place): number {
  return Math.floor(total / count) + (index < total % count ? 1 : 0)
}

/** The configuration of one worker. */
export function shareOf(config: Config, place: Place): Config {
  const of = (total: number) => share(total, place)
  return {
    ...config,
    limits: { ...config.limits, queueMax: Math.max(1, of(config.limits.queueMax)) },
    databases: config.databases.map((database) => ({
      ...database,
      pool: {
        ...database.pool,
        sizeMax: of(database.pool.sizeMax),
        clientConnectionsMax: of(database.pool.clientConnectionsMax),
      },
    })),
  }
}

/** How many processes serve: `auto` is one for each core, as far as the smallest pool can be shared out. */
export function workerCount({ workers, databases }: Config): number {
  if (workers !== 'auto') return workers
  const pools = databases.map(({ pool }) => Math.min(pool.sizeMax, pool.clientConnectionsMax))
  return Math.max(1, Math.min(availableParallelism(), ...pools))
}
