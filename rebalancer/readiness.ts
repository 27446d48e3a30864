// What keeps a move from starting, all of it at once, each with what to do about it: settings and
// rights of both servers, the tables, room on the target. Both servers are asked for everything,
// since rolling back is the same move the other way. Also how a replication slot is doing while a
// move runs.
import { type Client, DatabaseError, escapeLiteral } from 'pg'
import { type Lsn, parseLsn } from '../core/lsn.ts'
import type { ShardingRules } from '../router/schema.ts'
import { type MovedTable, readMovedTables, tableProblems } from './tables.ts'

export type Problem = { readonly problem: string; readonly remedy: string }

/**
 * No problem: the move may start. Notes are what could not be found out, and what may take time.
 */
export type Readiness = { readonly problems: readonly Problem[]; readonly notes: readonly string[] }

export type ReadinessOptions = {
  /** Both as rebalancer/copy/connection.ts opens them, outside of a transaction. */
  readonly source: Client
  readonly target: Client
  readonly rules: ShardingRules
  /** The source's. */
  readonly tables: readonly MovedTable[]
  /** To be moved, without indexes; null: not known, and room is not looked at. */
  readonly bytes: number | null
  /** A transaction that has been prepared for longer has been forgotten; a minute unless given. */
  readonly preparedAgeMaxMs?: number
}

const preparedAgeMaxMs = 60_000
const versionMin = 14
/** One that the changes come through, one for the snapshot that is compared. */
const slotsNeeded = 2
const roomNeeded = 1.2
const slowTransactionMinutes = 5

/** @throws what pg throws when a server cannot be asked. */
export async function findProblems(options: ReadinessOptions): Promise<Readiness> {
  const { source, target, rules, tables, bytes } = options
  const [ofSource, ofTarget] = [await readFacts(source), await readFacts(target)]
  const problems = [...serverProblems('source', ofSource), ...serverProblems('target', ofTarget)]
  if (ofSource.encoding !== ofTarget.encoding) {
    problems.push({
      problem: `the source's encoding is ${ofSource.encoding}, the target's ${ofTarget.encoding}`,
      remedy: `create the target's database with ENCODING '${ofSource.encoding}'`,
    })
  }
  for (const problem of tableProblems(tables, await readMovedTables(target, rules))) {
    const remedy = 'make the table alike on both shards; "ringfence schema diff" shows differences'
    problems.push({ problem, remedy: remedyOf(problem) ?? remedy })
  }
  problems.push(...(await preparedProblems(source, options.preparedAgeMaxMs ?? preparedAgeMaxMs)))
  const notes = await slowTransactions(source)
  if (bytes === null) return { problems, notes }
  const freeBytes = await readFreeBytes(target)
  if (freeBytes === null) {
    notes.push('the free disk space of the target is not known: its server may not run "df" for us')
  } else if (freeBytes < bytes * roomNeeded) {
    problems.push({
      problem: `the target has ${freeBytes} bytes of disk space left for ${bytes} bytes of rows`,
      remedy: `free at least ${Math.ceil(bytes * roomNeeded)} bytes, or move fewer virtual nodes`,
    })
  }
  return { problems, notes }
}

/** Of a replication slot. */
export type SlotState =
  | { readonly kind: 'missing' }
  | {
      readonly kind: 'present'
      readonly active: boolean
      /** pg_replication_slots.wal_status; `lost`: what it stands for is gone, it is of no use. */
      readonly walStatus: string
      /** Null while the slot is being made, and once it is lost. */
      readonly restartLsn: Lsn | null
      /** Up to where its reader has said to have everything. */
      readonly confirmedLsn: Lsn | null
      /** Log that the server keeps for it. */
      readonly retainedBytes: number
    }

type SlotRow = {
  readonly active: boolean
  readonly status: string | null
  readonly restart: string | null
  readonly confirmed: string | null
  readonly retained: string | null
}

/** State of the slot now. */
export async function slotState(client: Client, slot: string): Promise<SlotState> {
  const { rows } = await client.query<SlotRow>(
    `SELECT active, wal_status AS status, restart_lsn::text AS restart,
            confirmed_flush_lsn::text AS confirmed,
            greatest(0, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn))::int8 AS retained
     FROM pg_replication_slots WHERE slot_name = $1`,
    [slot],
  )
  const [row] = rows
  if (row === undefined) return { kind: 'missing' }
  return {
    kind: 'present',
    active: row.active,
    walStatus: row.status ?? 'lost',
    restartLsn: parseLsn(row.restart ?? '') ?? null,
    confirmedLsn: parseLsn(row.confirmed ?? '') ?? null,
    retainedBytes: Number(row.retained ?? 0),
  }
}

