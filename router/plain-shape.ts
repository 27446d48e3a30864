// Statements of a database with one shard: all of them go home, so only what they leave behind in
// the session is of interest. Also used for what every statement's tree tells alike: parameters,
// writes, locks.
import type { Node } from '@pgsql/types'
import { noFunctions, noteFunction } from './functions.ts'
import { namesOf } from './names.ts'
import type { Command, RoutedShape } from './route.ts'
import type { Schema } from './schema.ts'
import { childrenOf, isNode } from './syntax.ts'

const writers = ['InsertStmt', 'UpdateStmt', 'DeleteStmt', 'MergeStmt'] as const
const readers = ['SelectStmt', 'VariableShowStmt', 'ExplainStmt'] as const

/** Shape of any statement that is not a session command. */
export function plainShape(node: Node, schema: Schema | null): RoutedShape {
  const facts = { ...noFunctions }
  let paramCount = 0
  let writes = !readers.some((tag) => tag in node)
  const visit = (part: object): void => {
    if (isNode(part)) {
      if ('FuncCall' in part) {
        noteFunction(facts, namesOf(part.FuncCall.funcname).at(-1) ?? '', schema)
      } else if ('ParamRef' in part) paramCount = Math.max(paramCount, part.ParamRef.number ?? 0)
      else if ('LockingClause' in part || writers.some((tag) => tag in part)) writes = true
    }
    // SELECT … INTO, and EXPLAIN ANALYZE of whatever it may be.
    if ('intoClause' in part || ('defname' in part && part.defname === 'analyze')) writes = true
    for (const child of childrenOf(part)) visit(child)
  }
  visit(node)
  const pin = facts.lasting ? 'session state' : 'LoadStmt' in node ? 'LOAD' : null
  return {
    command: commandOf(node),
    route: { kind: 'home' },
    isReadOnly: !writes && !facts.mayWrite,
    pin,
    paramCount,
    exactOnly: false,
  }
}

function commandOf(node: Node): Command {
  if ('SelectStmt' in node) return 'select'
  if ('InsertStmt' in node) return 'insert'
  if ('UpdateStmt' in node) return 'update'
  if ('DeleteStmt' in node) return 'delete'
  if ('MergeStmt' in node) return 'merge'
  if ('CopyStmt' in node) return 'copy'
  return 'ExplainStmt' in node ? 'explain' : 'utility'
}
