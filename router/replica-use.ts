// May a statement run on a replica? Decided from the whole tree and from what the catalogs say of
// the names in it, without knowing which of them it will come to: the first thing anywhere that only
// the primary can do, or would answer differently, sends the statement there.
import type { CopyStmt, DeclareCursorStmt, FuncCall, Node, RangeVar, TypeName } from '@pgsql/types'
import { primaryReason } from './functions.ts'
import { findRelation, namesOf, searchedSchemas } from './names.ts'
import type { ReplicaUse, SessionCommand } from './plan.ts'
import type { RoutedShape } from './route.ts'
import type { HiddenVolatile, Relation, ReplicaRules, Schema } from './schema.ts'
import { childrenOf, isNode } from './syntax.ts'

/** What names may mean. `schema` null: nothing is known of the database. */
export type ReplicaContext = {
  readonly schema: Schema | null
  readonly searchPath: readonly string[]
  readonly replicaRules: ReplicaRules | null
}

const allowed: ReplicaUse = { kind: 'allowed' }
/** Commands that the proxy answers, or that any server answers alike. */
const answeredAnywhere: ReadonlySet<SessionCommand['kind']> = new Set([
  'empty',
  'showRingfence',
  'explainRoute',
])
const writes: Readonly<Record<string, string>> = {
  InsertStmt: 'INSERT writes',
  UpdateStmt: 'UPDATE writes',
  DeleteStmt: 'DELETE writes',
  MergeStmt: 'MERGE writes',
  LockingClause: 'row locks',
}
const systemSchema = /^(?:pg_|information_schema$|ringfence$)/
/** Operators that run without being written down: ORDER BY, GROUP BY, IN, USING, CASE. */
const unwritten = ['=', '<>', '<', '<=', '>', '>=']

/** Verdict on a whole statement, whose shape but for this is known. */
export function replicaUse(node: Node, shape: RoutedShape, context: ReplicaContext): ReplicaUse {
  const { route, pin } = shape
  if (route.kind === 'session') {
    return answeredAnywhere.has(route.command.kind) ? allowed : primary('a session command')
  }
  if (pin !== null) return primary(`it leaves state on its server (${pin})`)
  const reason = statementReason(node, context)
  return reason === null ? allowed : primary(reason)
}

function primary(reason: string): ReplicaUse {
  return { kind: 'primary', reason }
}

function statementReason(node: Node, context: ReplicaContext): string | null {
  if ('SelectStmt' in node) return readReason(node, context)
  // A cursor is where the transaction is.
  if ('FetchStmt' in node || 'ClosePortalStmt' in node) return null
  if ('CopyStmt' in node) return copyReason(node.CopyStmt, context)
  if ('DeclareCursorStmt' in node) return cursorReason(node.DeclareCursorStmt, context)
  if ('ExplainStmt' in node) {
    const { query } = node.ExplainStmt
    if (query === undefined) return 'EXPLAIN of nothing'
    if ('SelectStmt' in query) return readReason(query, context)
    return writes[tagOf(query)] ?? 'EXPLAIN of what is not a read'
  }
  if ('VariableShowStmt' in node) return 'SHOW tells of the server that it runs on'
  return writes[tagOf(node)] ?? 'not a read'
}

function copyReason(copy: CopyStmt, context: ReplicaContext): string | null {
  if (copy.is_from === true) return 'COPY FROM writes'
  if (copy.filename !== undefined || copy.is_program === true) return 'COPY to a file of the server'
  if (copy.relation !== undefined) return readReason({ RangeVar: copy.relation }, context)
  if (copy.query === undefined || !('SelectStmt' in copy.query)) return 'COPY of what is not a read'
  return readReason(copy.query, context)
}

function cursorReason({ query }: DeclareCursorStmt, context: ReplicaContext): string | null {
  if (query === undefined || !('SelectStmt' in query)) return 'not a read'
  return readReason(query, context)
}

function tagOf(node: Node): string {
  return Object.keys(node)[0] ?? ''
}

function readReason(node: Node, context: ReplicaContext): string | null {
  return hiddenReason(context) ?? new Reading(context).reasonOf(node)
}

/** Users' operators and casts that any statement may run. */
function hiddenReason({ schema }: ReplicaContext): string | null {
  const hidden = schema?.hiddenVolatile
  if (hidden === undefined) return null
  if (hidden.implicitCast) return 'an implicit cast is volatile'
  const operator = unwritten.find((name) => hidden.operators.has(name))
  return operator === undefined ? null : volatileOperator(operator)
}

function volatileOperator(name: string): string {
  return `the operator ${name} is volatile`
}

/** One walk over a tree; stops at the first reason. */
class Reading {
  readonly #context: ReplicaContext
  readonly #searched: readonly string[]
  readonly #hidden: HiddenVolatile | undefined
  readonly #ctes = new Set<string>()
  readonly #unknown: string[] = []

  constructor(context: ReplicaContext) {
    this.#context = context
    this.#searched = searchedSchemas(context.searchPath)
    this.#hidden = context.schema?.hiddenVolatile
  }

