// SELECT, INSERT, UPDATE, DELETE, MERGE on a sharded database → route. Everything that is not shown
// to be answered exactly is refused, with the construct that stands in the way.
import type { Node } from '@pgsql/types'
import type { PgError } from '../core/errors.ts'
import { pgError } from '../core/errors.ts'
import { Analysis, type QueryOutput } from './analysis.ts'
import type { Literals } from './literals.ts'
import type { Names } from './names.ts'
import type { PinReason } from './plan.ts'
import { readSelect } from './query.ts'
import { referenceWrite } from './reference-write.ts'
import {
  type Command,
  type Cover,
  refused,
  type Route,
  type Scatter,
  type RoutedShape,
} from './route.ts'
import type { Scope } from './scope.ts'
import { readDelete, readInsert, readMerge, readUpdate } from './write.ts'

/** Shape of a statement that reads or writes rows; `node` is one of the five kinds. */
export function shardedShape(node: Node, names: Names, literals: Literals): RoutedShape {
  const analysis = new Analysis(names, literals, readStatement)
  const output = analysis.query(node, null)
  const writes = analysis.uses.some((use) => use.writes)
  const route = routeOf(analysis, node, output, writes)
  return {
    command: commandOf(node),
    route,
    isReadOnly: !writes && !analysis.locks && !analysis.functions.mayWrite,
    pin: pinOf(analysis),
    paramCount: analysis.paramCount,
    exactOnly: analysis.exactOnly,
  }
}

function readStatement(
  analysis: Analysis,
  node: Node,
  scope: Scope | null,
  options: Parameters<typeof readSelect>[3],
): QueryOutput {
  if ('SelectStmt' in node) return readSelect(analysis, node.SelectStmt, scope, options)
  if ('InsertStmt' in node) return readInsert(analysis, node.InsertStmt, scope)
  if ('UpdateStmt' in node) return readUpdate(analysis, node.UpdateStmt, scope)
  if ('DeleteStmt' in node) return readDelete(analysis, node.DeleteStmt, scope)
  if ('MergeStmt' in node) return readMerge(analysis, node.MergeStmt, scope)
  analysis.refuseAcrossShards('this kind of statement')
  return { columns: null, drivers: [], whole: null }
}

function commandOf(node: Node): Command {
  if ('InsertStmt' in node) return 'insert'
  if ('UpdateStmt' in node) return 'update'
  if ('DeleteStmt' in node) return 'delete'
  return 'MergeStmt' in node ? 'merge' : 'select'
}

function pinOf({ functions }: Analysis): PinReason | null {
  return functions.lock !== null && functions.sessionLock ? 'advisory lock' : null
}

function routeOf(analysis: Analysis, node: Node, output: QueryOutput, writes: boolean): Route {
  const route = severalRoute(analysis, node, output, writes)
  if (route.kind !== 'refuse' || route.unresolved) return route
  return { ...route, alone: isFineAlone(analysis, route.error, writes) }
}

/**
 * Whether one shard with all rows may run it: a read that several could not answer exactly, or a
 * write to sharded tables that is not tied to one key. Not what may write a reference table by
 * itself: a shard that joins would miss it.
 */
function isFineAlone(analysis: Analysis, error: PgError, writes: boolean): boolean {
  const { functions, locks, uses, refusal } = analysis
  if (!isAcrossShards(error) || functions.mayWrite) return false
  if (!writes && !locks) return true
  const own = uses.every((use) => !use.writes || use.relation.placement === 'sharded')
  return own && refusal === null && functions.userDefined === null
}

/** Where several shards are involved the statement is refused, or answered in parts. */
function severalRoute(analysis: Analysis, node: Node, output: QueryOutput, writes: boolean): Route {
  if (analysis.unresolved !== null) return refused(analysis.unresolved, true)
  if (analysis.refusal !== null) return refused(analysis.refusal)
  const banned = bannedFunction(analysis)
  if (banned !== null) return refused(banned)
  const placed = (placement: string) =>
    analysis.uses.find(({ relation }) => relation.placement === placement)?.relation
  const sharded = placed('sharded')
  const home = placed('home') ?? placed('catalog')
  if (sharded === undefined) return unshardedRoute(analysis, node, writes, home !== undefined)
  if (home !== undefined) {
    const both = `"${sharded.name}" with table "${home.name}" of the home shard`
    return refused(acrossShards(analysis, `combining the sharded table ${both}`))
  }
  const reference = analysis.uses.find(
    (use) => use.writes && use.relation.placement === 'reference',
  )
  if (reference !== undefined) {
    const { name } = reference.relation
    return refused(
      acrossShards(analysis, `writing the reference table "${name}" from sharded tables`),
    )
  }
  if (analysis.locksReference) {
    return refused(acrossShards(analysis, 'FOR UPDATE of reference tables with sharded ones'))
  }
  return keyRoute(analysis, output, writes)
}

/** Functions that no sharded database can run correctly, wherever the statement goes. */
function bannedFunction({ functions, uses, homeSequence }: Analysis): PgError | null {
  if (functions.setConfig) return pgError('unsupported', ['set_config() inside of a statement'])
  const hidden = functions.hiddenSql ?? functions.sequenceMemory
  if (hidden !== null) return pgError('unsupported', [`the function ${hidden}()`])
  const sharded = uses.some(({ relation }) => relation.placement === 'sharded')
  if (functions.lock !== null && sharded) {
    return pgError('unsupported', [`the function ${functions.lock}() over a sharded table`])
  }
  if (homeSequence !== null && sharded) {
    return pgError('unsupported', [`nextval('${homeSequence}') over a sharded table`])
  }
  return null
}

