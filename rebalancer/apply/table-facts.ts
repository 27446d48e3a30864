// What one server says of the followed tables: columns and their types, the primary key and how its
// columns are compared. One statement without parameters, since a replication connection takes no
// others.
import { escapeLiteral } from 'pg'

export type TableName = { readonly schema: string; readonly name: string }

export type ColumnFacts = {
  readonly name: string
  /**
   * format_type() with every schema written out: the same text on two servers means the same type.
   */
  readonly type: string
  readonly typeOid: number
  readonly typmod: number
  /** attgenerated: s, v or empty. */
  readonly generated: string
  /** attidentity: a, d or empty. */
  readonly identity: string
  /** The type that a domain is made of, else the type itself. */
  readonly baseOid: number
  /** Of the base type; 0 without one. */
  readonly arrayOid: number
  /**
   * Bytes that mean the same on every server, and one array of them is enough: a built-in scalar.
   */
  readonly binarySafe: boolean
  /** Values that are equal have equal bytes, and the other way round. */
  readonly bytewise: boolean
}

type IdentityFacts = {
  readonly column: string
  /** `OPERATOR(schema.=)` of the primary key's operator class. */
  readonly equality: string
}

export type TableFacts = TableName & {
  readonly columns: readonly ColumnFacts[]
  /** Columns of the primary key; empty without one. */
  readonly primaryKey: readonly IdentityFacts[]
  /**
   * False for a DEFERRABLE primary key: in the middle of a transaction two rows may have the same.
   */
  readonly immediate: boolean
  /** Has a rule ON UPDATE, even one that is not run: such a table takes no ON CONFLICT. */
  readonly updateRule: boolean
}

/** A row of `factsSql`; pg reads the JSON. */
export type FactsRow = { readonly facts: TableFacts }

/** SQL that gives one FactsRow per table that exists; needs search_path = pg_catalog. */
export function factsSql(tables: readonly TableName[]): string {
  const wanted = tables
    .map(({ schema, name }) => `(${escapeLiteral(schema)}::name, ${escapeLiteral(name)}::name)`)
    .join(', ')
  return `SELECT json_build_object(
      'schema', n.nspname, 'name', c.relname,
      'columns', (SELECT json_agg(${columnJson} ORDER BY a.attnum)
                  FROM pg_attribute a, LATERAL (${baseTypeSql}) b
                  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
      'primaryKey', coalesce((${primaryKeySql}), '[]'),
      'immediate', coalesce((SELECT i.indimmediate FROM pg_index i
                             WHERE i.indrelid = c.oid AND i.indisprimary), false),
      'updateRule', EXISTS (SELECT FROM pg_rewrite r
                            WHERE r.ev_class = c.oid AND r.ev_type = '2')) AS facts
    FROM (VALUES ${wanted}) w (schema, name)
    JOIN pg_namespace n ON n.nspname = w.schema
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p')`
}

/** Types whose binary form is an oid, or depends on more than the value. */
const unsafeTypes = `'regproc', 'regprocedure', 'regoper', 'regoperator', 'regclass', 'regtype',
  'regconfig', 'regdictionary', 'regrole', 'regnamespace', 'regcollation', 'xml'`
const bytewiseTypes = `'int2', 'int4', 'int8', 'uuid', 'bool', 'date', 'timestamp', 'timestamptz',
  'bytea', 'oid', 'char', 'name'`

const columnJson = `json_build_object(
  'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
  'typeOid', a.atttypid::int8, 'typmod', a.atttypmod,
  'generated', a.attgenerated, 'identity', a.attidentity,
  'baseOid', b.oid::int8, 'arrayOid', b.typarray::int8,
  'binarySafe', b.builtin AND b.typtype IN ('b', 'r', 'm') AND b.typcategory <> 'A'
    AND b.typarray <> 0 AND b.typsend <> 0 AND b.typname NOT IN (${unsafeTypes}),
  'bytewise', b.typtype = 'e' OR (b.builtin AND (b.typname IN (${bytewiseTypes})
    OR (b.typname IN ('text', 'varchar')
        AND (SELECT l.collisdeterministic FROM pg_collation l WHERE l.oid = a.attcollation)))))`

/** Follows domains down; `a` is the column. */
const baseTypeSql = `WITH RECURSIVE down AS (
    SELECT t.* FROM pg_type t WHERE t.oid = a.atttypid
    UNION ALL SELECT t.* FROM down d JOIN pg_type t ON d.typtype = 'd' AND t.oid = d.typbasetype)
  SELECT d.oid, d.typarray, d.typtype, d.typcategory, d.typsend::oid AS typsend, d.typname,
    d.oid < 16384 AND d.typnamespace = 'pg_catalog'::regnamespace AS builtin
  FROM down d WHERE d.typtype <> 'd'`

const primaryKeySql = `SELECT json_agg(json_build_object('column', a.attname, 'equality',
      format('OPERATOR(%I.%s)', s.nspname, o.oprname)) ORDER BY k.place)
  FROM pg_index i,
    unnest(i.indkey::int2[], i.indclass::oid[]) WITH ORDINALITY k (attnum, opclass, place)
  JOIN pg_opclass f ON f.oid = k.opclass
  JOIN pg_amop p ON p.amopfamily = f.opcfamily AND p.amopstrategy = 3
    AND p.amoplefttype = f.opcintype AND p.amoprighttype = f.opcintype
  JOIN pg_operator o ON o.oid = p.amopopr
  JOIN pg_namespace s ON s.oid = o.oprnamespace, pg_attribute a
  WHERE i.indrelid = c.oid AND i.indisprimary AND k.attnum > 0
    AND a.attrelid = c.oid AND a.attnum = k.attnum`