/** Bytes of log that the server keeps for the slot; 0 when there is no such slot. */
export async function walRetained(client: Client, slot: string): Promise<number> {
  const state = await slotState(client, slot)
  return state.kind === 'missing' ? 0 : state.retainedBytes
}

type Facts = {
  readonly version: number
  readonly recovering: boolean
  readonly walLevel: string
  readonly slotsMax: number
  readonly slots: number
  readonly sendersMax: number
  readonly senders: number
  /** Sessions that may apply changes at once; before version 18 as many as slots. */
  readonly originsMax: number
  readonly login: string
  readonly mayReplicate: boolean
  /** Functions of replication origins that the login may not call. */
  readonly originFunctions: readonly string[]
  readonly encoding: string
  /** May act without triggers. */
  readonly maySilence: boolean
}

const originFunctions = [
  'pg_replication_origin_create(text)',
  'pg_replication_origin_drop(text)',
  'pg_replication_origin_oid(text)',
  'pg_replication_origin_session_setup(text)',
  'pg_replication_origin_session_reset()',
  'pg_replication_origin_xact_setup(pg_lsn, timestamp with time zone)',
]

async function readFacts(client: Client): Promise<Facts> {
  const { rows } = await client.query<Omit<Facts, 'maySilence'>>(
    `SELECT current_setting('server_version_num')::int / 10000 AS version,
       pg_is_in_recovery() AS recovering,
       current_setting('wal_level') AS "walLevel",
       current_setting('max_replication_slots')::int AS "slotsMax",
       (SELECT count(*)::int FROM pg_replication_slots) AS slots,
       current_setting('max_wal_senders')::int AS "sendersMax",
       (SELECT count(*)::int FROM pg_stat_replication) AS senders,
       coalesce(current_setting('max_active_replication_origins', true),
         current_setting('max_replication_slots'))::int AS "originsMax",
       current_user AS login,
       (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user)
         AS "mayReplicate",
       ARRAY(SELECT f FROM unnest($1::text[]) f WHERE NOT has_function_privilege(f, 'EXECUTE'))
         AS "originFunctions",
       current_setting('server_encoding') AS encoding`,
    [originFunctions],
  )
  const [facts] = rows
  if (facts === undefined) throw new Error('the server has answered nothing about itself')
  return { ...facts, maySilence: await maySilence(client) }
}

/** Tried rather than asked: managed services have rules of their own for this setting. */
async function maySilence(client: Client): Promise<boolean> {
  await client.query('BEGIN')
  try {
    await client.query('SET LOCAL session_replication_role = replica')
    return true
  } catch (thrown) {
    if (thrown instanceof DatabaseError) return false
    throw thrown
  } finally {
    await client.query('ROLLBACK')
  }
}

function serverProblems(shard: 'source' | 'target', facts: Facts): Problem[] {
  const found: Problem[] = []
  const add = (problem: string, remedy: string) => {
    found.push({ problem: `on the ${shard}, ${problem}`, remedy })
  }
  const { version, walLevel, login } = facts
  if (version < versionMin) {
    add(`PostgreSQL ${version} is too old`, `upgrade it to PostgreSQL ${versionMin} or later`)
  }
  if (facts.recovering) add('the server is a replica', 'name its primary')
  if (walLevel !== 'logical') {
    add(`wal_level is ${walLevel}`, 'set wal_level = logical and restart the server')
  }
  const freeSlots = facts.slotsMax - facts.slots
  if (freeSlots < slotsNeeded) {
    const remedy = `set max_replication_slots to at least ${facts.slots + slotsNeeded} and restart`
    add(`${freeSlots} replication slots are free, ${slotsNeeded} are needed`, remedy)
  }
  const freeSenders = facts.sendersMax - facts.senders
  if (freeSenders < slotsNeeded) {
    const remedy = `set max_wal_senders to at least ${facts.senders + slotsNeeded} and restart`
    add(`${freeSenders} WAL senders are free, ${slotsNeeded} are needed`, remedy)
  }
  if (facts.originsMax === 0 && facts.slotsMax > 0) {
    const remedy = 'set max_active_replication_origins to 10, its default, and restart'
    add('max_active_replication_origins is 0', remedy)
  }
  if (!facts.mayReplicate) {
    add(`role "${login}" lacks REPLICATION`, `ALTER ROLE "${login}" REPLICATION`)
  }
  if (!facts.maySilence) {
    const grant = `GRANT SET ON PARAMETER session_replication_role TO "${login}"`
    const remedy = version >= 15 ? grant : `ALTER ROLE "${login}" SUPERUSER`
    add(`role "${login}" may not set session_replication_role`, remedy)
  }
  for (const name of facts.originFunctions) {
    const remedy = `GRANT EXECUTE ON FUNCTION pg_catalog.${name} TO "${login}"`
    add(`role "${login}" may not call ${name.replace(/\(.*/, '()')}`, remedy)
  }
  return found
}

