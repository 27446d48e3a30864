// A table in parts: ranges of its pages, which PostgreSQL reads by themselves (TID Range Scan,
// version 14 and later).
import { type Client, escapeIdentifier } from 'pg'
import type { KeyType } from '../../router/schema.ts'
import { type MovedSet, movedSetSql } from '../../router/moved-set.ts'
import type { MovedTable } from '../tables.ts'

/**
 * A relation that holds rows of a table, on the server at hand: shards may be partitioned
 * differently.
 */
type SizedLeaf = {
  readonly schema: string
  readonly name: string
  /** A whole index begins with the shard key. */
  readonly keyIndexed: boolean
  readonly pages: number
  /** With what is out of line; without indexes. */
  readonly bytes: number
  /** Of an average row, as far as the server has counted; at least 1. */
  readonly rowBytes: number
}

/**
 * Pages `from` up to but not including `to`; null: to the end, however long the leaf has become.
 */
export type PageRange = {
  readonly leaf: SizedLeaf
  readonly from: number
  readonly to: number | null
  /** An estimate, of what it has on disk. */
  readonly bytes: number
  /** An index finds its rows by their key: cut in parts, each would look up all of them. */
  readonly byKey: boolean
}

/** Which rows of a table are meant. */
export type RowsOf = {
  readonly table: MovedTable
  readonly set: MovedSet
  readonly rules: { readonly keyType: KeyType }
}

/**
 * Ranges of about `rangeBytes` of a leaf; values out of line count where their rows are, evenly.
 */
export function pageRanges(leaf: SizedLeaf, rangeBytes: number): readonly PageRange[] {
  const whole = { leaf, from: 0, to: null, bytes: leaf.bytes, byKey: false }
  return [...piecesOf(whole, rangeBytes)]
}

/** The same pages in pieces of about `pieceBytes`, at least a page each. */
export function* piecesOf(range: PageRange, pieceBytes: number): Iterable<PageRange> {
  const { leaf, from: first, bytes } = range
  const end = range.to ?? Math.max(first + 1, leaf.pages)
  const pages = end - first
  const wanted = Math.max(1, Math.floor(pages / Math.max(1, bytes / pieceBytes)))
  const step = range.byKey ? pages : wanted
  for (let from = first; from < end; from += step) {
    const last = from + step >= end
    const share = ((last ? end : from + step) - from) / pages
    yield { ...range, from, to: last ? range.to : from + step, bytes: Math.ceil(bytes * share) }
  }
}

/** Ranges of all leaves; rows that an index finds by their key are one range per leaf. */
export async function readRanges(
  client: Client,
  { table, set }: Pick<RowsOf, 'table' | 'set'>,
  rangeBytes: number,
): Promise<readonly PageRange[]> {
  const leaves = await readLeaves(client, table)
  return leaves.flatMap((leaf) => {
    const byKey = set.vnodes.length === 0 && leaf.keyIndexed
    const ranges = pageRanges(leaf, byKey ? Number.POSITIVE_INFINITY : rangeBytes)
    return ranges.map((range) => ({ ...range, byKey }))
  })
}

/** FROM and WHERE of the set's rows in one range. */
export function fromRange(range: PageRange, rows: RowsOf): string {
  const { from, to } = range
  const bounds: string[] = []
  if (from > 0) bounds.push(`ctid >= '(${from},0)'::tid`)
  if (to !== null) bounds.push(`ctid < '(${to},0)'::tid`)
  return fromLeaf(range.leaf, rows, bounds)
}

/** The same of any range of a leaf, from $1 up to but not including $2. */
export function fromAnyRange(leaf: SizedLeaf, rows: RowsOf): string {
  return fromLeaf(leaf, rows, ['ctid >= $1', 'ctid < $2'])
}

function fromLeaf(leaf: SizedLeaf, { table, set, rules }: RowsOf, bounds: readonly string[]) {
  const name = `${escapeIdentifier(leaf.schema)}.${escapeIdentifier(leaf.name)}`
  const inSet = movedSetSql(set, escapeIdentifier(table.key), rules.keyType)
  return `FROM ONLY ${name} WHERE ${[inSet, ...bounds].join(' AND ')}`
}

type LeafRow = {
  readonly schema: string
  readonly name: string
  readonly keyIndexed: boolean
  readonly pages: string
  readonly bytes: string
  readonly rowBytes: number
}

/**
 * Asked when rows are read: what a snapshot sees lies on pages that are there since then, or on the
 * last range's.
 */
async function readLeaves(client: Client, table: MovedTable): Promise<readonly SizedLeaf[]> {
  const { rows } = await client.query<LeafRow>(leavesSql, [table.schema, table.name, table.key])
  return rows.map((row) => ({ ...row, pages: Number(row.pages), bytes: Number(row.bytes) }))
}

const leavesSql = `
WITH RECURSIVE tree (oid) AS (
  SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = $1 AND c.relname = $2
  UNION
  SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid
)
SELECT n.nspname AS schema, c.relname AS name,
  EXISTS (SELECT FROM pg_index x
          JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[0]
          WHERE x.indrelid = c.oid AND x.indisvalid AND x.indpred IS NULL AND a.attname = $3)
    AS "keyIndexed",
  pg_relation_size(c.oid) / current_setting('block_size')::int8 AS pages,
  pg_table_size(c.oid) AS bytes,
  greatest(1, CASE WHEN c.reltuples > 0 THEN pg_table_size(c.oid) / c.reltuples ELSE 100 END)
    AS "rowBytes"
FROM tree t
JOIN pg_class c ON c.oid = t.oid AND c.relkind = 'r'
JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"`
