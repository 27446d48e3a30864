// A query level (SELECT, VALUES, set operation, WITH) → its tables' ties and the key columns it
// gives.
import type { Node, SelectStmt } from '@pgsql/types'
import { unreachable } from '../core/assert.ts'
import type { Analysis, QueryOptions, QueryOutput } from './analysis.ts'
import { readCondition } from './conditions.ts'
import { readCtes } from './cte.ts'
import { walk } from './expressions.ts'
import { readFrom, type FromPart } from './from-clause.ts'
import type { Scalar } from './key-source.ts'
import { namesOf } from './names.ts'
import { type KeyColumn, newScope, resolve, type Scope } from './scope.ts'
import { listOf } from './syntax.ts'
import type { NodeId } from './ties.ts'

/** Reads a SELECT that stands inside of `parent`. */
export function readSelect(
  analysis: Analysis,
  select: SelectStmt,
  parent: Scope | null,
  options: QueryOptions,
): QueryOutput {
  const scope = newScope(parent)
  readCtes(analysis, select.withClause, scope, select)
  if (select.op !== undefined && select.op !== 'SETOP_NONE')
    return readSetOperation(analysis, select, scope)
  if ((select.valuesLists ?? []).length > 0) return readValues(analysis, select, scope)
  const from = readFrom(analysis, select.fromClause, scope)
  const { targetList, groupClause, havingClause, windowClause, sortClause, distinctClause } = select
  walk(analysis, [targetList, groupClause, havingClause, windowClause, sortClause], scope)
  walk(analysis, [distinctClause, select.limitCount, select.limitOffset], scope)
  const filter = new Set(from.nodes)
  const filtersOuter = isPlainExists(select, scope)
  if (filtersOuter) for (const node of options.outerFilter ?? []) filter.add(node)
  readCondition({ analysis, scope, filter }, select.whereClause)
  noteLocks(analysis, select, from)
  noteOrder(analysis, select, scope)
  const columns = outputColumns(analysis, select, scope, from)
  const offset = analysis.scalar(select.limitOffset)
  return { columns, drivers: from.drivers, whole: wholeOf(select, scope, offset), offset }
}

/**
 * Only rows of WHERE decide EXISTS of such a query, so its conditions are conditions of the outer
 * query too.
 * With an aggregate there is always a row.
 */
function isPlainExists(select: SelectStmt, scope: Scope): boolean {
  const grouped = (select.groupClause ?? []).length > 0 || select.havingClause !== undefined
  const limited = select.limitCount !== undefined || select.limitOffset !== undefined
  return !grouped && !limited && scope.aggregate === null
}

/**
 * The first construct of the level that needs all rows at once; null when rows may come shard by
 * shard.
 */
function wholeOf(select: SelectStmt, scope: Scope, offset: Scalar | null): string | null {
  if ((select.distinctClause ?? []).length > 0) return 'DISTINCT'
  if ((select.groupClause ?? []).length > 0) return 'GROUP BY'
  if (select.havingClause !== undefined) return 'HAVING'
  if (scope.window !== null) return `the window function ${scope.window}`
  if (scope.aggregate !== null) return `the aggregate ${scope.aggregate}`
  if ((select.sortClause ?? []).length > 0) return 'ORDER BY'
  if (select.limitCount !== undefined) return 'LIMIT'
  if (select.limitOffset !== undefined && offset === null) return 'OFFSET'
  if ((select.lockingClause ?? []).length > 0) return 'FOR UPDATE or FOR SHARE'
  return null
}

function readSetOperation(analysis: Analysis, select: SelectStmt, scope: Scope): QueryOutput {
  const left = arm(analysis, select.larg, scope)
  const right = arm(analysis, select.rarg, scope)
  const own = { ...newScope(scope.parent), ctes: scope.ctes }
  walk(analysis, [select.sortClause, select.limitCount, select.limitOffset], own)
  noteOrder(analysis, select, own)
  const limited = select.limitCount !== undefined || select.limitOffset !== undefined
  const whole = setOperationName(select)
  if (left.columns === null || right.columns?.length !== left.columns.length) {
    return { columns: null, drivers: [], whole }
  }
  const columns = left.columns.map(({ name, node }, at) => {
    const arms = [node, right.columns?.[at]?.node ?? null]
    return { name, node: analysis.graph.addDerived(arms, !limited) }
  })
  return { columns, drivers: [], whole }
}

function arm(analysis: Analysis, select: SelectStmt | undefined, scope: Scope): QueryOutput {
  return select === undefined
    ? { columns: null, drivers: [], whole: null }
    : readSelect(analysis, select, { ...newScope(scope.parent), ctes: scope.ctes }, {})
}

function setOperationName({ op }: SelectStmt): string {
  switch (op) {
    case 'SETOP_UNION':
      return 'UNION'
    case 'SETOP_INTERSECT':
      return 'INTERSECT'
    case 'SETOP_EXCEPT':
      return 'EXCEPT'
    case 'SETOP_NONE':
    case undefined:
      return 'a set operation'
    default:
      return unreachable(op)
  }
}