  reasonOf(node: Node): string | null {
    const found = this.#walk(node)
    if (found !== null) return found
    // It may be the session's temporary table, or newer than what is known of the catalogs.
    const unknown = this.#unknown.find((name) => !this.#ctes.has(name))
    return unknown === undefined ? null : `the table "${unknown}" is not known`
  }

  #walk(part: object): string | null {
    const own = isNode(part) ? this.#node(part) : this.#bare(part)
    if (own !== null) return own
    for (const child of childrenOf(part)) {
      const found = this.#walk(child)
      if (found !== null) return found
    }
    return null
  }

  /** Parts that are no nodes of their own. */
  #bare(part: object): string | null {
    if ('intoClause' in part) return 'SELECT INTO writes'
    if (this.#hidden === undefined) return null
    if ('useOp' in part && Array.isArray(part.useOp)) return this.#operator(part.useOp)
    if ('operName' in part && Array.isArray(part.operName)) return this.#operator(part.operName)
    const type = 'typeName' in part ? part.typeName : undefined
    return isTypeName(type) ? this.#type(type) : null
  }

  #node(node: Node): string | null {
    const forbidden = writes[tagOf(node)]
    if (forbidden !== undefined) return forbidden
    if ('RangeVar' in node) return this.#relation(node.RangeVar)
    if ('FuncCall' in node) return this.#call(node.FuncCall)
    if ('CommonTableExpr' in node) this.#ctes.add(node.CommonTableExpr.ctename ?? '')
    else if ('A_Expr' in node) return this.#operator(node.A_Expr.name ?? [])
    else if ('TypeName' in node) return this.#type(node.TypeName)
    else if ('ColumnRef' in node) {
      const fields = namesOf(node.ColumnRef.fields)
      return fields.length > 1 ? this.#attribute(fields.at(-1) ?? '') : null
    } else if ('A_Indirection' in node) {
      for (const field of namesOf(node.A_Indirection.indirection)) {
        const found = this.#attribute(field)
        if (found !== null) return found
      }
    }
    return null
  }

  #relation(range: RangeVar): string | null {
    const { schemaname, relname = '' } = range
    if (schemaname?.startsWith('pg_temp') === true) return 'a temporary table'
    const { schema, searchPath } = this.#context
    // Whatever is known: names of the system come first and are the system's.
    if (
      systemSchema.test(schemaname ?? '') ||
      (schemaname === undefined && relname.startsWith('pg_'))
    ) {
      return 'a system catalog'
    }
    if (schema === null) {
      const hidden = schemaname === undefined && searchPath.some((name) => systemSchema.test(name))
      return hidden ? 'perhaps a system catalog' : null
    }
    const relation = findRelation(schema, this.#searched, range)
    if (relation !== undefined) return this.#known(relation)
    if (schemaname !== undefined) return `the table "${schemaname}.${relname}" is not known`
    this.#unknown.push(relname)
    return null
  }

  #known({ placement, primaryOnly, calls = [], kind, name }: Relation): string | null {
    if (placement === 'catalog') return 'a system catalog'
    if (primaryOnly !== undefined) return primaryOnly
    for (const call of calls) {
      const dot = call.indexOf('.')
      const found = this.#function(call.slice(dot + 1), dot < 0 ? null : call.slice(0, dot))
      if (found !== null)
        return `${found}, in ${kind === 'v' ? 'the view' : 'a policy of'} "${name}"`
    }
    return null
  }

  #call(call: FuncCall): string | null {
    const names = namesOf(call.funcname)
    const name = names.at(-1) ?? ''
    if (name === 'age' && readsTransactionId(call)) return 'the age of a transaction id'
    return this.#function(name, names.length > 1 ? (names.at(-2) ?? null) : null)
  }

  #function(name: string, qualifier: string | null): string | null {
    const { schema, replicaRules } = this.#context
    return primaryReason(name, qualifier, schema, replicaRules)
  }

  /** `row.name` calls the function `name` when the row has no such column. */
  #attribute(name: string): string | null {
    const traits = this.#context.schema?.functions.get(name)
    return traits?.builtin === false ? this.#function(name, null) : null
  }

  #operator(name: readonly Node[]): string | null {
    const written = namesOf(name).at(-1) ?? ''
    return this.#hidden?.operators.has(written) === true ? volatileOperator(written) : null
  }

  #type({ names }: TypeName): string | null {
    const name = namesOf(names).at(-1) ?? ''
    return this.#hidden?.types.has(name) === true ? `a cast to ${name} is volatile` : null
  }
}

function readsTransactionId({ args = [] }: FuncCall): boolean {
  const [arg] = args
  const fields = arg !== undefined && 'ColumnRef' in arg ? namesOf(arg.ColumnRef.fields) : []
  return args.length === 1 && /^(?:xmin|xmax)$/.test(fields.at(-1) ?? '')
}

function isTypeName(part: unknown): part is TypeName {
  return typeof part === 'object' && part !== null && 'names' in part && Array.isArray(part.names)
}
