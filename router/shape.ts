// Parse tree of one statement → its shape. Session commands first, then rows, then definitions;
// what none of them knows is refused on a sharded database and goes home on any other.
import type { Node } from '@pgsql/types'
import { pgError } from '../core/errors.ts'
import { copyRoute } from './copy-shape.ts'
import { ddlRoute, isDefinition } from './ddl.ts'
import type { Literals } from './literals.ts'
import type { Names } from './names.ts'
import { plainShape } from './plain-shape.ts'
import { type ReplicaContext, replicaVerdict } from './replica-use.ts'
import { ringfenceInside, settingNames } from './ringfence-settings.ts'
import { type Command, refused, type Route, type RoutedShape, type Shape } from './route.ts'
import { sessionShape } from './session-shape.ts'
import { shardedShape } from './sharded-shape.ts'
import { noTraces, type Traces, tracesOf } from './traces.ts'

/** What a statement is read with. `names` null: the database is not sharded. */
export type ShapeContext = ReplicaContext & {
  readonly names: Names | null
  readonly literals: Literals
  /** Text of the statement alone. */
  readonly sql: string
}

/** Shape of any statement. */
export function shapeOf(node: Node, context: ShapeContext): Shape {
  const routed = routedShape(node, context)
  const traces = tracesIn(node, routed, context.sql)
  const shape = {
    ...routed,
    pin: routed.pin ?? (routed.route.kind === 'refuse' ? null : traces.leaves),
  }
  const { replica, mayWrite } = replicaVerdict(node, shape, context)
  return { ...shape, replica, traces, isReadOnly: shape.isReadOnly && !mayWrite }
}

function tracesIn(node: Node, { route, command }: RoutedShape, sql: string): Traces {
  if (route.kind !== 'session') return tracesOf(node, sql, command === 'ddl')
  // Its arguments may call anything; and there is CREATE TEMPORARY TABLE … AS EXECUTE.
  if (route.command.kind === 'execute') return tracesOf(node, sql, 'CreateTableAsStmt' in node)
  return noTraces
}

function routedShape(node: Node, context: ShapeContext): RoutedShape {
  const session = sessionShape(node, context.names !== null)
  if (session !== undefined) {
    const command = 'VariableShowStmt' in node ? 'utility' : 'session'
    const writes = writesAs(session.route)
    const isReadOnly = session.pin === null && session.route.kind !== 'home' && !writes
    return {
      ...base(command, session.route),
      pin: session.pin,
      isReadOnly,
      paramCount: paramsIn(node),
    }
  }
  const routing = explainRouting(node, context)
  if (routing !== undefined) return routing
  const { textDecides, ours } = settingNames(node, context.sql)
  if (ours) return base('session', ringfenceInside())
  const shape = rowsOrUtilityShape(node, context)
  return textDecides ? { ...shape, exactOnly: true } : shape
}

function writesAs(route: Route): boolean {
  if (route.kind !== 'session') return false
  return route.command.kind === 'execute' || route.command.kind === 'notify'
}

function rowsOrUtilityShape(node: Node, context: ShapeContext): RoutedShape {
  if (context.names === null) {
    const shape = plainShape(node, context.schema)
    const command = isDefinition(Object.keys(node)[0] ?? '') ? 'ddl' : shape.command
    return { ...shape, command, exactOnly: !isRows(node) }
  }
  if (isRows(node)) return rowsShape(node, context.names, context.literals)
  return utilityShape(node, context.names, context)
}

/** SELECT, INSERT, UPDATE, DELETE, MERGE: the statements that literals are cut out of. */
function isRows(node: Node): boolean {
  if ('SelectStmt' in node) return node.SelectStmt.intoClause === undefined
  return 'InsertStmt' in node || 'UpdateStmt' in node || 'DeleteStmt' in node || 'MergeStmt' in node
}

function rowsShape(node: Node, names: Names, literals: Literals): RoutedShape {
  return shardedShape(node, names, literals)
}

function base(command: Command, route: Route): RoutedShape {
  return { command, route, isReadOnly: false, pin: null, paramCount: 0, exactOnly: true }
}

function paramsIn(node: Node): number {
  return 'SelectStmt' in node ? plainShape(node, null).paramCount : 0
}

