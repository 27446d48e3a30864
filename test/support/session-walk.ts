// One client's random walk of the model check: every step is done by a pooled session and by the model,
// and both must agree on the answer, on the transaction's status and on what the client was told.
import { errorFields, type RawClient, rowsOf, untilReady } from './clients.ts'
import {
  bindBytes,
  executeBytes,
  frontendMessage,
  parseBytes,
  targetBytes,
  textBytes,
} from './frontend-bytes.ts'
import type { Random } from './random.ts'
import type { ServerMessage } from './raw-connection.ts'
import type { SessionModel } from './session-model.ts'

type Choices = readonly [string, ...string[]]

/** Settings of the model with values in the form in which SHOW gives them back. */
const settingValues: ReadonlyMap<string, Choices> = new Map<string, Choices>([
  ['application_name', ['one', "it's", 'a\\b']],
  ['work_mem', ['1MB', '7MB', '64kB']],
  ['statement_timeout', ['1min', '77s', '2h']],
  ['DateStyle', ['German, DMY', 'SQL, MDY', 'ISO, YMD']],
  ['TimeZone', ['UTC', 'Asia/Tokyo', 'Europe/Berlin']],
  ['search_path', ['public, pg_catalog', 'pg_catalog', '"Odd Name", public']],
])
/** Names of the settings of the model. */
export const settingNames = [...settingValues.keys()]
const reported = ['application_name', 'DateStyle', 'TimeZone']
const savepoints: Choices = ['a', 'b']
const statementNames: Choices = ['s1', 's2', 's3']
const empty = Buffer.alloc(0)
const logMax = 15

/** One row with every setting. */
export const readSettings = `SELECT ${settingNames
  .map((name) => `current_setting('${name}')`)
  .join(', ')}`

export type WalkOptions = {
  readonly client: RawClient
  readonly model: SessionModel
  readonly random: Random
  /** Clients that may still pin a server. */
  readonly pins: { left: number }
  /** Names this client's own temporary rows and lock. */
  readonly number: number
}

/** A client, its model, and the steps they take together. */
export class SessionWalk {
  readonly #options: WalkOptions
  readonly #told = new Map<string, string>()
  readonly #log: string[] = []
  readonly #steps: readonly [() => Promise<string>, ...(() => Promise<string>)[]]
  #pinned = false

