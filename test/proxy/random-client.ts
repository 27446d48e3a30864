// One client that does random things to a log table while its servers die: simple and extended queries, pipelines,
// transactions, cancel requests, disconnects. It keeps book of each write, and holds every answer against what it asked:
// each query carries a number of its own that its answer must bring back, and messages come in the order in which
// PostgreSQL sends them, none twice and none missing.
import { errorFields, type RawClient, rawClient, rowsOf, untilReady } from '../support/clients.ts'
import {
  bindBytes,
  cancelBytes,
  executeBytes,
  frontendMessage,
  parseBytes,
  targetBytes,
  textBytes,
} from '../support/frontend-bytes.ts'
import type { Random } from '../support/random.ts'
import { RawConnection, type ServerMessage } from '../support/raw-connection.ts'
import type { Place } from '../support/stack.ts'

/** What must have become of a write: `kept` was acknowledged, `undone` rolled back; `open`: nobody was told. */
export type Fate = 'kept' | 'undone' | 'open'

/** Everything that happened, of all clients. */
export type Book = {
  readonly writes: Map<string, Fate>
  /** Writes of one transaction that was not heard of again: all or none are there. */
  readonly together: (readonly string[])[]
  readonly complaints: string[]
  /** Outcomes by kind, for the log. */
  readonly counts: Map<string, number>
}

type Options = {
  readonly place: Place
  readonly random: Random
  readonly number: number
  readonly book: Book
}

/** A request with what PostgreSQL says to it. */
type Question = {
  readonly bytes: Buffer
  /** Type letters of a successful answer. */
  readonly codes: string
  /** First column of each row in order. */
  readonly rows: readonly string[]
}

const empty = Buffer.alloc(0)
const sync = frontendMessage('S')
const text = (value: string) => ({ format: 0, value: Buffer.from(value) }) as const
/** With which statements may end when servers die. */
const tolerated = new Set(['08006', '08001', '40001', '53300'])
const preparedNames = ['s1', 's2', 's3'] as const

export class RandomClient {
  readonly #options: Options
  readonly #deeds: readonly [() => Promise<void>, ...(() => Promise<void>)[]]
  readonly #prepared = new Set<string>()
  #client: RawClient | null = null
  #count = 0
  /** The last write that was acknowledged: from then on each read must see it. */
  #written: string | null = null

