// Rows of reference tables, from the home shard to one that joins: out of one snapshot, compared
// afterwards as wholes.
import type { Client } from 'pg'
import type { ShardingRules } from '../../router/schema.ts'
import { passCopy } from '../copy/pass-copy.ts'
import { relation, userTables } from './catalog-sql.ts'

/** A table with the same rows on every shard. */
export type ReferenceTable = {
  /** Qualified, as SQL. */
  readonly name: string
  /** Those that are written, as SQL. */
  readonly columns: readonly string[]
}

type Row = ReferenceTable & { readonly schema: string; readonly table: string }

/** Tables on one server: topmost parents, with the columns that are not computed. */
const tablesSql = `SELECT n.nspname AS schema, c.relname AS table, ${relation} AS name,
    ARRAY(SELECT quote_ident(a.attname) FROM pg_attribute a
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
          ORDER BY a.attnum) AS columns
  FROM ${userTables()} AND NOT c.relispartition
  ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"`

/** The reference tables that the database at `client` has. */
export async function readReferenceTables(
  client: Client,
  rules: ShardingRules,
): Promise<readonly ReferenceTable[]> {
  const { rows } = await client.query<Row>(tablesSql)
  return rows.flatMap(({ schema, table, name, columns }) => {
    const rule = rules.tables.get(`${schema}.${table}`) ?? rules.tables.get(table)
    if (rule === undefined || !('placement' in rule) || rule.placement !== 'reference') return []
    return [{ name, columns }]
  })
}

/**
 * Leaves `target` with the rows that `home` sees; both are in a transaction, and `target` writes as
 * a replica does. Text, not binary: it is right for types whose numbers differ between servers,
 * too.
 */
export async function copyReferenceRows(
  home: Client,
  target: Client,
  { name, columns }: ReferenceTable,
): Promise<number> {
  await target.query(`DELETE FROM ${name}`)
  const list = columns.join(', ')
  const read = `COPY (SELECT ${list} FROM ${name}) TO STDOUT`
  const write = `COPY ${name} (${list}) FROM STDIN`
  return (await passCopy(home, target, { read, write })).rows
}

/** Null when both have the same rows, whatever their order; else what differs. */
export async function compareReferenceRows(
  home: Client,
  target: Client,
  { name }: ReferenceTable,
): Promise<string | null> {
  const sql = `SELECT count(*)::text AS rows,
      coalesce(sum(hashtextextended("ringfence row"::text, 0)), 0)::text AS hash
    FROM ${name} "ringfence row"`
  const [one, other] = await Promise.all([
    home.query<{ rows: string; hash: string }>(sql),
    target.query<{ rows: string; hash: string }>(sql),
  ])
  const [wanted, found] = [one.rows[0], other.rows[0]]
  if (wanted?.rows !== found?.rows) {
    const counts = `${wanted?.rows} rows on the home shard and ${found?.rows} on the new one`
    return `table ${name} has ${counts}`
  }
  return wanted?.hash === found?.hash
    ? null
    : `rows of table ${name} differ between the home shard and the new one`
}
