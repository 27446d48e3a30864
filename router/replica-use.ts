// May a statement run on a replica? Decided from the whole tree and from what the catalogs say of
// the names in it, without knowing which of them it will come to: the first thing anywhere that only
// the primary can do, or would answer differently, sends the statement there.
import type { CopyStmt, FuncCall, Node, RangeVar, TypeName } from '@pgsql/types'
import { functionMayWrite, primaryReason } from './functions.ts'
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
/** Operators that run without being written down: ORDER BY, GROUP BY, IN, USING, CASE. */
const unwritten = ['=', '<>', '<', '<=', '>', '>=']

/** `mayWrite`: it may run users' VOLATILE code that its own text does not call. */
export type ReplicaVerdict = { readonly replica: ReplicaUse; readonly mayWrite: boolean }

/** Verdict on a whole statement, whose shape but for this is known. */
export function replicaVerdict(
  node: Node,
  { route, pin }: RoutedShape,
  context: ReplicaContext,
): ReplicaVerdict {
  if (route.kind === 'session') {
    const anywhere = answeredAnywhere.has(route.command.kind)
    return { replica: anywhere ? allowed : primary('a session command'), mayWrite: false }
  }
  const query = queryOf(node)
  const reading = new Reading(context)
  if (typeof query !== 'string' && query !== null) reading.read(query)
  const { mayWrite } = reading
  if (pin !== null) return { replica: primary(`it leaves state on its server: ${pin}`), mayWrite }
  const reason = typeof query === 'string' ? query : reading.reason
  return { replica: reason === null ? allowed : primary(reason), mayWrite }
}

function primary(reason: string): ReplicaUse {
  return { kind: 'primary', reason }
}

/** The query that a statement runs, null when it runs none; why it is no read as a string. */
function queryOf(node: Node): Node | string | null {
  if ('SelectStmt' in node) return node
  // A cursor is where the transaction is.
  if ('FetchStmt' in node || 'ClosePortalStmt' in node) return null
  if ('CopyStmt' in node) return copied(node.CopyStmt)
  if ('DeclareCursorStmt' in node) return selectOf(node.DeclareCursorStmt.query, 'not a read')
  if ('ExplainStmt' in node) {
    return selectOf(node.ExplainStmt.query, 'EXPLAIN of what is not a read')
  }
  if ('VariableShowStmt' in node) return 'SHOW tells of the server that it runs on'
  return writes[tagOf(node)] ?? 'not a read'
}

function selectOf(query: Node | undefined, otherwise: string): Node | string {
  if (query === undefined) return otherwise
  return 'SelectStmt' in query ? query : (writes[tagOf(query)] ?? otherwise)
}

function copied(copy: CopyStmt): Node | string {
  if (copy.is_from === true) return 'COPY FROM writes'
  if (copy.filename !== undefined || copy.is_program === true) return 'COPY to a file of the server'
  if (copy.relation !== undefined) return { RangeVar: copy.relation }
  return selectOf(copy.query, 'COPY of what is not a read')
}

function tagOf(node: Node): string {
  return Object.keys(node)[0] ?? ''
}

/** One walk over the tree of a query. */
class Reading {
  /** Of several the first. */
  reason: string | null = null
  mayWrite = false
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

  read(query: Node): void {
    if (this.#hidden?.implicitCast === true) this.#volatile('an implicit cast is volatile')
    for (const name of unwritten) this.#operator(name)
    this.#walk(query)
    for (const name of this.#unknown) if (!this.#ctes.has(name)) this.#unknownTable(name)
  }

  #walk(part: object): void {
    if (isNode(part)) this.#node(part)
    else this.#bare(part)
    for (const child of childrenOf(part)) this.#walk(child)
  }

  /** Parts that are no nodes of their own. */
  #bare(part: object): void {
    if ('intoClause' in part) this.reason ??= 'SELECT INTO writes'
    if (this.#hidden === undefined) return
    if ('useOp' in part && Array.isArray(part.useOp)) this.#operatorNamed(part.useOp)
    if ('operName' in part && Array.isArray(part.operName)) this.#operatorNamed(part.operName)
    const type = 'typeName' in part ? part.typeName : undefined
    if (isTypeName(type)) this.#type(type)
  }

  #node(node: Node): void {
    const forbidden = writes[tagOf(node)]
    if (forbidden !== undefined) this.reason ??= forbidden
    else if ('RangeVar' in node) this.#relation(node.RangeVar)
    else if ('FuncCall' in node) this.#call(node.FuncCall)
    else if ('CommonTableExpr' in node) this.#ctes.add(node.CommonTableExpr.ctename ?? '')
    else if ('A_Expr' in node) this.#operatorNamed(node.A_Expr.name ?? [])
    else if ('TypeName' in node) this.#type(node.TypeName)
    else if ('ColumnRef' in node) {
      const fields = namesOf(node.ColumnRef.fields)
      if (fields.length > 1) this.#attribute(fields.at(-1) ?? '')
    } else if ('A_Indirection' in node) {
      for (const field of namesOf(node.A_Indirection.indirection)) this.#attribute(field)
    }
  }

