// Walks expressions for what decides a route besides keys: functions, subqueries, system columns,
// parameters.
import type { FuncCall, Node, SubLink } from '@pgsql/types'
import { pgError } from '../core/errors.ts'
import type { Analysis } from './analysis.ts'
import { isAggregate, noteFunction } from './functions.ts'
import { namesOf } from './names.ts'
import { resolve, type Scope } from './scope.ts'
import { childrenOf, isNode } from './syntax.ts'

const systemColumns = new Set(['ctid', 'xmin', 'xmax', 'cmin', 'cmax', 'tableoid'])
const timeOfDay =
  /^SVFOP_(?:CURRENT_DATE|CURRENT_TIME|CURRENT_TIMESTAMP|LOCALTIME|LOCALTIMESTAMP)(?:_N)?$/
/** Aggregates whose result does not depend on the order of their input. */
const orderless = new Set(['count', 'min', 'max', 'bool_and', 'bool_or', 'every'])

/** Walks any part of a tree: an expression, a list of them, or a clause that holds some. */
export function walk(analysis: Analysis, part: object | undefined, scope: Scope): void {
  if (part === undefined) return
  if (!isNode(part)) {
    for (const child of childrenOf(part)) walk(analysis, child, scope)
    return
  }
  if ('SubLink' in part) return walkSubLink(analysis, part.SubLink, scope)
  if ('FuncCall' in part) return walkCall(analysis, part.FuncCall, scope)
  if ('ColumnRef' in part) return noteColumn(analysis, namesOf(part.ColumnRef.fields), scope)
  if ('ParamRef' in part) {
    analysis.paramCount = Math.max(analysis.paramCount, part.ParamRef.number ?? 0)
    return
  }
  if ('SelectStmt' in part) {
    analysis.query(part, scope)
    return
  }
  noteNode(analysis, part, scope)
  for (const child of childrenOf(part)) walk(analysis, child, scope)
}

/** A subquery as an expression: what it says of its own tables counts, not what it returns. */
export function walkSubLink(analysis: Analysis, link: SubLink, scope: Scope): void {
  walk(analysis, link.testexpr, scope)
  if (link.subselect !== undefined) analysis.query(link.subselect, scope)
}

function noteNode(analysis: Analysis, node: Node, scope: Scope): void {
  const { functions } = analysis
  if ('SQLValueFunction' in node) {
    const op = node.SQLValueFunction.op ?? ''
    if (timeOfDay.test(op))
      functions.clock ??= op.slice('SVFOP_'.length).replace(/_N$/, '').toLowerCase()
    if (op === 'SVFOP_CURRENT_CATALOG') functions.server ??= 'current_catalog'
  } else if ('TypeCast' in node) {
    const type = namesOf(node.TypeCast.typeName?.names).at(-1) ?? ''
    // Object identifiers differ from server to server.
    if (/^reg[a-z]+$/.test(type)) analysis.shardLocal ??= `a cast to ${type}`
  } else if ('GroupingFunc' in node) scope.aggregate ??= 'grouping'
  else if ('JsonArrayAgg' in node || 'JsonObjectAgg' in node)
    noteAggregate(analysis, 'json_agg', scope)
  else if ('CurrentOfExpr' in node) analysis.refuseAcrossShards('WHERE CURRENT OF')
  else if ('A_Indirection' in node) {
    for (const field of namesOf(node.A_Indirection.indirection)) {
      noteAttribute(analysis, field, scope)
    }
  }
}

function noteColumn(analysis: Analysis, fields: readonly string[], scope: Scope): void {
  const name = fields.at(-1) ?? ''
  if (systemColumns.has(name)) analysis.shardLocal ??= `the system column "${name}"`
  if (fields.length < 2 || name === '*') return
  if (resolve(scope, fields).kind === 'attribute') noteAttribute(analysis, name, scope)
}

/**
 * `row.name` calls the function `name` when the row has no such column; `orders.count` is
 * count(orders).
 */
