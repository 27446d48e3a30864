// The router's face: SQL bytes → statements (cached without their values) → plan. Pure but for its
// cache.
import { isUtf8 as isUtf8Bytes } from 'node:buffer'
import { PgError, pgError } from '../core/errors.ts'
import { autoPrepareOf } from './auto-prepare.ts'
import { compactValues } from './compact-values.ts'
import type { BoundParams } from './key-source.ts'
import { Lexer, type Lexed } from './lexer.ts'
import { blankHints, type Hints, readHints } from './hints.ts'
import { bytesOf, charactersIn, Literals, utf8Of } from './literals.ts'
import { Names } from './names.ts'
import { parseSql } from './parser.ts'
import type { PinReason, Plan, ReplicaUse } from './plan.ts'
import { type CacheContext, PlanCache, type PlacedShape } from './plan-cache.ts'
import { planOf } from './planner.ts'
import { setToPrimary } from './ringfence-settings.ts'
import { type Command, refused, type Route, type Shape } from './route.ts'
import type { ReplicaRules, Schema, ShardingRules } from './schema.ts'
import { shapeOf } from './shape.ts'
import { homeShard, type Topology } from './topology.ts'
import { noTraces, type Traces } from './traces.ts'

export type { BoundParams } from './key-source.ts'

/** What a statement is planned against. `rules` null: the database is not sharded. */
export type RouterContext = {
  readonly topology: Topology
  readonly schema: Schema | null
  readonly rules: ShardingRules | null
  readonly searchPath: readonly string[]
  /** The database's own lists of functions; fixed for its life. */
  readonly replicaRules?: ReplicaRules | null
}

/** One statement of a string: its cached shape and its own text. */
export class Statement {
  readonly shape: Shape
  /** From after the previous semicolon to before the next. */
  readonly sql: string
  /** Characters of the string before `sql`, counted as PostgreSQL counts positions. */
  readonly start: number

  constructor(shape: Shape, sql: string, start: number) {
    this.shape = shape
    this.sql = sql
    this.start = start
  }

  get command(): Command {
    return this.shape.command
  }

  get paramCount(): number {
    return this.shape.paramCount
  }

  get isReadOnly(): boolean {
    return this.shape.isReadOnly
  }

  /** Whether a replica may serve it, if the session and the moment allow. */
  get replica(): ReplicaUse {
    return this.shape.replica
  }

  /** Session state that it leaves behind on its server. */
  get pin(): PinReason | null {
    return this.shape.pin
  }

  /** What it may leave behind in its session. */
  get traces(): Traces {
    return this.shape.traces
  }

  /** True for a definition, after which servers' prepared plans are outdated. */
  get ddl(): boolean {
    return this.shape.command === 'ddl'
  }

  get route(): Route {
    return this.shape.route
  }
}

/** The statements of one text and that text's values. An empty text has one empty statement. */
export type Prepared = {
  readonly statements: readonly Statement[]
  readonly literals: Literals
  /** What the text's comments ask for; null without any. */
  readonly hints: Hints | null
  /** What of them could not be followed. */
  readonly hintProblem: string | null
  /** Where those comments stand, for blankHints(). */
  readonly hintSpans: readonly number[]
}

export class Router {
  readonly #lexer = new Lexer()
  readonly #cache: PlanCache
  readonly #contexts: CacheContext[] = []
  #lastPath: readonly string[] = []
  #last: CacheContext | undefined

  constructor({ cacheEntriesMax }: { readonly cacheEntriesMax: number }) {
    this.#cache = new PlanCache(cacheEntriesMax)
  }

  /** How many texts are known, and how often one was. */
  get plans(): { readonly size: number; readonly hits: number; readonly misses: number } {
    return this.#cache
  }

  /**
   * All statements of a simple query string or of a Parse; `sql` may be reused afterwards.
   * @throws PgError 42601 when a sharded database's SQL has a syntax error, 54001, 54000
   */
  statements(sql: Uint8Array, context: RouterContext): Prepared {
    const scanned = this.#lexer.scan(sql)
    const cacheContext = this.#contextOf(context)
    const { template } = scanned
    let shapes = template === null ? undefined : this.#cache.find(template, cacheContext)
    if (shapes === undefined || shapes === 'exactOnly') {
      shapes = this.#exactShapes(withoutHints(scanned), shapes, context, cacheContext)
    }
    const { hints, problem: hintProblem } = readHints(scanned)
    const statements = statementsOf(scanned, shapes)
    const literals = new Literals(scanned)
    return { statements, literals, hints, hintProblem, hintSpans: scanned.hints }
  }

