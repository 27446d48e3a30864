// Constraints of new tables and columns: what one shard alone cannot enforce is refused when it is
// declared.
import type { ColumnDef, Constraint, CreateStmt, IndexStmt, Node } from '@pgsql/types'
import { type PgError, pgError } from '../core/errors.ts'
import { type Names, namesOf, writtenName } from './names.ts'
import type { Column, KeyType, Placement, Relation } from './schema.ts'
import { childrenOf, textsIn } from './syntax.ts'
import { mayBeCurrentTime } from './time-value.ts'

/** The table that a constraint belongs to, existing or new. */
export type Table = {
  readonly self: string
  readonly placement: Placement
  readonly key: string | null
  /** Columns that it has already, none for a new table. */
  readonly columns: readonly Column[]
  readonly primaryKey?: readonly string[]
}

/** First thing in CREATE TABLE that the shards could not keep; null when there is none. */
export function checkNewTable(create: CreateStmt, names: Names): PgError | null {
  const name = create.relation?.relname ?? ''
  if (create.relation?.relpersistence === 't') {
    return pgError('unsupported', ['a temporary table on a sharded database'])
  }
  const table = tableOf(create, names)
  if (table === undefined) return pgError('undefinedTable', [inherited(create)])
  const columns = (create.tableElts ?? []).flatMap((element) =>
    'ColumnDef' in element ? [element.ColumnDef] : [],
  )
  const key = columns.find(({ colname }) => colname === table.key)
  if (key !== undefined && !fitsKeyType(key, names.rules.keyType)) {
    const type = namesOf(key.typeName?.names).at(-1) ?? ''
    return pgError('unsupported', [`a shard key of type ${type} in table "${name}"`])
  }
  if (create.partbound !== undefined) return null
  for (const element of create.tableElts ?? []) {
    const found =
      'Constraint' in element
        ? checkConstraint(element.Constraint, columns, table, names)
        : 'ColumnDef' in element
          ? (checkDefault(defaultOf(element.ColumnDef), table) ??
            checkColumnConstraints(element.ColumnDef, columns, table, names))
          : null
    if (found !== null) return found
  }
  return null
}

/** ALTER TABLE … ADD COLUMN. Existing rows get the column on every shard by itself. */
export function checkColumn(column: ColumnDef, table: Table, names: Names): PgError | null {
  const name = column.colname ?? ''
  const configured = [...names.rules.tables.keys()].some(
    (key) => key === table.self || key.endsWith(`.${table.self}`),
  )
  if (table.placement === 'home' && name === names.rules.key && !configured) {
    return pgError('unsupported', [`adding the shard key "${name}" to an existing table`])
  }
  if (table.placement === 'home') return checkColumnConstraints(column, [column], table, names)
  if (isNumbered(column)) return pgError('unsupported', ['adding a serial or identity column'])
  const computed = defaultOf(column)
  if (table.placement === 'reference' && computed !== undefined && callsFunction(computed)) {
    return pgError('unsupported', ['adding a column with a computed default to a reference table'])
  }
  return checkDefault(computed, table) ?? checkColumnConstraints(column, [], table, names)
}

/** DEFAULT 'now' becomes a constant when it is declared, and a different one on every server. */
export function checkDefault(computed: Node | undefined, { placement }: Table): PgError | null {
  if (placement !== 'reference' || computed === undefined) return null
  return textsIn(computed).some(mayBeCurrentTime)
    ? pgError('unsupported', ["a default such as 'now' in a reference table"])
    : null
}

/** ALTER COLUMN … TYPE … USING computes every row anew, on every server for itself. */
export function checkRewrite(def: Node | undefined, { placement }: Table): PgError | null {
  const using = def !== undefined && 'ColumnDef' in def ? def.ColumnDef.raw_default : undefined
  if (placement !== 'reference' || using === undefined) return null
  return callsFunction(using) || textsIn(using).some(mayBeCurrentTime)
    ? pgError('unsupported', ['ALTER COLUMN … TYPE with a function in a reference table'])
    : null
}

