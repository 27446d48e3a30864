// Pieces of SQL over the system catalogs that the readers of a schema share (schema-parts.ts). All
// of them run under search_path = pg_catalog, so that names come out qualified unless they are the
// system's own.

/** Of `n`: a schema of users. */
export const userSchema = `(n.nspname NOT IN ('pg_catalog', 'information_schema', 'ringfence')
  AND n.nspname !~ '^pg_(toast|temp)')`

/** True for an object that CREATE EXTENSION brings along. */
export function ofExtension(catalog: string, oid: string): string {
  return `EXISTS (SELECT FROM pg_depend e WHERE e.classid = '${catalog}'::regclass
    AND e.objid = ${oid} AND e.deptype = 'e')`
}

/** True for an object that only exists inside of another one. */
export function isInner(catalog: string, oid: string): string {
  return `EXISTS (SELECT FROM pg_depend i WHERE i.classid = '${catalog}'::regclass
    AND i.objid = ${oid} AND i.deptype = 'i')`
}

/** Qualified name of relation `c` in schema `n`. */
export const relation = `format('%I.%I', n.nspname, c.relname)`

/**
 * FROM and WHERE of tables `c` in schemas `n` that are copied: not children by inheritance and not
 * of a type, which are refused (uncopied.ts).
 */
export function userTables(joined = ''): string {
  return `pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace ${joined}
  WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND ${userSchema}
    AND NOT ${ofExtension('pg_class', 'c.oid')} AND c.reloftype = 0
    AND NOT EXISTS (SELECT FROM pg_inherits ih JOIN pg_class ip ON ip.oid = ih.inhparent
                    WHERE ih.inhrelid = c.oid AND ip.relkind = 'r')`
}

/**
 * Oids of materialized and foreign tables, which are on the home shard alone, and so of the views
 * that read them.
 */
export const homeOnlyOids = `(WITH RECURSIVE home_only (oid) AS (
    SELECT m.oid FROM pg_class m WHERE m.relkind IN ('m', 'f')
    UNION
    SELECT w.ev_class FROM home_only h
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = h.oid
      AND d.classid = 'pg_rewrite'::regclass
    JOIN pg_rewrite w ON w.oid = d.objid)
  SELECT h.oid FROM home_only h)`

/** FROM and WHERE of functions, procedures and aggregates `p` in schemas `n`. */
export function userRoutines(joined = ''): string {
  return `pg_proc p ${joined} JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE ${userSchema} AND NOT ${ofExtension('pg_proc', 'p.oid')}
      AND NOT ${isInner('pg_proc', 'p.oid')}`
}

/** Name of routine `p` with its argument types. */
export const routine = `format('%I.%I(%s)', n.nspname, p.proname,
  pg_get_function_identity_arguments(p.oid))`

/** Qualified name of type `t` in schema `n`. */
export const typeName = `format('%I.%I', n.nspname, t.typname)`

/** ` COLLATE …` where a collation is not that of its type. */
export function collate(collation: string, standard: string): string {
  return `coalesce((SELECT format(' COLLATE %I.%I', cn.nspname, l.collname)
    FROM pg_collation l JOIN pg_namespace cn ON cn.oid = l.collnamespace
    WHERE l.oid = ${collation} AND l.oid IS DISTINCT FROM ${standard}), '')`
}

/** The same of column `a`. */
export const columnCollation = collate(
  'a.attcollation',
  '(SELECT ct.typcollation FROM pg_type ct WHERE ct.oid = a.atttypid)',
)

/** Options of sequence `s`. */
export const numbering = `format('INCREMENT BY %s MINVALUE %s MAXVALUE %s START WITH %s CACHE %s%s',
  s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache,
  CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END)`

/** `name = 'value', …` of a list like reloptions; null when there are none. */
export function optionList(list: string, prefix = ''): string {
  return `(SELECT string_agg(format('${prefix}%s=%L', split_part(o, '=', 1),
                                    substr(o, strpos(o, '=') + 1)), ', ' ORDER BY place)
    FROM unnest(${list}) WITH ORDINALITY u (o, place))`
}

/** A query of parts of one kind: their name for people, and the statement that makes them. */
export function parts(
  kind: string,
  { name, sql, from, order }: Readonly<Record<'name' | 'sql' | 'from' | 'order', string>>,
): string {
  return `SELECT '${kind}' AS kind, ${name} AS name, ${sql} AS sql FROM ${from} ORDER BY ${order}`
}
