// Which code of a database may touch the session of who runs it: one query over the system catalogs, which any role may
// read. Functions that say so in their text, all that calls them, and the relations whose triggers, defaults, views or
// policies do. It errs on the side of naming too much: what is named is looked at, nothing else happens to it.
import type { SessionCode } from '../router/traces.ts'
import type { Ask } from './schema-loader.ts'

/** What in a function's text may outlive its transaction; EXECUTE runs what only it knows. */
const says = [
  String.raw`\m(set_config|execute|advisory|setseed|dblink\w*|pg_temp|temp|temporary|deallocate)\M`,
  String.raw`pg_(try_)?advisory_(un)?lock`,
  String.raw`(^|;|\mbegin\M|\mthen\M|\melse\M|\mloop\M)\s*(set|reset|load|listen|prepare|discard)\M`,
  String.raw`with\s+hold`,
].join('|')

/** What nobody can look up: settings whose names the text makes up, and what is in no view. */
const unknowable = [
  String.raw`set_config\s*\(\s*[^'\s]`,
  String.raw`'\s*set\s+(session\s+)?(%|["a-z0-9_.]*'+\s*\|\|)`,
  String.raw`\mexecute\s+\$[0-9]`,
  String.raw`\m(setseed|dblink_connect\w*|pg_backup_start|pg_(create|copy)_(logical|physical)_replication_slot)\M`,
  String.raw`\mset\s+(session\s+)?seed\M`,
  String.raw`(^|;|\mbegin\M|\mthen\M|\melse\M|\mloop\M)\s*load\M`,
].join('|')

/** A string constant for whatever standard_conforming_strings says. */
function quoted(pattern: string): string {
  return ` E'${pattern.replaceAll('\\', '\\\\').replaceAll("'", "''")}'`
}

/** System functions that do the same by themselves, in a view or a default. */
const systemFunctions = '^(set_config|setseed|pg_(try_)?advisory_lock.*|(query|cursor)_to_xml.*)$'

/** Below are the objects of initdb. */
const firstOwnOid = 16_384

/** Extensions whose VOLATILE functions leave nothing in the session. */
const harmless = [
  'amcheck, btree_gin, btree_gist, citext, cube, earthdistance, fuzzystrmatch, hstore, intarray, isn, lo, ltree',
  'pageinspect, pg_buffercache, pg_freespacemap, pg_prewarm, pg_stat_statements, pg_trgm, pg_visibility',
  'pgcrypto, pgrowlocks, pgstattuple, plpgsql, postgis, postgis_topology, seg, tablefunc, tcn, tsm_system_rows',
  'unaccent, uuid-ossp, vector, xml2',
].flatMap((line) => line.split(', '))

