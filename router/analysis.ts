// What one statement says, gathered while its tree is walked: tables, ties of shard keys,
// functions. The walk is spread over from-clause, conditions, expressions, query and write; this is
// the state they share.
import type { Node, RangeVar } from '@pgsql/types'
import type { PgError } from '../core/errors.ts'
import { pgError } from '../core/errors.ts'
import { noFunctions, type FunctionFacts } from './functions.ts'
import type { InsertTarget, KeySource, Scalar } from './key-source.ts'
import type { Literals } from './literals.ts'
import { castTarget, charsMaxOf, keyFamily, type Names, writtenName } from './names.ts'
import type { Relation } from './schema.ts'
import type { KeyColumn, Scope } from './scope.ts'
import { constantText } from './syntax.ts'
import { type NodeId, TieGraph } from './ties.ts'

/** One mention of a relation. `node`: its key column when it is sharded. */
export type TableUse = {
  readonly relation: Relation
  readonly node: NodeId | null
  readonly writes: boolean
}

/** What a query gives to the level around it. */
export type QueryOutput = {
  readonly columns: readonly KeyColumn[] | null
  /**
   * Key columns of tables whose rows each row comes from, one of each: what a scatter may be split
   * by.
   */
  readonly drivers: readonly NodeId[]
  /** The first construct that needs all rows at once, such as ORDER BY. */
  readonly whole: string | null
  /** OFFSET of a value that is 0 in practice: then it needs nothing. */
  readonly offset?: Scalar | null
}

export type QueryOptions = {
  /** Nodes of the level around that a condition in this query's WHERE filters as well (EXISTS). */
  readonly outerFilter?: ReadonlySet<NodeId>
}

/** Mutable while a statement is walked, then only read. */
export class Analysis {
  readonly names: Names
  readonly literals: Literals
  readonly graph = new TieGraph()
  readonly uses: TableUse[] = []
  readonly sources: { readonly node: NodeId; readonly source: KeySource }[] = []
  readonly functions: FunctionFacts = { ...noFunctions }
  /** Analyses a query or a data-modifying statement inside of another; set by its module. */
  readonly query: (node: Node, scope: Scope | null, options?: QueryOptions) => QueryOutput
  /** Refused whatever its keys are. */
  refusal: PgError | null = null
  /** A name that the schema does not have. */
  unresolved: PgError | null = null
  /** Refused unless one shard answers: what shards would answer differently, such as ctid. */
  shardLocal: string | null = null
  /** Set when the shape holds for this very text only. */
  exactOnly = false
  /** The first construct in a subquery of FROM that needs all of its rows at once. */
  innerWhole: string | null = null
  locks = false
  locksReference = false
  /** INSERT … SELECT: what the rows' key must satisfy. */
  insertSelect: InsertTarget | null = null
  /** nextval of a sequence that no sharded table's default uses. */
  homeSequence: string | null = null
  paramCount = 0
  /**
   * Constructs whose result depends on the order of rows, which copies of a table need not share.
   */
  orderDependent: string | null = null
  #sourceOf = new Map<NodeId, KeySource>()

  constructor(
    names: Names,
    literals: Literals,
    query: (
      analysis: Analysis,
      node: Node,
      scope: Scope | null,
      options: QueryOptions,
    ) => QueryOutput,
  ) {
    this.names = names
    this.literals = literals
    this.query = (node, scope, options = {}) => query(this, node, scope, options)
  }

  refuse(error: PgError): void {
    this.refusal ??= error
  }

  refuseAcrossShards(construct: string): void {
    this.refuse(pgError('unsupportedAcrossShards', [construct, this.names.rules.key]))
  }

  addSource(source: KeySource): NodeId {
    const node = this.graph.addSource()
    this.sources.push({ node, source })
    this.#sourceOf.set(node, source)
    return node
  }

  isSource(node: NodeId): boolean {
    return this.#sourceOf.has(node)
  }

  /** Source of constants that are compared with `column`. */
  scalarSource(column: string, scalars: readonly Scalar[]): NodeId {
    const { keyType } = this.names.rules
    return this.addSource({ column, keyType, insert: null, values: { kind: 'scalars', scalars } })
  }

