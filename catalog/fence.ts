// The fence of a move, kept by the database itself: triggers that reject writes to the rows of a set. CREATE TRIGGER waits
// for the writers in flight, whatever their isolation; once it is committed nobody writes such a row on that shard, however
// old his topology is. Streams of changes pass: they write under session_replication_role = replica.
import { type Client, escapeIdentifier } from 'pg'
import { assert } from '../core/assert.ts'
import { type Lsn, parseLsn } from '../core/lsn.ts'
import { type MovedSet, movedSetSql } from '../router/moved-set.ts'
import type { KeyType } from '../router/schema.ts'
import { sqlstateOf } from './connection.ts'

/** A sharded table, its topmost parent, and the column of its key. */
type FencedTable = { readonly schema: string; readonly name: string; readonly key: string }

export type FenceOptions = {
  readonly moveId: number
  readonly tables: readonly FencedTable[]
  readonly set: MovedSet
  readonly keyType: KeyType
  /** How long to wait for writers; others queue behind the wait, so it is done in short tries. */
  readonly timeoutMs: number
  readonly now: () => number
}

const lockNotAvailable = '55P03'
const deadlock = '40P01'
const tryMsMin = 20
const tryMsMax = 200
/** Nobody waits for triggers to go: those who read and write go first. */
const dropPauseMs = 500

/**
 * Fences the set on a shard; gives the end of its log, behind which no row of the set is written any more. Idempotent.
 * @throws pg's error 55P03 when writers did not let go in time: nothing is fenced then
 */
export async function placeFence(client: Client, options: FenceOptions): Promise<Lsn> {
  const { moveId, tables, set, keyType } = options
  const ddl = tables.flatMap((table) => {
    const column = (row: string) =>
      movedSetSql(set, `${row}.${escapeIdentifier(table.key)}`, keyType)
    return [
      createSql(moveId, table, 'INSERT', column('NEW')),
      createSql(moveId, table, 'UPDATE', `${column('OLD')} OR ${column('NEW')}`),
      createSql(moveId, table, 'DELETE', column('OLD')),
    ]
  })
  await inShortTries(client, ddl, options)
  const { rows } = await client.query<{ lsn: string }>('SELECT pg_current_wal_flush_lsn() AS lsn')
  const lsn = parseLsn(rows[0]?.lsn ?? '')
  assert(lsn !== undefined, 'a primary says where its log ends')
  return lsn
}

type LiftOptions = Pick<FenceOptions, 'moveId' | 'timeoutMs' | 'now'>

/**
 * Lets writers through again, if there is a fence. Its triggers stay, switched off: taking them away would wait for whoever
 * reads the table, a dump for instance, and clients would wait with it. @throws pg's error 55P03 when writers do not let go
 */
export async function liftFence(client: Client, options: LiftOptions): Promise<void> {
  const triggers = await fenceTriggers(client, options.moveId)
  // Table by table: each lock is held for a moment only.
  for (const { named, name } of triggers.filter(({ enabled }) => enabled)) {
    await inShortTries(client, [`ALTER TABLE ${named} DISABLE TRIGGER ${name}`], options)
  }
}

/** Takes the triggers of a fence away, on or off. @throws pg's error 55P03 when their tables are in use for too long */
export async function dropFence(client: Client, options: LiftOptions): Promise<void> {
  for (const { named, name } of await fenceTriggers(client, options.moveId)) {
    const sql = `DROP TRIGGER IF EXISTS ${name} ON ${named}`
    await inShortTries(client, [sql], { ...options, pauseMsMin: dropPauseMs })
  }
}

/** On the topmost parent of a table. */
type FenceTrigger = {
  /** The table, as SQL. */
  readonly named: string
  /** As SQL: digits and small letters. */
  readonly name: string
  /** False once the fence is lifted. */
  readonly enabled: boolean
}

/** Triggers of a fence; without `moveId` of all fences. */
export async function fenceTriggers(
  client: Client,
  moveId?: number,
): Promise<readonly FenceTrigger[]> {
  const { rows } = await client.query<FenceTrigger>(
    `SELECT format('%I.%I', n.nspname, c.relname) AS named, t.tgname::text AS name,
            t.tgenabled <> 'D' AS enabled
     FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE t.tgparentid = 0 AND t.tgname ~ $1 ORDER BY 1, 2`,
    [moveId === undefined ? '^ringfence_fence_[0-9]+_' : `^ringfence_fence_${moveId}_`],
  )
  return rows
}

function createSql(
  moveId: number,
  { schema, name }: FencedTable,
  event: 'INSERT' | 'UPDATE' | 'DELETE',
  when: string,
): string {
  const trigger = escapeIdentifier(`ringfence_fence_${moveId}_${event.toLowerCase()}`)
  return `CREATE OR REPLACE TRIGGER ${trigger} BEFORE ${event} ON ${escapeIdentifier(schema)}.${escapeIdentifier(name)}
    FOR EACH ROW WHEN (${when}) EXECUTE FUNCTION ringfence.reject_fenced()`
}

/** Autovacuum is told to give way as soon as it is in the way; only superusers may have it told so early. */
const giveWaySql = `SELECT pg_catalog.set_config('deadlock_timeout', '10', true)
  FROM pg_catalog.pg_roles WHERE rolname = current_user AND rolsuper`

/** All of `ddl` in one transaction. */
async function inShortTries(
  client: Client,
  ddl: readonly string[],
  {
    timeoutMs,
    now,
    pauseMsMin = 0,
  }: Pick<FenceOptions, 'timeoutMs' | 'now'> & { readonly pauseMsMin?: number },
): Promise<void> {
  const untilMs = now() + timeoutMs
  for (let tryMs = tryMsMin; ; tryMs = Math.min(tryMs * 2, tryMsMax)) {
    try {
      // One message: clients wait for its end.
      const limits = `SET LOCAL lock_timeout = ${tryMs}`
      await client.query(['BEGIN', limits, giveWaySql, ...ddl, 'COMMIT'].join(';\n'))
      return
    } catch (error) {
      // A connection that is gone has rolled back by itself, and the next try says so.
      await client.query('ROLLBACK').catch(() => undefined)
      const sqlstate = sqlstateOf(error)
      const inUse = sqlstate === lockNotAvailable || sqlstate === deadlock
      if (!inUse || now() >= untilMs) throw error
      // Who queued behind the try gets its turn.
      await new Promise((resolve) => setTimeout(resolve, Math.max(pauseMsMin, tryMs / 2)))
    }
  }
}