  constructor(options: WalkOptions) {
    this.#options = options
    this.#hear(options.client.greeting)
    const { model } = options
    const simple = (sql: string, answer: () => string) => () => this.#simple(sql, answer)
    this.#steps = [
      () => this.#read(),
      () => this.#read(),
      () => this.#set(),
      () => this.#set(),
      () => this.#set(),
      () => this.#setConfig(),
      () => this.#reset(),
      () => this.#savepoint(),
      () => this.#savepoint(),
      () => this.#prepare(),
      () => this.#execute(),
      () => this.#execute(),
      () => this.#close(),
      () => this.#string(),
      () => this.#pipeline(),
      () => this.#pin(),
      () => this.#discardAll(),
      simple('RESET ALL', () => model.resetAll()),
      simple('BEGIN', () => model.begin()),
      simple('BEGIN', () => model.begin()),
      simple('COMMIT', () => model.commit()),
      simple('COMMIT', () => model.commit()),
      simple('ROLLBACK', () => model.rollback()),
      simple('SELECT 1 / 0', () => model.fail('22012')),
    ]
  }

  /** Takes one step; '' when client and model agree, else the story of how they came to differ. */
  async step(): Promise<string> {
    const wrong = await this.#options.random.pick(this.#steps)()
    return wrong === '' ? '' : `${wrong}\n  ${this.#log.join('\n  ')}`
  }

  /** Leaves nothing behind: no transaction, no pin. */
  async end(): Promise<void> {
    await this.#simple('ROLLBACK', () => this.#options.model.rollback())
    await this.#discardAll()
    this.#options.client.connection.destroy()
  }

  // ---- steps

  async #read(): Promise<string> {
    const { model, random } = this.#options
    const answer = model.read()
    const messages = await this.#send(
      random.oneIn(2) ? [textBytes('Q', readSettings)] : extended(readSettings, []),
      readSettings,
    )
    const wrong = this.#compare(messages, answer)
    if (wrong !== '' || answer !== '') return wrong
    const row = rowsOf(messages)[0] ?? []
    const found = new Map(settingNames.map((name, at) => [name, row[at] ?? 'NULL']))
    return differences(found, model.settings, settingNames)
  }

  #set(): Promise<string> {
    const { model, random } = this.#options
    const { name, value } = this.#chosen()
    const literal = name === 'search_path' ? value : quoted(value)
    if (random.oneIn(3))
      return this.#simple(`SET LOCAL ${name} TO ${literal}`, () => model.setLocal(name, value))
    const sql = `SET ${name} TO ${literal}`
    if (random.oneIn(2)) return this.#simple(sql, () => model.set(name, value))
    return this.#extended(sql, [], () => model.set(name, value))
  }

  #setConfig(): Promise<string> {
    const { model, random } = this.#options
    const { name, value } = this.#chosen()
    const local = random.oneIn(2)
    const answer = () => (local ? model.setLocal(name, value) : model.set(name, value))
    if (random.oneIn(2)) {
      return this.#simple(`SELECT set_config('${name}', ${quoted(value)}, ${local})`, answer)
    }
    return this.#extended('SELECT set_config($1, $2, $3)', [name, value, String(local)], answer)
  }

  #reset(): Promise<string> {
    const { name } = this.#chosen()
    return this.#simple(`RESET ${name}`, () => this.#options.model.reset(name))
  }

  #savepoint(): Promise<string> {
    const { model, random } = this.#options
    const name = random.pick(savepoints)
    switch (random.below(4)) {
      case 0:
        return this.#simple(`RELEASE ${name}`, () => model.release(name))
      case 1:
        return this.#simple(`ROLLBACK TO ${name}`, () => model.rollbackTo(name))
      default:
        return this.#simple(`SAVEPOINT ${name}`, () => model.savepoint(name))
    }
  }

  async #prepare(): Promise<string> {
    const { model, random } = this.#options
    const name = random.pick(statementNames)
    const sql = `SELECT $1 || ' in ${random.below(30)}'`
    const messages = [parseBytes(Buffer.from(name), Buffer.from(sql), [25])]
    return this.#compare(
      await this.#send(messages, `Parse ${name}: ${sql}`),
      model.prepare(name, sql),
    )
  }

  async #execute(): Promise<string> {
    const { model, random } = this.#options
    const name = random.pick(statementNames)
    const word = `word ${random.below(1000)}`
    const sql = model.statements.get(name) ?? ''
    const answer = model.execute(name)
    const messages = await this.#send(execution(name, [word]), `Execute ${name}(${word})`)
    const wrong = this.#compare(messages, answer)
    if (wrong !== '' || answer !== '') return wrong
    const expected = sql.replace("SELECT $1 || '", word).replace(/'$/, '')
    const found = rowsOf(messages)[0]?.[0]
    return found === expected ? '' : `${String(found)} instead of ${expected}`
  }

  async #close(): Promise<string> {
    const name = this.#options.random.pick(statementNames)
    const messages = [targetBytes('C', 'S', Buffer.from(name))]
    return this.#compare(
      await this.#send(messages, `Close ${name}`),
      this.#options.model.close(name),
    )
  }

  /** Several statements in one string: all or nothing where there is no transaction around it. */
  #string(): Promise<string> {
    const { model, random } = this.#options
    const { name, value } = this.#chosen()
    const set = `SET ${name} TO ${name === 'search_path' ? value : quoted(value)}`
    if (random.oneIn(2) || model.status !== 'I') {
      return this.#simple(`${set}; SELECT 1 / 0`, () => model.fail('22012'))
    }
    return this.#simple(`BEGIN; ${set}; COMMIT`, () => model.set(name, value))
  }

  /** The same in the extended protocol. */
  async #pipeline(): Promise<string> {
    const { model, random } = this.#options
    const { name, value } = this.#chosen()
    const fails = random.oneIn(2)
    const set = `SET ${name} TO ${name === 'search_path' ? value : quoted(value)}`
    const second = fails ? 'SELECT 1 / 0' : 'SELECT 2'
    const messages = [...extended(set, []), ...extended(second, [])]
    const answer = fails ? model.fail('22012') : model.set(name, value)
    return this.#compare(await this.#send(messages, `${set} | ${second}`), answer)
  }

  async #pin(): Promise<string> {
    const { model, pins, random, number } = this.#options
    if (this.#pinned) return this.#expectPinned()
    if (model.status !== 'I' || pins.left === 0) return ''
    pins.left -= 1
    this.#pinned = true
    const table = `CREATE TEMP TABLE mine AS SELECT ${number} AS number`
    const lock = `SELECT pg_advisory_lock(${number})`
    const both = random.oneIn(2) ? [table, lock] : [lock, table]
    const [first = '', second = ''] = both
    const wrong = await this.#simple(first, () => model.read())
    return wrong === '' ? this.#simple(second, () => model.read()) : wrong
  }

  async #expectPinned(): Promise<string> {
    const { model, number } = this.#options
    const answer = model.read()
    const sql = `SELECT number, (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
      AND pid = pg_backend_pid()) FROM pg_temp.mine`
    const messages = await this.#send([textBytes('Q', sql)], sql)
    const wrong = this.#compare(messages, answer)
    if (wrong !== '' || answer !== '') return wrong
    const found = (rowsOf(messages)[0] ?? []).join()
    return found === `${number},1` ? '' : `pinned state is ${found}`
  }

  async #discardAll(): Promise<string> {
    const { model, pins } = this.#options
    const outside = model.status === 'I'
    const wrong = await this.#simple('DISCARD ALL', () => model.discardAll())
    if (!outside || !this.#pinned) return wrong
    this.#pinned = false
    pins.left += 1
    return wrong
  }

  // ---- asking and comparing

  #chosen(): { readonly name: string; readonly value: string } {
    const { random } = this.#options
    const [first = '', ...others] = settingNames
    const name = random.pick([first, ...others])
    return { name, value: random.pick(settingValues.get(name) ?? ['']) }
  }

  async #simple(sql: string, answer: () => string): Promise<string> {
    const expected = answer()
    return this.#compare(await this.#send([textBytes('Q', sql)], sql), expected)
  }

  async #extended(sql: string, params: readonly string[], answer: () => string): Promise<string> {
    const expected = answer()
    const story = `${sql} with ${params.join(' | ')}`
    return this.#compare(await this.#send(extended(sql, params), story), expected)
  }

  /** Sends, with a Sync unless it is a simple query, and reads the whole answer. */
  async #send(messages: readonly Buffer[], story: string): Promise<readonly ServerMessage[]> {
    this.#log.push(`${this.#options.model.status}: ${story}`)
    if (this.#log.length > logMax) this.#log.shift()
    const { connection } = this.#options.client
    const simple = messages[0]?.toString('latin1', 0, 1) === 'Q'
    connection.send(Buffer.concat(simple ? [...messages] : [...messages, frontendMessage('S')]))
    const answer = await untilReady(connection)
    this.#hear(answer)
    return answer
  }

  #hear(messages: readonly ServerMessage[]): void {
    for (const { code, bytes } of messages) {
      const [name = '', value = ''] = bytes.subarray(5).toString().split('\0')
      if (code === 'S') this.#told.set(name, value)
    }
  }

  #compare(messages: readonly ServerMessage[], expected: string): string {
    const { model } = this.#options
    const sqlstate = errorFields(messages)['C'] ?? ''
    if (sqlstate !== expected) return `SQLSTATE "${sqlstate}" instead of "${expected}"`
    const status = messages.at(-1)?.bytes.toString('latin1', 5) ?? 'closed'
    if (status !== model.status) return `status ${status} instead of ${model.status}`
    // A failed transaction has its settings rolled back already, or not yet: nobody can ask.
    return status === 'E' ? '' : differences(this.#told, model.settings, reported)
  }
}

function differences(
  found: ReadonlyMap<string, string>,
  expected: ReadonlyMap<string, string>,
  names: readonly string[],
): string {
  const wrong = names.filter((name) => found.get(name) !== expected.get(name))
  return wrong
    .map((name) => `${name} is ${found.get(name) ?? '?'} instead of ${expected.get(name) ?? '?'}`)
    .join('; ')
}

function quoted(value: string): string {
  return `'${value.replaceAll("'", "''")}'`
}

function execution(name: string, params: readonly string[]): Buffer[] {
  const values = params.map((text) => ({ format: 0 as const, value: Buffer.from(text) }))
  return [bindBytes(empty, Buffer.from(name), values, []), executeBytes(empty, 0)]
}

function extended(sql: string, params: readonly string[]): Buffer[] {
  return [parseBytes(empty, Buffer.from(sql), []), ...execution('', params)]
}
