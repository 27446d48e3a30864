// What a client may take its time for, and in which mode its servers are lent. Limits are of its database, but for those
// that its user has of his own. `overdue` is the verdict of a sweep: it compares times that are noted anyway, so that
// no statement sets a timer.
import type { SessionTimes } from './session-times.ts'

type PoolMode = 'session' | 'transaction' | 'statement'

/** 0: no limit. */
export type SessionLimits = {
  readonly mode: PoolMode
  /** After that much waiting for a server the client is told so. */
  readonly queryWaitNotifyMs: number
  readonly queryTimeoutMs: number
  readonly transactionTimeoutMs: number
  readonly idleTransactionTimeoutMs: number
  readonly clientIdleTimeoutMs: number
}

/** What one user has of his own; null: as the database says. */
export type UserLimits = {
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

/** Nothing is limited, and servers are lent for transactions. */
export const usualSessions: SessionLimits = {
  mode: 'transaction',
  queryWaitNotifyMs: 0,
  queryTimeoutMs: 0,
  transactionTimeoutMs: 0,
  idleTransactionTimeoutMs: 0,
  clientIdleTimeoutMs: 0,
}

/** Limits of a client: its user's before its database's. */
export function limitsOf(database: SessionLimits, user: UserLimits | undefined): SessionLimits {
  return {
    mode: user?.mode ?? database.mode,
    queryWaitNotifyMs: database.queryWaitNotifyMs,
    queryTimeoutMs: user?.queryTimeoutMs ?? database.queryTimeoutMs,
    transactionTimeoutMs: user?.transactionTimeoutMs ?? database.transactionTimeoutMs,
    idleTransactionTimeoutMs: user?.idleTransactionTimeoutMs ?? database.idleTransactionTimeoutMs,
    clientIdleTimeoutMs: user?.clientIdleTimeoutMs ?? database.clientIdleTimeoutMs,
  }
}

/** What a client does at the moment of a sweep. */
export type Activity = {
  /** A statement is under way, or waits for a server. */
  readonly busy: boolean
  /** It is inside a transaction, or has a pipeline open. */
  readonly inTransaction: boolean
  readonly times: SessionTimes
}

export type Overdue = 'queued' | 'query' | 'transaction' | 'idleTransaction' | 'clientIdle'

/** Which limit has passed; null: none. */
export function overdue(limits: SessionLimits, activity: Activity, nowMs: number): Overdue | null {
  const { busy, inTransaction, times } = activity
  const past = (sinceMs: number, limitMs: number) => limitMs > 0 && nowMs - sinceMs > limitMs
  const transactionSinceMs = times.transactionSinceMs
  if (transactionSinceMs !== null && past(transactionSinceMs, limits.transactionTimeoutMs)) {
    return 'transaction'
  }
  if (!busy) {
    const idleSinceMs = Math.max(times.answeredAtMs, times.requestAtMs)
    if (inTransaction) {
      return past(idleSinceMs, limits.idleTransactionTimeoutMs) ? 'idleTransaction' : null
    }
    return past(idleSinceMs, limits.clientIdleTimeoutMs) ? 'clientIdle' : null
  }
  if (times.waitingSinceMs !== null) {
    return past(times.waitingSinceMs, limits.queryWaitNotifyMs) ? 'queued' : null
  }
  // Its wait does not count.
  return past(times.beganMs + times.waitUs / 1_000, limits.queryTimeoutMs) ? 'query' : null
}

// As often as the shortest limit needs, within reason.
const sweepMsMin = 50
const sweepMsMax = 1_000
const sweepsPerLimit = 10

/** How often sessions with these limits are looked at. */
export function sweepPauseMs(all: Iterable<SessionLimits>): number {
  let shortest = sweepMsMax * sweepsPerLimit
  for (const { mode: _, ...limits } of all) {
    for (const ms of Object.values(limits)) if (ms > 0) shortest = Math.min(shortest, ms)
  }
  return Math.max(sweepMsMin, Math.min(sweepMsMax, shortest / sweepsPerLimit))
}
