// How many rows of a table are a set's, and what they weigh: for dry runs, and to prove that none
// are left.
import { escapeIdentifier } from 'pg'
import { openShard } from './connection.ts'
import { fromRange, readRanges, type RowsOf } from './page-ranges.ts'

export type CountOptions = RowsOf & { readonly url: string; readonly signal: AbortSignal }

/**
 * Reads the whole table unless its key is indexed and the set is of keys alone. `bytes`: of values
 * as they are stored, without headers and indexes. @throws the signal's reason, else what pg
 * throws.
 */
export async function countRows(
  options: CountOptions,
): Promise<{ readonly rows: number; readonly bytes: number }> {
  const { table, url, signal } = options
  await using connection = await openShard(url, signal)
  const stored = table.columns.map(({ name }) => {
    return `coalesce(pg_column_size(${escapeIdentifier(name)}), 0)`
  })
  const counted = { rows: 0, bytes: 0 }
  try {
    const whole = await readRanges(connection.client, options, Number.POSITIVE_INFINITY)
    for (const leaf of whole) {
      const { rows } = await connection.client.query<{ rows: string; bytes: string }>(
        `SELECT count(*) AS rows, coalesce(sum(${stored.join(' + ')}), 0) AS bytes
         ${fromRange(leaf, options)}`,
      )
      counted.rows += Number(rows[0]?.rows ?? 0)
      counted.bytes += Number(rows[0]?.bytes ?? 0)
    }
  } catch (thrown) {
    signal.throwIfAborted()
    throw thrown
  }
  return counted
}