function utilityShape(node: Node, names: Names, context: ShapeContext): RoutedShape {
  if ('ExplainStmt' in node) return explainShape(node, names, context)
  if ('CopyStmt' in node) {
    const { query } = node.CopyStmt
    if (query !== undefined) return copyQuery(query, node, names, context)
    const position = context.literals.characterAt(node.CopyStmt.relation?.location ?? 0)
    const reads = node.CopyStmt.is_from !== true
    return { ...base('copy', copyRoute(node.CopyStmt, names, position)), isReadOnly: reads }
  }
  if ('DeclareCursorStmt' in node && node.DeclareCursorStmt.query !== undefined) {
    const inner = shapeOf(node.DeclareCursorStmt.query, context)
    return oneShardOnly(inner, 'DECLARE CURSOR')
  }
  // Where the cursor is, only the transaction knows: its own server is preferred.
  if ('FetchStmt' in node || 'ClosePortalStmt' in node) return base('utility', { kind: 'any' })
  if ('SelectStmt' in node) return base('ddl', refused(pgError('unsupported', ['SELECT INTO'])))
  const ddl = ddlRoute(node, names)
  if (ddl !== undefined) return base('ddl', ddl)
  const tag = (Object.keys(node)[0] ?? '').replace(/Stmt$/, '')
  return base('utility', refused(pgError('unsupported', [`the statement ${tag}`])))
}

function copyQuery(
  query: Node,
  node: Extract<Node, { CopyStmt: unknown }>,
  names: Names,
  context: ShapeContext,
): RoutedShape {
  if (node.CopyStmt.filename !== undefined || node.CopyStmt.is_program === true) {
    return base('copy', copyRoute(node.CopyStmt, names, 0))
  }
  return { ...oneShardOnly(shapeOf(query, context), 'COPY of a query'), command: 'copy' }
}

/** The statement around a query runs where the query does, which must be one server. */
function oneShardOnly(inner: RoutedShape, construct: string): RoutedShape {
  const { route } = inner
  const around = { ...inner, command: 'utility', exactOnly: true } as const
  if (route.kind === 'scatter' || route.kind === 'everywhere' || route.kind === 'copyIn') {
    const alone = route.kind === 'scatter'
    return { ...around, route: refused(acrossShards(construct), false, alone) }
  }
  if (route.kind !== 'key') return around
  return {
    ...around,
    route: { ...route, scatter: { kind: 'refused', error: acrossShards(construct) } },
  }
}

function acrossShards(construct: string) {
  return pgError('unsupportedAcrossShards', [construct, 'its shard key'])
}

/** EXPLAIN: of what one shard answers, that shard's plan. */
function explainShape(
  node: Extract<Node, { ExplainStmt: unknown }>,
  names: Names,
  context: ShapeContext,
): RoutedShape {
  const { query } = node.ExplainStmt
  if (query === undefined) return base('explain', { kind: 'home' })
  const inner = isRows(query)
    ? rowsShape(query, names, context.literals)
    : base('explain', refused(pgError('unsupported', ['EXPLAIN of this statement'])))
  const analyzes = optionNames(node).includes('analyze')
  const isReadOnly = inner.isReadOnly || !analyzes
  const shape = { ...oneShardOnly(inner, 'EXPLAIN'), command: 'explain', isReadOnly } as const
  const { kind } = inner.route
  if (kind !== 'scatter' && kind !== 'everywhere' && kind !== 'key') return shape
  const hint = 'EXPLAIN (ROUTE) tells how such a statement would go.'
  const error = pgError('unsupportedAcrossShards', ['EXPLAIN', names.rules.key], { hint })
  if (shape.route.kind === 'key') {
    return { ...shape, route: { ...shape.route, scatter: { kind: 'refused', error } } }
  }
  return { ...shape, route: refused(error, false, kind === 'scatter') }
}

/**
 * EXPLAIN (ROUTE) …, which the proxy answers itself; undefined when `node` is another statement.
 */
function explainRouting(node: Node, context: ShapeContext): RoutedShape | undefined {
  if (!('ExplainStmt' in node)) return undefined
  const options = optionNames(node)
  if (!options.includes('route')) return undefined
  if (options.length > 1) {
    return base('explain', refused(pgError('unsupported', ['EXPLAIN (ROUTE) with other options'])))
  }
  const opened = context.sql.search(/\bexplain\s*\(/i)
  const sql = context.sql.slice(context.sql.indexOf(')', opened) + 1).trimStart()
  const route: Route = { kind: 'session', command: { kind: 'explainRoute', sql } }
  return {
    ...base('explain', route),
    isReadOnly: true,
    paramCount: plainShape(node, null).paramCount,
  }
}

function optionNames(node: Extract<Node, { ExplainStmt: unknown }>): string[] {
  return (node.ExplainStmt.options ?? []).map((option) =>
    'DefElem' in option ? (option.DefElem.defname ?? '').toLowerCase() : '',
  )
}
