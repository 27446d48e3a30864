// What a move has to know of the sharded tables of one shard, asked of the system catalogs.
// Connections of the mover have search_path = pg_catalog, so that names in types come out
// qualified.

/**
 * Topmost sharded tables and all that hangs below them, as (root, oid); $1 to $3 are the arguments
 * of ringfence.sharded_tables().
 */
const tree = `
  tree (root, oid) AS (
    SELECT s.oid, s.oid FROM ringfence.sharded_tables($1, $2, $3) AS s (oid)
    WHERE NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = s.oid)
    UNION
    SELECT t.root, i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid
  )`

const columnsOfIndex = (relation: string, condition: string) => `
  coalesce((SELECT json_agg(a.attname ORDER BY k.place)
    FROM pg_index x
    CROSS JOIN unnest(x.indkey::int2[]) WITH ORDINALITY AS k (number, place)
    JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.number
    WHERE x.indrelid = ${relation} AND x.indisvalid AND k.place <= x.indnkeyatts AND ${condition}),
  '[]')`

/**
 * True for a type whose binary form means the same on another server. Arrays, composites and reg…
 * types send OIDs, and those of users' types differ between servers; domains and ranges are as what
 * they are made of. OIDs below 10,000 are fixed for ever (src/include/access/transam.h). Base types
 * of extensions count as unsafe: their binary form may change with the extension's version.
 */
const binarySafe = (type: string) => `
  (WITH RECURSIVE made (oid) AS (
     SELECT ${type}
     UNION
     SELECT coalesce(nullif(t.typbasetype, 0), r.rngsubtype)
     FROM made m JOIN pg_type t ON t.oid = m.oid
     LEFT JOIN pg_range r ON r.rngtypid = t.oid OR r.rngmultitypid = t.oid
     WHERE t.oid >= 10000 AND (t.typtype = 'd' OR r.rngtypid IS NOT NULL)
   ), last (oid) AS (
     SELECT m.oid FROM made m JOIN pg_type t ON t.oid = m.oid
     WHERE t.oid < 10000 OR t.typtype NOT IN ('d', 'r', 'm')
   ), plain (oid) AS (
     SELECT t.oid FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem
     WHERE t.oid < 10000 AND t.typsend <> 0 AND t.typreceive <> 0 AND t.typtype <> 'p'
       AND t.typname NOT LIKE 'reg%' AND coalesce(e.typname, '') NOT LIKE 'reg%'
   )
   SELECT bool_and(t.oid IN (SELECT oid FROM plain) OR t.typtype = 'e'
     OR t.typtype = 'c' AND t.oid >= 10000 AND NOT EXISTS (
       SELECT FROM pg_attribute p
       WHERE p.attrelid = t.typrelid AND p.attnum > 0 AND NOT p.attisdropped
         AND p.atttypid NOT IN (SELECT oid FROM plain)))
   FROM last l JOIN pg_type t ON t.oid = l.oid)`

/** What a type is made of, through all domains, as format_type() names it. */
const baseOf = (type: string) => `
  (WITH RECURSIVE down (oid, base) AS (
     SELECT t.oid, t.typbasetype FROM pg_type t WHERE t.oid = ${type}
     UNION ALL SELECT t.oid, t.typbasetype FROM down d JOIN pg_type t ON t.oid = d.base
   )
   SELECT format_type(d.oid, NULL) FROM down d WHERE d.base = 0)`

/** Names of the tables alone: asked while clients wait. */
export const namesSql = `
SELECT n.nspname AS schema, c.relname AS name
FROM ringfence.sharded_tables($1, $2, $3) AS s (oid)
JOIN pg_class c ON c.oid = s.oid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = s.oid)`

/** One row per table, by schema and name. */
export const tablesSql = `
WITH RECURSIVE ${tree}
SELECT n.nspname AS schema, c.relname AS name, c.oid::int8::text AS oid,
  c.relkind = 'p' AS partitioned,
  coalesce(pg_get_partkeydef(c.oid), '') AS "partitionKey",
  ${columnsOfIndex('c.oid', 'x.indisprimary')} AS "primaryKey",
  (SELECT coalesce(json_agg(json_build_object(
      'name', a.attname,
      'type', format_type(a.atttypid, a.atttypmod),
      'generated', a.attgenerated <> '',
      'identity', CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by_default'
                  ELSE 'none' END,
      'notNull', a.attnotnull,
      'base', ${baseOf('a.atttypid')},
      'binary', ${binarySafe('a.atttypid')}) ORDER BY a.attnum), '[]')
   FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
FROM tree t
JOIN pg_class c ON c.oid = t.oid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE t.oid = t.root
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"`

