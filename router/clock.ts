// Replaces the STABLE functions of time in a statement by values: they have one value per
// transaction, so they may be asked of one server and told to the others.
import type { Node, TypeName } from '@pgsql/types'
import { deparseExpression } from './deparser.ts'
import { namesOf } from './names.ts'
import { isNode } from './syntax.ts'

/** One call: its SQL, and the type of its value. */
export type Clock = { readonly sql: string; readonly type: TypeName }

const clockFunctions = new Set(['now', 'transaction_timestamp', 'statement_timestamp'])
const valueTypes: ReadonlyMap<string, string> = new Map([
  ['SVFOP_CURRENT_DATE', 'date'],
  ['SVFOP_CURRENT_TIME', 'timetz'],
  ['SVFOP_CURRENT_TIMESTAMP', 'timestamptz'],
  ['SVFOP_LOCALTIME', 'time'],
  ['SVFOP_LOCALTIMESTAMP', 'timestamp'],
])

/**
 * The calls of a statement in order; with `values`, the statement that has those in their places.
 */
export function replaceClocks(
  statement: Node,
  values: readonly Node[] = [],
): { readonly node: Node; readonly clocks: readonly Clock[] } {
  const clocks: Clock[] = []
  const text = JSON.stringify(statement, (_key, part: unknown) => {
    if (typeof part !== 'object' || part === null || !isNode(part)) return part
    const type = clockType(part)
    if (type === undefined) return part
    clocks.push({ sql: deparseExpression(part), type: { ...typeNamed(type) } })
    return values[clocks.length - 1] ?? { A_Const: { isnull: true } }
  })
  const node: Node = JSON.parse(text)
  return { node, clocks }
}

function clockType(node: Node): string | undefined {
  if ('SQLValueFunction' in node) {
    return valueTypes.get((node.SQLValueFunction.op ?? '').replace(/_N$/, ''))
  }
  if (!('FuncCall' in node)) return undefined
  const names = namesOf(node.FuncCall.funcname)
  const builtin = names.length === 1 || names[0] === 'pg_catalog'
  return builtin && clockFunctions.has(names.at(-1) ?? '') ? 'timestamptz' : undefined
}

/** The name as the grammar itself would give it: `date` is no keyword. */
function typeNamed(name: string): TypeName {
  const names = name === 'date' ? [name] : ['pg_catalog', name]
  return { names: names.map((sval) => ({ String: { sval } })), typemod: -1 }
}
