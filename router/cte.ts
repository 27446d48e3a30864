// WITH → common table expressions that the level and everything inside of it can see.
import type { CommonTableExpr, SelectStmt, WithClause } from '@pgsql/types'
import { pgError } from '../core/errors.ts'
import type { Analysis, QueryOutput } from './analysis.ts'
import { type Cte, type KeyColumn, newScope, renamed, type Scope } from './scope.ts'
import { childrenOf } from './syntax.ts'

/** Adds the CTEs of `clause` to `scope`. `owner` is the statement they belong to. */
export function readCtes(
  analysis: Analysis,
  clause: WithClause | undefined,
  scope: Scope,
  owner: object,
): void {
  const expressions = (clause?.ctes ?? []).flatMap((node) =>
    'CommonTableExpr' in node ? [node.CommonTableExpr] : [],
  )
  const waiting = new Set(expressions.map(({ ctename }) => ctename ?? ''))
  for (const expression of expressions) {
    const name = expression.ctename ?? ''
    waiting.delete(name)
    const recursive = clause?.recursive === true
    // Under RECURSIVE a later CTE hides a table of its name, which is too rare to be followed.
    if (recursive && [...waiting].some((later) => mentions(expression, later) > 0)) {
      analysis.refuse(pgError('unsupported', ['a forward reference in WITH RECURSIVE']))
    }
    const self = recursive && mentions(expression.ctequery ?? {}, name) > 0
    scope.ctes.push(
      self
        ? readRecursive(analysis, expression, scope)
        : readPlain(analysis, expression, scope, owner),
    )
  }
}

function readPlain(
  analysis: Analysis,
  expression: CommonTableExpr,
  scope: Scope,
  owner: object,
): Cte {
  const { ctequery, ctename: name = '' } = expression
  const output: QueryOutput =
    ctequery === undefined
      ? { columns: null, drivers: [], whole: null }
      : analysis.query(ctequery, scope)
  const reads = ctequery !== undefined && 'SelectStmt' in ctequery
  const single = reads && mentions(owner, name) === 1
  const whole = output.whole ?? (output.offset ? 'OFFSET' : null)
  if (reads && whole !== null) analysis.innerWhole ??= whole
  const drivers = single && whole === null ? output.drivers : []
  const columns = renamed(output.columns, { colnames: expression.aliascolnames ?? [] })
  return { name, columns, single, drivers }
}

/**
 * Its own column is known when the first arm's is and, supposing that, every other arm's is as
 * well.
 */
function readRecursive(analysis: Analysis, expression: CommonTableExpr, scope: Scope): Cte {
  const { ctequery, ctename: name = '' } = expression
  const alias = { colnames: expression.aliascolnames ?? [] }
  const union = ctequery !== undefined && 'SelectStmt' in ctequery ? ctequery.SelectStmt : null
  const decorated = expression.search_clause !== undefined || expression.cycle_clause !== undefined
  const unknown: Cte = { name, columns: null, single: false, drivers: [] }
  if (union?.larg === undefined || union.rarg === undefined || decorated || union.withClause) {
    analysis.refuse(pgError('unsupported', ['this form of WITH RECURSIVE']))
    return unknown
  }
  const left = readArm(analysis, union.larg, scope)
  if (left.columns === null) {
    const inside = { ...newScope(scope), ctes: [unknown] }
    readArm(analysis, union.rarg, inside)
    return unknown
  }
  const columns: KeyColumn[] = (renamed(left.columns, alias) ?? []).map((column) => ({
    name: column.name,
    node: column.node === null ? null : analysis.graph.addAssumed(column.node),
  }))
  const cte: Cte = { name, columns, single: false, drivers: [] }
  const right = readArm(analysis, union.rarg, { ...newScope(scope), ctes: [cte] })
  for (const [at, { node }] of columns.entries()) {
    if (node !== null) analysis.graph.closeAssumed(node, right.columns?.[at]?.node ?? null)
  }
  return cte
}

function readArm(analysis: Analysis, select: SelectStmt, scope: Scope): QueryOutput {
  return analysis.query({ SelectStmt: select }, scope)
}

/** How often a relation of that bare name is mentioned anywhere in `part`. */
function mentions(part: object, name: string): number {
  let count = 0
  for (const child of childrenOf(part)) count += mentions(child, name)
  if (!('RangeVar' in part)) return count
  const range = part.RangeVar
  const named = typeof range === 'object' && range !== null && 'relname' in range
  return named && range.relname === name && !('schemaname' in range) ? count + 1 : count
}