/** What tableProblems() says of rights has a remedy of its own. */
function remedyOf(problem: string): string | null {
  if (problem.includes('belongs to role')) return 'let our login own the table, or join that role'
  if (problem.includes('row-level security')) return 'ALTER ROLE … BYPASSRLS for our login'
  if (problem.endsWith('no primary key')) return 'ALTER TABLE … ADD PRIMARY KEY on every shard'
  if (problem.includes('is deferrable')) return 'make the primary key NOT DEFERRABLE on every shard'
  if (problem.includes('WITHOUT OVERLAPS') || problem.endsWith('is generated')) {
    return 'give the table a primary key of ordinary columns on every shard'
  }
  if (problem.includes('is no key of type')) return 'ALTER TABLE … ALTER its type on every shard'
  if (problem.includes('subscription')) return 'ALTER SUBSCRIPTION … DROP PUBLICATION, or drop it'
  if (problem.includes('is unlogged')) return 'ALTER TABLE … SET LOGGED'
  if (problem.includes('is ENABLE')) return 'ALTER TABLE … ENABLE it for ordinary sessions only'
  return null
}

/** A slot waits for every transaction that has written, these too. */
async function preparedProblems(source: Client, ageMaxMs: number): Promise<readonly Problem[]> {
  const { rows } = await source.query<{ gid: string; database: string; seconds: number }>(
    `SELECT gid, database,
       floor(extract(epoch FROM clock_timestamp() - prepared))::int AS seconds
     FROM pg_prepared_xacts
     WHERE prepared < clock_timestamp() - $1 * interval '1 ms' ORDER BY prepared LIMIT 20`,
    [ageMaxMs],
  )
  return rows.map(({ gid, database, seconds }) => {
    const what = `transaction ${escapeLiteral(gid)} of database "${database}"`
    return {
      problem: `on the source, ${what} has been prepared for ${seconds} s`,
      remedy: `in that database, COMMIT PREPARED or ROLLBACK PREPARED ${escapeLiteral(gid)}`,
    }
  })
}

async function slowTransactions(source: Client): Promise<string[]> {
  const { rows } = await source.query<{ pid: number; minutes: number }>(
    `SELECT pid, floor(extract(epoch FROM clock_timestamp() - xact_start) / 60)::int AS minutes
     FROM pg_stat_activity
     WHERE backend_xid IS NOT NULL AND backend_type = 'client backend'
       AND xact_start < clock_timestamp() - interval '${slowTransactionMinutes} minutes'
     ORDER BY xact_start LIMIT 20`,
  )
  return rows.map(({ pid, minutes }) => {
    return `the move will wait for process ${pid}, whose transaction has run for ${minutes} min`
  })
}

/** Where the target's data directory is; null when the server may not or cannot tell. */
async function readFreeBytes(target: Client): Promise<number | null> {
  await target.query('BEGIN')
  try {
    await target.query(`SET LOCAL statement_timeout = '5s'`)
    const where = await target.query<{ directory: string }>(
      `SELECT current_setting('data_directory') AS directory`,
    )
    const directory = where.rows[0]?.directory ?? ''
    const program = `df -Pk '${directory.replaceAll("'", String.raw`'\''`)}'`
    await target.query('CREATE TEMPORARY TABLE ringfence_df (line text) ON COMMIT DROP')
    await target.query(
      `COPY pg_temp.ringfence_df FROM PROGRAM ${escapeLiteral(program)}
       (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02')`,
    )
    const lines = await target.query<{ line: string }>('SELECT line FROM pg_temp.ringfence_df')
    // Filesystem, 1024-blocks, used, available, capacity, mounted on (POSIX, "df").
    const answer = /\s\d+\s+\d+\s+(\d+)\s+\d+%\s/.exec(lines.rows.at(-1)?.line ?? '')
    return answer === null ? null : Number(answer[1]) * 1024
  } catch (thrown) {
    if (thrown instanceof DatabaseError) return null
    throw thrown
  } finally {
    await target.query('ROLLBACK')
  }
}