function checkColumnConstraints(
  column: ColumnDef,
  columns: readonly ColumnDef[],
  table: Table,
  names: Names,
): PgError | null {
  const own: Node[] = [{ String: { sval: column.colname ?? '' } }]
  for (const node of column.constraints ?? []) {
    if (!('Constraint' in node)) continue
    const constraint = node.Constraint
    const keyed = { ...constraint, keys: constraint.keys ?? own }
    const foreign = constraint.contype === 'CONSTR_FOREIGN' ? { ...keyed, fk_attrs: own } : keyed
    const found = checkConstraint(foreign, columns, table, names)
    if (found !== null) return found
  }
  return null
}

/**
 * `columns`: definitions that stand beside the constraint, to see which of them generate their
 * values.
 */
export function checkConstraint(
  constraint: Constraint,
  columns: readonly ColumnDef[],
  table: Table,
  names: Names,
): PgError | null {
  const { contype, keys, exclusions } = constraint
  if (contype === 'CONSTR_FOREIGN') return checkForeignKey(constraint, table, names)
  if (table.placement !== 'sharded') return null
  if (contype === 'CONSTR_EXCLUSION') {
    const equal = (exclusions ?? []).some((pair) => excludesKey(pair, table.key))
    return equal ? null : notEnforced('an exclusion constraint', table.self, table.key)
  }
  const unique = contype === 'CONSTR_PRIMARY' || contype === 'CONSTR_UNIQUE'
  if (!unique || constraint.indexname !== undefined) return null
  const listed = namesOf(keys)
  if (listed.includes(table.key ?? '')) return null
  // Values that shards generate do not meet: sequences step by shard, uuids are random.
  const generated =
    columns.some((column) => listed.includes(column.colname ?? '') && isGenerated(column)) ||
    table.columns.some((column) => listed.includes(column.name) && generates(column))
  const what = contype === 'CONSTR_PRIMARY' ? 'a primary key' : 'a unique constraint'
  return generated ? null : notEnforced(what, table.self, table.key)
}

/** CREATE UNIQUE INDEX. */
export function checkIndex(index: IndexStmt, relation: Relation): PgError | null {
  const { name, placement, key } = relation
  if (index.unique !== true || placement !== 'sharded') return null
  const columns = (index.indexParams ?? []).flatMap((param) =>
    'IndexElem' in param ? [param.IndexElem.name ?? ''] : [],
  )
  if (columns.includes(key ?? '')) return null
  return notEnforced('a unique index', name, key)
}

function checkForeignKey(constraint: Constraint, table: Table, names: Names): PgError | null {
  const { pktable, fk_attrs: own, pk_attrs: other } = constraint
  if (pktable === undefined) return null
  const itself = pktable.relname === table.self && pktable.schemaname === undefined
  const target = itself ? table : names.relation(pktable)
  if (target === undefined) return pgError('undefinedTable', [writtenName(pktable)])
  if (target.placement === 'reference') return null
  if (target.placement === 'home' && table.placement === 'home') return null
  const both = `a foreign key from "${table.self}" to "${writtenName(pktable)}"`
  if (target.placement !== 'sharded' || table.placement !== 'sharded') {
    return pgError('unsupported', [`${both}, whose rows live on other shards,`])
  }
  const at = namesOf(own).indexOf(table.key ?? '')
  // Without a list the foreign key refers to the primary key, which has the shard key in it or is
  // one of ids.
  const columns = other === undefined ? target.primaryKey : namesOf(other)
  const matches = at >= 0 && (columns === undefined || columns[at] === target.key)
  if (!matches) {
    return pgError('unsupported', [`${both} that does not include both shard keys`], {
      hint: `List the columns on both sides, with "${table.key}" among them.`,
    })
  }
  const clears = [constraint.fk_del_action, constraint.fk_upd_action].some(
    (action) => action === 'n' || action === 'd',
  )
  const limited = namesOf(constraint.fk_del_set_cols)
  const spared = limited.length > 0 && !limited.includes(table.key ?? '')
  return clears && !spared
    ? pgError('unsupported', [`${both} that would clear the shard key`])
    : null
}

