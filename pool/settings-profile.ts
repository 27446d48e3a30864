// Session settings that outlive a transaction, as one immutable value: what a client has set, and what
// a server connection has in force. Two profiles are compared on checkout, the difference is replayed.
// Settings of the proxy itself (`ringfence.…`) stand beside them: no server ever hears of those.

import { dateStyleAfter } from './date-style.ts'

/** Who the session acts as: in force last, and taken back first, since other settings may need the rights of before. */
const identity = ['session_authorization', 'role'] as const

/** What the names of a statement mean depends on these, anew with each execution. */
const nameSettings = new Set(['search_path', ...identity])

/**
 * What PostgreSQL goes by when it parses a statement, and never again: constants such as '1/2/2026'::date are read
 * then.
 */
const literalSettings = new Set([
  'array_nulls',
  'backslash_quote',
  'client_encoding',
  'datestyle',
  'intervalstyle',
  'lc_monetary',
  'restrict_nonsystem_relation_kind',
  'standard_conforming_strings',
  'timezone',
  'timezone_abbreviations',
  'transform_null_equals',
  'xmloption',
])

/** Timeouts that go on in a server that is given back, and end it, or what its next client asks for before it has begun. */
const lingeringTimeouts = [
  'idle_session_timeout',
  'statement_timeout',
  'transaction_timeout',
] as const
/** Statements of ours, which put the next client's settings in force, are done within that time. */
const enoughMs = 1_000

