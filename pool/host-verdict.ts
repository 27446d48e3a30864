// The decisions of the monitor, as functions of what is known: who is primary and who is refused,
// what to do after a look at a server that failed, and when to look again. No clock, no socket.
import { unreachable } from '../core/assert.ts'

/** A server that answered. */
export type Candidate = {
  readonly id: string
  readonly role: 'primary' | 'replica'
  readonly systemId: string
  readonly timeline: number
  /** Patroni has gone on calling it a replica after we saw that it is a primary. */
  readonly disowned: boolean
}

/** What earlier verdicts left behind. */
export type Past = {
  /** The primary that is followed; null = none. */
  readonly followed: string | null
  /** Of the shard, as its first primary told; null = no primary was seen yet. */
  readonly systemId: string | null
  /** Highest timeline seen, by system identifier. */
  readonly timelines: ReadonlyMap<string, number>
}

export type Verdict = {
  readonly primary: string | null
  readonly systemId: string | null
  /** Why nothing may be asked of these servers. */
  readonly refused: ReadonlyMap<string, string>
  /** Primaries between which only the order of the configuration decided. */
  readonly rivals: readonly string[]
}

/**
 * Who is primary, of the servers that answered in the order of the configuration. A server of
 * another cluster, and a primary that history has left behind, are refused: writing there is lost.
 */
export function judge(candidates: readonly Candidate[], past: Past): Verdict {
  const systemId =
    past.systemId ?? candidates.find(({ role }) => role === 'primary')?.systemId ?? null
  const refused = new Map<string, string>()
  const claimants: Candidate[] = []
  for (const candidate of candidates) {
    const reason = refusal(candidate, systemId, past.timelines)
    if (reason !== null) refused.set(candidate.id, reason)
    else if (candidate.role === 'primary') claimants.push(candidate)
  }
  const highest = Math.max(...claimants.map(({ timeline }) => timeline))
  const equals = claimants.filter(({ timeline }) => timeline === highest)
  const followed = equals.find(({ id }) => id === past.followed)
  const primary = followed ?? equals[0]
  for (const { id, timeline } of claimants) {
    if (id === primary?.id) continue
    refused.set(id, `"${primary?.id}" is the primary on timeline ${highest}, it is on ${timeline}`)
  }
  const rivals = followed === undefined && equals.length > 1 ? equals.map(({ id }) => id) : []
  return { primary: primary?.id ?? null, systemId, refused, rivals }
}

function refusal(
  { role, systemId, timeline, disowned }: Candidate,
  shardSystemId: string | null,
  timelines: ReadonlyMap<string, number>,
): string | null {
  if (shardSystemId !== null && systemId !== shardSystemId) {
    return `it belongs to another cluster (system identifier ${systemId}, not ${shardSystemId})`
  }
  if (role === 'replica') return null
  const highest = timelines.get(systemId) ?? 0
  if (timeline < highest) {
    return `it is a primary on timeline ${timeline}, but timeline ${highest} was seen (split brain)`
  }
  return disowned ? 'it says that it is a primary, but Patroni calls it a replica' : null
}

/** Why a look at a server brought no sample. */
export type LookFailure = {
  /**
   * `broken`: no answer in time, refused, reset, or any error; `full`: no connection is free;
   * `denied`: the server itself says no, since it is starting or stopping, or does not know us.
   */
  readonly kind: 'broken' | 'full' | 'denied'
  readonly reason: string
}

/** How a look is made: over the connection that we keep, or over a new one. */
export type LookWay = 'kept' | 'fresh'

/**
 * How to look once more before the server counts as down; null = it does now. `keeps`: there is a
 * connection that has not failed. `down`: it was down before, so there is no news to make sure of.
 */
export function secondWay(
  kind: LookFailure['kind'],
  { keeps, down }: { readonly keeps: boolean; readonly down: boolean },
): LookWay | null {
  switch (kind) {
    case 'broken':
      return down ? null : 'fresh'
    case 'full':
      return keeps ? 'kept' : null
    case 'denied':
      return null
    default:
      return unreachable(kind)
  }
}

/** What an SQLSTATE means for a look: classes 28 and 3D are about our login, 57P03 is "not now". */
export function failureKind(sqlstate: string): LookFailure['kind'] {
  if (sqlstate === '53300') return 'full'
  return /^(?:57P03|28|3D|42501)/.test(sqlstate) ? 'denied' : 'broken'
}

/** Bounds of the pause between two looks at a server. */
export type Pace = { readonly probeMs: number; readonly sampleMsMin: number }

/** What else the pause depends on. */
export type Mood = {
  /** Somebody waits for newer samples. */
  readonly watched: boolean
  /** The shard has a primary; while it has none, every server may become it. */
  readonly led: boolean
}

const leaderlessPauseMs = 50
/** While nobody waits for samples, none are taken more often than this many times the minimum. */
const unwatchedFactor = 4
const downPauseMsMin = 50
const doublingsMax = 20

/** No pause is longer, whatever was decided when it began. */
export function pauseMsMax(pace: Pace, mood: Mood, up: boolean): number {
  const longestMs = mood.led ? pace.probeMs : Math.min(pace.probeMs, leaderlessPauseMs)
  return up && mood.watched ? Math.min(pace.sampleMsMin, longestMs) : longestMs
}

/** Pause after a sample; `moved`: its position is another than that of the one `lastMs` before. */
export function samplePauseMs(
  pace: Pace,
  mood: Mood,
  { moved, lastMs }: { readonly moved: boolean; readonly lastMs: number },
): number {
  const longestMs = pauseMsMax(pace, mood, true)
  const shortestMs = Math.min(pace.sampleMsMin * unwatchedFactor, longestMs)
  return Math.min(Math.max(moved ? lastMs / 2 : lastMs * 2, shortestMs), longestMs)
}

/**
 * Pause after the `failures`-th look in a row that failed. `chance`, 0 to 1, keeps many proxies
 * that have lost the same server from knocking in the same moment.
 */
export function downPauseMs(pace: Pace, mood: Mood, failures: number, chance: number): number {
  const doubledMs = downPauseMsMin * 2 ** Math.min(failures - 1, doublingsMax)
  return Math.min(doubledMs, pauseMsMax(pace, mood, false)) * (0.9 + 0.1 * chance)
}
