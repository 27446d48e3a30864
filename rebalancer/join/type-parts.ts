// What tables are made of: schemas, extensions, types, sequences, functions. Objects of extensions
// come with these.
import {
  collate,
  columnCollation,
  isInner,
  numbering,
  ofExtension,
  parts,
  relation,
  routine,
  typeName,
  userRoutines,
  userSchema,
} from './catalog-sql.ts'

const schemas = parts('schema', {
  name: `format('%I', n.nspname)`,
  sql: `format('CREATE SCHEMA IF NOT EXISTS %I', n.nspname)`,
  from: `pg_namespace n WHERE ${userSchema} AND NOT ${ofExtension('pg_namespace', 'n.oid')}`,
  order: 'n.oid',
})

const extensions = parts('extension', {
  name: `format('%I', e.extname)`,
  sql: `format('CREATE EXTENSION IF NOT EXISTS %I SCHEMA %I', e.extname, n.nspname)`,
  from: 'pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace',
  order: 'e.oid',
})

const typesWith = (joined: string) => `pg_type t ${joined}
  JOIN pg_namespace n ON n.oid = t.typnamespace
  WHERE ${userSchema} AND NOT ${ofExtension('pg_type', 't.oid')}`
const userTypes = typesWith('')

const enums = parts('type', {
  name: typeName,
  sql: `format('CREATE TYPE %s AS ENUM (%s)', ${typeName},
    (SELECT string_agg(quote_literal(l.enumlabel), ', ' ORDER BY l.enumsortorder)
     FROM pg_enum l WHERE l.enumtypid = t.oid))`,
  from: `${userTypes} AND t.typtype = 'e'`,
  order: 't.oid',
})

const domainCollation = collate(
  't.typcollation',
  '(SELECT b.typcollation FROM pg_type b WHERE b.oid = t.typbasetype)',
)

const domains = parts('domain', {
  name: typeName,
  sql: `format('CREATE DOMAIN %s AS %s%s%s', ${typeName},
    format_type(t.typbasetype, t.typtypmod), ${domainCollation},
    CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END)`,
  from: `${userTypes} AND t.typtype = 'd'`,
  order: 't.oid',
})

const composites = parts('type', {
  name: typeName,
  sql: `format('CREATE TYPE %s AS (%s)', ${typeName},
    (SELECT string_agg(format('%I %s%s', a.attname, format_type(a.atttypid, a.atttypmod),
                              ${columnCollation}), ', ' ORDER BY a.attnum)
     FROM pg_attribute a
     WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped))`,
  from: `${userTypes} AND EXISTS (SELECT FROM pg_class r WHERE r.oid = t.typrelid
                                  AND r.relkind = 'c')`,
  order: 't.oid',
})

const ranges = parts('type', {
  name: typeName,
  sql: `format('CREATE TYPE %s AS RANGE (SUBTYPE = %s, SUBTYPE_OPCLASS = %s%s%s%s)', ${typeName},
    format_type(r.rngsubtype, NULL),
    (SELECT format('%I.%I', cn.nspname, o.opcname) FROM pg_opclass o
     JOIN pg_namespace cn ON cn.oid = o.opcnamespace WHERE o.oid = r.rngsubopc),
    (SELECT format(', COLLATION = %I.%I', cn.nspname, l.collname) FROM pg_collation l
     JOIN pg_namespace cn ON cn.oid = l.collnamespace WHERE l.oid = r.rngcollation),
    (SELECT format(', SUBTYPE_DIFF = %I.%I', cn.nspname, f.proname) FROM pg_proc f
     JOIN pg_namespace cn ON cn.oid = f.pronamespace WHERE f.oid = r.rngsubdiff::oid),
    (SELECT format(', MULTIRANGE_TYPE_NAME = %I.%I', cn.nspname, m.typname) FROM pg_type m
     JOIN pg_namespace cn ON cn.oid = m.typnamespace WHERE m.oid = r.rngmultitypid))`,
  from: `${typesWith('JOIN pg_range r ON r.rngtypid = t.oid')} AND r.rngcanonical::oid = 0`,
  order: 't.oid',
})

const sequences = parts('sequence', {
  name: relation,
  sql: `format('CREATE %sSEQUENCE %s AS %s %s',
    CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, ${relation},
    format_type(s.seqtypid, NULL), ${numbering})`,
  from: `pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE ${userSchema} AND c.relpersistence <> 't' AND NOT ${ofExtension('pg_class', 'c.oid')}
      AND NOT ${isInner('pg_class', 'c.oid')}`,
  order: 'c.oid',
})

