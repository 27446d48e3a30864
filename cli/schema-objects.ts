// What shards have to agree on besides tables and their columns: constraints, indexes, triggers, functions, types,
// views, partitions, extensions. Read as PostgreSQL itself writes them down, so that equal texts mean equal objects.
import type { Client } from 'pg'

/** One of them. */
export type SchemaObject = {
  readonly kind: ObjectKind
  /** `schema.table` that it belongs to; null for what stands by itself. */
  readonly table: string | null
  /** Unique among the objects of its kind and table; qualified when it stands by itself. */
  readonly name: string
  readonly definition: string
  /** Statement that makes it, every name qualified. */
  readonly createSql: string
  readonly dropSql: string
}

type ObjectKind =
  | 'extension'
  | 'type'
  | 'function'
  | 'partition'
  | 'primary key'
  | 'constraint'
  | 'index'
  | 'trigger'
  | 'view'

/**
 * All of them, in an order in which they can be created. The session's search_path has to be pg_catalog alone: names
 * come out qualified then.
 */
export async function readObjects(client: Client): Promise<readonly SchemaObject[]> {
  return (await client.query<SchemaObject>(objectsSql)).rows
}

// What the system and extensions bring along is theirs to compare; what Ringfence made is not the user's.
const ownSchemas = `n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'ringfence')
    AND n.nspname NOT LIKE 'pg\\_temp\\_%' AND n.nspname NOT LIKE 'pg\\_toast\\_temp\\_%'`
const notOfExtension = (catalog: string, oid: string) => `NOT EXISTS (
    SELECT FROM pg_depend e WHERE e.classid = '${catalog}'::regclass AND e.objid = ${oid} AND e.deptype = 'e')`

const extensions = `
  SELECT 1 AS place, 'extension' AS kind, NULL AS "table", x.extname::text AS name,
    'version ' || x.extversion AS definition,
    format('CREATE EXTENSION %I VERSION %L', x.extname, x.extversion) AS "createSql",
    format('DROP EXTENSION %I', x.extname) AS "dropSql"
  FROM pg_extension x WHERE x.extname <> 'plpgsql'`

const types = `
  SELECT 2, 'type', NULL, d.name, d.definition,
    format('CREATE %s %s%s%s', CASE d.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, d.name,
           CASE d.typtype WHEN 'd' THEN ' ' ELSE ' AS ' END, d.definition),
    format('DROP %s %s', CASE d.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, d.name)
  FROM (
    SELECT t.typtype, format('%I.%I', n.nspname, t.typname) AS name, CASE t.typtype
      WHEN 'e' THEN (SELECT format('ENUM (%s)', string_agg(quote_literal(v.enumlabel), ', ' ORDER BY v.enumsortorder))
                     FROM pg_enum v WHERE v.enumtypid = t.oid)
      WHEN 'c' THEN (SELECT format('(%s)', string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)),
                                                      ', ' ORDER BY a.attnum))
                     FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)
      ELSE format('AS %s%s%s%s', format_type(t.typbasetype, t.typtypmod),
                  CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END,
                  coalesce(' DEFAULT ' || t.typdefault, ''),
                  (SELECT string_agg(format(' CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid)), ''
                                     ORDER BY k.conname)
                   FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c')) END AS definition
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE (t.typtype IN ('e', 'd') OR t.typtype = 'c'
           AND (SELECT c.relkind FROM pg_class c WHERE c.oid = t.typrelid) = 'c')
      AND ${ownSchemas} AND ${notOfExtension('pg_type', 't.oid')}) d`

// Aggregates have no definition that PostgreSQL could write down.
const functions = `
  SELECT 3, 'function', NULL, f.name, f.definition, rtrim(f.definition, E'\\n'),
    format('DROP %s %s', CASE f.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, f.name)
  FROM (
    SELECT p.prokind, pg_get_functiondef(p.oid) AS definition,
      format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS name
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE p.prokind <> 'a' AND ${ownSchemas} AND ${notOfExtension('pg_proc', 'p.oid')}) f`

