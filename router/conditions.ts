// Conditions → ties. A conjunct in a filtering place says that only rows where it is true matter;
// `filter` names the key columns for which the place is one (all of the level's for WHERE, the
// nullable side's for LEFT JOIN ON).
import type { A_Expr, Node, SubLink } from '@pgsql/types'
import type { Analysis } from './analysis.ts'
import { walk, walkSubLink } from './expressions.ts'
import type { Scalar } from './key-source.ts'
import { namesOf } from './names.ts'
import { resolve, type Scope } from './scope.ts'
import { conjunctsOf, isEquals, listOf, rowOf } from './syntax.ts'
import type { NodeId } from './ties.ts'

/** Everything that a condition is judged by. */
export type Place = {
  readonly analysis: Analysis
  readonly scope: Scope
  readonly filter: ReadonlySet<NodeId>
}

/** Notes what `condition` ties, and walks it. */
export function readCondition(place: Place, condition: Node | undefined): void {
  for (const conjunct of conjunctsOf(condition)) readConjunct(place, conjunct)
}

/** Node of the key column that an expression is, or null. */
export function keyNode({ scope }: Place, node: Node | undefined): NodeId | null {
  if (node === undefined || !('ColumnRef' in node)) return null
  const found = resolve(scope, namesOf(node.ColumnRef.fields))
  return found.kind === 'column' ? found.node : null
}

/** Two columns are equal on every row that matters. */
export function tieBoth({ analysis, filter }: Place, left: NodeId, right: NodeId): void {
  if (filter.has(left)) analysis.graph.tie(right, left)
  if (filter.has(right)) analysis.graph.tie(left, right)
}

function readConjunct(place: Place, conjunct: Node): void {
  const { analysis, scope } = place
  if ('SubLink' in conjunct) return readSubLink(place, conjunct.SubLink)
  if ('A_Expr' in conjunct) readComparison(place, conjunct.A_Expr)
  if ('BoolExpr' in conjunct && conjunct.BoolExpr.boolop === 'OR_EXPR') {
    readAlternatives(place, conjunct.BoolExpr.args ?? [])
  }
  walk(analysis, conjunct, scope)
}

function readComparison(place: Place, expression: A_Expr): void {
  for (const { column, name, scalars, array } of constraintsOf(place, expression)) {
    if (!place.filter.has(column)) continue
    const { analysis } = place
    const { keyType } = analysis.names.rules
    const source =
      array === null
        ? analysis.scalarSource(name, scalars)
        : analysis.addSource({
            column: name,
            keyType,
            insert: null,
            values: { kind: 'array', array },
          })
    analysis.graph.tie(source, column)
  }
  if (expression.kind !== 'AEXPR_OP' || !isEquals(expression.name)) return
  for (const [left, right] of pairsOf(expression.lexpr, expression.rexpr)) {
    const one = keyNode(place, left)
    const other = keyNode(place, right)
    if (one !== null && other !== null) tieBoth(place, one, other)
  }
}

/**
 * A key column that a comparison limits to values; `array` instead of `scalars` for an array value.
 */
type Constraint = {
  readonly column: NodeId
  readonly name: string
  readonly scalars: readonly Scalar[]
  readonly array: Scalar | null
}

function constraintsOf(place: Place, expression: A_Expr): Constraint[] {
  const { kind, name, lexpr, rexpr } = expression
  if (!isEquals(name)) return []
  if (kind === 'AEXPR_OP') {
    return pairsOf(lexpr, rexpr).flatMap(([left, right]) => [
      ...constraint(place, left, [right]),
      ...constraint(place, right, [left]),
    ])
  }
  if (kind === 'AEXPR_IN') {
    const items = listOf(rexpr) ?? []
    const columns = rowOf(lexpr)
    if (columns === null) return constraint(place, lexpr, items)
    const rows = items.map(rowOf)
    return columns.flatMap((column, at) =>
      constraint(
        place,
        column,
        rows.map((row) => row?.[at]),
      ),
    )
  }
  return kind === 'AEXPR_OP_ANY' ? anyConstraint(place, lexpr, rexpr) : []
}

