// Parse tree → SQL text, for the few statements that are rewritten. The text is parsed again and
// must give the same tree: a deparser's mistake becomes a refusal, never another statement.
import type { Node } from '@pgsql/types'
import { deparseSync } from 'pgsql-deparser'
import { pgError } from '../core/errors.ts'
import { parseSql } from './parser.ts'

/** SQL of a whole statement. @throws PgError 0A000 when the text would not mean the same */
export function deparse(statement: Node): string {
  const sql = deparseSync(statement)
  const [again, ...more] = parseSql(sql)
  const same = again !== undefined && canonical(again.node) === canonical(statement)
  if (!same || more.length > 0) throw pgError('unsupported', ['rewriting this statement'])
  return sql
}

/** SQL of an expression without columns. @throws PgError 0A000 */
export function deparseExpression(expression: Node): string {
  const select = { SelectStmt: { targetList: [{ ResTarget: { val: expression } }] } }
  return deparse({ SelectStmt: { ...select.SelectStmt, ...plainSelect } }).replace(
    /^SELECT\s+/i,
    '',
  )
}

const plainSelect = { limitOption: 'LIMIT_OPTION_DEFAULT', op: 'SETOP_NONE' } as const

/** The tree without what the layout of the text decides. */
function canonical(part: object): string {
  return JSON.stringify(part, (key, value: unknown) =>
    /^(?:location|rexpr_list_start|rexpr_list_end|list_start|list_end|stmt_len|stmt_location)$/.test(
      key,
    )
      ? undefined
      : sorted(value),
  )
}

function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
}
