// Writes to reference tables: the same statement runs on every shard, so everything in it that two
// servers could compute differently is computed once, on the home shard, and written into the
// statement as constants.
import type { InsertStmt, Node } from '@pgsql/types'
import { PgError, pgError } from '../core/errors.ts'
import type { Analysis } from './analysis.ts'
import { type Clock, replaceClocks } from './clock.ts'
import { deparse, deparseExpression } from './deparser.ts'
import { noFunctions, noteFunction, type FunctionFacts } from './functions.ts'
import { insertedColumns, valuesOf } from './insert.ts'
import { namesOf } from './names.ts'
import type { EvaluateOnce } from './plan.ts'
import { refused, type Route } from './route.ts'
import type { Column, Relation, Schema } from './schema.ts'
import { childrenOf, isNode, listOf, textsIn } from './syntax.ts'
import { isTimeType, mayBeCurrentTime } from './time-value.ts'

/**
 * Route of a statement that writes the reference table `relation` and reads nothing but reference
 * tables.
 */
export function referenceWrite(analysis: Analysis, statement: Node, relation: Relation): Route {
  try {
    const once = onceOf(analysis, statement, relation)
    // What cannot be rewritten is refused now, not once values have been drawn.
    once?.rewrite([])
    const timeColumns = relation.columns.some(({ type }) => isTimeType(type))
    return { kind: 'everywhere', what: 'reference', relation: relation.name, once, timeColumns }
  } catch (thrown) {
    if (thrown instanceof PgError) return refused(thrown)
    throw thrown
  }
}

/** A value that is computed once: its SQL, and where it goes. */
type Cell = { readonly sql: string }
type Row = (Node | Cell)[]

function onceOf(analysis: Analysis, statement: Node, relation: Relation): EvaluateOnce | null {
  if (analysis.orderDependent !== null) throw differs(analysis.orderDependent)
  const insert = 'InsertStmt' in statement ? statement.InsertStmt : null
  const values = insert === null ? null : valuesOf(insert)
  if (insert !== null && (values !== null || insert.selectStmt === undefined)) {
    return onceOfInsert(analysis, insert, relation)
  }
  refuseDefaults(statement, relation)
  const { node, clocks } = replaceClocks(statement)
  refuseLeftovers(analysis, node, null)
  if (clocks.length === 0) return null
  return {
    sql: `VALUES (${clocks.map(({ sql }) => `(${sql})::text`).join(', ')})`,
    rewrite: (rows) => deparse(replaceClocks(statement, clockValues(clocks, rows[0] ?? [])).node),
  }
}

function onceOfInsert(
  analysis: Analysis,
  insert: InsertStmt,
  relation: Relation,
): EvaluateOnce | null {
  if (insert.override === 'OVERRIDING_USER_VALUE') throw differs('OVERRIDING USER VALUE')
  refuseSetDefault(insert.onConflictClause?.targetList, relation)
  const { schema } = analysis.names
  const lists = (valuesOf(insert)?.valuesLists ?? [{ List: { items: [] } }]).map(
    (row) => listOf(row) ?? [],
  )
  const width = lists[0]?.length ?? 0
  const given = insertedColumns(insert, relation).slice(0, width)
  const omitted = relation.columns.filter(
    (column) => isVolatile(column) && !given.includes(column.name),
  )
  const rows = lists.map(
    (cells): Row => [
      ...cells.map((cell, at) => cellOf(schema, cell, relation, columnNamed(relation, given[at]))),
      ...omitted.map((column) => ({ sql: defaultSql(relation, column) })),
    ],
  )
  const columns = [...given, ...omitted.map(({ name }) => name)]
  const frame: Node = { InsertStmt: { ...insert, selectStmt: { List: { items: [] } } } }
  const { clocks, node } = replaceClocks(frame)
  refuseLeftovers(analysis, node, rows)
  const fresh = rows.some((row) => row.some(isCell))
  if (!fresh && clocks.length === 0) return null
  const override = overrides(insert, relation, rows, columns)
  const lines = rows.map((row) => [
    ...row.filter(isCell).map(({ sql }) => sql),
    ...clocks.map(({ sql }) => `(${sql})::text`),
  ])
  if (new Set(lines.map(({ length }) => length)).size > 1) {
    throw differs('a VALUES list whose rows need different values computed')
  }
  return {
    sql: `VALUES ${lines.map((line) => `(${line.join(', ')})`).join(', ')}`,
    rewrite: (answers) => {
      const filled = rows.map((row, at) => ({
        List: { items: fill(row, answers[at] ?? []) },
      }))
      const select: Node = {
        SelectStmt: { valuesLists: filled, limitOption: 'LIMIT_OPTION_DEFAULT', op: 'SETOP_NONE' },
      }
      const cols = columns.map((name): Node => ({ ResTarget: { name } }))
      const offset = (rows[0] ?? []).filter(isCell).length
      const times = clockValues(clocks, (answers[0] ?? []).slice(offset))
      const rebuilt = replaceClocks(frame, times).node
      if (!('InsertStmt' in rebuilt)) throw differs('this INSERT')
      const statement = { ...rebuilt.InsertStmt, cols, selectStmt: select, override }
      return deparse({ InsertStmt: statement })
    },
  }
}