function anyConstraint(place: Place, column: Node | undefined, values: Node | undefined) {
  const node = keyNode(place, column)
  if (node === null || values === undefined) return []
  const name = columnText(column)
  const cast = 'TypeCast' in values ? values.TypeCast.arg : values
  if (cast !== undefined && 'A_ArrayExpr' in cast) {
    // ARRAY[…]::t[] casts the elements: only casts that keep the type family are followed.
    const whole = cast === values ? null : place.analysis.arrayScalar(retyped(values))
    const scalars = (cast.A_ArrayExpr.elements ?? []).map((item) => place.analysis.scalar(item))
    if (cast !== values && whole === null) return []
    const family = whole?.cast ?? null
    const read: Scalar[] = []
    for (const scalar of scalars) {
      if (scalar === null || (scalar.cast !== null && scalar.cast !== (family ?? scalar.cast)))
        return []
      read.push(family === null ? scalar : { ...scalar, cast: family })
    }
    return [{ column: node, name, scalars: read, array: null }]
  }
  const array = place.analysis.arrayScalar(values)
  return array === null ? [] : [{ column: node, name, scalars: [], array }]
}

/** The cast of an array constructor, over NULL instead: its target alone is of interest. */
function retyped(cast: Node): Node {
  return 'TypeCast' in cast
    ? { TypeCast: { ...cast.TypeCast, arg: { A_Const: { isnull: true } } } }
    : cast
}

function constraint(
  place: Place,
  column: Node | undefined,
  values: readonly (Node | undefined)[],
): Constraint[] {
  const node = keyNode(place, column)
  if (node === null) return []
  const scalars: Scalar[] = []
  for (const value of values) {
    const scalar = place.analysis.scalar(value)
    if (scalar === null) return []
    scalars.push(scalar)
  }
  return [{ column: node, name: columnText(column), scalars, array: null }]
}

function columnText(column: Node | undefined): string {
  return column !== undefined && 'ColumnRef' in column
    ? namesOf(column.ColumnRef.fields).join('.')
    : ''
}

/** Both sides of an equality, element by element when they are rows. */
function pairsOf(left: Node | undefined, right: Node | undefined): [Node, Node][] {
  const leftRow = rowOf(left)
  const rightRow = rowOf(right)
  if (leftRow === null || rightRow === null) return left && right ? [[left, right]] : []
  if (leftRow.length !== rightRow.length) return []
  return leftRow.flatMap((node, at): [Node, Node][] => {
    const other = rightRow[at]
    return other === undefined ? [] : [[node, other]]
  })
}

/**
 * `k = 1 OR k = 2`: a column that every alternative limits is limited to all their values together.
 */
function readAlternatives(place: Place, alternatives: readonly Node[]): void {
  const limits = alternatives.map((alternative) =>
    conjunctsOf(alternative).flatMap((conjunct) =>
      'A_Expr' in conjunct
        ? constraintsOf(place, conjunct.A_Expr).filter(({ array }) => array === null)
        : [],
    ),
  )
  for (const { column, name } of limits[0] ?? []) {
    const perAlternative = limits.map((some) => some.find((limit) => limit.column === column))
    const scalars = perAlternative.flatMap((limit) => limit?.scalars ?? [])
    if (perAlternative.includes(undefined) || !place.filter.has(column)) continue
    place.analysis.graph.tie(place.analysis.scalarSource(name, scalars), column)
  }
}

/** IN (SELECT …) and EXISTS (SELECT …) as filters; any other subquery is but an expression. */
function readSubLink(place: Place, link: SubLink): void {
  const { analysis, scope, filter } = place
  const { subLinkType, testexpr, subselect, operName } = link
  if (subselect === undefined) return
  if (subLinkType === 'EXISTS_SUBLINK') {
    analysis.query(subselect, scope, { outerFilter: filter })
    return
  }
  const named = (operName ?? []).length > 0
  if (subLinkType !== 'ANY_SUBLINK' || (named && !isEquals(operName))) {
    return walkSubLink(analysis, link, scope)
  }
  walk(analysis, testexpr, scope)
  const { columns } = analysis.query(subselect, scope)
  const tested = rowOf(testexpr) ?? (testexpr === undefined ? [] : [testexpr])
  if (columns === null || columns.length !== tested.length) return
  for (const [at, node] of tested.entries()) {
    const outer = keyNode(place, node)
    const inner = columns[at]?.node ?? null
    if (outer === null || inner === null) continue
    if (filter.has(outer)) analysis.graph.tie(inner, outer)
    // Rows of the subquery with another value match nothing, so they may as well be missing.
    analysis.graph.tie(outer, inner)
  }
}