  /** Notes a mention of a relation; undefined when there is none of that name. */
  use(range: RangeVar, writes: boolean): TableUse | undefined {
    if (range.schemaname?.startsWith('pg_temp') === true) {
      this.refuse(pgError('unsupported', ['a temporary table on a sharded database']))
    }
    const relation = this.names.relation(range)
    if (relation === undefined) {
      this.exactOnly = true
      const position = this.literals.characterAt(range.location ?? 0)
      this.unresolved ??= pgError('undefinedTable', [writtenName(range)], { position })
      return undefined
    }
    const use = {
      relation,
      node: relation.placement === 'sharded' ? this.graph.add() : null,
      writes,
    }
    this.uses.push(use)
    if (relation.placement === 'mixed') {
      this.refuseAcrossShards(`the view "${relation.name}" over sharded tables`)
    }
    this.#checkKey(relation)
    return use
  }

  #checkKey(relation: Relation): void {
    if (relation.placement !== 'sharded') return
    const column = relation.columns.find(({ name }) => name === relation.key)
    const family = column === undefined ? undefined : keyFamily(column)
    const { keyType } = this.names.rules
    if (family === (keyType === 'bigint' ? 'integer' : keyType)) return
    const type = column?.type ?? 'unknown'
    this.refuse(pgError('unsupported', [`a shard key of type ${type} in table "${relation.name}"`]))
  }

  /** Rows of a query are inserted: what their key must satisfy beyond being tied. */
  requireInsertable(relation: Relation): void {
    const column = relation.columns.find(({ name }) => name === relation.key)
    if (column === undefined) return
    // A row without a key has no shard, so the column itself must refuse it.
    if (!column.notNull) this.refuseAcrossShards('INSERT … SELECT into a nullable shard key')
    const charsMax = charsMaxOf(column)
    this.insertSelect = { relation: relation.name, column: column.name, charsMax }
  }

  /** The constant or parameter that an expression is, or null. */
  scalar(node: Node | undefined): Scalar | null {
    if (node === undefined) return null
    if ('ParamRef' in node) {
      const param = node.ParamRef.number ?? 0
      this.paramCount = Math.max(this.paramCount, param)
      return param > 0 ? { from: { kind: 'param', param }, cast: null } : null
    }
    if ('TypeCast' in node) {
      const inner = this.scalar(node.TypeCast.arg)
      const target = castTarget(node.TypeCast.typeName)
      if (inner === null || target === undefined || target.array) return null
      if (inner.cast !== null && inner.cast !== target.family) return null
      return { from: inner.from, cast: target.family }
    }
    return 'A_Const' in node ? this.#constant(node) : null
  }

  /** An array of constants as ANY takes it: '{1,2}' or $1, cast or not. */
  arrayScalar(node: Node | undefined): Scalar | null {
    if (node === undefined) return null
    if (!('TypeCast' in node)) return this.scalar(node)
    const inner = this.scalar(node.TypeCast.arg)
    const target = castTarget(node.TypeCast.typeName)
    if (inner === null || inner.cast !== null || target?.array !== true) return null
    return { from: inner.from, cast: target.family }
  }

  #constant(node: Extract<Node, { A_Const: unknown }>): Scalar | null {
    const constant = node.A_Const
    if (constant.boolval !== undefined) return null
    const text = constantText(constant)
    if (text === null) return { from: { kind: 'null' }, cast: null }
    const found = this.literals.find(constant.location ?? 0)
    if (found !== undefined && this.literals.means(found, text)) {
      return { from: { kind: 'literal', ...found }, cast: null }
    }
    // Written in a way that the lexer does not follow, such as -(5) or U&'…'.
    this.exactOnly = true
    const kind = constant.sval !== undefined ? 'string' : constant.bsval ? 'bits' : 'number'
    const raw = Buffer.from(text, 'utf8').toString('latin1')
    return { from: { kind: 'constant', constant: { kind, raw } }, cast: null }
  }
}
