// A client's connection to one of the proxies, opened when it is needed and again after it was lost; what an error says
// about the statement that it ended is as in test/consistency/line.ts.
import { Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'
import { Client, DatabaseError } from 'pg'
import { from as copyFrom } from 'pg-copy-streams'
import type { Place } from '../../support/stack.ts'

export type FailureFate = 'failed' | 'unknown'

/** How a statement ended that was not answered with a result. */
export class LineError extends Error {
  /** `refused` or `closed` when the proxy was not there, or went away without a word; `silent`: no answer at all. */
  readonly sqlstate: string
  /** Of a statement outside a transaction, or of a COMMIT. */
  readonly fate: FailureFate

  constructor(sqlstate: string, message: string, fate?: FailureFate) {
    super(message)
    this.sqlstate = sqlstate
    this.fate = fate ?? (leavesOpen(sqlstate) ? 'unknown' : 'failed')
  }
}

type Cell = string | null

/** No answer for so long means that something hangs. */
const answerTimeoutMs = 60_000

/** Errors that say nothing about whether a commit took place. */
function leavesOpen(sqlstate: string): boolean {
  if (['refused', '08001', '08004', '57P03'].includes(sqlstate)) return false
  return ['closed', 'silent', '40003'].includes(sqlstate) || /^(08|57P|58|XX)/.test(sqlstate)
}

export class Line {
  readonly #place: () => Place
  #client: Client | null = null
  /** What begins on one connection does not go on on another. */
  #inTransaction = false
  #socket: Socket | null = null

  /** `place` is asked at every new connection. */
  constructor(place: () => Place) {
    this.#place = place
  }

  /** Rows of text; a statement with a `name` is prepared. @throws LineError */
  async query(text: string, values: readonly unknown[] = [], name?: string) {
    const client = this.#client ?? (await this.#connect())
    const types = { getTypeParser: () => (value: string | Buffer) => String(value) }
    try {
      const { rows, command, rowCount } = await client.query<Cell[]>({
        text,
        ...(values.length === 0 ? {} : { values: [...values] }),
        ...(name === undefined ? {} : { name }),
        rowMode: 'array',
        types,
      })
      return { rows, command, rowCount: rowCount ?? 0 }
    } catch (error) {
      throw this.#failure(error)
    }
  }

  /** Nothing of a transaction stays whose COMMIT was not sent, or not carried out. @throws LineError */
  async transaction(work: () => Promise<void>): Promise<void> {
    await this.query('BEGIN')
    this.#inTransaction = true
    try {
      await work()
      // Nothing was sent where the connection is gone already.
      if (this.#client === null) await this.#connect()
    } catch (error) {
      await this.#rollBack()
      if (!(error instanceof LineError)) throw error
      throw new LineError(error.sqlstate, error.message, 'failed')
    } finally {
      this.#inTransaction = false
    }
    const { command } = await this.query('COMMIT')
    if (command === 'COMMIT') return
    throw new LineError('40000', `COMMIT was answered with ${command}`, 'failed')
  }

  /** COPY FROM STDIN in text format. @throws LineError */
  async copy(text: string, lines: readonly string[]): Promise<void> {
    const client = this.#client ?? (await this.#connect())
    const limit = setTimeout(() => this.drop(), answerTimeoutMs)
    try {
      const writing = client.query(copyFrom(text))
      await pipeline(Readable.from(lines.map((line) => Buffer.from(`${line}\n`))), writing)
    } catch (error) {
      throw this.#failure(error)
    } finally {
      clearTimeout(limit)
    }
  }

  /** Ends the connection without a word. */
  drop(): void {
    this.#socket?.destroy()
    this.#client = null
    this.#socket = null
  }

  async #rollBack(): Promise<void> {
    if (this.#client === null) return
    // Whatever comes of it, this connection has no transaction afterwards.
    await this.query('ROLLBACK').catch(() => this.drop())
  }

  async #connect(): Promise<Client> {
    if (this.#inTransaction) {
      throw new LineError('closed', 'the connection was lost between two statements')
    }
    // Kept, because a client of pg that waits for an answer cannot be made to hang up.
    const socket = new Socket()
    const client = new Client({
      ...this.#place(),
      stream: () => socket,
      connectionTimeoutMillis: 15_000,
      query_timeout: answerTimeoutMs,
    })
    client.on('error', () => undefined)
    client.on('end', () => {
      if (this.#client === client) this.#client = null
    })
    try {
      await client.connect()
    } catch (error) {
      socket.destroy()
      // Whatever the reason, nothing was executed.
      if (!(error instanceof DatabaseError)) throw new LineError('refused', String(error))
      const { code = 'refused', message } = error
      throw new LineError(leavesOpen(code) ? 'refused' : code, `at login: ${message}`)
    }
    this.#client = client
    this.#socket = socket
    return client
  }

  #failure(error: unknown): LineError {
    if (!(error instanceof DatabaseError) || error.severity === 'FATAL') this.drop()
    if (error instanceof DatabaseError) return new LineError(error.code ?? 'XX000', error.message)
    const message = String(error)
    return new LineError(/timeout/i.test(message) ? 'silent' : 'closed', message)
  }
}