const unitsMs: Readonly<Record<string, number>> = {
  us: 0.001,
  ms: 1,
  s: 1_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

/** Settings by lower-case name, each as the SQL statement that puts it in force. */
export class SettingsProfile {
  static readonly empty = new SettingsProfile(new Map(), new Map())
  readonly #statements: ReadonlyMap<string, string>
  readonly #own: ReadonlyMap<string, string>
  /** Equal keys mean equal settings of the server. */
  readonly key: string
  /** The part of `key` that names in statements are looked up by; '' for the server's defaults. */
  readonly names: string
  /** The part of `key` that constants in statements are read by; '' for the server's defaults. */
  readonly literals: string
  /** False for a server that may be given back as it is; see `calmed`. */
  readonly isHasty: boolean

  private constructor(statements: ReadonlyMap<string, string>, own: ReadonlyMap<string, string>) {
    this.#statements = statements
    this.#own = own
    const sorted = [...statements].sort(([a], [b]) => (a < b ? -1 : 1))
    this.key = keyOf(sorted)
    this.names = keyOf(sorted.filter(([name]) => nameSettings.has(name)))
    const literal = sorted.filter(([name]) => literalSettings.has(name))
    this.literals = keyOf(literal.map(([name, sql]) => [name, valueIn(name, sql)]))
    this.isHasty = lingeringTimeouts.some((name) => this.#lingers(name))
  }

  /** The same settings without timeouts that whoever comes next would feel. */
  get calmed(): SettingsProfile {
    return lingeringTimeouts.reduce<SettingsProfile>((calm, name) => {
      return this.#lingers(name) ? calm.without(name) : calm
    }, this)
  }

  #lingers(name: (typeof lingeringTimeouts)[number]): boolean {
    const ms = this.timeoutMs(name)
    if (ms === 0) return false
    return ms === null || name === 'idle_session_timeout' || ms < enoughMs
  }

  /** Milliseconds of a timeout; 0 without one, null when its value cannot be read out of the statement that set it. */
  timeoutMs(name: string): number | null {
    const sql = this.#statements.get(name)
    if (sql === undefined) return 0
    const [, number, unit = 'ms'] = timeoutPattern.exec(valueIn(name, sql)) ?? []
    const unitMs = unitsMs[unit]
    return number === undefined || unitMs === undefined ? null : Number(number) * unitMs
  }

  /** Statement that sets `name`; undefined when the server's default is in force. */
  get(name: string): string | undefined {
    return this.#statements.get(name)
  }

  /** Settings of the user's own, which no server lists. */
  get customNames(): readonly string[] {
    return [...this.#statements.keys()].filter((name) => name.includes('.'))
  }

  /** Settings that the server lists, by name; without who the session acts as. */
  get listed(): readonly (readonly [name: string, sql: string])[] {
    return [...this.#statements].filter(([name]) => !name.includes('.') && !isIdentity(name))
  }

  /** Settings by name with the SQL that puts each in force, in the order in which they were made. */
  static of(settings: Iterable<readonly [name: string, sql: string]>): SettingsProfile {
    const statements = new Map<string, string>()
    for (const [name, sql] of settings) put(statements, name, sql)
    return statements.size === 0
      ? SettingsProfile.empty
      : new SettingsProfile(statements, new Map())
  }

  /** The same settings with `name` put in force by `sql`. */
  with(name: string, sql: string): SettingsProfile {
    const acts = name === identity[0] && this.#statements.has(identity[1])
    if (this.#statements.get(name) === sql && !acts) return this
    const statements = new Map(this.#statements)
    put(statements, name, sql)
    return new SettingsProfile(statements, this.#own)
  }

  /** The same settings with `name` back at the server's default. */
  without(name: string): SettingsProfile {
    const both = name === identity[0] && this.#statements.has(identity[1])
    if (!this.#statements.has(name) && !both) return this
    const statements = new Map(this.#statements)
    statements.delete(name)
    if (both) statements.delete(identity[1])
    if (statements.size === 0 && this.#own.size === 0) return SettingsProfile.empty
    return new SettingsProfile(statements, this.#own)
  }

  /** True with settings of the proxy, which `key` does not tell of. */
  get hasOwn(): boolean {
    return this.#own.size > 0
  }

  /** Value of a setting of the proxy; undefined when it was not set. */
  own(name: string): string | undefined {
    return this.#own.get(name)
  }

  /** The same settings with the proxy's own `name` at `value`; null takes it back. */
  withOwn(name: string, value: string | null): SettingsProfile {
    const own = new Map(this.#own)
    if (value === null) own.delete(name)
    else own.set(name, value)
    return new SettingsProfile(this.#statements, own)
  }

  /** The same settings of the server, with the proxy's own ones of `other`. */
  withOwnOf(other: SettingsProfile): SettingsProfile {
    return new SettingsProfile(this.#statements, other.#own)
  }

  /** True when both are the same for a server. */
  equals(other: SettingsProfile): boolean {
    return this === other || this.key === other.key
  }

  /** What RESET ALL makes of these settings where `startup` has those of the startup packet. */
  resetTo(startup: SettingsProfile): SettingsProfile {
    return identity.reduce<SettingsProfile>((reset, name) => {
      const sql = this.#statements.get(name)
      return sql === undefined ? reset : reset.with(name, sql)
    }, startup)
  }

  /** These settings, with constants in statements read as under `other`. */
  readingAs(other: SettingsProfile): SettingsProfile {
    if (other.literals === this.literals) return this
    const isLiteral = ([name]: readonly [string, string]) => literalSettings.has(name)
    const kept = [...this.#statements].filter((setting) => !isLiteral(setting))
    const read = [...other.#statements].filter(isLiteral)
    return new SettingsProfile(new Map([...kept, ...read]), this.#own)
  }

  /** SQL that turns a connection with `applied` in force into one with this profile; '' when equal. */
  replayFrom(applied: SettingsProfile): string {
    if (this.equals(applied)) return ''
    const sql: string[] = []
    const acting = identity.filter((name) => applied.#statements.has(name)).reverse()
    for (const name of acting) sql.push(`RESET ${quoteSetting(name)}`)
    for (const name of applied.#statements.keys()) {
      if (isIdentity(name) || this.#statements.has(name)) continue
      sql.push(`RESET ${quoteSetting(name)}`)
    }
    for (const [name, statement] of this.#statements) {
      if (isIdentity(name) || applied.#statements.get(name) === statement) continue
      sql.push(statement)
    }
    for (const name of identity) {
      const statement = this.#statements.get(name)
      if (statement !== undefined) sql.push(statement)
    }
    return sql.join('\n;')
  }
}

const timeoutPattern = /^= *(\d{1,12}(?:\.\d{1,12})?) *([a-z]{1,3})? *$/

/** Set again means set last: SESSION CHARACTERISTICS and its parts must keep their order. */
function put(statements: Map<string, string>, name: string, sql: string): void {
  const before = statements.get(name)
  statements.delete(name)
  // Another session user begins without a role.
  if (name === identity[0]) statements.delete(identity[1])
  statements.set(name, name === 'datestyle' ? dateStyleAfter(before, sql) : sql)
}

function keyOf(settings: readonly (readonly [string, string])[]): string {
  return settings.map(([name, sql]) => `${name}\0${sql}`).join('\x01')
}

/** Up to the value. Nothing in it can be matched in many ways: clients that are nobody yet choose what it reads. */
const plainSetting =
  /^(?:SET\s+(?:SESSION\s+)?"?\w{1,63}"?\s*(?:TO|=)|SELECT pg_catalog\.set_config\('\w{1,63}',)([^"\\]*)$/i

/** The same for different words that mean the same, where that is easily seen: what a look finds is said in ours. */
function valueIn(name: string, sql: string): string {
  const written = plainSetting.exec(sql.trim())?.[1]
  if (written === undefined || name === 'lc_monetary') return sql
  const value = unquoted(withoutEnd(written, ', false)').trim()).toLowerCase()
  // asyncpg quotes it once more.
  if (name === 'client_encoding') return `=${value.replaceAll(/[^a-z0-9]/g, '')}`
  return value.includes("'") ? sql : `=${value}`
}

function unquoted(text: string): string {
  return withoutEnd(text.startsWith("'") ? text.slice(1) : text, "'")
}

function withoutEnd(text: string, end: string): string {
  return text.endsWith(end) ? text.slice(0, -end.length) : text
}

function isIdentity(name: string): boolean {
  return name === identity[0] || name === identity[1]
}

/** Setting names are identifiers joined by dots: each part is quoted by itself. */
export function quoteSetting(name: string): string {
  return name
    .split('.')
    .map((part) => `"${part.replaceAll('"', '""')}"`)
    .join('.')
}

/** A string constant for SQL, whatever standard_conforming_strings says. */
export function quoteLiteral(text: string): string {
  const quoted = `'${text.replaceAll("'", "''")}'`
  return text.includes('\\') ? ` E${quoted.replaceAll('\\', '\\\\')}` : quoted
}
