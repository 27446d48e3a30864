// INSERT, UPDATE, DELETE and MERGE → ties of the written table and of what the statement reads.
import type {
  DeleteStmt,
  InsertStmt,
  MergeStmt,
  MergeWhenClause,
  Node,
  RangeVar,
  ReturningClause,
  UpdateStmt,
} from '@pgsql/types'
import { pgError } from '../core/errors.ts'
import type { Analysis, QueryOutput, TableUse } from './analysis.ts'
import { keyNode, readCondition } from './conditions.ts'
import { readCtes } from './cte.ts'
import { walk } from './expressions.ts'
import { readFrom, tableEntry } from './from-clause.ts'
import { readInsertedRows } from './insert.ts'
import { namesOf } from './names.ts'
import { type Entry, type KeyColumn, newScope, resolve, type Scope } from './scope.ts'

const nothing: QueryOutput = { columns: null, drivers: [], whole: 'a data-modifying statement' }

export function readInsert(
  analysis: Analysis,
  insert: InsertStmt,
  parent: Scope | null,
): QueryOutput {
  const scope = newScope(parent)
  readCtes(analysis, insert.withClause, scope, insert)
  const target = openTarget(analysis, insert.relation)
  if (target === null) return nothing
  readInsertedRows(analysis, insert, target.use, scope)
  scope.entries.push(target.entry)
  readConflict(analysis, insert, target, scope)
  return returned(analysis, insert.returningClause, scope)
}

export function readUpdate(
  analysis: Analysis,
  update: UpdateStmt,
  parent: Scope | null,
): QueryOutput {
  const scope = newScope(parent)
  readCtes(analysis, update.withClause, scope, update)
  const target = openTarget(analysis, update.relation)
  if (target === null) return nothing
  scope.entries.push(target.entry)
  const from = readFrom(analysis, update.fromClause, scope)
  if (from.entries.length > 0) analysis.orderDependent ??= 'UPDATE … FROM'
  refuseKeyChange(analysis, update.targetList, target.use)
  walk(analysis, update.targetList, scope)
  const filter = new Set(from.nodes)
  if (target.use.node !== null) filter.add(target.use.node)
  readCondition({ analysis, scope, filter }, update.whereClause)
  return returned(analysis, update.returningClause, scope)
}

export function readDelete(
  analysis: Analysis,
  remove: DeleteStmt,
  parent: Scope | null,
): QueryOutput {
  const scope = newScope(parent)
  readCtes(analysis, remove.withClause, scope, remove)
  const target = openTarget(analysis, remove.relation)
  if (target === null) return nothing
  scope.entries.push(target.entry)
  const from = readFrom(analysis, remove.usingClause, scope)
  const filter = new Set(from.nodes)
  if (target.use.node !== null) filter.add(target.use.node)
  readCondition({ analysis, scope, filter }, remove.whereClause)
  return returned(analysis, remove.returningClause, scope)
}

export function readMerge(analysis: Analysis, merge: MergeStmt, parent: Scope | null): QueryOutput {
  const scope = newScope(parent)
  readCtes(analysis, merge.withClause, scope, merge)
  const target = openTarget(analysis, merge.relation)
  if (target === null) return nothing
  const source = merge.sourceRelation === undefined ? [] : [merge.sourceRelation]
  const from = readFrom(analysis, source, scope)
  scope.entries.unshift(target.entry)
  const clauses = (merge.mergeWhenClauses ?? []).flatMap((clause) =>
    'MergeWhenClause' in clause ? [clause.MergeWhenClause] : [],
  )
  const kinds = new Set(clauses.map(({ matchKind }) => matchKind))
  // The condition filters a side unless rows of that side count without a match.
  const filter = new Set(kinds.has('MERGE_WHEN_NOT_MATCHED_BY_TARGET') ? [] : from.nodes)
  const { node } = target.use
  if (node !== null && !kinds.has('MERGE_WHEN_NOT_MATCHED_BY_SOURCE')) filter.add(node)
  readCondition({ analysis, scope, filter }, merge.joinCondition)
  for (const clause of clauses) readMergeClause(analysis, clause, target.use, scope)
  return returned(analysis, merge.returningClause, scope)
}