  constructor(options: Options) {
    this.#options = options
    this.#deeds = [
      () => this.#read(),
      () => this.#read(),
      () => this.#readTwo(),
      () => this.#write(),
      () => this.#write(),
      () => this.#pipeline(),
      () => this.#transaction(),
      () => this.#readOnlyTransaction(),
      () => this.#flushed(),
      () => this.#cancelled(),
      () => this.#vanish(),
    ]
  }

  /** One random thing, to its end. */
  async step(): Promise<void> {
    await this.#connection()
    await this.#options.random.pick(this.#deeds)()
  }

  end(): void {
    this.#client?.connection.destroy()
    this.#client = null
  }

  async #connection(): Promise<RawConnection> {
    if (this.#client?.connection.closed !== false) {
      // Another session: it knows of nothing that this client has done before.
      this.#prepared.clear()
      this.#written = null
      this.#client = await rawClient(this.#options.place)
      if (this.#client.cancelKey.length === 0) this.#complain('login failed')
    }
    return this.#client.connection
  }

  // ---- what it does

  async #read(): Promise<void> {
    await this.#ask('read', this.#options.random.oneIn(2) ? this.#selects(1) : this.#bound())
  }

  async #readTwo(): Promise<void> {
    await this.#ask('two reads', this.#selects(2))
  }

  async #write(): Promise<void> {
    const id = this.#newId()
    this.#options.book.writes.set(id, 'open')
    const extended = this.#options.random.oneIn(2)
    const code = await this.#ask('write', extended ? this.#boundInsert(id) : this.#insert(id))
    if (code === '00000') this.#keep([id])
  }

  /** Several requests in one go, answered one after the other. */
  async #pipeline(): Promise<void> {
    const { random, book } = this.#options
    const connection = await this.#connection()
    const asked = Array.from({ length: 2 + random.below(5) }, () => {
      const id = random.oneIn(3) ? this.#newId() : null
      if (id === null) return { id, question: random.oneIn(2) ? this.#selects(1) : this.#bound() }
      book.writes.set(id, 'open')
      return { id, question: this.#insert(id) }
    })
    connection.send(Buffer.concat(asked.map(({ question }) => question.bytes)))
    for (const { id, question } of asked) {
      // One that failed may have been the one that prepared the next one's statement.
      const code = this.#check('pipeline', question, await untilReady(connection), ['26000'])
      if (code === '00000' && id !== null) this.#keep([id])
      if (connection.closed) return
    }
  }

  async #transaction(): Promise<void> {
    const { random, book } = this.#options
    const ids = [this.#newId(), this.#newId()]
    for (const id of ids) book.writes.set(id, 'undone')
    const connection = await this.#connection()
    if ((await this.#command('BEGIN')) !== '00000') return this.#giveUp()
    for (const id of ids) {
      if ((await this.#ask('write in transaction', this.#insert(id))) !== '00000') {
        return this.#giveUp()
      }
      const reads = random.oneIn(3)
      if (reads && (await this.#ask('read in transaction', this.#bound())) !== '00000') {
        return this.#giveUp()
      }
    }
    if (random.oneIn(8)) return connection.destroy()
    if (random.oneIn(4)) return this.#giveUp()
    for (const id of ids) book.writes.set(id, 'open')
    const answer = await this.#answerTo(textBytes('Q', 'COMMIT'))
    const tag = answer.find(({ code }) => code === 'C')?.bytes.toString('latin1', 5) ?? ''
    const code = errorFields(answer)['C']
    this.#tally(`commit ${code ?? tag.replace('\0', '')}`)
    if (tag.startsWith('COMMIT')) return this.#keep(ids)
    if (tag.startsWith('ROLLBACK') || code === '40001') {
      for (const id of ids) book.writes.set(id, 'undone')
    } else book.together.push(ids)
    if (answer.at(-1)?.bytes.toString('latin1', 5) !== 'I') await this.#giveUp()
  }

  async #readOnlyTransaction(): Promise<void> {
    if ((await this.#command('BEGIN READ ONLY')) !== '00000') return this.#giveUp()
    for (let turn = 0; turn < 2; turn += 1) {
      await this.#ask('read in read-only', this.#bound(), ['25P02'])
    }
    await this.#giveUp()
  }

  /** The answers to a Flush come without its Sync. */
  async #flushed(): Promise<void> {
    const connection = await this.#connection()
    const question = this.#bound()
    connection.send(Buffer.concat([question.bytes.subarray(0, -sync.length), frontendMessage('H')]))
    const messages: ServerMessage[] = []
    while (messages.length < question.codes.length - 1) {
      const arrival = await connection.next(20_000)
      if (typeof arrival === 'string') return this.#complain(`${arrival} after Flush`)
      if (arrival.code !== 'N') messages.push(arrival)
      if (arrival.code === 'E') break
    }
    connection.send(sync)
    this.#check('flush', question, [...messages, ...(await untilReady(connection))])
  }

  async #cancelled(): Promise<void> {
    const { random, place } = this.#options
    const connection = await this.#connection()
    const nonce = this.#newId()
    connection.send(textBytes('Q', `SELECT '${nonce}', pg_sleep(0.0${random.below(5)})`))
    await new Promise((resolve) => setTimeout(resolve, random.below(40)))
    const messenger = await RawConnection.open(place)
    messenger.send(cancelBytes(this.#client?.cancelKey ?? empty))
    const question = { bytes: empty, codes: 'TDCZ', rows: [nonce] }
    this.#check('cancel', question, await untilReady(connection), ['57014'])
    if ((await messenger.next(20_000)) !== 'closed') this.#complain('the cancel is not taken')
  }

  /** Goes away in the middle of something. */
  async #vanish(): Promise<void> {
    const { random, book } = this.#options
    const connection = await this.#connection()
    const id = this.#newId()
    book.writes.set(id, 'open')
    const kinds = [
      this.#insert(id),
      this.#boundInsert(id),
      this.#selects(2),
      this.#bound(),
    ] as const
    connection.send(random.pick(kinds).bytes)
    await new Promise((resolve) => setTimeout(resolve, random.below(4)))
    this.end()
  }

  // ---- questions

  /** `count` SELECTs in one string. */
  #selects(count: number): Question {
    const rows = Array.from({ length: count }, () => this.#newId())
    const sql = rows.map((nonce) => `SELECT '${nonce}', ${this.#sees()}`).join(';')
    return { bytes: textBytes('Q', sql), codes: `${'TDC'.repeat(count)}Z`, rows }
  }

  #sees(): string {
    const written = this.#written
    return written === null ? `'1'` : `(SELECT count(*) FROM log WHERE id = '${written}')`
  }

  /** A prepared SELECT, of a name or without. */
  #bound(): Question {
    const { random } = this.#options
    const nonce = this.#newId()
    const name = random.oneIn(2) ? random.pick(preparedNames) : ''
    const statement = Buffer.from(name)
    const sql = Buffer.from(
      'SELECT $1::text, (SELECT count(*) FROM log WHERE id = $2) + ($3::int)::bigint',
    )
    const parse = [targetBytes('C', 'S', statement), parseBytes(statement, sql, [])]
    const parses = !this.#prepared.has(name) || name === ''
    if (name !== '') this.#prepared.add(name)
    const written = this.#written
    const parameters = [text(nonce), text(written ?? ''), text(written === null ? '1' : '0')]
    const describes = random.oneIn(2)
    const parts = [
      ...(parses ? parse : []),
      bindBytes(empty, statement, parameters, []),
      ...(describes ? [targetBytes('D', 'P', empty)] : []),
      executeBytes(empty, 0),
      sync,
    ]
    const codes = `${parses ? '31' : ''}2${describes ? 'T' : ''}DCZ`
    return { bytes: Buffer.concat(parts), codes, rows: [nonce] }
  }

  #insert(id: string): Question {
    const sql = `INSERT INTO log VALUES ('${id}') RETURNING id, 1`
    return { bytes: textBytes('Q', sql), codes: 'TDCZ', rows: [id] }
  }

  #boundInsert(id: string): Question {
    const sql = Buffer.from('INSERT INTO log VALUES ($1) RETURNING id, 1')
    const parts = [
      parseBytes(empty, sql, []),
      bindBytes(empty, empty, [text(id)], []),
      executeBytes(empty, 0),
      sync,
    ]
    return { bytes: Buffer.concat(parts), codes: '12DCZ', rows: [id] }
  }

  // ---- asking and checking

  async #answerTo(bytes: Buffer): Promise<readonly ServerMessage[]> {
    const connection = await this.#connection()
    connection.send(bytes)
    return untilReady(connection)
  }

  /** SQLSTATE of the answer; '00000' when it succeeds. */
  async #ask(what: string, question: Question, alsoTolerated: readonly string[] = []) {
    return this.#check(what, question, await this.#answerTo(question.bytes), alsoTolerated)
  }

  async #command(sql: string): Promise<string> {
    return this.#ask(sql, { bytes: textBytes('Q', sql), codes: 'CZ', rows: [] })
  }

  /** Rolls back, where there still is something to roll back. */
  async #giveUp(): Promise<void> {
    if (this.#client?.connection.closed !== false) return
    const code = errorFields(await this.#answerTo(textBytes('Q', 'ROLLBACK')))['C']
    if (code !== undefined && code !== '40001') this.#complain(`ROLLBACK ended with ${code}`)
  }

  #check(
    what: string,
    { codes: expected, rows }: Question,
    answer: readonly ServerMessage[],
    alsoTolerated: readonly string[] = [],
  ): string {
    const told = answer.filter(({ code }) => code !== 'N' && code !== 'S')
    const codes = told.map(({ code }) => code).join('')
    const code = errorFields(answer)['C'] ?? '00000'
    this.#tally(`${what} ${code}`)
    const complete = code === '00000' ? codes === expected : isFailed(codes, expected)
    if (!complete) this.#complain(`${what}: "${codes}" for "${expected}", SQLSTATE ${code}`)
    if (code !== '00000') {
      if (!tolerated.has(code) && !alsoTolerated.includes(code)) {
        this.#complain(`${what} ended with ${code}: ${errorFields(answer)['M']}`)
      }
      // Whether its Parse was done is another question.
      this.#prepared.clear()
    }
    rowsOf(answer).forEach(([nonce, seen], at) => {
      if (nonce !== rows[at]) this.#complain(`${what}: answered ${nonce}, asked ${rows[at]}`)
      if (seen !== '1' && seen !== '') {
        this.#complain(`${what}: sees ${this.#written} ${seen} times`)
      }
    })
    return code
  }

  #keep(ids: readonly string[]): void {
    for (const id of ids) this.#options.book.writes.set(id, 'kept')
    this.#written = ids.at(-1) ?? null
  }

  #newId(): string {
    this.#count += 1
    return `${this.#options.number}.${this.#count}`
  }

  #tally(what: string): void {
    const { counts } = this.#options.book
    counts.set(what, (counts.get(what) ?? 0) + 1)
  }

  #complain(what: string): void {
    this.#options.book.complaints.push(`client ${this.#options.number}: ${what}`)
  }
}

/** True for the beginning of that answer, one error, and its end. */
function isFailed(codes: string, expected: string): boolean {
  return codes.endsWith('EZ') && expected.startsWith(codes.slice(0, -2))
}