/** Keeps a cell, or has it computed once when servers could disagree on it. */
function cellOf(
  schema: Schema,
  cell: Node,
  relation: Relation,
  column: Column | undefined,
): Node | Cell {
  if ('SetToDefault' in cell) {
    const volatile = column !== undefined && isVolatile(column)
    return volatile ? { sql: defaultSql(relation, column) } : cell
  }
  if (!differsByServer(schema, cell, column)) return cell
  if (mentionsInput(cell) || column === undefined) {
    throw differs('a volatile expression over parameters or subqueries')
  }
  return { sql: `(${deparseExpression(cell)})::${assignedType(column)}::text` }
}

function isCell(cell: Node | Cell): cell is Cell {
  return 'sql' in cell
}

function fill(row: Row, values: readonly (string | null)[]): Node[] {
  let at = 0
  return row.map((cell) => (isCell(cell) ? constant(values[at++] ?? null) : cell))
}

function constant(value: string | null): Node {
  return value === null ? { A_Const: { isnull: true } } : { A_Const: { sval: { sval: value } } }
}

function clockValues(clocks: readonly Clock[], values: readonly (string | null)[]): Node[] {
  return clocks.map(({ type }, at) => ({
    TypeCast: { arg: constant(values[at] ?? null), typeName: type },
  }))
}

function columnNamed(relation: Relation, name: string | undefined): Column | undefined {
  return relation.columns.find((column) => column.name === name)
}

function isVolatile({ defaultVolatile, identity, generated }: Column): boolean {
  return !generated && (defaultVolatile || identity !== 'none')
}

function defaultSql({ schema, name }: Relation, column: Column): string {
  if (column.identity === 'none') return `(${column.defaultSql ?? 'NULL'})::text`
  const table = `${quoteName(schema)}.${quoteName(name)}`
  return `nextval(pg_get_serial_sequence(${quoteText(table)}, ${quoteText(column.name)}))::text`
}

/**
 * An assignment to varchar(n) complains where a cast would cut, so the length is left to the
 * assignment.
 */
function assignedType({ type }: Column): string {
  if (type.startsWith('character(')) return 'bpchar'
  return type.replace(/^(character varying|bit varying)\(\d+\)/, '$1')
}

/** OVERRIDING clause of the rewritten INSERT: values for GENERATED ALWAYS columns need one. */
function overrides(
  insert: InsertStmt,
  relation: Relation,
  rows: readonly Row[],
  columns: readonly string[],
): NonNullable<InsertStmt['override']> {
  const asked = insert.override ?? 'OVERRIDING_NOT_SET'
  for (const [at, name] of columns.entries()) {
    if (columnNamed(relation, name)?.identity !== 'always') continue
    const computed = rows.filter((row) => isCellAt(row, at)).length
    if (computed === 0) continue
    // What the client gives itself without OVERRIDING is an error that the rewriting would hide.
    if (computed < rows.length && asked === 'OVERRIDING_NOT_SET')
      throw differs('this mix of DEFAULT and values')
    return 'OVERRIDING_SYSTEM_VALUE'
  }
  return asked
}

function isCellAt(row: Row, at: number): boolean {
  const cell = row[at]
  return cell !== undefined && isCell(cell)
}

