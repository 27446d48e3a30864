// What a pool of server connections is told.
import type { Clock } from '../core/clock.ts'
import type { ShardId } from '../core/ids.ts'
import type { Log } from '../core/log.ts'
import type { DialOptions } from './dial.ts'
import type { ServerBudget } from './server-budget.ts'
import type { ServerConnection } from './server-connection.ts'

/** Limits of one pool, as configured. */
export type PoolLimits = {
  /** Server connections at most. */
  readonly size: number
  /** Of these, so many may take short reads of several clients at a time (lane.ts); 0: none. */
  readonly laneServersMax: number
  /** Kept open once there was a client. */
  readonly min: number
  /** Further connections while somebody has waited for longer than `reserveTimeoutMs`. */
  readonly reserve: number
  readonly reserveTimeoutMs: number
  readonly waitersMax: number
  /** 0: they wait for ever. */
  readonly queryWaitTimeoutMs: number
  /** Waiting time above which the queue takes no more of who waits already; null: it does up to its bound. */
  readonly queueTargetMs: number | null
  /** Age at which a connection is closed once it is free, give or take a tenth; 0: no limit. */
  readonly serverLifetimeMs: number
  /** 0: never closed for being idle. */
  readonly serverIdleTimeoutMs: number
  /** Longest pause after a login that the server has refused. */
  readonly loginRetryMs: number
  /** How long a cancel request may be on its way. */
  readonly cancelTimeoutMs: number
  /** The connection that was idle longest is lent, not the one used last. */
  readonly roundRobin: boolean
  /** Run on every new connection before anybody gets it. */
  readonly connectQuery: string | null
}

export type PoolOptions = PoolLimits & {
  readonly shard: ShardId
  readonly user: string
  readonly dial: DialOptions
  readonly clock: Clock
  /** 0 to below 1. */
  readonly random: () => number
  readonly log: Log
  /** The user is the same for all clients: connections are kept though none of them is there. */
  readonly forced: boolean
  /** Limits over several pools that its connections count to. */
  readonly budgets: readonly ServerBudget[]
  /** How long statements wait for a server that cannot be reached, counted from when it was lost. */
  readonly outageWaitMs: number
  /** Looks at a new connection before anybody gets it. Rejects when it leads to the wrong server. */
  readonly admit: ((server: ServerConnection, dialledAtMs: number) => Promise<void>) | null
  /** The server could not be reached, or was lost: whoever follows the shard's servers should look. */
  readonly suspect: (reason: string) => void
}

/** What PgBouncer has where nothing is said; `size` and what bounds the queue are the caller's. */
export const usualLimits = {
  laneServersMax: 0,
  min: 0,
  reserve: 0,
  reserveTimeoutMs: 5_000,
  queueTargetMs: null,
  loginRetryMs: 15_000,
  cancelTimeoutMs: 10_000,
  roundRobin: false,
  connectQuery: null,
} as const satisfies Partial<PoolLimits>
