// Session settings that outlive a transaction, as one immutable value: what a client has set, and what
// a server connection has in force. Two profiles are compared on checkout, the difference is replayed.
// Settings of the proxy itself (`ringfence.…`) stand beside them: no server ever hears of those.

const multiNames: Readonly<Record<string, readonly string[]>> = {
  'session characteristics': [
    'default_transaction_isolation',
    'default_transaction_read_only',
    'default_transaction_deferrable',
  ],
}

/** Settings by lower-case name, each as the SQL statement that puts it in force. */
export class SettingsProfile {
  static readonly empty = new SettingsProfile(new Map(), new Map())
  readonly #statements: ReadonlyMap<string, string>
  readonly #own: ReadonlyMap<string, string>
  /** Equal keys mean equal settings of the server. */
  readonly key: string

  private constructor(statements: ReadonlyMap<string, string>, own: ReadonlyMap<string, string>) {
    this.#statements = statements
    this.#own = own
    const sorted = [...statements].sort(([a], [b]) => (a < b ? -1 : 1))
    this.key = sorted.map(([name, sql]) => `${name}\0${sql}`).join('\x01')
  }

  /** Statement that sets `name`; undefined when the server's default is in force. */
  get(name: string): string | undefined {
    return this.#statements.get(name)
  }

  /** The same settings with `name` put in force by `sql`. */
  with(name: string, sql: string): SettingsProfile {
    if (this.#statements.get(name) === sql) return this
    const statements = new Map(this.#statements)
    // Set again means set last: SESSION CHARACTERISTICS and its parts must keep their order.
    statements.delete(name)
    return new SettingsProfile(statements.set(name, sql), this.#own)
  }

  /** The same settings with `name` back at the server's default. */
  without(name: string): SettingsProfile {
    if (!this.#statements.has(name)) return this
    const statements = new Map(this.#statements)
    statements.delete(name)
    if (statements.size === 0 && this.#own.size === 0) return SettingsProfile.empty
    return new SettingsProfile(statements, this.#own)
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

  /** True when both are the same for a server. */
  equals(other: SettingsProfile): boolean {
    return this === other || this.key === other.key
  }

  /** SQL that turns a connection with `applied` in force into one with this profile; '' when equal. */
  replayFrom(applied: SettingsProfile): string {
    if (this.equals(applied)) return ''
    const sql: string[] = []
    for (const name of applied.#statements.keys()) {
      if (this.#statements.has(name)) continue
      for (const part of multiNames[name] ?? [name]) sql.push(`RESET ${quoteSetting(part)}`)
    }
    const reset = sql.length > 0
    for (const [name, statement] of this.#statements) {
      if (reset || applied.#statements.get(name) !== statement) sql.push(statement)
    }
    return sql.join('\n;')
  }
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
