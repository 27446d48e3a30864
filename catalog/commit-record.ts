// The decision of a two-phase transaction: a row in the decider's ringfence.commit_record. Written in the
// decider's own transaction, so that its COMMIT decides for all participants.
import { escapeLiteral, type Client } from 'pg'
import { sqlstateOf } from './connection.ts'

/** `undecided`: the decider's transaction is still open and may yet decide. */
export type Decision = 'commit' | 'abort' | 'undecided'

const lockTimeout = '55P03'

/**
 * SQL for the decider, last statement before its COMMIT; one row, one empty column. Fails with 23505 when recovery
 * has given the transaction up: then it must be rolled back everywhere. Raises synchronous_commit from off.
 */
export function decideCommitSql(id: string): string {
  return `SELECT ringfence.decide_commit(${escapeLiteral(id)})`
}

/**
 * The final answer about transaction `id`, from its decider. Without a record it is made final by a tombstone,
 * for which a decider that is still open has to be waited (its row is in the unique index already): the
 * connection's lock_timeout bounds that.
 */
export async function decide(decider: Client, id: string): Promise<Decision> {
  try {
    await decider.query(
      `INSERT INTO ringfence.commit_record (id, decided) VALUES ($1, 'abort')
       ON CONFLICT (id) DO NOTHING`,
      [id],
    )
  } catch (error) {
    if (sqlstateOf(error) === lockTimeout) return 'undecided'
    throw error
  }
  const { rows } = await decider.query<{ decided: Decision }>(
    'SELECT decided FROM ringfence.commit_record WHERE id = $1',
    [id],
  )
  return rows[0]?.decided ?? 'undecided'
}

/** Ids of decisions that are old enough to go once no shard has their transaction prepared any more. */
export async function settledRecords(
  decider: Client,
  commitAgeMs: number,
  tombstoneAgeMs: number,
): Promise<readonly string[]> {
  const { rows } = await decider.query<{ id: string }>(
    `SELECT id FROM ringfence.commit_record
     WHERE at <= clock_timestamp() - interval '1 ms' * CASE decided WHEN 'commit' THEN $1::float8 ELSE $2 END`,
    [commitAgeMs, tombstoneAgeMs],
  )
  return rows.map(({ id }) => id)
}

/** Removes these decisions; gives their number. */
export async function removeRecords(decider: Client, ids: readonly string[]): Promise<number> {
  if (ids.length === 0) return 0
  const { rowCount } = await decider.query(
    'DELETE FROM ringfence.commit_record WHERE id = ANY ($1::text[])',
    [ids],
  )
  return rowCount ?? 0
}
