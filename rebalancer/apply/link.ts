// Both connections of a follower, opened and agreed on what to follow. Whatever is wrong with
// source or target that trying again would not mend is found here.
import { escapeLiteral } from 'pg'
import type { Clock } from '../../core/clock.ts'
import { formatLsn, type Lsn, parseLsn } from '../../core/lsn.ts'
import { assert } from '../../core/assert.ts'
import { MoveProblem } from '../move-problem.ts'
import { ConnectionLost } from '../stream/connection-lost.ts'
import { SourceClock } from '../stream/source-clock.ts'
import { SourceConnection } from '../stream/source-connection.ts'
import {
  type AppliedTable,
  applyTable,
  type FollowedTable,
  formatFor,
  type ValueFormat,
} from './applied-table.ts'
import { type FactsRow, factsSql, type TableFacts, type TableName } from './table-facts.ts'
import { TargetSession } from './target-session.ts'

export type LinkOptions = {
  readonly sourceUrl: string
  readonly targetUrl: string
  readonly slot: string
  readonly publication: string
  readonly moveId: number
  readonly direction: 'forward' | 'reverse'
  readonly tables: readonly FollowedTable[]
  /** Replication origin that marks what is written; of the server, so it must be no other cluster's. */
  readonly origin?: string
  /** Of the slot; where a target begins that has recorded nothing yet. */
  readonly startLsn: Lsn
}

/** Connections that stream and may apply; `recorded`: what the target has durably. */
export type Link = {
  readonly source: SourceConnection
  readonly sourceClock: SourceClock
  readonly session: TargetSession
  readonly tables: readonly AppliedTable[]
  readonly format: ValueFormat
  readonly recorded: Lsn
}

type SourceFacts = {
  readonly version: number
  readonly plugin: string | null
  readonly lost: boolean
  readonly holder: number | null
  readonly confirmed: string | null
  readonly published: boolean
}

const abortHint = 'Abort the move and begin it again.'

/** Name of the replication origin that marks what the follower writes. */
export function originName(moveId: number, direction: string): string {
  return `ringfence_${moveId}_${direction}`
}

/** Opens both sides and begins to stream. @throws MoveProblem, or what may pass. */
export async function openLink(options: LinkOptions, clock: Clock): Promise<Link> {
  const { moveId, direction } = options
  const name = `ringfence move ${moveId} ${direction}`
  const source = await SourceConnection.open(options.sourceUrl, `${name} source`, clock)
  let session: TargetSession | null = null
  let sourceClock: SourceClock | null = null
  try {
    const origin = options.origin ?? originName(moveId, direction)
    session = await TargetSession.open(options.targetUrl, `${name} target`, origin, clock)
    sourceClock = await SourceClock.open(options.sourceUrl, `${name} clock`, clock)
    const facts = await askSource(source, options)
    const recorded = await recordedOn(session, options)
    checkPosition(facts.confirmed, recorded)
    const { tables, format } = await agree(source, session, options.tables)
    await source.stream({
      slot: options.slot,
      publication: options.publication,
      startLsn: recorded,
      protocol: protocolOf(facts.version),
      binary: format === 'binary',
    })
    return { source, sourceClock, session, tables, format, recorded }
  } catch (cause) {
    source.destroy()
    session?.destroy()
    sourceClock?.destroy()
    throw cause
  }
}

/** Highest protocol of pgoutput that the server knows; 14 is the first with what we need. */
function protocolOf(version: number): number {
  if (version >= 160_000) return 4
  return version >= 150_000 ? 3 : 2
}

async function askSource(
  source: SourceConnection,
  { slot, publication }: LinkOptions,
): Promise<SourceFacts> {
  const [facts] = await source.query<SourceFacts>(
    `SELECT current_setting('server_version_num')::int AS version, s.plugin, s.active_pid AS holder,
       coalesce(s.wal_status = 'lost', false) AS lost, s.confirmed_flush_lsn AS confirmed,
       EXISTS (SELECT FROM pg_publication
               WHERE pubname = ${escapeLiteral(publication)}) AS published
     FROM (VALUES (1)) one LEFT JOIN pg_replication_slots s
       ON s.slot_name = ${escapeLiteral(slot)} AND s.database = current_database()`,
  )
  assert(facts !== undefined, 'the source answers with one row')
  if (facts.plugin === null || facts.lost) {
    const how = facts.lost ? 'has been invalidated' : 'does not exist'
    const hint = `${abortHint} If it was invalidated, raise max_slot_wal_keep_size first.`
    throw new MoveProblem('slotLost', `replication slot "${slot}" ${how}`, { hint })
  }
  assert(facts.plugin === 'pgoutput', 'the slot of a move decodes with pgoutput')
  if (!facts.published) {
    const message = `publication "${publication}" does not exist on the source`
    throw new MoveProblem('publicationLost', message, { hint: abortHint })
  }
  if (facts.holder !== null) {
    // Our own earlier connection, of which the server has not heard yet that it is gone.
    await source.query(`SELECT pg_terminate_backend(${facts.holder})`)
    throw new ConnectionLost(`replication slot "${slot}" was still held by process ${facts.holder}`)
  }
  return facts
}

/** Position up to which the target has everything; written down as `startLsn` the first time. */
async function recordedOn(
  session: TargetSession,
  { moveId, direction, startLsn }: LinkOptions,
): Promise<Lsn> {
  const of = [String(moveId), direction]
  await session.query(
    `INSERT INTO ringfence.move_progress (move_id, direction, lsn) VALUES ($1, $2, $3)
     ON CONFLICT (move_id, direction) DO NOTHING`,
    [...of, formatLsn(startLsn)],
  )
  const rows = await session.query<{ readonly lsn: string }>(
    `SELECT lsn FROM ringfence.move_progress WHERE move_id = $1 AND direction = $2`,
    of,
  )
  const recorded = parseLsn(rows[0]?.lsn ?? '')
  assert(recorded !== undefined, 'the target has a position for the move')
  return recorded
}

/**
 * We acknowledge only what is recorded: a slot that is ahead has thrown away what the target lacks.
 */
function checkPosition(confirmed: string | null, recorded: Lsn): void {
  const flushed = parseLsn(confirmed ?? '')
  if (flushed === undefined || flushed <= recorded) return
  const has = formatLsn(recorded)
  const message = `the target has changes up to ${has}, the slot begins at ${confirmed}`
  throw new MoveProblem('positionLost', message, {
    hint: `The target was restored or failed over to a replica that was behind. ${abortHint}`,
  })
}

async function agree(
  source: SourceConnection,
  session: TargetSession,
  followed: readonly FollowedTable[],
): Promise<{ readonly tables: readonly AppliedTable[]; readonly format: ValueFormat }> {
  if (followed.length === 0) return { tables: [], format: 'text' }
  const sql = factsSql(followed)
  const here = (await source.query<FactsRow>(sql)).map(({ facts }) => facts)
  const there = (await session.query<FactsRow>(sql, [])).map(({ facts }) => facts)
  const format = formatFor([...here, ...there])
  const tables = followed.map((table) => {
    return applyTable(table, factsOf(here, table), factsOf(there, table), format)
  })
  return { tables, format }
}

function factsOf(facts: readonly TableFacts[], { schema, name }: TableName) {
  return facts.find((each) => each.schema === schema && each.name === name)
}