/** Tables of the home shard, reference tables, or none. */
function unshardedRoute(analysis: Analysis, node: Node, writes: boolean, usesHome: boolean): Route {
  const { functions, uses } = analysis
  if (functions.userDefined !== null) {
    // It may read or write any table, of which this shard might have but a part.
    const unknown = !analysis.names.schema.functions.has(functions.userDefined)
    return refused(acrossShards(analysis, `the function ${functions.userDefined}()`), unknown)
  }
  const written = uses.find((use) => use.writes && use.relation.placement === 'reference')
  if (written !== undefined) {
    // Constants become part of what is computed once, or are reasons to refuse.
    analysis.exactOnly = true
    const other = uses.find(({ relation }) => relation.placement !== 'reference')
    const inside = uses.filter((use) => use.writes).length > 1 || isInside(node)
    if (other === undefined && !inside) return referenceWrite(analysis, node, written.relation)
    const construct = other === undefined ? 'WITH' : `table "${other.relation.name}"`
    return refused(
      pgError('unsupported', [
        `${construct} in a write to reference table "${written.relation.name}"`,
      ]),
    )
  }
  const home = usesHome || writes || analysis.locks || analysis.shardLocal !== null
  const { dice, server, sequence, lock, mayWrite } = functions
  if (home || (dice ?? server ?? sequence ?? lock) !== null || mayWrite) return { kind: 'home' }
  return uses.length === 0 ? { kind: 'any' } : { kind: 'reference' }
}

/** True when the statement that writes is a CTE of another. */
function isInside(node: Node): boolean {
  return 'SelectStmt' in node
}

function keyRoute(analysis: Analysis, output: QueryOutput, writes: boolean): Route {
  const nodes = analysis.uses.flatMap(({ node }) => (node === null ? [] : [node]))
  const tables = (1n << BigInt(nodes.length)) - 1n
  const coveredFrom = (seed: number): bigint => {
    const known = analysis.graph.knownFrom(seed)
    return nodes.reduce(
      (bits, node, at) => (known.has(node) ? bits | (1n << BigInt(at)) : bits),
      0n,
    )
  }
  const covers: Cover[] = []
  for (const { node, source } of analysis.sources) {
    const covered = coveredFrom(node)
    if (covered !== 0n) covers.push({ source, tables: covered })
  }
  const scatter = scatterOf(analysis, output, writes, () =>
    output.drivers.some((driver) => coveredFrom(driver) === tables),
  )
  const tied = covers.reduce((bits, cover) => bits | cover.tables, 0n)
  if (tied === tables) {
    // A source that covers everything decides alone.
    const full = covers.filter((cover) => cover.tables === tables)
    const inserted = analysis.insertSelect
    return { kind: 'key', covers: full.length > 0 ? full : covers, tables, inserted, scatter }
  }
  if (scatter.kind === 'rows') return { kind: 'scatter', offset: scatter.offset }
  const { userDefined } = analysis.functions
  const unknown = userDefined !== null && !analysis.names.schema.functions.has(userDefined)
  return refused(scatter.error, unknown)
}

/** Whether every shard's answer to the unchanged statement is a part of the whole answer. */
function scatterOf(
  analysis: Analysis,
  output: QueryOutput,
  writes: boolean,
  isLinear: () => boolean,
): Scatter {
  const construct =
    scatterProblem(analysis, output, writes) ?? (isLinear() ? null : joinProblem(analysis, output))
  if (construct === null) return { kind: 'rows', offset: output.offset ?? null }
  return { kind: 'refused', error: acrossShards(analysis, construct) }
}

function scatterProblem(analysis: Analysis, output: QueryOutput, writes: boolean): string | null {
  const { functions } = analysis
  if (writes) return writeConstruct(analysis)
  const name =
    functions.userDefined ??
    functions.maybeAggregate ??
    functions.clock ??
    functions.sequence ??
    functions.server
  return output.whole ?? analysis.shardLocal ?? (name === null ? null : `the function ${name}`)
}

function writeConstruct({ uses }: Analysis): string {
  const written = uses.find((use) => use.writes)
  return `a write to "${written?.relation.name ?? ''}" that is not tied to one shard key value`
}

function joinProblem({ uses, innerWhole }: Analysis, { drivers }: QueryOutput): string {
  if (innerWhole !== null) return `${innerWhole} in a subquery`
  const names = [
    ...new Set(uses.flatMap(({ relation, node }) => (node === null ? [] : [`"${relation.name}"`]))),
  ]
  if (drivers.length === 0) return `this use of ${names.join(', ')} without one shard key value`
  if (names.length === 1) return `joining ${names[0] ?? ''} with itself other than on the shard key`
  return `joining ${names.join(', ')} other than on the shard key`
}

/** Errors of the row "unsupportedAcrossShards" alone end like this. */
function isAcrossShards({ message }: PgError): boolean {
  return message.endsWith(' is not supported across shards')
}

function acrossShards(analysis: Analysis, construct: string): PgError {
  const key = analysis.uses.find(({ relation }) => relation.key !== null)?.relation.key
  return pgError('unsupportedAcrossShards', [construct, key ?? analysis.names.rules.key])
}