function noteAttribute(analysis: Analysis, name: string, scope: Scope): void {
  const { schema } = analysis.names
  if (!schema.functions.has(name) && !isAggregate(name, schema)) return
  if (mayAggregate(analysis, name)) scope.aggregate ??= name
  analysis.shardLocal ??= `the function "${name}" in attribute notation`
}

function walkCall(analysis: Analysis, call: FuncCall, scope: Scope): void {
  const names = namesOf(call.funcname)
  const name = names.at(-1) ?? ''
  const { schema } = analysis.names
  const foreign = names.length > 1 && names[0] !== 'pg_catalog'
  const args = call.args ?? []
  if (names.length > 1 && names[0] === 'ringfence') {
    // Our own: ringfence.vnode() is arithmetic, the others belong to a server.
    if (name !== 'vnode') analysis.functions.server ??= names.join('.')
  } else if (foreign && schema.functions.get(name)?.builtin === true) {
    analysis.functions.userDefined ??= names.join('.')
    analysis.functions.mayWrite = true
  } else if (name !== 'age' || args.length === 1) noteFunction(analysis.functions, name, schema)
  if (name === 'nextval' || name === 'setval') noteSequence(analysis, name, args[0])
  if (call.over !== undefined) scope.window ??= name
  else if (mayAggregate(analysis, name) || isMarked(call))
    noteAggregate(analysis, name, scope, call)
  const { args: _, funcname: __, ...rest } = call
  walk(analysis, args, scope)
  walk(analysis, rest, scope)
}

/**
 * A sequence that feeds a column of a sharded table counts in steps on every shard; any other only
 * at home.
 */
function noteSequence(analysis: Analysis, call: string, argument: Node | undefined): void {
  const inner = argument !== undefined && 'TypeCast' in argument ? argument.TypeCast.arg : argument
  const constant = inner !== undefined && 'A_Const' in inner ? inner.A_Const : undefined
  const name = (constant?.sval?.sval ?? '').replace(/^.*\./, '').replaceAll('"', '')
  // The name decides, so the shape holds for no other.
  analysis.exactOnly = true
  const feeds = [...analysis.names.schema.relations.values()].some(
    ({ placement, columns }) =>
      placement === 'sharded' &&
      columns.some(({ defaultSql }) => defaultSql?.match(/[\w$]+/g)?.includes(name) === true),
  )
  if (call === 'setval' && (feeds || name === '')) {
    // One number for all shards would make their rows collide.
    analysis.refuse(pgError('unsupported', [`setval('${name}')`]))
  }
  if (!feeds) analysis.homeSequence ??= name
}

/** True unless it is known that the function looks at one row at a time. */
function mayAggregate({ names: { schema } }: Analysis, name: string): boolean {
  const traits = schema.functions.get(name)
  if (isAggregate(name, schema) || traits === undefined) return true
  // Every aggregate is IMMUTABLE in pg_proc.
  return !traits.builtin && traits.volatility === 'immutable' && traits.aggregate !== false
}

/** Marks that only an aggregate may carry. */
function isMarked(call: FuncCall): boolean {
  const star = call.agg_star === true || call.agg_distinct === true
  return star || call.agg_filter !== undefined || (call.agg_order ?? []).length > 0
}

/** An aggregate over columns of an outer query belongs to that query (manual, 4.2.7). */
function noteAggregate(analysis: Analysis, name: string, scope: Scope, call?: FuncCall): void {
  if (!orderless.has(name)) analysis.orderDependent ??= `the aggregate ${name}`
  const columns = columnsIn(call?.args ?? [])
  const own = columns.some((fields) => {
    const found = resolve(scope, fields)
    return found.kind !== 'unknown' && found.scope === scope
  })
  scope.aggregate ??= name
  if (own || columns.length === 0) return
  for (let outer = scope.parent; outer !== null; outer = outer.parent) outer.aggregate ??= name
}

function columnsIn(part: object): string[][] {
  if (isNode(part) && 'ColumnRef' in part) return [namesOf(part.ColumnRef.fields)]
  return childrenOf(part).flatMap(columnsIn)
}