function readMergeClause(
  analysis: Analysis,
  clause: MergeWhenClause,
  target: TableUse,
  scope: Scope,
): void {
  walk(analysis, [clause.condition, clause.targetList, clause.values], scope)
  const { relation } = target
  if (clause.commandType === 'CMD_UPDATE') refuseKeyChange(analysis, clause.targetList, target)
  if (clause.commandType !== 'CMD_INSERT' || target.node === null) return
  const names = (clause.targetList ?? []).flatMap((item) =>
    'ResTarget' in item ? [item.ResTarget.name ?? ''] : [],
  )
  const all = relation.columns.map(({ name }) => name)
  const at = (names.length > 0 ? names : all).indexOf(relation.key ?? '')
  const value = clause.values?.[at]
  // Inserted rows are one more mention of the table: its key must follow from the source's.
  const inserted = analysis.graph.add()
  analysis.uses.push({ relation, node: inserted, writes: true })
  const scalar = analysis.scalar(value)
  const from =
    scalar === null
      ? keyNode({ analysis, scope, filter: new Set() }, value)
      : analysis.scalarSource(relation.key ?? '', [scalar])
  if (from !== null) analysis.graph.tie(from, inserted)
  else analysis.refuseAcrossShards('MERGE that inserts a shard key value not taken from its source')
  analysis.requireInsertable(relation)
}

type Target = { readonly use: TableUse; readonly entry: Entry }

function openTarget(analysis: Analysis, range: RangeVar | undefined): Target | null {
  const use = range === undefined ? undefined : analysis.use(range, true)
  if (range === undefined || use === undefined) return null
  const { kind, placement, name } = use.relation
  if (kind === 'v' && (placement === 'reference' || placement === 'sharded')) {
    analysis.refuse(pgError('unsupported', [`a write through the view "${name}"`]))
  }
  return { use, entry: tableEntry(range, use) }
}

/** SET of the shard key would move a row to another shard. */
function refuseKeyChange(
  analysis: Analysis,
  targets: readonly Node[] | undefined,
  { relation }: TableUse,
): void {
  if (relation.placement !== 'sharded') return
  for (const target of targets ?? []) {
    if (!('ResTarget' in target) || target.ResTarget.name !== relation.key) continue
    analysis.refuseAcrossShards(`changing the shard key "${relation.key}"`)
  }
}

function readConflict(
  analysis: Analysis,
  insert: InsertStmt,
  { use, entry }: Target,
  scope: Scope,
): void {
  const conflict = insert.onConflictClause
  if (conflict === undefined) return
  const { relation } = use
  const excluded: Entry = { ...entry, alias: 'excluded', qualified: null }
  const inside: Scope = { ...newScope(scope.parent), ctes: scope.ctes, entries: [entry, excluded] }
  walk(analysis, [conflict.infer, conflict.targetList, conflict.whereClause], inside)
  if (relation.placement !== 'sharded') return
  const inferred = (conflict.infer?.indexElems ?? []).flatMap((item) =>
    'IndexElem' in item ? [item.IndexElem.name ?? ''] : [],
  )
  const byKey = inferred.includes(relation.key ?? '')
  if (inferred.length > 0 && !byKey) {
    analysis.refuseAcrossShards(`ON CONFLICT without the shard key "${relation.key}"`)
  }
  for (const target of conflict.targetList ?? []) {
    if (!('ResTarget' in target) || target.ResTarget.name !== relation.key) continue
    const { val } = target.ResTarget
    const fields = val !== undefined && 'ColumnRef' in val ? namesOf(val.ColumnRef.fields) : []
    // The rows are in conflict because their keys are equal, so this changes nothing.
    const same = fields[0] === 'excluded' && fields[1] === relation.key && fields.length === 2
    if (!same || !byKey) analysis.refuseAcrossShards(`changing the shard key "${relation.key}"`)
  }
}

function returned(
  analysis: Analysis,
  clause: ReturningClause | undefined,
  scope: Scope,
): QueryOutput {
  if (clause === undefined) return { ...nothing, columns: [] }
  walk(analysis, clause, scope)
  const columns: KeyColumn[] = []
  for (const target of clause.exprs ?? []) {
    if (!('ResTarget' in target)) return nothing
    const { val, name } = target.ResTarget
    const fields = val !== undefined && 'ColumnRef' in val ? namesOf(val.ColumnRef.fields) : null
    if (fields?.at(-1) === '*') {
      const all = fields.length === 1 && scope.entries.length === 1 ? scope.entries[0] : undefined
      if (all?.columns === undefined || all.columns === null) return nothing
      for (const column of all.columns) columns.push(derived(analysis, column.name, column.node))
      continue
    }
    const found = fields === null ? undefined : resolve(scope, fields)
    const node = found?.kind === 'column' && found.scope === scope ? found.node : null
    columns.push(derived(analysis, name ?? fields?.at(-1) ?? null, node))
  }
  return { ...nothing, columns }
}

/** All rows of a write are written, whatever reads its RETURNING: no filter reaches into it. */
function derived(analysis: Analysis, name: string | null, node: KeyColumn['node']): KeyColumn {
  return { name, node: node === null ? null : analysis.graph.addDerived([node], false) }
}