/** One row per relation that holds rows of a table, and one for its topmost parent where that holds none. */
export const leavesSql = `
WITH RECURSIVE ${tree}
SELECT t.root::int8::text AS root, n.nspname AS schema, c.relname AS name, c.oid::int8::text AS oid,
  CASE c.relreplident WHEN 'f' THEN 'full' WHEN 'i' THEN 'index' WHEN 'n' THEN 'nothing'
    ELSE 'default' END AS "replicaIdentity",
  CASE c.relreplident
    WHEN 'd' THEN ${columnsOfIndex('c.oid', 'x.indisprimary AND x.indimmediate')}
    WHEN 'i' THEN ${columnsOfIndex('c.oid', 'x.indisreplident')}
    WHEN 'n' THEN '[]'
    ELSE (SELECT json_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) END
    AS "identityColumns",
  CASE WHEN c.relkind = 'r' THEN pg_table_size(c.oid) ELSE 0 END::text AS bytes,
  coalesce(pg_get_expr(c.relpartbound, c.oid), '') AS bound,
  c.relkind IN ('r', 'f') AS "hasRows"
FROM tree t
JOIN pg_class c ON c.oid = t.oid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'f') OR c.oid = t.root
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"`

const named = `format('%I.%I', n.nspname, c.relname)`

/**
 * One row per reason for which a table cannot be moved by this login, whatever the other shard is
 * like.
 */
export const faultsSql = `
WITH RECURSIVE ${tree}, member AS (
  SELECT t.root, c.oid, c.relkind, c.relpersistence, c.relam, c.relowner, ${named} AS named
  FROM tree t JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace
)
SELECT DISTINCT f.root::int8::text AS root, f.fault COLLATE "C" AS fault FROM (
  SELECT m.root, 'has children by inheritance, such as ' || min(m.named)
  FROM member m JOIN pg_class c ON c.oid = m.root AND c.relkind = 'r'
  WHERE m.oid <> m.root GROUP BY m.root
  UNION ALL
  SELECT m.root, m.named || ' is unlogged, so its changes cannot be followed'
  FROM member m WHERE m.relkind = 'r' AND m.relpersistence = 'u'
  UNION ALL
  SELECT m.root, m.named || ' is a foreign table' FROM member m WHERE m.relkind = 'f'
  UNION ALL
  SELECT m.root, format('%s uses the access method %s, not heap', m.named, a.amname)
  FROM member m JOIN pg_am a ON a.oid = m.relam WHERE m.relkind = 'r' AND a.amname <> 'heap'
  UNION ALL
  SELECT m.root, CASE WHEN x.indisexclusion THEN 'its primary key is WITHOUT OVERLAPS'
                 ELSE 'its primary key is deferrable, so that rows may share it' END
  FROM member m JOIN pg_index x ON x.indrelid = m.root AND x.indisprimary
  WHERE m.oid = m.root AND (x.indisexclusion OR NOT x.indimmediate)
  UNION ALL
  SELECT m.root, m.named || ' is written by a subscription, which no fence holds'
  FROM member m WHERE EXISTS (SELECT FROM pg_subscription_rel r WHERE r.srrelid = m.oid)
  UNION ALL
  SELECT m.root, m.named || ' has row-level security, which hides rows from our login'
  FROM member m WHERE row_security_active(m.oid)
  UNION ALL
  SELECT m.root, format('%s belongs to role %I, which our login is no member of',
                        m.named, pg_get_userbyid(m.relowner))
  FROM member m WHERE NOT pg_has_role(m.relowner, 'USAGE')
  UNION ALL
  SELECT m.root, format('trigger %I of %s is ENABLE %s, so it would run for rows that are moved',
    g.tgname, m.named, CASE g.tgenabled WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END)
  FROM member m JOIN pg_trigger g ON g.tgrelid = m.oid AND g.tgenabled IN ('A', 'R')
  JOIN pg_proc p ON p.oid = g.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
  WHERE NOT g.tgisinternal AND g.tgparentid = 0 AND n.nspname <> 'ringfence'
  UNION ALL
  SELECT m.root, format('rule %I of %s is ENABLE %s, so it would run for rows that are moved',
    r.rulename, m.named, CASE r.ev_enabled WHEN 'A' THEN 'ALWAYS' ELSE 'REPLICA' END)
  FROM member m JOIN pg_rewrite r ON r.ev_class = m.oid AND r.ev_enabled IN ('A', 'R')
) AS f (root, fault)
ORDER BY 1, 2`
