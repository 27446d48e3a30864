// FROM → entries of the scope, and the ties that joins make.
import type { JoinExpr, Node, RangeSubselect, RangeVar } from '@pgsql/types'
import { pgError } from '../core/errors.ts'
import type { Analysis, TableUse } from './analysis.ts'
import { readCondition, tieBoth } from './conditions.ts'
import { walk } from './expressions.ts'
import { namesOf } from './names.ts'
import {
  type Entry,
  findCte,
  type KeyColumn,
  newScope,
  renamed,
  resolve,
  type Scope,
} from './scope.ts'
import type { NodeId } from './ties.ts'

/** A part of FROM: one item, or a join of two parts. */
export type FromPart = {
  readonly entries: readonly Entry[]
  readonly merged: readonly KeyColumn[]
  /** Columns that a star gives, in order; null when unknown. */
  readonly columns: readonly KeyColumn[] | null
  /** All key columns in it. */
  readonly nodes: readonly NodeId[]
  /** Key columns of tables of which every row of the part has one. */
  readonly drivers: readonly NodeId[]
}

/** Reads the items of FROM into `scope`; returns them as one part. */
export function readFrom(
  analysis: Analysis,
  items: readonly Node[] | undefined,
  scope: Scope,
): FromPart {
  let whole: FromPart = emptyPart
  for (const item of items ?? []) {
    const part = readItem(analysis, item, scope)
    whole = together(whole, part)
    scope.entries.push(...part.entries)
    scope.merged.push(...part.merged)
  }
  return whole
}

/** The entry of a base table, as the target of a write. */
export function tableEntry(range: RangeVar, use: TableUse): Entry {
  const { relation, node } = use
  const columns = relation.columns.map(({ name }) => ({
    name,
    node: name === relation.key ? node : null,
  }))
  return {
    alias: range.alias?.aliasname ?? relation.name,
    qualified: range.alias === undefined ? `${relation.schema}.${relation.name}` : null,
    columns: relation.columns.length === 0 ? null : renamed(columns, range.alias),
    relation,
  }
}

const emptyPart: FromPart = { entries: [], merged: [], columns: [], nodes: [], drivers: [] }

function together(left: FromPart, right: FromPart): FromPart {
  const known = left.columns !== null && right.columns !== null
  return {
    entries: [...left.entries, ...right.entries],
    merged: [...left.merged, ...right.merged],
    columns: known ? [...(left.columns ?? []), ...(right.columns ?? [])] : null,
    nodes: [...left.nodes, ...right.nodes],
    drivers: [...left.drivers, ...right.drivers],
  }
}

function partOf(entry: Entry, drivers: readonly NodeId[]): FromPart {
  const nodes = (entry.columns ?? []).flatMap(({ node }) => (node === null ? [] : [node]))
  return { entries: [entry], merged: [], columns: entry.columns, nodes, drivers }
}

function readItem(analysis: Analysis, item: Node, scope: Scope): FromPart {
  if ('RangeVar' in item) return readTable(analysis, item.RangeVar, scope)
  if ('RangeSubselect' in item) return readSubselect(analysis, item.RangeSubselect, scope)
  if ('JoinExpr' in item) return readJoin(analysis, item.JoinExpr, scope)
  if ('RangeTableSample' in item) {
    const { relation, ...sampling } = item.RangeTableSample
    walk(analysis, sampling, scope)
    const part = relation === undefined ? emptyPart : readItem(analysis, relation, scope)
    if (part.drivers.length > 0) analysis.refuseAcrossShards('TABLESAMPLE')
    analysis.orderDependent ??= 'TABLESAMPLE'
    return part
  }
  // Functions, XMLTABLE, JSON_TABLE: rows without a shard key, columns unknown. All may be lateral.
  walk(analysis, item, scope)
  return partOf({ alias: functionAlias(item), qualified: null, columns: null, relation: null }, [])
}

function functionAlias(item: Node): string {
  if ('RangeFunction' in item) return item.RangeFunction.alias?.aliasname ?? ''
  if ('RangeTableFunc' in item) return item.RangeTableFunc.alias?.aliasname ?? ''
  return 'JsonTable' in item ? (item.JsonTable.alias?.aliasname ?? '') : ''
}

function readTable(analysis: Analysis, range: RangeVar, scope: Scope): FromPart {
  const cte = range.schemaname === undefined ? findCte(scope, range.relname ?? '') : undefined
  if (cte !== undefined) {
    // Each reference is filtered on its own; only a single one may pass its filter on to the CTE.
    const columns = (cte.columns ?? []).map(({ name, node }) => ({
      name,
      node: node === null ? null : analysis.graph.addDerived([node], cte.single),
    }))
    const alias = range.alias?.aliasname ?? cte.name
    const known = cte.columns === null ? null : renamed(columns, range.alias)
    return partOf({ alias, qualified: null, columns: known, relation: null }, cte.drivers)
  }
  const use = analysis.use(range, false)
  if (use === undefined) {
    const alias = range.alias?.aliasname ?? range.relname ?? ''
    return partOf({ alias, qualified: null, columns: null, relation: null }, [])
  }
  return partOf(tableEntry(range, use), use.node === null ? [] : [use.node])
}

