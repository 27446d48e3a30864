// One side of a comparison: a connection to the proxy or to the oracle that speaks both query
// protocols and COPY, and keeps of each answer what a client can rely on: rows, their types, tags,
// SQLSTATE, transaction status.
import {
  type BindParameter,
  bindBytes,
  executeBytes,
  frontendMessage,
  parseBytes,
  targetBytes,
  textBytes,
} from '../support/frontend-bytes.ts'
import { type Endpoint, RawConnection } from '../support/raw-connection.ts'
import { loginTo } from '../support/raw-login.ts'

/** A parameter and the type that Parse declares for it; 0: the server infers it. */
export type Param = BindParameter & { readonly type: number }

/** One statement, or a string of several when it has no parameters. */
export type Statement = {
  readonly sql: string
  /** Null: simple query protocol. */
  readonly params: readonly Param[] | null
  /** Results in binary; extended protocol only. */
  readonly binary?: boolean
  /** Sent when the server asks for COPY data. */
  readonly copyData?: string
  /** The order of rows is part of the answer. */
  readonly ordered?: boolean
}

/** What one statement of a string gave. */
type Result = {
  /** Name, type and modifier of every column. */
  readonly columns: readonly string[]
  readonly rows: readonly string[]
  readonly tag: string
}

export type Reply = {
  readonly results: readonly Result[]
  readonly error: { readonly sqlstate: string; readonly message: string } | null
  /** Of ReadyForQuery. */
  readonly status: string
}

const answerTimeoutMs = 10_000
/** Types made by users have other numbers in every database. */
const firstUserOid = 16_384
const empty = Buffer.alloc(0)

/** A connected client of one side. */
export class Side {
  readonly #connection: RawConnection
  /** An answer did not come: whatever comes next is not the answer to what was asked next. */
  broken = false

  private constructor(connection: RawConnection) {
    this.#connection = connection
  }

  static async open(place: Endpoint): Promise<Side> {
    const connection = await RawConnection.open(place)
    const arrivals = await loginTo(place)(connection, { minor: 0, parameters: [] })
    const last = arrivals.at(-1)
    if (last === undefined || typeof last === 'string' || last.code !== 'Z') {
      throw new Error(`no login at ${place.host}:${place.port}: ${JSON.stringify(arrivals)}`)
    }
    return new Side(connection)
  }

  close(): void {
    this.#connection.destroy()
  }

  /** Runs one statement to its ReadyForQuery. @throws when the connection ends or hangs. */
  async run(statement: Statement): Promise<Reply> {
    const { sql, params } = statement
    if (params === null) this.#connection.send(textBytes('Q', sql))
    else {
      const types = params.map(({ type }) => type)
      this.#connection.send(
        Buffer.concat([
          parseBytes(empty, Buffer.from(sql), types),
          bindBytes(empty, empty, params, statement.binary === true ? [1] : []),
          targetBytes('D', 'P', empty),
          executeBytes(empty, 0),
          frontendMessage('S'),
        ]),
      )
    }
    return this.#reply(statement)
  }

  /** Runs SQL without parameters. */
  sql(sql: string): Promise<Reply> {
    return this.run({ sql, params: null })
  }

  async #reply({ sql, copyData = '' }: Statement): Promise<Reply> {
    const results: Result[] = []
    let columns: string[] = []
    let rows: string[] = []
    let error: Reply['error'] = null
    for (;;) {
      const message = await this.#connection.next(answerTimeoutMs)
      if (message === 'closed' || message === 'timeout') {
        this.broken = true
        throw new Error(`connection ${message} during: ${sql}`)
      }
      const { code, bytes } = message
      if (code === 'T') columns = columnsOf(bytes)
      if (code === 'D') rows.push(valuesOf(bytes))
      if (code === 'd') rows.push(bytes.subarray(5).toString('latin1'))
      if (code === 'G') this.#sendCopy(copyData)
      if (code === 'E') error = errorOf(bytes)
      if (code === 'C' || code === 'I') {
        results.push({ columns, rows, tag: code === 'I' ? '' : cstring(bytes, 5) })
        columns = []
        rows = []
      }
      if (code === 'Z') return { results, error, status: bytes.toString('latin1', 5, 6) }
    }
  }

  #sendCopy(text: string): void {
    const data = frontendMessage('d', Buffer.from(text))
    this.#connection.send(Buffer.concat([data, frontendMessage('c')]))
  }
}

/** Null when both answers are the same to a client; else what differs. */
export function difference(sharded: Reply, oracle: Reply, ordered: boolean): string | null {
  const [one, other] = [sharded, oracle].map((reply) => ({
    error: reply.error?.sqlstate ?? null,
    status: reply.status,
    results: reply.results.map(({ columns, rows, tag }) => ({
      columns,
      tag,
      rows: ordered ? rows : rows.toSorted(),
    })),
  }))
  if (JSON.stringify(one) === JSON.stringify(other)) return null
  return `sharded: ${shown(sharded)}\noracle:  ${shown(oracle)}`
}

/**
 * The proxy would not run it and nothing has happened: 0A000; or 23502 and 22001 of its own for
 * keys that it will not place, some of which one server would have taken or found no row for.
 */
export function isRefusal({ error }: Reply): boolean {
  return error?.sqlstate === '0A000' || error?.message.includes('shard key column') === true
}

function shown({ results, error, status }: Reply): string {
  const text = results.map(({ columns, rows, tag }) => {
    return `${tag} (${columns.join(', ')}) ${rows.toSorted().slice(0, 12).join(' ')}`
  })
  const failure = error === null ? '' : ` error ${error.sqlstate} ${error.message}`
  return `${text.join('; ')}${failure} [${status}]`
}

function columnsOf(bytes: Buffer): string[] {
  const count = bytes.readInt16BE(5)
  const columns: string[] = []
  let at = 7
  for (let index = 0; index < count; index += 1) {
    const name = cstring(bytes, at)
    at += Buffer.byteLength(name) + 1 + 6
    const oid = bytes.readUInt32BE(at)
    const type = oid < firstUserOid ? String(oid) : 'user'
    columns.push(`${name}:${type}:${bytes.readInt32BE(at + 6)}:${bytes.readInt16BE(at + 10)}`)
    at += 12
  }
  return columns
}

/** A row's values: text as it is, anything else in hexadecimal. */
function valuesOf(bytes: Buffer): string {
  const count = bytes.readInt16BE(5)
  const values: string[] = []
  let at = 7
  for (let index = 0; index < count; index += 1) {
    const length = bytes.readInt32BE(at)
    at += 4
    const value = bytes.subarray(at, at + Math.max(length, 0))
    at += Math.max(length, 0)
    const printable = value.every((byte) => byte >= 0x20)
    const text = printable ? JSON.stringify(value.toString()) : `x${value.toString('hex')}`
    values.push(length < 0 ? 'NULL' : text)
  }
  return `(${values.join(',')})`
}

function errorOf(bytes: Buffer): { sqlstate: string; message: string } {
  const fields = new Map<string, string>()
  for (const field of bytes.subarray(5).toString().split('\0')) {
    if (field !== '') fields.set(field.slice(0, 1), field.slice(1))
  }
  return { sqlstate: fields.get('C') ?? '', message: fields.get('M') ?? '' }
}

function cstring(bytes: Buffer, start: number): string {
  return bytes.toString('utf8', start, bytes.indexOf(0, start))
}
