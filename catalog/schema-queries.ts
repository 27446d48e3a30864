// What the router needs to know of a database, as three statements over the system catalogs; all columns are text.
// Names in expressions and types come out qualified: whoever uses them has a search_path of their own.

/**
 * Relations of everybody but temporary ones: oid, schema, name, relkind, and of user relations the parent (partition
 * or inheritance), for views the relations that they read, as oids separated by spaces, and the primary key's
 * columns separated by U+0001.
 */
export const relationsSql = `
SELECT c.oid, n.nspname, c.relname, c.relkind,
  CASE WHEN c.relkind IN ('r', 'p', 'f') AND c.oid >= 16384 THEN
    (SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid
     ORDER BY i.inhseqno LIMIT 1) END,
  CASE WHEN c.relkind IN ('v', 'm') AND c.oid >= 16384 THEN
    (SELECT string_agg(DISTINCT d.refobjid::text, ' ')
     FROM pg_catalog.pg_rewrite r
     JOIN pg_catalog.pg_depend d
       ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = r.oid
      AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid <> c.oid
     WHERE r.ev_class = c.oid) END,
  CASE WHEN c.relkind IN ('r', 'p') AND c.oid >= 16384 THEN
    (SELECT string_agg(a.attname, E'\\001' ORDER BY k.place)
     FROM pg_catalog.pg_index x
     CROSS JOIN unnest(x.indkey::int2[]) WITH ORDINALITY AS k (number, place)
     JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
     WHERE x.indrelid = c.oid AND x.indisprimary AND k.place <= x.indnkeyatts) END
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't'
  AND n.nspname <> 'pg_toast'`

/** Node kinds of an expression whose value the functions and operators named in it decide, and nothing else. */
const immutableNodes = [
  'CONST',
  'FUNCEXPR',
  'OPEXPR',
  'DISTINCTEXPR',
  'NULLIFEXPR',
  'SCALARARRAYOPEXPR',
  'BOOLEXPR',
  'RELABELTYPE',
  'COLLATEEXPR',
  'CASEEXPR',
  'CASEWHEN',
  'CASETESTEXPR',
  'WHEN',
  'ARRAYEXPR',
  'ARRAY',
  'COALESCEEXPR',
  'COALESCE',
  'NULLTEST',
  'BOOLEANTEST',
  'COERCETODOMAIN',
]

// System functions are pinned and leave no pg_depend rows, so the stored expression itself is read. Any other kind
// of node (CURRENT_USER is one, a cast through text another) counts as volatile: computing it once is never wrong.
const isVolatile = (expression: string) => `
  EXISTS (SELECT FROM regexp_matches(${expression}::text, ' :(?:funcid|opfuncid) ([0-9]+)', 'g') f
          LEFT JOIN pg_catalog.pg_proc p ON p.oid = f[1]::oid
          WHERE p.provolatile IS DISTINCT FROM 'i')
  OR EXISTS (SELECT FROM regexp_matches(${expression}::text, '[{]([A-Z_]+)', 'g') node
             WHERE node[1] <> ALL ('{${immutableNodes.join(',')}}'))`

// Set for this one statement (there is no transaction around it), before the first name is written out.
const qualified = (expression: string) =>
  `CASE WHEN (SELECT set_config('search_path', 'pg_catalog', true)) IS NOT NULL
   THEN ${expression} END`

/**
 * No table is named to pg_get_expr(): it would lock that table, and so wait for whoever alters or truncates it,
 * perhaps the very transaction that asks. Defaults have no columns in them that would need it.
 *
 * Columns of user relations in order: relation's oid, name, type, base type's oid, not null, identity, generated,
 * SQL of the default (its own, its domain's, or nextval() of its identity), whether that default is not immutable,
 * whether equal values have equal bytes.
 */
export const columnsSql = `
WITH RECURSIVE base (oid, base) AS (
  SELECT t.oid, t.typbasetype FROM pg_catalog.pg_type t WHERE t.typtype = 'd'
  UNION ALL
  SELECT b.oid, t.typbasetype FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.base
  WHERE t.typtype = 'd'
)
SELECT a.attrelid, a.attname, ${qualified('format_type(a.atttypid, a.atttypmod)')},
  coalesce((SELECT b.base FROM base b JOIN pg_catalog.pg_type bt ON bt.oid = b.base
            WHERE b.oid = a.atttypid AND bt.typtype <> 'd'), a.atttypid),
  a.attnotnull, a.attidentity, a.attgenerated,
  CASE WHEN a.attgenerated <> '' THEN NULL
       WHEN a.attidentity <> '' THEN ${qualified(`
         (SELECT format('nextval(%L::regclass)', d.objid::regclass) FROM pg_catalog.pg_depend d
          WHERE d.classid = 'pg_catalog.pg_class'::regclass
            AND d.refclassid = 'pg_catalog.pg_class'::regclass
            AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum AND d.deptype = 'i' LIMIT 1)`)}
       WHEN f.adbin IS NOT NULL THEN ${qualified('pg_get_expr(f.adbin, 0)')}
       WHEN t.typtype = 'd' THEN ${qualified('pg_get_expr(t.typdefaultbin, 0)')} END,
  CASE WHEN a.attgenerated <> '' THEN false
       WHEN a.attidentity <> '' THEN true
       WHEN f.adbin IS NOT NULL THEN ${isVolatile('f.adbin')}
       WHEN t.typtype = 'd' AND t.typdefaultbin IS NOT NULL THEN ${isVolatile('t.typdefaultbin')}
       ELSE false END,
  coalesce((SELECT o.collisdeterministic FROM pg_catalog.pg_collation o
            WHERE o.oid = a.attcollation), true)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_attrdef f ON f.adrelid = c.oid AND f.adnum = a.attnum
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'ringfence')
ORDER BY a.attrelid, a.attnum`

/**
 * Rows of a kind, a volatility (i, s, v) and text: `builtin` has names separated by spaces, `function` one name,
 * `aggregate` one name that is an aggregate's or a window function's, `path` the search_path, `schema` a schema that
 * may be used. An overloaded name has its most volatile overload's.
 */
export const functionsSql = `
SELECT 'builtin', b.volatility, string_agg(b.proname, ' ')
FROM (SELECT p.proname::text, max(p.provolatile::text COLLATE "C") AS volatility
      FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace
      GROUP BY p.proname) b
GROUP BY b.volatility
UNION ALL
SELECT 'function', max(p.provolatile::text COLLATE "C"), p.proname::text
FROM pg_catalog.pg_proc p WHERE p.pronamespace <> 'pg_catalog'::regnamespace GROUP BY p.proname
UNION ALL
SELECT DISTINCT 'aggregate', '', p.proname::text FROM pg_catalog.pg_proc p
WHERE p.pronamespace <> 'pg_catalog'::regnamespace AND p.prokind IN ('a', 'w')
UNION ALL
SELECT 'path', '', current_setting('search_path')
UNION ALL
SELECT 'schema', '', n.nspname::text FROM pg_catalog.pg_namespace n
WHERE has_schema_privilege(n.oid, 'USAGE')`