/** A column that is not given gets its default on every server by itself. */
function refuseDefaults(statement: Node, relation: Relation): void {
  const names = relation.columns.filter(isVolatile).map(({ name }) => name)
  if ('InsertStmt' in statement) {
    const given = insertedColumns(statement.InsertStmt, relation)
    const omitted = names.find((name) => !given.includes(name))
    const explicit = (statement.InsertStmt.cols ?? []).length > 0
    if (omitted !== undefined || (!explicit && names.length > 0)) {
      throw differs(
        `a volatile default of column "${omitted ?? names[0] ?? ''}" in INSERT … SELECT`,
      )
    }
    refuseSetDefault(statement.InsertStmt.onConflictClause?.targetList, relation)
  }
  if ('MergeStmt' in statement && names.length > 0)
    throw differs('MERGE into a table with volatile defaults')
  if ('UpdateStmt' in statement) refuseSetDefault(statement.UpdateStmt.targetList, relation)
}

/** `SET column = DEFAULT`, alone or in a row of several columns. */
function refuseSetDefault(targets: readonly Node[] | undefined, { columns }: Relation): void {
  const names = columns.filter(isVolatile).map(({ name }) => name)
  for (const target of targets ?? []) {
    if (!('ResTarget' in target) || !names.includes(target.ResTarget.name ?? '')) continue
    const { val } = target.ResTarget
    if (val !== undefined && mentionsDefault(val)) throw differs('SET to a volatile default')
  }
}

function mentionsDefault(part: object): boolean {
  return 'SetToDefault' in part || childrenOf(part).some(mentionsDefault)
}

/** What is left after clocks and cells are constants must be the same on every server. */
function refuseLeftovers(analysis: Analysis, node: Node, rows: readonly Row[] | null): void {
  const { schema } = analysis.names
  const kept: object[] = [node]
  if (rows === null && textsIn(node).some(mayBeCurrentTime)) throw differs("a time such as 'now'")
  if (rows !== null) {
    if (textsIn(node).some(mayBeCurrentTime)) throw differs("a time such as 'now'")
    for (const row of rows) for (const cell of row) if (!isCell(cell)) kept.push(cell)
  }
  if (analysis.shardLocal !== null) throw differs(analysis.shardLocal)
  const facts = factsOf(kept, schema)
  const name =
    facts.userDefined ?? facts.clock ?? facts.dice ?? facts.sequence ?? facts.server ?? facts.lock
  if (name !== null) throw differs(`the function ${name}`)
  const rest = facts.hiddenSql ?? facts.sequenceMemory ?? facts.maybeAggregate
  if (rest !== null || facts.setConfig) throw differs(`the function ${rest ?? 'set_config'}`)
}

function differsByServer(schema: Schema, cell: Node, column: Column | undefined): boolean {
  const facts = factsOf([cell], schema)
  if (facts.userDefined !== null) throw differs(`the function ${facts.userDefined}`)
  if (facts.clock ?? facts.dice ?? facts.sequence ?? facts.server) return true
  const time = column !== undefined && isTimeType(column.type)
  return (time || !('A_Const' in cell)) && textsIn(cell).some(mayBeCurrentTime)
}

function factsOf(parts: readonly object[], schema: Schema): FunctionFacts {
  const facts: FunctionFacts = { ...noFunctions }
  const visit = (part: object) => {
    if (isNode(part) && 'FuncCall' in part) {
      noteFunction(facts, namesOf(part.FuncCall.funcname).at(-1) ?? '', schema)
    }
    if (isNode(part) && 'SQLValueFunction' in part) {
      const op = part.SQLValueFunction.op ?? ''
      if (/TIME|DATE/.test(op)) facts.clock ??= 'current_timestamp'
      if (op === 'SVFOP_CURRENT_CATALOG') facts.server ??= 'current_catalog'
    }
    for (const child of childrenOf(part)) visit(child)
  }
  for (const part of parts) visit(part)
  return facts
}

function mentionsInput(part: object): boolean {
  if ('ParamRef' in part || 'ColumnRef' in part || 'SubLink' in part) return true
  return childrenOf(part).some(mentionsInput)
}

function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

function differs(construct: string): PgError {
  return pgError('unsupported', [`${construct} in a write to a reference table`])
}