  /** Shapes of a text whose template has none: kept from before, or made and kept. */
  #exactShapes(
    lexed: Lexed,
    byTemplate: 'exactOnly' | undefined,
    context: RouterContext,
    cacheContext: CacheContext,
  ): readonly PlacedShape[] {
    const { template, raw } = lexed
    const exactKey = `\u0000${raw}`
    if (template === null || byTemplate === 'exactOnly') {
      const known = this.#cache.find(exactKey, cacheContext)
      if (known !== undefined && known !== 'exactOnly') return known
    }
    const compact = context.rules === null ? compactValues(lexed) : null
    if (compact !== null) return this.#compactShapes(compact, context, cacheContext)
    const shapes = shapesOf(lexed, new Literals(lexed), context)
    const exact = template === null || shapes.some(({ shape }) => shape.exactOnly)
    if (template !== null) this.#cache.keep(template, cacheContext, exact ? 'exactOnly' : shapes)
    if (exact && !shapes.some(isPassing)) this.#cache.keep(exactKey, cacheContext, shapes)
    return shapes
  }

  /** Shapes of an INSERT of many rows, by what it is with one of them. */
  #compactShapes(
    compact: string,
    context: RouterContext,
    cacheContext: CacheContext,
  ): readonly PlacedShape[] {
    const lexed = this.#lexer.scan(bytesOf(compact))
    const key = `\u0001${lexed.template ?? compact}`
    const known = this.#cache.find(key, cacheContext)
    if (known !== undefined && known !== 'exactOnly') return known
    const shapes = shapesOf(lexed, new Literals(lexed), context).map(
      ({ shape, ...place }): PlacedShape => ({ ...place, shape: { ...shape, autoPrepare: null } }),
    )
    this.#cache.keep(key, cacheContext, shapes)
    return shapes
  }

  /** Plan of statement `index` with its parameters. A client's mistake gives `refuse`. */
  plan(
    prepared: Prepared,
    index: number,
    params: BoundParams | null,
    { topology, rules }: RouterContext,
  ): Plan {
    const statement = prepared.statements[index]
    if (statement === undefined) return { kind: 'session', command: { kind: 'empty' } }
    return planOf(statement.shape, { literals: prepared.literals, params }, topology, rules)
  }

  /** Interned, so that the cache may compare by identity. */
  #contextOf({ schema, rules, searchPath, replicaRules = null }: RouterContext): CacheContext {
    const schemaVersion = schema?.version ?? -1
    const last = this.#last
    if (last?.schemaVersion === schemaVersion && this.#lastPath === searchPath) {
      if (last.replicaRules === replicaRules) return last
    }
    const path = `${rules === null ? '' : 'sharded'}\u0000${searchPath.join('\u0000')}`
    let found = this.#contexts.find(
      (known) =>
        known.schemaVersion === schemaVersion &&
        known.path === path &&
        known.replicaRules === replicaRules,
    )
    if (found === undefined) {
      found = { schemaVersion, path, replicaRules }
      this.#contexts.push(found)
      if (this.#contexts.length > contextsMax) this.#contexts.shift()
    }
    this.#last = found
    this.#lastPath = searchPath
    return found
  }
}

const contextsMax = 64

