// Small readings of PostgreSQL's raw parse tree that several analyses share.
import type { A_Const, Node } from '@pgsql/types'
import { namesOf } from './names.ts'

/** True for the plain equality operator, as `=` or OPERATOR(pg_catalog.=). */
export function isEquals(name: readonly Node[] | undefined): boolean {
  const names = namesOf(name)
  return names.at(-1) === '=' && (names.length === 1 || names[0] === 'pg_catalog')
}

/** The conjuncts of a condition: AND taken apart, however nested. */
export function conjunctsOf(condition: Node | undefined): Node[] {
  if (condition === undefined) return []
  if ('BoolExpr' in condition && condition.BoolExpr.boolop === 'AND_EXPR') {
    return (condition.BoolExpr.args ?? []).flatMap(conjunctsOf)
  }
  return [condition]
}

/** Members of a row constructor, or null. */
export function rowOf(node: Node | undefined): readonly Node[] | null {
  return node !== undefined && 'RowExpr' in node ? (node.RowExpr.args ?? []) : null
}

/** Items of a list node, or null. */
export function listOf(node: Node | undefined): readonly Node[] | null {
  return node !== undefined && 'List' in node ? (node.List.items ?? []) : null
}

/** Text of a constant of the tree: a number's, or a string's as UTF-8; null for NULL. */
export function constantText(constant: A_Const): string | null {
  if (constant.isnull === true) return null
  if (constant.sval !== undefined) return constant.sval.sval ?? ''
  if (constant.fval !== undefined) return constant.fval.fval ?? ''
  if (constant.ival !== undefined) return String(constant.ival.ival ?? 0)
  if (constant.boolval !== undefined) return String(constant.boolval.boolval ?? false)
  return constant.bsval?.bsval ?? ''
}

/** Children of any part of the tree, in order; strings and numbers left out. */
export function childrenOf(part: object): object[] {
  const children: object[] = []
  for (const child of Object.values(part)) {
    if (typeof child === 'object' && child !== null) children.push(child)
  }
  return children
}

/** The tree's nodes are objects with one key, which is the node's type. */
export function isNode(part: object): part is Node {
  const keys = Object.keys(part)
  return keys.length === 1 && /^[A-Z]/.test(keys[0] ?? '')
}

/** All string constants in a part of the tree. */
export function textsIn(part: object): string[] {
  if ('sval' in part && typeof part.sval === 'object' && part.sval !== null) {
    return 'sval' in part.sval && typeof part.sval.sval === 'string' ? [part.sval.sval] : []
  }
  return childrenOf(part).flatMap(textsIn)
}