  #relation(range: RangeVar): void {
    const { schemaname, relname = '' } = range
    const { schema, searchPath } = this.#context
    // Whatever is known: names of the system come first and are the system's.
    const system = schemaname === undefined ? relname.startsWith('pg_') : isSystem(schemaname)
    if (schemaname?.startsWith('pg_temp') === true) this.reason ??= 'a temporary table'
    else if (system) this.reason ??= 'a system catalog'
    else if (schema === null) {
      const hidden = schemaname === undefined && searchPath.some(isSystem)
      if (hidden) this.reason ??= 'perhaps a system catalog'
      this.#unknownTable(relname)
    } else {
      const relation = findRelation(schema, this.#searched, range)
      if (relation !== undefined) this.#known(relation)
      else if (schemaname !== undefined) this.#unknownTable(`${schemaname}.${relname}`)
      else this.#unknown.push(relname)
    }
  }

  /** It may be the session's temporary table, or a view, newer than what is known, that calls what writes. */
  #unknownTable(name: string): void {
    this.#volatile(`the table "${name}" is not known`)
  }

  #known({ placement, primaryOnly, calls = [], kind, name }: Relation): void {
    if (placement === 'catalog') this.reason ??= 'a system catalog'
    if (primaryOnly !== undefined) this.reason ??= primaryOnly
    const place = `, in ${kind === 'v' ? 'the view' : 'a policy of'} "${name}"`
    for (const call of calls) {
      const dot = call.indexOf('.')
      this.#function(call.slice(dot + 1), dot < 0 ? null : call.slice(0, dot), place)
    }
  }

  #call(call: FuncCall): void {
    const names = namesOf(call.funcname)
    const name = names.at(-1) ?? ''
    if (name === 'age' && readsTransactionId(call)) this.reason ??= 'the age of a transaction id'
    this.#function(name, names.length > 1 ? (names.at(-2) ?? null) : null, '')
  }

  #function(name: string, qualifier: string | null, place: string): void {
    const { schema, replicaRules } = this.#context
    const reason = primaryReason(name, qualifier, schema, replicaRules)
    if (reason !== null) this.reason ??= reason + place
    if (functionMayWrite(name, qualifier, schema)) this.mayWrite = true
  }

  /** `row.name` calls the function `name` when the row has no such column. */
  #attribute(name: string): void {
    const traits = this.#context.schema?.functions.get(name)
    if (traits?.builtin === false) this.#function(name, null, '')
  }

  #operatorNamed(name: readonly Node[]): void {
    this.#operator(namesOf(name).at(-1) ?? '')
  }

  #operator(name: string): void {
    if (this.#hidden?.operators.has(name) === true) {
      this.#volatile(`the operator ${name} is volatile`)
    }
  }

  #type({ names }: TypeName): void {
    const name = namesOf(names).at(-1) ?? ''
    if (this.#hidden?.types.has(name) === true) this.#volatile(`a cast to ${name} is volatile`)
  }

  #volatile(reason: string): void {
    this.reason ??= reason
    this.mayWrite = true
  }
}

function isSystem(schema: string): boolean {
  return schema.startsWith('pg_') || schema === 'information_schema' || schema === 'ringfence'
}

function readsTransactionId({ args = [] }: FuncCall): boolean {
  const [arg] = args
  const fields = arg !== undefined && 'ColumnRef' in arg ? namesOf(arg.ColumnRef.fields) : []
  return args.length === 1 && /^(?:xmin|xmax)$/.test(fields.at(-1) ?? '')
}

function isTypeName(part: unknown): part is TypeName {
  return typeof part === 'object' && part !== null && 'names' in part && Array.isArray(part.names)
}
