// The places of a query where it reads sharded tables, at any depth. Only names that no CTE takes are tables.
import type { Node, RangeVar } from '@pgsql/types'
import type { Names } from './names.ts'
import type { Relation } from './schema.ts'
import { childrenOf } from './syntax.ts'

/** One reference to a sharded table in FROM. */
export type TableReference = { readonly range: RangeVar; readonly relation: Relation }

/**
 * References to sharded tables, in the order of the text; or the first construct in which such a reference cannot be told
 * which rows to leave out.
 */
export function shardedReferences(
  query: Node,
  names: Names,
): readonly TableReference[] | { readonly construct: string } {
  const walk: Walk = { names, found: [], construct: null }
  visit(walk, query, [])
  if (walk.construct !== null) return { construct: walk.construct }
  return walk.found.toSorted((a, b) => (a.range.location ?? 0) - (b.range.location ?? 0))
}

type Walk = { readonly names: Names; readonly found: TableReference[]; construct: string | null }

/** `ctes`: names of common table expressions in sight. */
function visit(walk: Walk, part: object, ctes: readonly string[]): void {
  if ('RangeVar' in part && isRange(part.RangeVar)) return noteTable(walk, part.RangeVar, ctes)
  if ('RangeTableSample' in part) return noteSample(walk, part.RangeTableSample, ctes)
  // Its names are aliases of FROM.
  if ('LockingClause' in part) return
  const tag = Object.keys(part)[0] ?? ''
  if (writes.has(tag)) walk.construct ??= writes.get(tag) ?? null
  const inside = 'withClause' in part ? visitCtes(walk, part.withClause, ctes) : ctes
  for (const child of childrenOf('withClause' in part ? withoutClause(part) : part)) {
    visit(walk, child, inside)
  }
}

const writes: ReadonlyMap<string, string> = new Map([
  ['InsertStmt', 'INSERT'],
  ['UpdateStmt', 'UPDATE'],
  ['DeleteStmt', 'DELETE'],
  ['MergeStmt', 'MERGE'],
])

/** Each sees those before it, and itself when it is recursive: then PostgreSQL lets it see the later ones as well. */
function visitCtes(walk: Walk, clause: unknown, outer: readonly string[]): readonly string[] {
  if (typeof clause !== 'object' || clause === null) return outer
  const expressions =
    'ctes' in clause && Array.isArray(clause.ctes) ? clause.ctes.filter(isCte) : []
  const recursive = 'recursive' in clause && clause.recursive === true
  const all = [...outer, ...expressions.map(nameOf)]
  let seen = outer
  for (const expression of expressions) {
    visit(walk, expression, recursive ? all : seen)
    seen = [...seen, nameOf(expression)]
  }
  return seen
}

type CteNode = { readonly CommonTableExpr: { readonly ctename?: string } }

function isCte(node: unknown): node is CteNode {
  return typeof node === 'object' && node !== null && 'CommonTableExpr' in node
}

function nameOf({ CommonTableExpr: { ctename = '' } }: CteNode): string {
  return ctename
}

function withoutClause(part: object & { readonly withClause: unknown }): object {
  const { withClause: _, ...rest } = part
  return rest
}

function noteTable(walk: Walk, range: RangeVar, ctes: readonly string[]): void {
  if (range.schemaname === undefined && ctes.includes(range.relname ?? '')) return
  const relation = walk.names.relation(range)
  if (relation?.placement === 'sharded') walk.found.push({ range, relation })
  if (relation?.placement === 'mixed') walk.construct ??= `the view "${relation.name}"`
}

/** Which rows a sample draws depends on the rows that are to be left out. */
function noteSample(walk: Walk, sample: unknown, ctes: readonly string[]): void {
  const before = walk.found.length
  if (typeof sample === 'object' && sample !== null) visit(walk, sample, ctes)
  if (walk.found.length > before) walk.construct ??= 'TABLESAMPLE'
}

function isRange(value: unknown): value is RangeVar {
  return typeof value === 'object' && value !== null
}
