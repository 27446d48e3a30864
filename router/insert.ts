// The rows of an INSERT: where the shard key stands in them, and what it is tied to.
import type { InsertStmt, Node, SelectStmt } from '@pgsql/types'
import { pgError } from '../core/errors.ts'
import type { Analysis, TableUse } from './analysis.ts'
import { walk } from './expressions.ts'
import type { Scalar } from './key-source.ts'
import { charsMaxOf } from './names.ts'
import type { Relation } from './schema.ts'
import type { Scope } from './scope.ts'
import { listOf } from './syntax.ts'

/** Columns that the rows give values for, in order. */
export function insertedColumns(insert: InsertStmt, relation: Relation): string[] {
  const names = (insert.cols ?? []).flatMap((item) =>
    'ResTarget' in item ? [item.ResTarget.name ?? ''] : [],
  )
  return names.length > 0 ? names : relation.columns.map(({ name }) => name)
}

/** The SELECT that is a plain VALUES list, or null. */
export function valuesOf(insert: InsertStmt): SelectStmt | null {
  const { selectStmt } = insert
  if (selectStmt === undefined || !('SelectStmt' in selectStmt)) return null
  const select = selectStmt.SelectStmt
  if ((select.valuesLists ?? []).length === 0) return null
  const decorated =
    select.withClause ?? select.sortClause ?? select.limitCount ?? select.limitOffset
  return decorated === undefined ? select : null
}

/** Reads the rows and ties the target's key to theirs. */
export function readInsertedRows(
  analysis: Analysis,
  insert: InsertStmt,
  { relation, node }: TableUse,
  scope: Scope,
): void {
  const values = valuesOf(insert)
  const at = insertedColumns(insert, relation).indexOf(relation.key ?? '')
  const missing = pgError('keyMissing', [relation.key ?? '', relation.name])
  if (values === null) {
    const output = insert.selectStmt === undefined ? null : analysis.query(insert.selectStmt, scope)
    if (node === null) return
    if (output === null || at < 0) return analysis.refuse(missing)
    analysis.requireInsertable(relation)
    const from = output.columns?.[at]?.node ?? null
    if (from !== null) analysis.graph.tie(from, node)
    return
  }
  const rows = (values.valuesLists ?? []).map((row) => listOf(row) ?? [])
  walk(analysis, values.valuesLists, scope)
  if (node === null) return
  const column = relation.columns.find(({ name }) => name === relation.key)
  const scalars = keyScalars(analysis, rows, at)
  if (scalars === null || column === undefined) return analysis.refuse(missing)
  const source = analysis.addSource({
    column: relation.key ?? '',
    keyType: analysis.names.rules.keyType,
    insert: { relation: relation.name, column: column.name, charsMax: charsMaxOf(column) },
    values: { kind: 'scalars', scalars },
  })
  analysis.graph.tie(source, node)
}

/** Key of each row; null when a row has none. */
function keyScalars(
  analysis: Analysis,
  rows: readonly (readonly Node[])[],
  at: number,
): Scalar[] | null {
  const scalars: Scalar[] = []
  for (const row of rows) {
    const cell = row[at]
    if (cell === undefined || 'SetToDefault' in cell) return null
    const scalar = analysis.scalar(cell)
    if (scalar !== null) scalars.push(scalar)
    else analysis.refuseAcrossShards('a shard key value that is not a constant or a parameter')
  }
  return scalars
}
