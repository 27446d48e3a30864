// Tables with their columns, and what stands on them once they have rows: constraints, indexes,
// views, triggers, policies. Everything is made apart from the table itself that may need a
// function or another table.
import {
  columnCollation,
  homeOnlyOids,
  numbering,
  ofExtension,
  optionList,
  parts,
  relation,
  typeName,
  userSchema,
  userTables,
} from './catalog-sql.ts'

/** Of column `a`: its own sequence; a partition's column draws from its parent's. */
const identity = `(SELECT format(' GENERATED %s AS IDENTITY (SEQUENCE NAME %I.%I %s)',
    CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END, sn.nspname, sc.relname,
    ${numbering})
  FROM pg_depend d
  JOIN pg_sequence s ON s.seqrelid = d.objid
  JOIN pg_class sc ON sc.oid = d.objid
  JOIN pg_namespace sn ON sn.oid = sc.relnamespace
  WHERE a.attidentity <> '' AND d.classid = 'pg_class'::regclass AND d.deptype = 'i'
    AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid = a.attnum)`

const generated = `(SELECT format(' GENERATED ALWAYS AS (%s) %s', pg_get_expr(g.adbin, g.adrelid),
    CASE a.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END)
  FROM pg_attrdef g
  WHERE a.attgenerated <> '' AND g.adrelid = c.oid AND g.adnum = a.attnum)`

/** Named from PostgreSQL 18 on. */
const notNull = `CASE WHEN a.attnotnull THEN
    coalesce((SELECT format(' CONSTRAINT %I', k.conname) FROM pg_constraint k
              WHERE k.conrelid = c.oid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum]), '')
    || ' NOT NULL' ELSE '' END`

const columns = `(SELECT string_agg(format('%I %s%s%s%s%s', a.attname,
    format_type(a.atttypid, a.atttypmod), ${columnCollation}, ${identity}, ${generated},
    ${notNull}), ', ' ORDER BY a.attnum)
  FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)`

const tableOptions = `(SELECT format(' WITH (%s)', string_agg(o.list, ', '))
  FROM (SELECT ${optionList('c.reloptions')} AS list
        UNION ALL SELECT ${optionList('x.reloptions', 'toast.')} FROM pg_class x
        WHERE x.oid = c.reltoastrelid) o
  HAVING count(o.list) > 0)`

const accessMethod = `(SELECT format(' USING %I', m.amname) FROM pg_am m
  WHERE m.oid = c.relam AND m.amname <> 'heap')`

const tables = parts('table', {
  name: relation,
  sql: `format('CREATE %sTABLE %s (%s)%s%s%s',
    CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, ${relation}, ${columns},
    CASE c.relkind WHEN 'p' THEN ' PARTITION BY ' || pg_get_partkeydef(c.oid) ELSE '' END,
    ${accessMethod}, ${tableOptions})`,
  from: userTables(),
  order: 'c.oid',
})

const domainDefaults = parts('domain default', {
  name: typeName,
  sql: `format('ALTER DOMAIN %s SET DEFAULT %s', ${typeName},
    pg_get_expr(t.typdefaultbin, 'pg_type'::regclass))`,
  from: `pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE ${userSchema} AND NOT ${ofExtension('pg_type', 't.oid')} AND t.typtype = 'd'
      AND t.typdefaultbin IS NOT NULL`,
  order: 't.oid',
})

const domainChecks = parts('constraint', {
  name: `format('%I on %s', k.conname, ${typeName})`,
  sql: `format('ALTER DOMAIN %s ADD CONSTRAINT %I %s', ${typeName}, k.conname,
    pg_get_constraintdef(k.oid))`,
  from: `pg_constraint k JOIN pg_type t ON t.oid = k.contypid
    JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE k.contype = 'c' AND ${userSchema} AND NOT ${ofExtension('pg_type', 't.oid')}`,
  order: 'k.oid',
})

const constraintName = `format('%I on %s', k.conname, ${relation})`

/** Constraints of tables; `only`: not on their partitions, which have theirs listed too. */
const constraints = (types: readonly string[], condition = 'true', only = true) =>
  parts('constraint', {
    name: constraintName,
    sql: `format('ALTER TABLE %s%s ADD CONSTRAINT %I %s', ${
      only ? `'ONLY '` : `CASE c.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END`
    }, ${relation}, k.conname, pg_get_constraintdef(k.oid))`,
    from: `${userTables('JOIN pg_constraint k ON k.conrelid = c.oid')}
      AND k.contype = ANY ('{${types.join(',')}}') AND ${condition}`,
    order: 'k.oid',
  })

const attachments = parts('partition', {
  name: relation,
  sql: `format('ALTER TABLE ONLY %s ATTACH PARTITION %s %s', h.inhparent::regclass, ${relation},
    pg_get_expr(c.relpartbound, c.oid))`,
  from: `${userTables('JOIN pg_inherits h ON h.inhrelid = c.oid')}
    AND c.relispartition`,
  order: 'c.oid',
})