/** With a body of SQL a function needs what it names to be there; other bodies are only text. */
const functions = (body: 'text' | 'sql') =>
  parts('function', {
    name: routine,
    sql: 'pg_get_functiondef(p.oid)',
    from: `${userRoutines()} AND p.prokind <> 'a'
      AND p.prosqlbody IS ${body === 'sql' ? 'NOT NULL' : 'NULL'}`,
    order: 'p.oid',
  })

const aggregateOption = (name: string, value: string, when: string) =>
  `CASE WHEN ${when} THEN format(', ${name} = %s', ${value}) ELSE '' END`

const functionName = (column: string) => `(SELECT format('%I.%I', fn.nspname, f.proname)
  FROM pg_proc f JOIN pg_namespace fn ON fn.oid = f.pronamespace WHERE f.oid = ${column}::oid)`

const support = (name: string, column: string) =>
  aggregateOption(name, functionName(column), `${column}::oid <> 0`)

/** READ_ONLY is the standard of ordinary aggregates, READ_WRITE that of ordered sets. */
const modify = (name: string, column: string) =>
  aggregateOption(
    name,
    `CASE ${column} WHEN 'r' THEN 'READ_ONLY' WHEN 's' THEN 'SHAREABLE' ELSE 'READ_WRITE' END`,
    `${column} <> CASE WHEN g.aggkind = 'n' THEN 'r' ELSE 'w' END`,
  )

const operatorName = `(SELECT format('OPERATOR(%I.%s)', pn.nspname, o.oprname) FROM pg_operator o
  JOIN pg_namespace pn ON pn.oid = o.oprnamespace WHERE o.oid = g.aggsortop)`

const aggregateOptions = [
  aggregateOption('SSPACE', 'g.aggtransspace', 'g.aggtransspace <> 0'),
  support('FINALFUNC', 'g.aggfinalfn'),
  `CASE WHEN g.aggfinalextra THEN ', FINALFUNC_EXTRA' ELSE '' END`,
  modify('FINALFUNC_MODIFY', 'g.aggfinalmodify'),
  support('COMBINEFUNC', 'g.aggcombinefn'),
  support('SERIALFUNC', 'g.aggserialfn'),
  support('DESERIALFUNC', 'g.aggdeserialfn'),
  aggregateOption('INITCOND', 'quote_literal(g.agginitval)', 'g.agginitval IS NOT NULL'),
  support('MSFUNC', 'g.aggmtransfn'),
  support('MINVFUNC', 'g.aggminvtransfn'),
  aggregateOption('MSTYPE', 'format_type(g.aggmtranstype, NULL)', 'g.aggmtranstype <> 0'),
  aggregateOption('MSSPACE', 'g.aggmtransspace', 'g.aggmtransspace <> 0'),
  support('MFINALFUNC', 'g.aggmfinalfn'),
  `CASE WHEN g.aggmfinalextra THEN ', MFINALFUNC_EXTRA' ELSE '' END`,
  modify('MFINALFUNC_MODIFY', 'g.aggmfinalmodify'),
  aggregateOption('MINITCOND', 'quote_literal(g.aggminitval)', 'g.aggminitval IS NOT NULL'),
  aggregateOption('SORTOP', operatorName, 'g.aggsortop <> 0'),
  `CASE p.proparallel WHEN 's' THEN ', PARALLEL = SAFE'
     WHEN 'r' THEN ', PARALLEL = RESTRICTED' ELSE '' END`,
  `CASE WHEN g.aggkind = 'h' THEN ', HYPOTHETICAL' ELSE '' END`,
]

const aggregates = parts('function', {
  name: routine,
  sql: `format('CREATE AGGREGATE %I.%I(%s) (SFUNC = %s, STYPE = %s', n.nspname, p.proname,
    CASE WHEN p.pronargs = 0 THEN '*' ELSE pg_get_function_arguments(p.oid) END,
    ${functionName('g.aggtransfn')}, format_type(g.aggtranstype, NULL))
    || ${aggregateOptions.join('\n || ')} || ')'`,
  from: userRoutines('JOIN pg_aggregate g ON g.aggfnoid::oid = p.oid'),
  order: 'p.oid',
})

/** In the order of their making. */
export const typeParts: readonly string[] = [
  schemas,
  extensions,
  enums,
  domains,
  composites,
  ranges,
  sequences,
  functions('text'),
  aggregates,
]

/** Those that need tables. */
export const functionParts: readonly string[] = [functions('sql')]
