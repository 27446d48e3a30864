// Puts a condition beside table references in a statement's own text: `orders o` becomes
// `(orders o JOIN (SELECT) AS x ON …)`. The other side of the join has one row and no columns, so nothing is changed but
// which rows there are: names, stars, whole rows, types, locks, parameters and everything else that the statement says
// of the table mean what they meant, and PostgreSQL's planner takes the join away again (prepjointree.c, RTE_RESULT).
// The new text is parsed again and must be the old one but for these joins: a mistake here becomes a refusal.
import type { Node, RangeVar } from '@pgsql/types'
import { PgError } from '../core/errors.ts'
import { charactersIn, utf8Of } from './literals.ts'
import { namesOf } from './names.ts'
import { parseSql } from './parser.ts'

/** A condition for the rows of one table reference. */
type TableCondition = { readonly range: RangeVar; readonly sql: string }

/** A statement's text with more in it. */
export type SplicedSql = {
  readonly sql: string
  /** Character of the original text, counted from 1, that became character `position` of the new one. */
  readonly originalPosition: (position: number) => number
}

/**
 * `sql`, whose tree is `node`, with `conditions` in the order of its text; undefined when the text is written in a way
 * that cannot be followed here.
 */
export function spliceConditions(
  sql: string,
  node: Node,
  conditions: readonly TableCondition[],
): SplicedSql | undefined {
  const raw = rawOf(sql)
  const original = JSON.stringify(node, withoutPlaces)
  let base = 'ringfence_visible'
  while (original.includes(base)) base += '_'
  const edits: Edit[] = []
  // Conditions are expressions whatever they say, and long: what is parsed again has short ones.
  const probes: Edit[] = []
  for (const [at, { range, sql: condition }] of conditions.entries()) {
    const span = spanOf(raw, range)
    if (span === undefined) return undefined
    const join = (on: string) => ` JOIN (SELECT) AS ${base}_${at + 1} ON ${on})`
    edits.push(...editsOf(span, rawOf(join(condition))))
    probes.push(...editsOf(span, join('true')))
  }
  if (!isSameQuery(utf8Of(applied(raw, probes)), original, base)) return undefined
  return {
    sql: utf8Of(applied(raw, edits)),
    originalPosition: (position) => originalPosition(raw, edits, position),
  }
}

/** Replaces bytes `start` to `end` of the original text; texts are of one character per byte, as the lexer's. */
type Edit = { readonly start: number; readonly end: number; readonly text: string }

function editsOf({ table, start, end }: Span, join: string): readonly Edit[] {
  const open: Edit = { start, end: start, text: '(' }
  const close: Edit = { start: end, end, text: join }
  if (table === null) return [open, close]
  return [{ start: table, end: table + 'TABLE'.length, text: 'SELECT * FROM' }, open, close]
}

function rawOf(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1')
}

function applied(raw: string, edits: readonly Edit[]): string {
  let text = ''
  let from = 0
  for (const { start, end, text: added } of edits) {
    text += raw.slice(from, start) + added
    from = end
  }
  return text + raw.slice(from)
}

function originalPosition(raw: string, edits: readonly Edit[], position: number): number {
  const before = Array.from(utf8Of(applied(raw, edits)))
    .slice(0, position - 1)
    .join('')
  let at = Buffer.byteLength(before)
  for (const { start, end, text } of edits) {
    if (at < start) break
    // What was added stands for the place where it was.
    at = at < start + text.length ? start : at - text.length + (end - start)
  }
  return charactersIn(utf8Of(raw.slice(0, at))) + 1
}

type Span = {
  /** Where the command TABLE begins, whose table is no item of FROM; null in FROM. */
  readonly table: number | null
  readonly start: number
  readonly end: number
}

