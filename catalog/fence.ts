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

/** Takes the fence of a move away, if there is one. @throws pg's error 55P03 when its tables are in use for too long */
export async function liftFence(
  client: Client,
  options: Pick<FenceOptions, 'moveId' | 'timeoutMs' | 'now'>,
): Promise<void> {
  const triggers = await fenceTriggers(client, options.moveId)
  const ddl = triggers.map(
    ({ schema, table, name }) =>
      `DROP TRIGGER IF EXISTS ${escapeIdentifier(name)} ON ${escapeIdentifier(schema)}.${escapeIdentifier(table)}`,
  )
  // Table by table: each lock is held for a moment only.
  for (const sql of ddl) await inShortTries(client, [sql], options)
}

/** Triggers of a fence; without `moveId` of all fences. */
export async function fenceTriggers(
  client: Client,
  moveId?: number,
): Promise<readonly { readonly schema: string; readonly table: string; readonly name: string }[]> {
  const { rows } = await client.query<{ schema: string; table: string; name: string }>(
    `SELECT n.nspname AS schema, c.relname AS table, t.tgname AS name
     FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE t.tgparentid = 0 AND t.tgname ~ $1 ORDER BY 1, 2, 3`,
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
  { timeoutMs, now }: Pick<FenceOptions, 'timeoutMs' | 'now'>,
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
      await new Promise((resolve) => setTimeout(resolve, tryMs / 2))
    }
  }
}
