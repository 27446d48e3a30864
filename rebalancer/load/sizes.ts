// How many bytes and rows each virtual node has on a shard. Large tables are sampled by pages; either way the sum is
// brought to what the table takes on disk with its indexes and what is out of line, as that is what a move writes
// anew.
import { type Client, escapeIdentifier } from 'pg'
import { vnode, type Vnode } from '../../core/ids.ts'
import { movedSetSql } from '../../router/moved-set.ts'
import type { KeyType } from '../../router/schema.ts'
import type { Leaf, MovedTable } from '../tables.ts'

type Size = { readonly rows: number; readonly bytes: number }

export type Sizes = {
  /** Of every virtual node that has rows, without those of the keys that were asked for. */
  readonly vnodes: ReadonlyMap<Vnode, Size>
  readonly keys: ReadonlyMap<string, Size>
}

export type SizesOptions = {
  readonly keyType: KeyType
  /** Keys that are counted apart, as `keyText` writes them. */
  readonly keys: readonly string[]
  /** Of a larger table so much is read. */
  readonly sampleBytes?: number
}

type SizeRow = { vnode: number; key: string | null; rows: number; bytes: number }

const sampleBytesDefault = 64 * 1024 * 1024

/** Sizes of all `tables` on the shard of `client`, which has search_path = pg_catalog. */
export async function readSizes(
  client: Client,
  tables: readonly MovedTable[],
  options: SizesOptions,
): Promise<Sizes> {
  const vnodes = new Map<Vnode, Size>()
  const keys = new Map<string, Size>()
  for (const table of tables) {
    for (const leaf of table.leaves) {
      const column = escapeIdentifier(table.key)
      for (const row of await readLeaf(client, leaf, column, options)) {
        if (row.key === null) add(vnodes, vnode(row.vnode), row)
        else add(keys, row.key, row)
      }
    }
  }
  return { vnodes, keys }
}

function add<K>(sizes: Map<K, Size>, name: K, { rows, bytes }: Size): void {
  const known = sizes.get(name) ?? { rows: 0, bytes: 0 }
  sizes.set(name, { rows: known.rows + rows, bytes: known.bytes + bytes })
}

/** One row per virtual node and per named key, brought to the size on disk. */
async function readLeaf(
  client: Client,
  { schema, name, oid }: Leaf,
  column: string,
  { keyType, keys, sampleBytes = sampleBytesDefault }: SizesOptions,
): Promise<readonly SizeRow[]> {
  const found = await client.query<{ heap: string; whole: string }>(
    'SELECT pg_relation_size($1::oid) AS heap, pg_total_relation_size($1::oid) AS whole',
    [oid],
  )
  const heap = Number(found.rows[0]?.heap ?? 0)
  const whole = Number(found.rows[0]?.whole ?? 0)
  if (heap === 0) return []
  const part = Math.min(1, sampleBytes / heap)
  // The same pages each time: two plans in a row do not differ by chance.
  const sample = part < 1 ? `TABLESAMPLE SYSTEM (${100 * part}) REPEATABLE (1)` : ''
  const isNamed = movedSetSql({ vnodes: [], keys, except: [] }, `t.${column}`, keyType)
  const { rows } = await client.query<SizeRow>(
    `SELECT ringfence.vnode(t.${column}) AS vnode,
            CASE WHEN ${isNamed} THEN t.${column}::text END AS key,
            count(*)::float8 AS rows, sum(pg_column_size(t.*))::float8 AS bytes
     FROM ONLY ${escapeIdentifier(schema)}.${escapeIdentifier(name)} t ${sample}
     WHERE t.${column} IS NOT NULL GROUP BY 1, 2`,
  )
  const measured = rows.reduce((sum, { bytes }) => sum + bytes, 0)
  const scale = measured === 0 ? 0 : whole / measured
  return rows.map((row) => ({ ...row, rows: row.rows / part, bytes: row.bytes * scale }))
}