const sql = `
WITH RECURSIVE bodies AS MATERIALIZED (
  SELECT p.oid, pg_catalog.lower(p.proname) AS name, l.lanname AS language, p.provolatile,
    pg_catalog.lower(COALESCE(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc, '')) AS body,
    pg_catalog.lower(pg_catalog.array_to_string(p.proargnames, '|')) AS arguments
  FROM pg_catalog.pg_proc p
  JOIN pg_catalog.pg_language l ON l.oid = p.prolang
  JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
  WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'ringfence')
), direct AS MATERIALIZED (
  SELECT b.oid, b.name, b.body, b.arguments FROM bodies b
  WHERE CASE WHEN b.language IN ('sql', 'plpgsql') THEN b.body ~${quoted(says)}
    WHEN b.language IN ('c', 'internal') THEN b.provolatile = 'v' AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
      WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = b.oid
        AND d.deptype = 'e' AND e.extname = ANY ('{${harmless.map((name) => `"${name}"`).join()}}'))
    ELSE true END
), system AS MATERIALIZED (
  SELECT '[{ ]:funcid (' || pg_catalog.string_agg(oid::pg_catalog.text, '|') || ')[ }]' AS calls
  FROM pg_catalog.pg_proc
  WHERE pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND proname ~ '${systemFunctions}'
), trees AS MATERIALIZED (
  SELECT tree.class, tree.oid, pg_catalog.lower(tree.body) AS body FROM system s CROSS JOIN LATERAL (
    SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass::pg_catalog.oid AS class, oid,
      pg_catalog.pg_get_ruledef(oid) AS body
    FROM pg_catalog.pg_rewrite WHERE oid >= ${firstOwnOid} AND ev_action::pg_catalog.text ~ s.calls
    UNION ALL
    SELECT 'pg_catalog.pg_attrdef'::pg_catalog.regclass, oid, pg_catalog.pg_get_expr(adbin, adrelid)
    FROM pg_catalog.pg_attrdef WHERE adbin::pg_catalog.text ~ s.calls
    UNION ALL
    SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, oid, pg_catalog.pg_get_constraintdef(oid)
    FROM pg_catalog.pg_constraint WHERE conbin::pg_catalog.text ~ s.calls
    UNION ALL
    SELECT 'pg_catalog.pg_policy'::pg_catalog.regclass, oid,
      pg_catalog.concat_ws(' ', pg_catalog.pg_get_expr(polqual, polrelid), pg_catalog.pg_get_expr(polwithcheck, polrelid))
    FROM pg_catalog.pg_policy
    WHERE pg_catalog.concat(polqual::pg_catalog.text, polwithcheck::pg_catalog.text) ~ s.calls
    UNION ALL
    SELECT 'pg_catalog.pg_trigger'::pg_catalog.regclass, oid, pg_catalog.pg_get_triggerdef(oid)
    FROM pg_catalog.pg_trigger WHERE tgqual::pg_catalog.text ~ s.calls
  ) tree
), starts(class, oid, body, arguments) AS MATERIALIZED (
  SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid, oid, body, arguments FROM direct
  UNION ALL SELECT class, oid, body, '' FROM trees
), things(class, oid, unknowable) AS (
  SELECT class, oid, body ~${quoted(unknowable)} OR (arguments <> ''
    AND body ~ (${quoted(String.raw`\mexecute\s+(`)} || arguments ||${quoted(String.raw`)\M`)})) FROM starts
  UNION
  SELECT next.class, next.oid, t.unknowable FROM things t CROSS JOIN LATERAL (
    SELECT d.classid AS class, d.objid AS oid FROM pg_catalog.pg_depend d
    WHERE d.refclassid = t.class AND d.refobjid = t.oid
      AND (t.class <> 'pg_catalog.pg_class'::pg_catalog.regclass
        OR d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass)
    UNION ALL
    SELECT t.class, b.oid FROM pg_catalog.pg_proc p
    JOIN bodies b ON pg_catalog.strpos(b.body, pg_catalog.lower(p.proname)) > 0
    WHERE t.class = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = t.oid
    UNION ALL
    SELECT t.class, b.oid FROM pg_catalog.pg_class c
    JOIN bodies b ON pg_catalog.strpos(b.body, pg_catalog.lower(c.relname)) > 0
    WHERE t.class = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = t.oid
    UNION ALL
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid FROM (
      SELECT tgrelid AS oid FROM pg_catalog.pg_trigger
      WHERE t.class = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND oid = t.oid
      UNION ALL SELECT ev_class FROM pg_catalog.pg_rewrite
      WHERE t.class = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND oid = t.oid
      UNION ALL SELECT adrelid FROM pg_catalog.pg_attrdef
      WHERE t.class = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND oid = t.oid
      UNION ALL SELECT polrelid FROM pg_catalog.pg_policy
      WHERE t.class = 'pg_catalog.pg_policy'::pg_catalog.regclass AND oid = t.oid
      UNION ALL SELECT conrelid FROM pg_catalog.pg_constraint
      WHERE t.class = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND oid = t.oid AND conrelid <> 0
      UNION ALL SELECT indrelid FROM pg_catalog.pg_index
      WHERE t.class = 'pg_catalog.pg_class'::pg_catalog.regclass AND indexrelid = t.oid
      UNION ALL SELECT inhparent FROM pg_catalog.pg_inherits
      WHERE t.class = 'pg_catalog.pg_class'::pg_catalog.regclass AND inhrelid = t.oid
      UNION ALL SELECT confrelid FROM pg_catalog.pg_constraint
      WHERE t.class = 'pg_catalog.pg_class'::pg_catalog.regclass AND conrelid = t.oid
        AND contype = 'f' AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd'))
    ) r
    UNION ALL
    SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, contypid FROM pg_catalog.pg_constraint
    WHERE t.class = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND oid = t.oid AND contypid <> 0
  ) next
)
SELECT 'function', p.proname FROM things t JOIN pg_catalog.pg_proc p ON p.oid = t.oid
WHERE t.class = 'pg_catalog.pg_proc'::pg_catalog.regclass
UNION SELECT 'relation', c.relname FROM things t JOIN pg_catalog.pg_class c ON c.oid = t.oid
WHERE t.class = 'pg_catalog.pg_class'::pg_catalog.regclass
UNION SELECT 'anywhere', '' FROM things t WHERE t.class IN ('pg_catalog.pg_operator'::pg_catalog.regclass,
  'pg_catalog.pg_cast'::pg_catalog.regclass, 'pg_catalog.pg_type'::pg_catalog.regclass)
UNION SELECT 'ddl', '' FROM pg_catalog.pg_event_trigger e JOIN things t ON t.oid = e.evtfoid
WHERE t.class = 'pg_catalog.pg_proc'::pg_catalog.regclass
UNION SELECT 'setting', m[1] FROM starts s, pg_catalog.regexp_matches(s.body,
  ${quoted(String.raw`([a-z_][a-z0-9_$]*(?:\.[a-z_][a-z0-9_$]*)+)`)}, 'g') m
UNION SELECT 'unknowable', COALESCE(p.proname, c.relname) FROM things t
LEFT JOIN pg_catalog.pg_proc p ON t.class = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = t.oid
LEFT JOIN pg_catalog.pg_class c ON t.class = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = t.oid
WHERE t.unknowable AND COALESCE(p.oid, c.oid) IS NOT NULL`

// Compiling the query takes a hundred times as long as running it. Names must come as we read them.
const uncompiled = "SET LOCAL jit = off;SET LOCAL client_encoding = 'UTF8';"

/** Not for the middle of a transaction, whose `jit` it would change. @throws what `ask` throws */
export async function loadSessionCode(ask: Ask): Promise<SessionCode> {
  const rows = await ask(uncompiled + sql)
  const of = (kind: string) => rows.flatMap(([found, name]) => (found === kind ? [name ?? ''] : []))
  return {
    functions: new Set(of('function')),
    relations: new Set(of('relation')),
    anywhere: of('anywhere').length > 0,
    inDdl: of('ddl').length > 0,
    settings: of('setting'),
    unknowable: new Set(of('unknowable')),
  }
}