function readValues(analysis: Analysis, select: SelectStmt, scope: Scope): QueryOutput {
  const rows = (select.valuesLists ?? []).map((row) => listOf(row) ?? [])
  walk(analysis, [select.valuesLists, select.sortClause, select.limitCount], scope)
  const width = rows[0]?.length ?? 0
  const columns: KeyColumn[] = []
  for (let at = 0; at < width; at += 1) {
    const name = `column${at + 1}`
    const scalars = rows.map((row) => analysis.scalar(row[at]))
    const known = scalars.filter((scalar): scalar is Scalar => scalar !== null)
    const constant = known.length === scalars.length
    columns.push({ name, node: constant ? analysis.scalarSource(name, known) : null })
  }
  return { columns, drivers: [], whole: null }
}

function outputColumns(
  analysis: Analysis,
  select: SelectStmt,
  scope: Scope,
  from: FromPart,
): readonly KeyColumn[] | null {
  const columns: KeyColumn[] = []
  for (const target of select.targetList ?? []) {
    if (!('ResTarget' in target)) return null
    const { val, name } = target.ResTarget
    const fields = val !== undefined && 'ColumnRef' in val ? namesOf(val.ColumnRef.fields) : null
    if (fields?.at(-1) === '*') {
      const expanded = fields.length === 1 ? from.columns : starOf(scope, fields)
      if (expanded === null) return null
      columns.push(
        ...expanded.map(({ name, node }) => ({
          name,
          node: exported(analysis, node, select, scope),
        })),
      )
      continue
    }
    const label = name ?? fields?.at(-1) ?? null
    columns.push({ name: label, node: targetNode(analysis, val, fields, { select, scope }) })
  }
  return columns
}

type Level = { readonly select: SelectStmt; readonly scope: Scope }

function targetNode(
  analysis: Analysis,
  value: Node | undefined,
  fields: readonly string[] | null,
  { select, scope }: Level,
): NodeId | null {
  if (fields === null) {
    const scalar = analysis.scalar(value)
    return scalar === null ? null : analysis.scalarSource('a constant', [scalar])
  }
  const found = resolve(scope, fields)
  if (found.kind !== 'column' || found.node === null) return null
  // A filter on a column of an outer query must not reach into that query.
  if (found.scope !== scope) return analysis.graph.addDerived([found.node], false)
  return exported(analysis, found.node, select, scope)
}

/** The node of a column as the outer query sees it. */
function exported(
  analysis: Analysis,
  node: NodeId | null,
  select: SelectStmt,
  scope: Scope,
): NodeId | null {
  return node === null ? null : analysis.graph.addDerived([node], isPushable(select, scope, node))
}

/**
 * True when filtering the query's rows by the column is the same as filtering the table's rows by
 * it.
 */
function isPushable(select: SelectStmt, scope: Scope, node: NodeId): boolean {
  if (select.limitCount !== undefined || select.limitOffset !== undefined) return false
  if (scope.window !== null) return false
  // DISTINCT over whole rows keeps keys apart; DISTINCT ON need not. Plain DISTINCT is a list of
  // one empty node.
  const distinct = select.distinctClause ?? []
  if (distinct.some((item) => Object.keys(item).length > 0)) return false
  const groups = select.groupClause ?? []
  if (groups.length === 0) return scope.aggregate === null && select.havingClause === undefined
  return (
    groups.some((group) => {
      if (!('ColumnRef' in group)) return false
      const found = resolve(scope, namesOf(group.ColumnRef.fields))
      return found.kind === 'column' && found.node === node
    }) && !groups.some((group) => 'GroupingSet' in group)
  )
}

function starOf(scope: Scope, fields: readonly string[]): readonly KeyColumn[] | null {
  const prefix = fields.slice(0, -1).join('.')
  const entry = scope.entries.find(({ alias, qualified }) =>
    fields.length === 2 ? alias === prefix : qualified === prefix,
  )
  return entry?.columns ?? null
}

function noteLocks(analysis: Analysis, select: SelectStmt, from: FromPart): void {
  for (const clause of select.lockingClause ?? []) {
    analysis.locks = true
    if (!('LockingClause' in clause)) continue
    const named = (clause.LockingClause.lockedRels ?? []).flatMap((range) =>
      'RangeVar' in range ? [range.RangeVar.relname ?? ''] : [],
    )
    const locked = from.entries.filter(({ alias }) => named.length === 0 || named.includes(alias))
    // A subquery's tables are locked with it.
    const reference = locked.some(({ relation }) => relation?.placement !== 'sharded')
    if (reference) analysis.locksReference = true
  }
}

function noteOrder(analysis: Analysis, select: SelectStmt, scope: Scope): void {
  const limited = select.limitCount !== undefined || select.limitOffset !== undefined
  if (limited) analysis.orderDependent ??= 'LIMIT or OFFSET'
  const on = (select.distinctClause ?? []).some((item) => Object.keys(item).length > 0)
  if (on) analysis.orderDependent ??= 'DISTINCT ON'
  if (scope.window !== null) analysis.orderDependent ??= `the window function ${scope.window}`
}