function shapesOf(lexed: Lexed, literals: Literals, context: RouterContext): PlacedShape[] {
  const { schema, rules, searchPath, replicaRules = null } = context
  const text = textOf(lexed, rules !== null)
  if (rules !== null && schema === null) {
    const error = pgError('catalogUnavailable', [homeShard(context.topology)])
    return [whole({ ...unparsed, route: refused(error, true) })]
  }
  const names = rules === null || schema === null ? null : new Names(schema, rules, searchPath)
  try {
    const route = setToPrimary(text)
    if (route !== undefined)
      return [whole({ ...unparsed, command: 'session', isReadOnly: true, route })]
    const parsed = parseSql(text)
    if (parsed.length === 0) return [whole(empty)]
    if (parsed.length > 1 && !isUtf8(lexed)) {
      throw pgError('unsupported', ['several statements in one string that is not UTF-8'])
    }
    return parsed.map(({ node, start, end }) => {
      const sql = utf8Of(lexed.raw.slice(start, end))
      const found = shapeOf(node, { names, schema, searchPath, replicaRules, literals, sql })
      const alone = parsed.length === 1 && !found.exactOnly
      const autoPrepare = alone ? autoPrepareOf(node, lexed.template, literals) : null
      const shape = { ...found, autoPrepare }
      return { shape, ...semicolonsAround(lexed, start, end) }
    })
  } catch (thrown) {
    if (thrown instanceof RangeError) throw pgError('statementTooComplex', [], { cause: thrown })
    // The server may know more than the grammar here; what it leaves behind nobody knows.
    if (rules !== null || !(thrown instanceof PgError) || thrown.sqlstate === '0A000') throw thrown
    const pin = leavesState.test(text) ? ('session state' as const) : null
    return [whole({ ...unparsed, pin })]
  }
}

const leavesState = /\b(?:set|prepare|listen|load|setseed|dblink_connect)\b/i

const unparsed: Shape = {
  command: 'utility',
  route: { kind: 'home' },
  isReadOnly: false,
  pin: null,
  paramCount: 0,
  exactOnly: true,
  replica: { kind: 'primary', reason: 'it could not be parsed' },
  traces: { ...noTraces, opaque: true },
}

const empty: Shape = {
  ...unparsed,
  command: 'empty',
  route: { kind: 'session', command: { kind: 'empty' } },
  isReadOnly: true,
  replica: { kind: 'allowed' },
  traces: noTraces,
}

/** The text as if its hints were blank: they change neither shapes nor the places of anything. */
function withoutHints(lexed: Lexed): Lexed {
  if (lexed.hints.length === 0) return lexed
  const blanked = blankHints(bytesOf(lexed.raw), lexed.hints)
  return { ...lexed, raw: Buffer.from(blanked).toString('latin1') }
}

/** Tokens and ids differ each time: their texts would only fill the cache. */
function isPassing({ shape: { route } }: PlacedShape): boolean {
  return route.kind === 'session' && route.command.kind === 'setRingfence'
}

function whole(shape: Shape): PlacedShape {
  return { shape, after: -1, before: -1 }
}

/** Text for the parser, whose offsets are those of the bytes sent. */
function textOf(lexed: Lexed, sharded: boolean): string {
  if (lexed.ascii) return lexed.raw
  if (isUtf8(lexed)) return utf8Of(lexed.raw)
  if (sharded) throw pgError('unsupported', ['SQL in another encoding than UTF8'])
  // One shard needs the grammar alone: any letter will do for a byte of another encoding.
  return lexed.raw.replaceAll(/[\x80-\xff]/g, 'x')
}

function isUtf8({ raw, ascii }: Lexed): boolean {
  return ascii || isUtf8Bytes(Buffer.from(raw, 'latin1'))
}

/** Numbers of the semicolons that a statement stands between. */
function semicolonsAround(lexed: Lexed, start: number, end: number) {
  return {
    // The parser skips blanks and comments after the semicolon.
    after: lexed.semicolons.findLastIndex((at) => at < start),
    before: lexed.semicolons.indexOf(end),
  }
}

function statementsOf(lexed: Lexed, shapes: readonly PlacedShape[]): Statement[] {
  return shapes.map(({ shape, after, before }) => {
    const start = after < 0 ? 0 : (lexed.semicolons[after] ?? 0) + 1
    const end = before < 0 ? lexed.raw.length : (lexed.semicolons[before] ?? lexed.raw.length)
    const raw = start === 0 && end === lexed.raw.length ? lexed.raw : lexed.raw.slice(start, end)
    if (lexed.ascii) return new Statement(shape, raw, start)
    return new Statement(shape, utf8Of(raw), charactersIn(utf8Of(lexed.raw.slice(0, start))))
  })
}