const gapBefore = String.raw`(?:[ \t\n\r\f\v]|/\*(?:[^*/]|\*(?!/)|/(?!\*))*\*/|--[^\n\r]*[\n\r])*`
const onlyBefore = new RegExp(String.raw`\bonly${gapBefore}(\(${gapBefore})?$`, 'i')
const tableBefore = new RegExp(String.raw`\btable${gapBefore}$`, 'i')
/** How far before a table's name ONLY or TABLE is looked for. */
const lookBehindMax = 512
const identifier = /"(?:[^"]|"")*"|u&"(?:[^"]|"")*"|[a-z_\x80-\xff][\w$\x80-\xff]*/iy

/** From before ONLY or the name to behind the alias (gram.y: relation_expr opt_alias_clause). */
function spanOf(raw: string, range: RangeVar): Span | undefined {
  const name = range.location ?? 0
  const scanner = new Scanner(raw, name)
  const parts = [range.catalogname, range.schemaname].filter((part) => part !== undefined).length
  if (!scanner.identifiers(parts + 1, '.')) return undefined
  let start = name
  if (range.inh !== true) {
    const only = onlyBefore.exec(raw.slice(Math.max(0, name - lookBehindMax), name))
    if (only === null) return undefined
    start -= only[0].length
    if (only[1] !== undefined && !scanner.skip(')')) return undefined
  } else scanner.skip('*')
  const { alias } = range
  if (alias !== undefined) {
    scanner.skip('as')
    if (!scanner.identifiers(1, ',')) return undefined
    const columns = namesOf(alias.colnames).length
    const listed = columns === 0 || (scanner.skip('(') && scanner.identifiers(columns, ','))
    if (!listed || (columns > 0 && !scanner.skip(')'))) return undefined
  }
  const before = tableBefore.exec(raw.slice(Math.max(0, start - lookBehindMax), start))
  return { table: before === null ? null : start - before[0].length, start, end: scanner.at }
}

/** Reads the few kinds of tokens that a table reference is made of. */
class Scanner {
  readonly #raw: string
  /** Behind the last token read. */
  at: number

  constructor(raw: string, at: number) {
    this.#raw = raw
    this.at = at
  }

  /** Reads `token` if it is the next one. */
  skip(token: string): boolean {
    const start = this.#afterGap()
    const end = start + token.length
    if (this.#raw.slice(start, end).toLowerCase() !== token) return false
    if (/\w/.test(token) && /[\w$\x80-\xff]/.test(this.#raw.charAt(end))) return false
    this.at = end
    return true
  }

  /** Reads `count` identifiers with `separator` between them. */
  identifiers(count: number, separator: string): boolean {
    for (let read = 0; read < count; read += 1) {
      if (read > 0 && !this.skip(separator)) return false
      identifier.lastIndex = this.#afterGap()
      const found = identifier.exec(this.#raw)
      if (found === null) return false
      this.at = identifier.lastIndex
    }
    return true
  }

  /** The next byte that is neither space nor comment. */
  #afterGap(): number {
    let { at } = this
    for (;;) {
      if (/[ \t\n\r\f\v]/.test(this.#raw.charAt(at))) at += 1
      else if (this.#raw.startsWith('--', at)) at = this.#lineEnd(at)
      else if (this.#raw.startsWith('/*', at)) at = this.#commentEnd(at)
      else return at
    }
  }

  #lineEnd(start: number): number {
    const length = this.#raw.slice(start).search(/[\n\r]/)
    return length < 0 ? this.#raw.length : start + length
  }

  /** Comments nest. */
  #commentEnd(start: number): number {
    let depth = 0
    for (let at = start; at < this.#raw.length; at += 1) {
      const pair = this.#raw.slice(at, at + 2)
      if (pair !== '/*' && pair !== '*/') continue
      depth += pair === '/*' ? 1 : -1
      at += 1
      if (depth === 0) return at + 1
    }
    return this.#raw.length
  }
}

/** True when `spliced` is one statement that is `original` once our joins are taken out again. */
function isSameQuery(spliced: string, original: string, base: string): boolean {
  const ours = new RegExp(String.raw`^${base}_\d+$`)
  const unjoined = (key: string, value: unknown): unknown => {
    const join = ourJoin(value, ours)
    return join === undefined ? withoutPlaces(key, value) : join
  }
  try {
    const [again, ...more] = parseSql(spliced)
    return more.length === 0 && JSON.stringify(again?.node, unjoined) === original
  } catch (thrown) {
    if (thrown instanceof PgError) return false
    throw thrown
  }
}

/** The table reference that was joined with a row of ours. */
function ourJoin(value: unknown, ours: RegExp): object | undefined {
  if (!isObject(value) || !('JoinExpr' in value) || !isObject(value.JoinExpr)) return undefined
  const { JoinExpr: join } = value
  if (!('rarg' in join) || !('larg' in join) || !isObject(join.rarg)) return undefined
  const subselect = 'RangeSubselect' in join.rarg ? join.rarg.RangeSubselect : undefined
  if (!isObject(subselect) || !('alias' in subselect) || !isObject(subselect.alias))
    return undefined
  const name = 'aliasname' in subselect.alias ? subselect.alias.aliasname : ''
  return typeof name === 'string' && ours.test(name) && isObject(join.larg) ? join.larg : undefined
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

/** Places of nodes in the text, which are no part of their meaning. */
function withoutPlaces(key: string, value: unknown): unknown {
  return places.test(key) ? undefined : value
}

const places = /^(?:location|rexpr_list_start|rexpr_list_end|list_start|list_end)$/