const defaults = parts('default', {
  name: `format('%s.%I', ${relation}, a.attname)`,
  sql: `format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', CASE c.relkind WHEN 'v' THEN ''
    ELSE 'ONLY ' END || ${relation}, a.attname, pg_get_expr(g.adbin, g.adrelid))`,
  from: `pg_attrdef g
    JOIN pg_attribute a ON a.attrelid = g.adrelid AND a.attnum = g.adnum AND a.attgenerated = ''
    JOIN pg_class c ON c.oid = g.adrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v') AND c.relpersistence <> 't' AND ${userSchema}
      AND NOT ${ofExtension('pg_class', 'c.oid')} AND c.oid NOT IN ${homeOnlyOids}`,
  order: 'g.oid',
})

const owned = parts('sequence owner', {
  name: `format('%I.%I', sn.nspname, s.relname)`,
  sql: `format('ALTER SEQUENCE %I.%I OWNED BY %s.%I', sn.nspname, s.relname, ${relation},
    a.attname)`,
  from: `pg_depend d
    JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
    JOIN pg_namespace sn ON sn.oid = s.relnamespace
    JOIN pg_class c ON c.oid = d.refobjid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
      AND d.deptype = 'a' AND s.relpersistence <> 't' AND ${userSchema}
      AND NOT ${ofExtension('pg_class', 's.oid')}`,
  order: 's.oid',
})

const columnSetting = (name: string, set: string, condition: string) =>
  parts('column setting', {
    name: `format('%s.%I ${name}', ${relation}, a.attname)`,
    sql: `format('ALTER TABLE ONLY %s ALTER COLUMN %I SET ${name} %s', ${relation}, a.attname,
      ${set})`,
    from: `${userTables(
      `JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
       JOIN pg_type t ON t.oid = a.atttypid`,
    )} AND ${condition}`,
    order: 'c.oid, a.attnum',
  })

const storage = `CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL'
  WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END`

/** Tables in the order of their making, and what their rows need. */
export const tableParts: readonly string[] = [tables]

/** Before there are rows. */
export const columnParts: readonly string[] = [
  domainDefaults,
  domainChecks,
  constraints(['c']),
  attachments,
  defaults,
  owned,
  columnSetting('STORAGE', storage, 'a.attstorage <> t.typstorage'),
  columnSetting(
    'COMPRESSION',
    `CASE a.attcompression WHEN 'l' THEN 'lz4' ELSE 'pglz' END`,
    `a.attcompression <> ''`,
  ),
  columnSetting('STATISTICS', 'a.attstattarget', 'coalesce(a.attstattarget, -1) >= 0'),
  columnSetting('', `'(' || ${optionList('a.attoptions')} || ')'`, 'a.attoptions IS NOT NULL'),
]

const indexed = (joined = '') =>
  userTables(
    `JOIN pg_index x ON x.indrelid = c.oid JOIN pg_class i ON i.oid = x.indexrelid
     JOIN pg_namespace xn ON xn.oid = i.relnamespace ${joined}`,
  )
const indexName = `format('%I.%I', xn.nspname, i.relname)`

/** What a CREATE INDEX CONCURRENTLY that failed has left behind is no index. */
const indexes = parts('index', {
  name: indexName,
  sql: 'pg_get_indexdef(i.oid)',
  from: `${indexed()} AND (x.indisvalid OR i.relkind = 'I') AND NOT EXISTS (
    SELECT FROM pg_constraint k WHERE k.conindid = i.oid AND k.contype IN ('p', 'u', 'x'))`,
  order: 'i.oid',
})

const indexOptions = parts('index setting', {
  name: indexName,
  sql: `format('ALTER INDEX %s SET (%s)', ${indexName}, ${optionList('i.reloptions')})`,
  from: `${indexed()} AND i.reloptions IS NOT NULL`,
  order: 'i.oid',
})

const indexAttachments = parts('index partition', {
  name: indexName,
  sql: `format('ALTER INDEX %s ATTACH PARTITION %s', h.inhparent::regclass, ${indexName})`,
  from: indexed('JOIN pg_inherits h ON h.inhrelid = i.oid'),
  order: 'i.oid',
})

const clustered = parts('table setting', {
  name: `${relation} || ' CLUSTER'`,
  sql: `format('ALTER TABLE %s CLUSTER ON %I', ${relation}, i.relname)`,
  from: `${indexed()} AND x.indisclustered`,
  order: 'i.oid',
})

const identities = parts('table setting', {
  name: `${relation} || ' REPLICA IDENTITY'`,
  sql: `format('ALTER TABLE ONLY %s REPLICA IDENTITY %s', ${relation},
    CASE c.relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING' ELSE (
      SELECT format('USING INDEX %I', i.relname)
      FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
      WHERE x.indrelid = c.oid AND x.indisreplident) END)`,
  from: `${userTables()} AND (c.relreplident IN ('f', 'n') OR c.relreplident = 'i' AND EXISTS (
    SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisreplident))`,
  order: 'c.oid',
})

const statistics = parts('statistics', {
  name: `format('%I.%I', n.nspname, s.stxname)`,
  sql: 'pg_get_statisticsobjdef(s.oid)',
  from: `pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
    WHERE ${userSchema} AND NOT ${ofExtension('pg_statistic_ext', 's.oid')}`,
  order: 's.oid',
})

/** Once the rows are there. */
export const constraintParts: readonly string[] = [
  constraints(['p', 'u', 'x']),
  indexes,
  indexAttachments,
  indexOptions,
  clustered,
  identities,
  statistics,
]

/** After views: their rows refer to each other. */
export const foreignKeyParts: readonly string[] = [constraints(['f'], 'k.conparentid = 0', false)]
