// What of a schema is not copied: it is named, and made by hand on the new shard before it joins.
import { isInner, ofExtension, relation, typeName, userSchema } from './catalog-sql.ts'

const own = (
  kind: string,
  catalog: string,
  columns: Readonly<Record<'name' | 'schema', string>>,
) => `
  SELECT '${kind}' AS kind, format('%I.%s', n.nspname, x.${columns.name}) AS name
  FROM ${catalog} x JOIN pg_namespace n ON n.oid = x.${columns.schema}
  WHERE x.oid >= 16384 AND ${userSchema} AND NOT ${ofExtension(catalog, 'x.oid')}`

const global = (kind: string, catalog: string, name: string) => `
  SELECT '${kind}' AS kind, format('%I', x.${name}) AS name FROM ${catalog} x
  WHERE x.oid >= 16384 AND NOT ${ofExtension(catalog, 'x.oid')}`

const tables = (kind: string, condition: string) => `
  SELECT '${kind}' AS kind, ${relation} AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relpersistence <> 't' AND ${userSchema} AND NOT ${ofExtension('pg_class', 'c.oid')}
    AND ${condition}`

const operators = `
  SELECT 'operator' AS kind, x.oid::regoperator::text AS name
  FROM pg_operator x JOIN pg_namespace n ON n.oid = x.oprnamespace
  WHERE x.oid >= 16384 AND ${userSchema} AND NOT ${ofExtension('pg_operator', 'x.oid')}`

const types = `
  SELECT CASE WHEN t.typtype = 'r' THEN 'range type with a canonical function'
    ELSE 'base type' END AS kind, ${typeName} AS name
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
  WHERE ${userSchema} AND NOT ${ofExtension('pg_type', 't.oid')}
    AND (t.typtype IN ('b', 'p') AND NOT EXISTS (SELECT FROM pg_type a WHERE a.typarray = t.oid)
      OR EXISTS (SELECT FROM pg_range r WHERE r.rngtypid = t.oid AND r.rngcanonical::oid <> 0))`

const casts = `
  SELECT 'cast' AS kind, format('(%s AS %s)', format_type(x.castsource, NULL),
    format_type(x.casttarget, NULL)) AS name
  FROM pg_cast x WHERE x.oid >= 16384 AND NOT ${ofExtension('pg_cast', 'x.oid')}
    AND NOT ${isInner('pg_cast', 'x.oid')}`

/** Kind and name of each; what the other shard has under the same name is taken to be the same. */
export const uncopiedSql = [
  operators,
  own('operator class', 'pg_opclass', { name: 'opcname', schema: 'opcnamespace' }),
  own('collation', 'pg_collation', { name: 'collname', schema: 'collnamespace' }),
  own('conversion', 'pg_conversion', { name: 'conname', schema: 'connamespace' }),
  own('text search configuration', 'pg_ts_config', { name: 'cfgname', schema: 'cfgnamespace' }),
  own('text search dictionary', 'pg_ts_dict', { name: 'dictname', schema: 'dictnamespace' }),
  own('text search parser', 'pg_ts_parser', { name: 'prsname', schema: 'prsnamespace' }),
  own('text search template', 'pg_ts_template', { name: 'tmplname', schema: 'tmplnamespace' }),
  global('foreign-data wrapper', 'pg_foreign_data_wrapper', 'fdwname'),
  global('foreign server', 'pg_foreign_server', 'srvname'),
  global('language', 'pg_language', 'lanname'),
  global('event trigger', 'pg_event_trigger', 'evtname'),
  global('access method', 'pg_am', 'amname'),
  casts,
  types,
  tables('foreign table', `c.relkind = 'f'`),
  tables('table of a type', `c.relkind IN ('r', 'p') AND c.reloftype <> 0`),
  tables(
    'table that inherits',
    `c.relkind IN ('r', 'f') AND EXISTS (
       SELECT FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent
       WHERE h.inhrelid = c.oid AND p.relkind = 'r')`,
  ),
].join('\nUNION ALL')
