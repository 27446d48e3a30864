// The questions that the monitor asks a server, and what their answers mean. They need no right
// beyond logging in; with pg_read_all_stats (part of pg_monitor) a replica also tells the timeline
// that it receives.
// No function tells on which timeline a replica's replay position lies. What it has replayed of
// (control file) is certain but old; what it receives is newer, yet ahead of what it replays. So a
// received timeline counts from where that timeline is known to have begun: a position on timeline
// n then always holds everything that n took over from the timelines before it.
import { type Lsn, lsn as lsnAt, parseLsn } from '../core/lsn.ts'
import type { Answer } from './exchange.ts'

const pageBytes = 8_192n
const pageHeaderBytes = 24n

/** What a server said of itself at one moment. */
export type HostSample = {
  readonly role: 'primary' | 'replica'
  readonly systemId: string
  readonly timeline: number
  /** Another one after every start of the server, and after a crash of one of its processes. */
  readonly incarnation: string
  /** Primary: where its next record goes. Replica: up to where it has replayed. */
  readonly lsn: Lsn
  /** Up to where others can have it. A primary's `lsn` stays ahead of it while nobody commits. */
  readonly flushed: Lsn
  /** Monotonic: before the question was sent. */
  readonly askedAtMs: number
  /** Monotonic: after the answer. */
  readonly answeredAtMs: number
}

/** What an answer says; `identity` is null when only the position was asked for. */
export type Reading = {
  readonly role: 'primary' | 'replica'
  readonly lsn: Lsn
  readonly flushed: Lsn
  /** Primary: that it writes. Replica: that it receives, 0 when it does not tell. */
  readonly timeline: number
  readonly identity: Identity | null
}

type Identity = {
  readonly systemId: string
  readonly incarnation: string
  /** 0 on a primary that has been one for a while. */
  readonly replayedTimeline: number
}

/** Known of a server's incarnation; the timelines are the highest ever seen, 0 = none. */
export type HostLife = {
  readonly systemId: string
  readonly incarnation: string
  readonly replayedTimeline: number
  readonly receivedTimeline: number
}

// pg_is_in_recovery() turns false once and stays so: it is asked first, and apart (OFFSET 0), lest
// a promotion in the middle of the statement give an answer of two halves.
const host = '(SELECT pg_is_in_recovery() AS replica OFFSET 0) AS host'
const position = `replica,
  CASE WHEN replica THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END,
  CASE WHEN NOT replica THEN pg_current_wal_flush_lsn() END,
  CASE WHEN NOT replica THEN pg_walfile_name(pg_current_wal_insert_lsn()) END,
  CASE WHEN replica THEN (SELECT received_tli FROM pg_stat_get_wal_receiver()) END`
// The postmaster outlives a crash of one of its processes, after which a replica may be where it
// was before; statistics do not: they are discarded, and reset_at of any of them tells when.
const identity = `(SELECT system_identifier FROM pg_control_system()),
  (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,
  (SELECT (extract(epoch FROM stats_reset) * 1000000)::bigint FROM pg_stat_get_archiver()),
  greatest((SELECT timeline_id FROM pg_control_checkpoint()),
           (SELECT min_recovery_end_timeline FROM pg_control_recovery()))`

/** Sent first: a role's default of SERIALIZABLE would have a replica refuse every question. */
export const prepareSql = "SET default_transaction_isolation = 'read committed'"
/** Role and position; cheap enough for every 10 ms. */
export const briefSql = `SELECT ${position} FROM ${host}`
/** That, who the server is and what it has replayed: for a new connection and now and then. */
export const fullSql = `SELECT ${position}, ${identity} FROM ${host}`

/** Takes an answer apart. @throws Error when it is not one to these questions. */
export function readAnswer(answer: Answer): Reading {
  const [replica, at, flushedAt, walFile, received, systemId, started, resetAt, replayed] =
    answer.rows[0] ?? []
  const lsn = reachable(parseLsn(at ?? ''))
  if (lsn === undefined || (replica !== 't' && replica !== 'f')) {
    throw new Error('the server does not tell its position in the write-ahead log')
  }
  // The name of a WAL file begins with its timeline in eight hexadecimal digits.
  const written = Number.parseInt((walFile ?? '').slice(0, 8), 16)
  return {
    role: replica === 't' ? 'replica' : 'primary',
    lsn,
    flushed: parseLsn(flushedAt ?? '') ?? lsn,
    timeline: replica === 't' ? Number(received ?? 0) : written,
    identity:
      typeof systemId === 'string'
        ? {
            systemId,
            incarnation: `${started ?? ''}.${resetAt ?? ''}`,
            replayedTimeline: Number(replayed ?? 0),
          }
        : null,
  }
}

/** What is known of the server's incarnation after `reading`. Null: it has not told who it is. */
export function lifeAfter(known: HostLife | null, reading: Reading): HostLife | null {
  const { systemId, incarnation } = reading.identity ?? known ?? {}
  if (systemId === undefined || incarnation === undefined) return null
  const same = known?.incarnation === incarnation && known.systemId === systemId
  const { replayedTimeline, receivedTimeline } = same
    ? known
    : { replayedTimeline: 0, receivedTimeline: 0 }
  return {
    systemId,
    incarnation,
    replayedTimeline: Math.max(replayedTimeline, reading.identity?.replayedTimeline ?? 0),
    receivedTimeline: Math.max(receivedTimeline, reading.timeline),
  }
}

/**
 * Timeline that the position of `reading` lies on. `startOf` gives a position at or behind the
 * start of a timeline; null when none is known.
 */
export function timelineOf(
  reading: Reading,
  life: HostLife,
  startOf: (timeline: number) => Lsn | null,
): number {
  if (reading.role === 'primary') return reading.timeline
  const { replayedTimeline, receivedTimeline } = life
  if (receivedTimeline <= replayedTimeline) return replayedTimeline
  const start = startOf(receivedTimeline)
  return start !== null && reading.lsn >= start ? receivedTimeline : replayedTimeline
}

/**
 * A primary that is about to write the first record of a page says that it is behind the page's header (24 bytes,
 * access/xlog_internal.h), where nobody who replays gets before that record. No record ends in between.
 */
function reachable(position: Lsn | undefined): Lsn | undefined {
  if (position === undefined || position % pageBytes !== pageHeaderBytes) return position
  return lsnAt(position - pageHeaderBytes)
}
