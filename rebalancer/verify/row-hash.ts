// SQL that sums up rows so that two servers can be compared without sending the rows. A row is
// hashed as text, which is the same on every server (rebalancer/copy/connection.ts sets what it
// depends on) and shows every bit of a value. Rows are put into buckets by a hash of their primary
// key: unlike an order by that key it depends on no collation, and costs no index.
// hashtextextended() is the same on all versions: hash partitions rely on it.
import { escapeIdentifier } from 'pg'
import type { MovedTable } from '../tables.ts'

/** Bits of the key's hash that one step of looking closer adds. */
export const bucketBits = 12

/** Sums that a server reports of a table, about. */
const reportedMax = 32_768

/** Bits of the first step, of which each of `statements` reports every bucket. */
export function firstBits(statements: number): number {
  return Math.max(1, Math.min(bucketBits, Math.floor(Math.log2(reportedMax / statements))))
}

/** Buckets of the first `bits` bits of the hash, unsigned, as decimal text; null: all rows. */
export type Buckets = { readonly bits: number; readonly ids: readonly string[] } | null

/** Values longer than this are hashed by themselves: a row's text has to stay below 1 GB. */
const wideBytes = 65_536
const wideTypes = /^(bytea|text|character varying(\(\d+\))?)$/

/**
 * Of the rows that `from` gives, one row per bucket of the first `bits` bits: bucket, rows, two sums of hashes with different
 * seeds (equal errors in two rows may cancel out in one of them, not in both), and bytes of text.
 */
export function bucketsSql(
  from: string,
  table: MovedTable,
  { bits, within }: { readonly bits: number; readonly within: Buckets },
): string {
  return `
    SELECT ${bucketOf(bits)}::text AS bucket, count(*) AS rows,
      sum(hashtextextended(whole, 1)) AS first, sum(hashtextextended(whole, 2)) AS second,
      sum(octet_length(whole)) AS bytes
    FROM ${hashedRows(from, table)} ${chosen(within)}
    GROUP BY ${bucketOf(bits)}`
}

/** One row per row of `from`: its primary key as texts, and the two hashes. */
export function rowsSql(from: string, table: MovedTable, within: Buckets): string {
  const key = table.primaryKey.map((name) => `${escapeIdentifier(name)}::text`)
  return `
    SELECT key, hashtextextended(whole, 1) AS first, hashtextextended(whole, 2) AS second
    FROM ${hashedRows(from, table, `ARRAY[${key.join(', ')}] AS key,`)} ${chosen(within)}`
}

/**
 * Hashes of every column of one row, in the order of `table.columns`; $1, $2, … are its primary
 * key.
 */
export function columnsSql(table: MovedTable): string {
  const hashes = table.columns.map((column) => {
    return `coalesce(hashtextextended(${written(column)}::text COLLATE "C", 1)::text, 'null')`
  })
  const types = new Map(table.columns.map(({ name, type }) => [name, type]))
  const isRow = table.primaryKey.map((name, place) => {
    return `${escapeIdentifier(name)} = $${place + 1}::${types.get(name) ?? 'text'}`
  })
  const from = `${escapeIdentifier(table.schema)}.${escapeIdentifier(table.name)}`
  return `SELECT ARRAY[${hashes.join(', ')}] AS hashes FROM ${from} WHERE ${isRow.join(' AND ')}`
}

/** OFFSET 0 keeps the texts from being made once per use. */
function hashedRows(from: string, { columns, primaryKey }: MovedTable, more = ''): string {
  const key = primaryKey.map((name) => escapeIdentifier(name))
  return `
    (SELECT hashtextextended(key_text, 0) AS key_hash, *
     FROM (SELECT ${more} ROW(${key.join(', ')})::text COLLATE "C" AS key_text,
             ROW(${columns.map(written).join(', ')})::text COLLATE "C" AS whole
           ${from} OFFSET 0) AS r OFFSET 0) AS hashed`
}

function chosen(within: Buckets): string {
  if (within === null) return ''
  return `WHERE ${bucketOf(within.bits)} = ANY ('{${within.ids.join(',')}}'::int8[])`
}

/** The bucket as a number that is not negative; `bits` is below 64. */
function bucketOf(bits: number): string {
  return `((key_hash >> ${64 - bits}) & ((1::int8 << ${bits}) - 1))`
}

function written({ name, type }: { readonly name: string; readonly type: string }): string {
  const column = escapeIdentifier(name)
  if (!wideTypes.test(type)) return column
  const bytes = type === 'bytea' ? column : `convert_to(${column}, 'UTF8')`
  const digest = type === 'bytea' ? `sha256(${bytes})` : `sha256(${bytes})::text`
  return `CASE WHEN octet_length(${column}) > ${wideBytes} THEN ${digest} ELSE ${column} END`
}
