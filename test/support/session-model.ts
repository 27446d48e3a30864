// What one PostgreSQL session knows, as a model: settings inside and outside transactions and savepoints,
// prepared statements, the transaction's status. The model check compares pooled clients with it.

/** Settings by name. */
export type Settings = ReadonlyMap<string, string>

type Level = { readonly name: string; readonly session: Settings; readonly local: Settings }
type Block = { readonly before: Settings; local: Settings; levels: Level[]; failed: boolean }

/** How PostgreSQL answers: '' when it does as asked, else the SQLSTATE. */
export type Verdict = string

const aborted = '25P02'

/** Each method says what PostgreSQL would answer and changes the model accordingly. */
export class SessionModel {
  readonly #startup: Settings
  #session: Settings
  #block: Block | null = null
  readonly statements = new Map<string, string>()

  constructor(startup: Settings) {
    this.#startup = startup
    this.#session = startup
  }

  /** Status that ReadyForQuery must tell. */
  get status(): 'I' | 'T' | 'E' {
    if (this.#block === null) return 'I'
    return this.#block.failed ? 'E' : 'T'
  }

  get settings(): Settings {
    return new Map([...this.#session, ...(this.#block?.local ?? [])])
  }

  set(name: string, value: string): Verdict {
    return this.#do(() => {
      this.#session = new Map(this.#session).set(name, value)
      this.#forgetLocal([name])
    })
  }

  /** Outside a transaction it has no effect. */
  setLocal(name: string, value: string): Verdict {
    return this.#do(() => {
      if (this.#block !== null) this.#block.local = new Map(this.#block.local).set(name, value)
    })
  }

  reset(name: string): Verdict {
    return this.set(name, this.#startup.get(name) ?? '')
  }

  resetAll(): Verdict {
    return this.#do(() => {
      this.#session = this.#startup
      this.#forgetLocal([...this.#startup.keys()])
    })
  }

  discardAll(): Verdict {
    if (this.#block !== null) return this.fail('25001')
    this.#session = this.#startup
    this.statements.clear()
    return ''
  }

  begin(): Verdict {
    return this.#do(() => {
      this.#block ??= { before: this.#session, local: new Map(), levels: [], failed: false }
    })
  }

  /** COMMIT of a failed transaction rolls back and says so: no error. */
  commit(): Verdict {
    if (this.#block?.failed === true) return this.rollback()
    this.#block = null
    return ''
  }

  rollback(): Verdict {
    if (this.#block !== null) this.#session = this.#block.before
    this.#block = null
    return ''
  }

  savepoint(name: string): Verdict {
    return this.#do(() => {
      const block = this.#block
      block?.levels.push({ name, session: this.#session, local: block.local })
    }, true)
  }

  rollbackTo(name: string): Verdict {
    const block = this.#block
    if (block === null) return '25P01'
    const at = block.levels.findLastIndex((level) => level.name === name)
    const level = block.levels[at]
    if (level === undefined) return this.fail('3B001')
    block.levels.length = at + 1
    block.local = level.local
    block.failed = false
    this.#session = level.session
    return ''
  }

  release(name: string): Verdict {
    const block = this.#block
    if (block?.failed === true) return aborted
    if (block === null) return '25P01'
    const at = block.levels.findLastIndex((level) => level.name === name)
    if (at < 0) return this.fail('3B001')
    block.levels.length = at
    return ''
  }

  prepare(name: string, sql: string): Verdict {
    if (this.#block?.failed === true) return aborted
    if (this.statements.has(name)) return this.fail('42P05')
    this.statements.set(name, sql)
    return ''
  }

  /** Closing what does not exist is no error, nor is it in a failed transaction. */
  close(name: string): Verdict {
    this.statements.delete(name)
    return ''
  }

  execute(name: string): Verdict {
    if (!this.statements.has(name)) return this.fail('26000')
    return this.#do(() => undefined)
  }

  /** A statement that changes nothing of what is modelled. */
  read(): Verdict {
    return this.#do(() => undefined)
  }

  /** A statement fails with `sqlstate`: so does the transaction. */
  fail(sqlstate: string): Verdict {
    const block = this.#block
    if (block === null) return sqlstate
    const verdict =
      block.failed && sqlstate !== '26000' && sqlstate !== '3B001' ? aborted : sqlstate
    block.failed = true
    return verdict
  }

  #do(change: () => void, onlyInBlock = false): Verdict {
    if (this.#block?.failed === true) return aborted
    if (onlyInBlock && this.#block === null) return '25P01'
    change()
    return ''
  }

  #forgetLocal(names: readonly string[]): void {
    if (this.#block === null) return
    const local = new Map(this.#block.local)
    for (const name of names) local.delete(name)
    this.#block.local = local
  }
}
