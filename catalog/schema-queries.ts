// What the router needs to know of a database, as three statements over the system catalogs; all columns are text.
// Names in expressions and types come out qualified: whoever uses them has a search_path of their own.

// current_setting() of a constant name with a dot, as a stored expression has it: the name's bytes, 46 among them.
// Such a setting is the client's own and the same on every server that it is given.
const ownSetting =
  String.raw` :funcid (?:2077|3294) ` +
  String.raw`([^{]*:args [(][{]CONST [^{}]*:constvalue \d+ \[[^\]]* 46 [^\]]*\])`

/**
 * What the stored expression `tree` runs and reads, as one row: names of functions that are a user's or not IMMUTABLE
 * (`name` of pg_catalog, else `schema.name`) separated by U+0001, and oids of relations separated by spaces.
 */
const usesOf = (tree: string) => `
  (SELECT string_agg(DISTINCT CASE n.nspname WHEN 'pg_catalog' THEN p.proname
                     ELSE format('%s.%s', n.nspname, p.proname) END, E'\\001') FILTER (WHERE p.oid > 0),
     string_agg(DISTINCT u[2], ' ') FILTER (WHERE u[1] = 'relid')
   FROM regexp_matches(
          regexp_replace(${tree}, '${ownSetting}', ' \\1', 'g'),
          ' :(funcid|opfuncid|aggfnoid|winfnoid|relid) ([0-9]+)', 'g') u
   LEFT JOIN pg_catalog.pg_proc p ON u[1] <> 'relid' AND p.oid = u[2]::oid
     AND (p.provolatile <> 'i' OR p.oid >= 16384)
   LEFT JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace)`

/**
 * Relations of everybody but temporary ones: oid, schema, name, relkind, and of user relations the parents (partition
 * or inheritance), for views the relations that they read, as oids separated by spaces, the primary key's
 * columns separated by U+0001, relpersistence, and what reading runs (a view's query, policies of a table's rows):
 * functions and relations as usesOf() gives them, and whether rows are locked.
 */
export const relationsSql = `
WITH trees (oid, tree) AS MATERIALIZED (
  SELECT r.ev_class, r.ev_action::text FROM pg_catalog.pg_rewrite r
  WHERE r.ev_class >= 16384 AND r.ev_type = '1'
    AND (SELECT v.relkind FROM pg_catalog.pg_class v WHERE v.oid = r.ev_class) = 'v'
  UNION ALL
  SELECT o.polrelid, string_agg(o.polqual::text, ' ') FROM pg_catalog.pg_policy o
  WHERE o.polcmd IN ('r', '*') GROUP BY o.polrelid
)
SELECT c.oid, n.nspname, c.relname, c.relkind,
  CASE WHEN c.relkind IN ('r', 'p', 'f') AND c.oid >= 16384 THEN
    (SELECT string_agg(i.inhparent::text, ' ' ORDER BY i.inhseqno)
     FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid) END,
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
     WHERE x.indrelid = c.oid AND x.indisprimary AND k.place <= x.indnkeyatts) END,
  c.relpersistence, uses.functions, uses.relations, coalesce(uses.locks, false)
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN (
  SELECT t.oid, u.functions, u.relations, t.tree LIKE '%{ROWMARKCLAUSE %' AS locks
  FROM trees t CROSS JOIN LATERAL ${usesOf('t.tree')} u (functions, relations)
) uses ON uses.oid = c.oid AND (c.relkind = 'v' OR c.relrowsecurity)
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
 * Rows of a kind, a volatility (i, s, v), text, and schemas separated by U+0001: `builtin` has names separated by
 * spaces, `function` one name, `aggregate` one name that is an aggregate's or a window function's, `path` the
 * search_path, `schema` a schema that may be used. An overloaded name has its most volatile overload's; an aggregate,
 * which is IMMUTABLE in pg_proc, that of the functions that it is made of if one is VOLATILE.
 * Of users' VOLATILE functions: `operator` one operator that runs one; `type` one that a cast to it, its input or a
 * check of its domain runs one for; `implicit` a cast that needs not be written.
 */
export const functionsSql = `
WITH RECURSIVE volatile (oid) AS (
  SELECT p.oid FROM pg_catalog.pg_proc p WHERE p.provolatile = 'v' AND p.oid >= 16384
), churning (oid) AS (
  SELECT a.aggfnoid FROM pg_catalog.pg_aggregate a
  WHERE a.aggfnoid >= 16384 AND EXISTS (
    SELECT FROM pg_catalog.pg_proc s
    WHERE s.provolatile = 'v' AND s.oid IN (a.aggtransfn, a.aggfinalfn, a.aggcombinefn,
      a.aggserialfn, a.aggdeserialfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn))
), tainted (oid) AS (
  SELECT c.casttarget FROM pg_catalog.pg_cast c WHERE c.castfunc IN (SELECT oid FROM volatile)
  UNION
  SELECT t.oid FROM pg_catalog.pg_type t WHERE t.typinput IN (SELECT oid FROM volatile)
  UNION
  SELECT k.contypid FROM pg_catalog.pg_constraint k
  JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_constraint'::regclass AND d.objid = k.oid
   AND d.refclassid = 'pg_catalog.pg_proc'::regclass
  WHERE k.contypid <> 0 AND d.refobjid IN (SELECT oid FROM volatile)
  UNION
  SELECT t.oid FROM tainted b JOIN pg_catalog.pg_type t ON t.typbasetype = b.oid
)
SELECT 'builtin', b.volatility, string_agg(b.proname, ' '), ''
FROM (SELECT p.proname::text, max(p.provolatile::text COLLATE "C") AS volatility
      FROM pg_catalog.pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace
      GROUP BY p.proname) b
GROUP BY b.volatility
UNION ALL
SELECT 'function',
  max(CASE WHEN p.oid IN (SELECT oid FROM churning) THEN 'v'
      ELSE p.provolatile::text END COLLATE "C"),
  p.proname::text, string_agg(DISTINCT n.nspname, E'\\001')
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname <> 'pg_catalog' GROUP BY p.proname
UNION ALL
SELECT DISTINCT 'aggregate', '', p.proname::text, '' FROM pg_catalog.pg_proc p
WHERE p.pronamespace <> 'pg_catalog'::regnamespace AND p.prokind IN ('a', 'w')
UNION ALL
SELECT 'path', '', s.reset_val, session_user::text FROM pg_catalog.pg_settings s WHERE s.name = 'search_path'
UNION ALL
(SELECT DISTINCT ON (r.rolname) 'own path', '', substr(c, 13), r.rolname::text
FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
CROSS JOIN LATERAL unnest(s.setconfig) c
WHERE c LIKE 'search\\_path=%' AND s.setdatabase IN (0, (
  SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
ORDER BY r.rolname, s.setdatabase DESC)
UNION ALL
SELECT 'schema', '', n.nspname::text, '' FROM pg_catalog.pg_namespace n
WHERE has_schema_privilege(n.oid, 'USAGE')
UNION ALL
SELECT DISTINCT 'operator', 'v', o.oprname::text, '' FROM pg_catalog.pg_operator o
WHERE o.oprcode IN (SELECT oid FROM volatile)
UNION ALL
SELECT DISTINCT 'type', 'v', t.typname::text, '' FROM pg_catalog.pg_type t
WHERE t.oid IN (SELECT oid FROM tainted)
UNION ALL
SELECT DISTINCT 'implicit', 'v', '', '' FROM pg_catalog.pg_cast c
WHERE c.castcontext = 'i' AND c.castfunc IN (SELECT oid FROM volatile)`