function readSubselect(analysis: Analysis, range: RangeSubselect, scope: Scope): FromPart {
  const { subquery, lateral, alias } = range
  if (subquery === undefined) return emptyPart
  // Without LATERAL it sees the CTEs of its level, but not its neighbours.
  const outer = lateral === true ? scope : { ...newScope(scope.parent), ctes: scope.ctes }
  const { columns, drivers, whole: own, offset } = analysis.query(subquery, outer)
  const whole = own ?? (offset ? 'OFFSET' : null)
  const entry: Entry = {
    alias: alias?.aliasname ?? '',
    qualified: null,
    columns: renamed(columns, alias),
    relation: null,
  }
  if (whole !== null) analysis.innerWhole ??= whole
  return partOf(entry, whole === null ? drivers : [])
}

function readJoin(analysis: Analysis, join: JoinExpr, scope: Scope): FromPart {
  if (join.larg === undefined || join.rarg === undefined) return emptyPart
  const left = readItem(analysis, join.larg, scope)
  // A lateral right side sees the left side beside everything before the join.
  const beside: Scope = {
    ...newScope(scope.parent),
    ctes: scope.ctes,
    entries: [...scope.entries, ...left.entries],
    merged: [...scope.merged, ...left.merged],
  }
  const right = readItem(analysis, join.rarg, beside)
  const both = together(left, right)
  const inside: Scope = {
    ...newScope(scope.parent),
    ctes: scope.ctes,
    entries: [...both.entries],
    merged: [...both.merged],
  }
  const place = { analysis, scope: inside, filter: filteredBy(join, left, right) }
  const merged = mergedColumns(analysis, join, left, right)
  const columns: KeyColumn[] = []
  for (const { name, left: one, right: other } of merged) {
    if (one !== null && other !== null) tieBoth(place, one, other)
    columns.push({ name, node: mergedNode(join, one, other) })
  }
  readCondition(place, join.quals)
  // JOIN … USING (…) AS x: the merged columns under a name of their own, beside those of both
  // sides.
  const named = join.join_using_alias?.aliasname
  const using: Entry[] =
    named === undefined ? [] : [{ alias: named, qualified: null, columns, relation: null }]
  const part = {
    ...both,
    entries: [...both.entries, ...using],
    merged: [...columns, ...both.merged],
    columns: starColumns(columns, both.columns),
    drivers: driversOf(join, left, right),
  }
  return join.alias === undefined ? part : aliased(join.alias.aliasname ?? '', part)
}

/** Inside of parentheses with an alias, the names of the joined tables are hidden. */
function aliased(alias: string, part: FromPart): FromPart {
  const entry = { alias, qualified: null, columns: null, relation: null }
  return { ...part, entries: [entry], merged: [], columns: null }
}

function filteredBy(join: JoinExpr, left: FromPart, right: FromPart): Set<NodeId> {
  if (join.jointype === 'JOIN_INNER') return new Set([...left.nodes, ...right.nodes])
  if (join.jointype === 'JOIN_LEFT') return new Set(right.nodes)
  return new Set(join.jointype === 'JOIN_RIGHT' ? left.nodes : [])
}

function driversOf(join: JoinExpr, left: FromPart, right: FromPart): readonly NodeId[] {
  if (join.jointype === 'JOIN_INNER') return [...left.drivers, ...right.drivers]
  if (join.jointype === 'JOIN_LEFT') return left.drivers
  return join.jointype === 'JOIN_RIGHT' ? right.drivers : []
}

/**
 * The column that USING makes of two: of an outer join the one of the side that is never
 * NULL-extended.
 */
function mergedNode(join: JoinExpr, left: NodeId | null, right: NodeId | null): NodeId | null {
  if (join.jointype === 'JOIN_INNER') return left ?? right
  if (join.jointype === 'JOIN_LEFT') return left
  return join.jointype === 'JOIN_RIGHT' ? right : null
}

type Merged = { readonly name: string; readonly left: NodeId | null; readonly right: NodeId | null }

function mergedColumns(
  analysis: Analysis,
  join: JoinExpr,
  left: FromPart,
  right: FromPart,
): Merged[] {
  let names = namesOf(join.usingClause)
  if (join.isNatural === true) {
    if (left.columns === null || right.columns === null) {
      analysis.refuse(pgError('unsupported', ['NATURAL JOIN of a relation of unknown columns']))
      return []
    }
    const ofRight = new Set(right.columns.map(({ name }) => name))
    names = left.columns.flatMap(({ name }) => (name !== null && ofRight.has(name) ? [name] : []))
  }
  return names.map((name) => ({ name, left: nodeIn(left, name), right: nodeIn(right, name) }))
}

function nodeIn(part: FromPart, name: string): NodeId | null {
  const scope = { ...newScope(null), entries: [...part.entries], merged: [...part.merged] }
  const found = resolve(scope, [name])
  return found.kind === 'column' ? found.node : null
}

/** USING columns stand first and once. */
function starColumns(
  merged: readonly KeyColumn[],
  both: readonly KeyColumn[] | null,
): readonly KeyColumn[] | null {
  if (both === null) return null
  const names = new Set(merged.map(({ name }) => name))
  return [...merged, ...both.filter(({ name }) => name === null || !names.has(name))]
}
