// What a database tells of its tables before it is sharded: sizes and foreign keys.
import type { Client } from 'pg'

export type TableFact = {
  /** `schema.name`. */
  readonly name: string
  /** As of the last ANALYZE; null when there was none. */
  readonly rows: number | null
  readonly bytes: number
}

/** A foreign key, its columns in pairs. */
type ForeignKey = {
  readonly from: string
  readonly to: string
  readonly columns: readonly { readonly from: string; readonly to: string }[]
}

export type DatabaseFacts = {
  readonly tables: readonly TableFact[]
  readonly foreignKeys: readonly ForeignKey[]
}

/** Ordinary and partitioned tables; a partition counts for its topmost parent. */
export async function readFacts(client: Client): Promise<DatabaseFacts> {
  const tables = await client.query<TableFact>(tablesSql)
  const foreignKeys = await client.query<ForeignKey>(foreignKeysSql)
  return { tables: tables.rows, foreignKeys: foreignKeys.rows }
}

const tablesSql = `
  SELECT n.nspname || '.' || c.relname AS name, sizes.rows, sizes.bytes
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  CROSS JOIN LATERAL (
    SELECT sum(p.reltuples) FILTER (WHERE p.relkind = 'r' AND p.reltuples >= 0)::float8 AS rows,
      sum(pg_catalog.pg_total_relation_size(p.oid))::float8 AS bytes
    FROM pg_catalog.pg_class p
    WHERE p.oid = c.oid OR p.oid IN (SELECT t.relid FROM pg_catalog.pg_partition_tree(c.oid) t)) sizes
  WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND NOT c.relispartition
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'ringfence')
  ORDER BY 1`

const foreignKeysSql = `
  SELECT f.nspname || '.' || a.relname AS "from", t.nspname || '.' || b.relname AS "to",
    (SELECT json_agg(json_build_object('from', x.attname, 'to', y.attname) ORDER BY k.place)
     FROM unnest(c.conkey, c.confkey) WITH ORDINALITY AS k (source, target, place)
     JOIN pg_catalog.pg_attribute x ON x.attrelid = a.oid AND x.attnum = k.source
     JOIN pg_catalog.pg_attribute y ON y.attrelid = b.oid AND y.attnum = k.target) AS columns
  FROM pg_catalog.pg_constraint c
  JOIN pg_catalog.pg_class a ON a.oid = c.conrelid JOIN pg_catalog.pg_namespace f ON f.oid = a.relnamespace
  JOIN pg_catalog.pg_class b ON b.oid = c.confrelid JOIN pg_catalog.pg_namespace t ON t.oid = b.relnamespace
  WHERE c.contype = 'f' AND c.conparentid = 0 ORDER BY 1, 2, c.conname`