const ofTable = `
    JOIN pg_namespace n ON n.oid = c.relnamespace AND ${ownSchemas}
      AND c.relpersistence <> 't' AND c.relkind IN ('r', 'p')`

/** `"table"` is that of the topmost parent, whose placement a partition shares. */
const partitions = `
  SELECT 4, 'partition', top.nspname || '.' || top.relname, format('%I.%I', n.nspname, c.relname), d.definition,
    format('CREATE TABLE %I.%I %s', n.nspname, c.relname, d.definition),
    format('DROP TABLE %I.%I', n.nspname, c.relname)
  FROM pg_class c ${ofTable}
  JOIN pg_inherits i ON i.inhrelid = c.oid
  CROSS JOIN LATERAL (
    SELECT format('PARTITION OF %s %s%s', i.inhparent::regclass, pg_get_expr(c.relpartbound, c.oid),
                  ' PARTITION BY ' || pg_get_partkeydef(c.oid)) AS definition) d
  CROSS JOIN LATERAL (
    SELECT n.nspname, t.relname FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
    WHERE t.oid = pg_partition_root(c.oid)) top
  WHERE c.relispartition`

// NOT NULL is compared with the columns; what a partition has of its parent is compared there.
const constraints = `
  SELECT CASE k.contype WHEN 'f' THEN 6 ELSE 5 END, CASE k.contype WHEN 'p' THEN 'primary key' ELSE 'constraint' END,
    n.nspname || '.' || c.relname, k.conname::text, d.definition,
    format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', n.nspname, c.relname, k.conname, d.definition),
    format('ALTER TABLE %I.%I DROP CONSTRAINT %I', n.nspname, c.relname, k.conname)
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid ${ofTable}
  CROSS JOIN LATERAL (SELECT pg_get_constraintdef(k.oid) AS definition) d
  WHERE k.contype NOT IN ('n', 't') AND NOT c.relispartition`

const indexes = `
  SELECT 5, 'index', n.nspname || '.' || c.relname, x.relname::text,
    pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' (invalid)' END,
    pg_get_indexdef(i.indexrelid), format('DROP INDEX %I.%I', n.nspname, x.relname)
  FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid ${ofTable}
  WHERE NOT c.relispartition
    AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = c.oid)`

const triggers = `
  SELECT 7, 'trigger', n.nspname || '.' || c.relname, t.tgname::text,
    pg_get_triggerdef(t.oid) || CASE t.tgenabled WHEN 'D' THEN ' (disabled)' WHEN 'R' THEN ' (replica)'
                                WHEN 'A' THEN ' (always)' ELSE '' END,
    pg_get_triggerdef(t.oid), format('DROP TRIGGER %I ON %I.%I', t.tgname, n.nspname, c.relname)
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid ${ofTable}
  JOIN pg_proc p ON p.oid = t.tgfoid
  WHERE NOT t.tgisinternal AND NOT c.relispartition
    AND p.pronamespace <> coalesce(to_regnamespace('ringfence')::oid, 0)`

const views = `
  SELECT 8, 'view', NULL, format('%I.%I', n.nspname, c.relname), d.definition,
    format('CREATE %s %I.%I AS%s%s', d.word, n.nspname, c.relname, chr(10), rtrim(d.definition, ';')),
    format('DROP %s %I.%I', replace(d.word, 'OR REPLACE ', ''), n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  CROSS JOIN LATERAL (
    SELECT pg_get_viewdef(c.oid) AS definition,
      CASE c.relkind WHEN 'v' THEN 'OR REPLACE VIEW' ELSE 'MATERIALIZED VIEW' END AS word) d
  WHERE c.relkind IN ('v', 'm') AND ${ownSchemas} AND ${notOfExtension('pg_class', 'c.oid')}`

const parts = [extensions, types, functions, partitions, constraints, indexes, triggers, views]
const objectsSql = `
  SELECT kind, "table", name, definition, "createSql", "dropSql"
  FROM (${parts.join('\n  UNION ALL')}) o
  ORDER BY place, "table", name`
