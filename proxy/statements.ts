// What a client has prepared and bound, under its own names.
import type { ShardId } from '../core/ids.ts'
import type { SettingsProfile } from '../pool/settings-profile.ts'
import type { CachedStatement } from '../pool/statement-cache.ts'
import type { PinReason, Plan, SessionCommand } from '../router/plan.ts'
import type { BoundParams, Prepared, RouterContext } from '../router/router.ts'
import type { Look, Traces } from '../router/traces.ts'
import { decodeRowDescription } from '../wire/backend.ts'
import { backend } from '../wire/codes.ts'
import type { Database } from './database.ts'

/** How a session reads statements now. */
export type Reading = { readonly context: RouterContext; readonly settings: SettingsProfile }

/** What the meaning of a text depends on, but for the schema: part of its key in the statement cache. */
export function scopeOf({ names, literals }: SettingsProfile): string {
  return literals === '' ? names : `${names}\0${literals}`
}

const never = -1

/** One prepared statement of a client. Its name on servers is `cached.name`, or unnamed. */
export class ClientStatement {
  readonly named: boolean
  /** Characters before its text in the PREPARE of its client. */
  readonly bodyAt: number
  #cached: CachedStatement
  #prepared: Prepared
  #reading: Reading
  /** What its client has been told of its columns; null when nothing. */
  #columns: string | null = null
  /** Definitions of the database when that was true; see Database.definitions. */
  #provenAt = 0
  /** The same under the search_paths it was used with before; null as long as there has been one. */
  #provenElsewhere: WeakMap<CachedStatement, number> | null = null
  /** Definitions of the database when its columns were others. */
  #outdatedAt = never

  constructor(
    named: boolean,
    cached: CachedStatement,
    prepared: Prepared,
    reading: Reading,
    bodyAt = 0,
  ) {
    this.named = named
    this.bodyAt = bodyAt
    this.#cached = cached
    this.#prepared = prepared
    this.#reading = reading
  }

  get cached(): CachedStatement {
    return this.#cached
  }

  /** A server is asked for its columns, which its client will go by. */
  asked(definitions: number): void {
    this.#provenAt = definitions
  }

  /** Its client is told `description`, a RowDescription or NoData. */
  told(description: Uint8Array): void {
    this.#columns = columnsIn(description)
  }

  get isTold(): boolean {
    return this.#columns !== null
  }

  /** True when its client goes by columns that definitions since may have changed. */
  isUnproven(definitions: number): boolean {
    if (this.#columns === null || this.#provenAt === definitions) return false
    return !this.isOutdated(definitions)
  }

  /** A server says what its columns are now. */
  prove(description: Uint8Array, definitions: number): void {
    if (this.gives(description)) this.#provenAt = definitions
    else this.#outdatedAt = definitions
  }

  /** True when `description` tells the columns that its client was told. */
  gives(description: Uint8Array): boolean {
    return columnsIn(description) === this.#columns
  }

  /** Its columns are not those any more that its client was told. */
  isOutdated(definitions: number): boolean {
    return this.#outdatedAt === definitions
  }

  /** As it reads now: after DDL or with another search_path its names may mean other tables. */
  preparedIn({ router, statements }: Database, reading: Reading): Prepared {
    const { context, settings } = reading
    if (context === this.#reading.context) return this.#prepared
    const { sql, paramTypes } = this.#cached
    const { hints, hintProblem, hintSpans } = this.#prepared
    // What servers are given has no hints any more.
    this.#prepared = { ...router.statements(sql, context), hints, hintProblem, hintSpans }
    // PostgreSQL reads it anew with another search_path; else constants stay what they were at the Parse.
    const before = this.#reading.settings
    const anew = settings.get('search_path') !== before.get('search_path')
    const read = anew ? settings : settings.readingAs(before)
    if (settings.names !== this.#reading.settings.names) {
      this.#becomes(statements.intern(sql, paramTypes, scopeOf(read)))
    }
    this.#reading = { context, settings: read }
    return this.#prepared
  }

  /** What it gives under another search_path has to be asked once. */
  #becomes(cached: CachedStatement): void {
    this.#provenElsewhere ??= new WeakMap()
    this.#provenElsewhere.set(this.#cached, this.#provenAt)
    this.#cached = cached
    this.#provenAt = this.#provenElsewhere.get(cached) ?? never
    this.#outdatedAt = never
  }

  /** False when a server that lacks it would read its constants otherwise than its client has meant them. */
  meansTheSame({ literals }: SettingsProfile): boolean {
    if (!this.named || literals === this.#reading.settings.literals) return true
    return !readsConstants(this.#cached.sql)
  }

  /** Its server has read it by these settings, which were not known when its client sent it. */
  readBy(settings: SettingsProfile): void {
    const { context, settings: before } = this.#reading
    this.#reading = { context, settings: before.readingAs(settings) }
  }

  /** Settings under which a server must parse it so that it means what it meant to its client. */
  readUnder(settings: SettingsProfile): SettingsProfile {
    return settings.readingAs(this.#reading.settings)
  }
}

/** True for a text whose meaning depends on how constants are read, or on whether `= NULL` is a comparison. */
export function readsConstants(sql: Uint8Array): boolean {
  const text = Buffer.from(sql.buffer, sql.byteOffset, sql.length)
  return (
    text.includes(quote) || text.includes(dollarQuote) || nullCompared.test(text.toString('latin1'))
  )
}

const quote = "'"
const dollarQuote = '$$'
const nullCompared = /=\s*null|null\s*=|\$\w+\$/i

/** PostgreSQL compares these; where the columns come from does not count. */
function columnsIn(description: Uint8Array): string {
  if (description[0] !== backend.rowDescription) return ''
  return decodeRowDescription(description)
    .map(({ name, typeOid, typeModifier }) => `${typeOid} ${typeModifier} ${name}`)
    .join('\0')
}

/** A bound statement; lives until its transaction ends. */
export type Portal = {
  readonly statement: ClientStatement
  readonly prepared: Prepared
  readonly params: BoundParams
  readonly plan: Plan
  /** The Bind message, for portals that are executed on several shards. */
  readonly bindFrame: Uint8Array
  /** Shard where the portal is open on a server; null when none has it. */
  shard: ShardId | null
  /** It was executed before. */
  begun: boolean
  /** Portal that has had its name: the Bind may fail for that, and leave it where it was. */
  readonly hides: Portal | null
}

/** What is left to note once a statement has been completed by a server. */
export type Effect = {
  readonly command: SessionCommand | null
  readonly sql: string
  readonly params: BoundParams | null
  /** What nobody can look up, so that it pins at once. */
  readonly pin: PinReason | null
  /** How the server must be looked at behind it. */
  readonly look: Look
  readonly traces: Traces
  /** DDL: prepared plans of all servers are outdated. */
  readonly ddl: boolean
  /** For a BEGIN that was sent along with statements that may write. */
  readonly writes: boolean
}
