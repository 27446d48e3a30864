// Simple queries that can run as prepared statements: those whose literals can all be parameters without a change of
// meaning. Only constants are taken whose type PostgreSQL finds in the same way for a parameter: what a column is
// compared with or set to, and LIMIT. ORDER BY 1, interval '1 day', f('x') and the like stay simple queries.
import type { A_Const, Node } from '@pgsql/types'
import type { Literals } from './literals.ts'
import { literalKind } from './lexer.ts'
import { childrenOf, constantText, listOf } from './syntax.ts'

/** A statement of one template with its literals as parameters. */
export class AutoPrepare {
  readonly sql: Uint8Array
  /** Type of each parameter as its literal has it; 0: found by the server, as for a string. */
  readonly types: readonly number[]
  /** Numbers of those that become a column's value. */
  readonly #assigned: ReadonlySet<number>
  #uses = 0
  #failures = 0

  constructor(sql: Uint8Array, types: readonly number[], assigned: ReadonlySet<number>) {
    this.sql = sql
    this.types = types
    this.#assigned = assigned
  }

  /** True from its second use on, unless errors come of it; to be asked once for each use. */
  isWorthwhile(): boolean {
    this.#uses += 1
    return (
      this.#uses > 1 &&
      (this.#failures < failuresMin || this.#failures * failuresShare < this.#uses)
    )
  }

  /** It has met an error that it might not have met as a simple query. */
  failed(): void {
    this.#failures += 1
  }

  /** The literals' values as a Bind takes them, in text; null when one is written in a way that only the parser reads. */
  valuesOf(literals: Literals): readonly Uint8Array[] | null {
    const values: Uint8Array[] = []
    for (let index = 0; index < literals.count; index += 1) {
      const { kind, raw } = literals.at(index)
      if (kind === 'number' && !/^\d+$/.test(raw)) return null
      if (kind === 'string') {
        if (!literals.isPlain(index)) return null
        if (this.#assigned.has(index) && isBareInterval(raw)) return null
      }
      values.push(Buffer.from(raw, 'latin1'))
    }
    return values
  }
}

/**
 * An interval whose units the column tells: '5' is five minutes in an INTERVAL MINUTE, as a constant. A parameter is read
 * as an INTERVAL of seconds and becomes one of minutes then. Dates and UUIDs are none.
 */
const intervalStart =
  /^(?!\s*\d{4}-\d+-\d|[\da-f]{8}-[\da-f]{4}-)[\s@+.-]*(?:(?:[cdhmswy]|us)[a-z]*[\s@+.-]*)?\d/i
const bareNumber = /\d(?:\s*$|\s+ago\s*$|\s+[-+.\d]|[.:])/i
const int4 = 23
const parametersMax = 100
// More than so many errors, and more than one in so many uses: whoever asks that does not gain by it.
const failuresMin = 3
const failuresShare = 20
const comparisons = new Set(['=', '<>', '!=', '<', '<=', '>', '>='])
const sums = new Set(['+', '-'])

function isBareInterval(text: string): boolean {
  return intervalStart.test(text) && bareNumber.test(text)
}

/** How a statement runs prepared; null when it does not. `template`: its text as the lexer leaves it. */
export function autoPrepareOf(
  node: Node,
  template: string | null,
  literals: Literals,
): AutoPrepare | null {
  const count = literals.count
  if (template === null || count === 0 || count > parametersMax || template.includes('$'))
    return null
  const places = new Places(literals)
  if (!places.read(node) || places.found.size !== count) return null
  const types: number[] = []
  let sql = ''
  for (const char of template) {
    const kind = char.charCodeAt(0)
    if (kind === literalKind.integer || kind === literalKind.string) {
      types.push(kind === literalKind.integer ? int4 : 0)
      sql += ` $${types.length} `
    } else if (kind === literalKind.decimal || kind === literalKind.bits) {
      return null
    } else {
      sql += char
    }
  }
  if (types.length !== count) return null
  return new AutoPrepare(Buffer.from(sql, 'latin1'), types, places.assigned)
}

/** Literals at places where a parameter means the same. */
class Places {
  readonly found = new Set<number>()
  /** Of these: what becomes a column's value. */
  readonly assigned = new Set<number>()
  readonly #literals: Literals

  constructor(literals: Literals) {
    this.#literals = literals
  }

  /** False for statements whose places are not known. */
  read(node: Node): boolean {
    if ('InsertStmt' in node) this.#row(node.InsertStmt.selectStmt)
    else if ('UpdateStmt' in node) this.#assigned(node.UpdateStmt.targetList ?? [])
    else if (!('SelectStmt' in node) && !('DeleteStmt' in node)) return false
    this.#conditions(node)
    return true
  }

  #row(source: Node | undefined): void {
    if (source === undefined || !('SelectStmt' in source)) return
    const [only, ...more] = source.SelectStmt.valuesLists ?? []
    if (more.length > 0) return
    for (const cell of listOf(only) ?? []) this.#take(cell, this.assigned)
  }

  #assigned(targets: readonly Node[]): void {
    for (const target of targets) {
      const value = 'ResTarget' in target ? target.ResTarget.val : undefined
      if (value === undefined) continue
      this.#take(value, this.assigned)
      if (!('A_Expr' in value) || value.A_Expr.kind !== 'AEXPR_OP') continue
      const { name, lexpr, rexpr } = value.A_Expr
      if (lexpr === undefined || !('ColumnRef' in lexpr) || !sums.has(operator(name))) continue
      if (isInteger(rexpr)) this.#take(rexpr)
    }
  }

  #conditions(part: object): void {
    if ('A_Expr' in part && isNodeOf(part)) this.#compared(part)
    if ('limitCount' in part && isConst(part.limitCount)) this.#limit(part.limitCount)
    if ('limitOffset' in part && isConst(part.limitOffset)) this.#limit(part.limitOffset)
    for (const child of childrenOf(part)) this.#conditions(child)
  }

  #compared({ A_Expr: { kind, name, lexpr, rexpr } }: Expression): void {
    if (lexpr === undefined || !('ColumnRef' in lexpr)) return
    if (kind === 'AEXPR_OP' && comparisons.has(operator(name))) this.#take(rexpr)
    const lists = kind === 'AEXPR_IN' || kind === 'AEXPR_BETWEEN' || kind === 'AEXPR_NOT_BETWEEN'
    if (lists) for (const item of listOf(rexpr) ?? []) this.#take(item)
  }

  #limit(node: Node): void {
    if (isInteger(node)) this.#take(node)
  }

  #take(node: Node | undefined, into = this.found): void {
    if (node === undefined || !('A_Const' in node)) return
    const text = constantText(node.A_Const)
    const found = this.#literals.find(node.A_Const.location ?? 0)
    if (text === null || found === undefined || !this.#literals.means(found, text)) return
    this.found.add(found.index)
    into.add(found.index)
  }
}

type Expression = Extract<Node, { A_Expr: unknown }>

function isNodeOf(part: object): part is Expression {
  return 'A_Expr' in part
}

function isConst(part: unknown): part is { A_Const: A_Const } {
  return typeof part === 'object' && part !== null && 'A_Const' in part
}

function isInteger(node: Node | undefined): boolean {
  return node !== undefined && 'A_Const' in node && node.A_Const.ival !== undefined
}

function operator(name: readonly Node[] | undefined): string {
  const [only, ...more] = name ?? []
  if (only === undefined || more.length > 0 || !('String' in only)) return ''
  return only.String.sval ?? ''
}