/** Where the rows of a table to be created will live; undefined when a parent is not known. */
function tableOf(create: CreateStmt, names: Names): Table | undefined {
  const self = create.relation?.relname ?? ''
  const [parent] = create.inhRelations ?? []
  const range = parent !== undefined && 'RangeVar' in parent ? parent.RangeVar : undefined
  if (range !== undefined) {
    const relation = names.relation(range)
    if (relation === undefined) return undefined
    return { self, placement: relation.placement, key: relation.key, columns: [] }
  }
  const schema = create.relation?.schemaname ?? names.creationSchema
  const configured = names.configured(schema, self)
  if (configured !== undefined && 'placement' in configured) {
    const placement = configured.placement === 'reference' ? 'reference' : 'home'
    return { self, placement, key: null, columns: [] }
  }
  const key = configured?.key ?? names.rules.key
  const has = (create.tableElts ?? []).some((element) => hasColumn(element, key, names))
  return { self, placement: has ? 'sharded' : 'home', key: has ? key : null, columns: [] }
}

function hasColumn(element: Node, key: string, names: Names): boolean {
  if ('ColumnDef' in element) return element.ColumnDef.colname === key
  if (!('TableLikeClause' in element)) return false
  const { relation } = element.TableLikeClause
  const like = relation === undefined ? undefined : names.relation(relation)
  return like?.columns.some(({ name }) => name === key) === true
}

function inherited(create: CreateStmt): string {
  const [parent] = create.inhRelations ?? []
  return parent !== undefined && 'RangeVar' in parent ? writtenName(parent.RangeVar) : ''
}

const integerTypes = /^(?:int2|int4|int8|serial|serial2|serial4|serial8|smallserial|bigserial)$/
const serialTypes = /^(?:serial|serial2|serial4|serial8|smallserial|bigserial)$/

function fitsKeyType({ typeName }: ColumnDef, keyType: KeyType): boolean {
  const type = namesOf(typeName?.names).at(-1) ?? ''
  if ((typeName?.arrayBounds ?? []).length > 0) return false
  if (keyType === 'bigint') return integerTypes.test(type)
  return keyType === 'uuid' ? type === 'uuid' : type === 'text' || type === 'varchar'
}

function isNumbered(column: ColumnDef): boolean {
  const type = namesOf(column.typeName?.names).at(-1) ?? ''
  const identity = (column.constraints ?? []).some(
    (node) => 'Constraint' in node && node.Constraint.contype === 'CONSTR_IDENTITY',
  )
  return serialTypes.test(type) || identity
}

function isGenerated(column: ColumnDef): boolean {
  const type = namesOf(column.typeName?.names).at(-1) ?? ''
  const written = JSON.stringify(defaultOf(column) ?? null)
  return isNumbered(column) || type === 'uuid' || /"(?:nextval|next_id|next_id53)"/.test(written)
}

function defaultOf(column: ColumnDef): Node | undefined {
  for (const node of column.constraints ?? []) {
    if ('Constraint' in node && node.Constraint.contype === 'CONSTR_DEFAULT')
      return node.Constraint.raw_expr
  }
  return column.raw_default
}

function callsFunction(part: object): boolean {
  if ('FuncCall' in part || 'SQLValueFunction' in part) return true
  return childrenOf(part).some(callsFunction)
}

function excludesKey(pair: Node, key: string | null): boolean {
  const [element, operator] = 'List' in pair ? (pair.List.items ?? []) : []
  const column =
    element !== undefined && 'IndexElem' in element ? element.IndexElem.name : undefined
  const items = operator !== undefined && 'List' in operator ? operator.List.items : []
  return column === key && namesOf(items).at(-1) === '='
}

/** The same of a column that exists. */
function generates({ identity, typeOid, defaultSql }: Column): boolean {
  const uuid = 2950
  return identity !== 'none' || typeOid === uuid || /nextval|next_id/.test(defaultSql ?? '')
}

function notEnforced(what: string, table: string, key: string | null): PgError {
  const construct = `${what} on "${table}" without its shard key`
  const hint = `Add "${key}" to its columns; a generated serial, identity or uuid column may stand alone.`
  return pgError('unsupportedAcrossShards', [construct], { hint })
}
