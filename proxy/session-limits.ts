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
  // Shared by all clients without limits of their own.
  if (user === undefined) return database
  return {
    mode: user?.mode ?? database.mode,
    queryWaitNotifyMs: database.queryWaitNotifyMs,
    queryTimeoutMs: user?.queryTimeoutMs ?? database.queryTimeoutMs,
    transactionTimeoutMs: user?.transactionTimeoutMs ?? database.transactionTimeoutMs,
    idleTransactionTimeoutMs: user?.idleTransactionTimeoutMs ?? database.idleTransactionTimeoutMs,
    clientIdleTimeoutMs: user?.clientIdleTimeoutMs ?? database.clientIdleTimeoutMs,
  }
}

/** As much of a session as the verdict needs. */
export type Watched = {
  readonly limits: SessionLimits
  readonly phase: string
  /** An operator has it rest. */
  readonly suspended: boolean
  readonly times: SessionTimes
  readonly state: {
    readonly transaction: object | null
    readonly settings: { timeoutMs(name: string): number | null }
  }
  readonly relay: { readonly server: object | null }
}

export type Overdue =
  | 'queued'
  | 'query'
  | 'transaction'
  | 'idleTransaction'
  | 'clientIdle'
  | 'idleSession'

/** Which limit has passed; null: none. Times are read for limits that there are. */
export function overdue(session: Watched, nowMs: number): Overdue | null {
  const { limits, times, phase } = session
  const busy = phase !== 'ready'
  const inTransaction = session.state.transaction !== null || session.relay.server !== null
  if (isPast(limits.transactionTimeoutMs, transactionSinceMs, times, nowMs)) return 'transaction'
  if (!busy) {
    // What it has asked for meanwhile is not read: it is not the client who is silent.
    if (session.suspended) return null
    const limitMs = inTransaction ? limits.idleTransactionTimeoutMs : limits.clientIdleTimeoutMs
    if (isPast(limitMs, idleSinceMs, times, nowMs)) {
      return inTransaction ? 'idleTransaction' : 'clientIdle'
    }
    // What the client has asked for itself: no server has that in force while it is nobody's.
    const ownMs = inTransaction ? 0 : (session.state.settings.timeoutMs(idleSession) ?? 0)
    return isPast(ownMs, idleSinceMs, times, nowMs) ? 'idleSession' : null
  }
  if (times.waitingSinceMs !== null) {
    return isPast(limits.queryWaitNotifyMs, waitingSinceMs, times, nowMs) ? 'queued' : null
  }
  return isPast(limits.queryTimeoutMs, workingSinceMs, times, nowMs) ? 'query' : null
}

const idleSession = 'idle_session_timeout'

type Since = (times: SessionTimes) => number

const never = Number.POSITIVE_INFINITY
const idleSinceMs: Since = (times) => Math.max(times.answeredAtMs, times.requestAtMs)
const transactionSinceMs: Since = (times) => times.transactionSinceMs ?? never
const waitingSinceMs: Since = (times) => times.waitingSinceMs ?? never
// Its wait does not count.
const workingSinceMs: Since = (times) => times.beganMs + times.waitUs / 1_000

function isPast(limitMs: number, since: Since, times: SessionTimes, nowMs: number): boolean {
  return limitMs > 0 && nowMs - since(times) > limitMs
}

// As often as the shortest limit needs, within reason.
const sweepMsMin = 50
const sweepMsMax = 1_000
const sweepsPerLimit = 10
const limitNames = [
  'queryWaitNotifyMs',
  'queryTimeoutMs',
  'transactionTimeoutMs',
  'idleTransactionTimeoutMs',
  'clientIdleTimeoutMs',
] as const

/** How often sessions with these limits are looked at. */
export function sweepPauseMs(all: Iterable<SessionLimits>): number {
  let shortest = sweepMsMax * sweepsPerLimit
  // By name: what has these limits, a database, has other numbers too.
  for (const limits of all) {
    for (const name of limitNames) if (limits[name] > 0) shortest = Math.min(shortest, limits[name])
  }
  return Math.max(sweepMsMin, Math.min(sweepMsMax, shortest / sweepsPerLimit))
}
