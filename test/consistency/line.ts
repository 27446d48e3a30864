// A client's connection to one proxy that is opened when it is needed and again after it was lost, and what an error
// says about the statement that it ended.
import { Socket } from 'node:net'
import { Client, DatabaseError, type QueryResult } from 'pg'
import type { Outcome } from '../support/history.ts'
import type { Place } from '../support/stack.ts'

/** How a statement ended that was not answered with a result. */
export class LineError extends Error {
  /** `refused` or `closed` when the proxy was not there, or went away without a word. */
  readonly sqlstate: string
  /** Of a write outside a transaction. */
  readonly outcome: Outcome

  constructor(sqlstate: string, message: string) {
    super(message)
    this.sqlstate = sqlstate
    this.outcome = leavesOpen(sqlstate) ? 'unknown' : 'failed'
  }
}

const refused = 'refused'
const closed = 'closed'
/** No answer for so long means that something hangs. */
const answerTimeoutMs = 40_000

/**
 * Errors that say nothing about whether a commit took place: connection exceptions other than "could not connect", a
 * server that was shut down or crashed, and errors that should not be.
 */
function leavesOpen(sqlstate: string): boolean {
  const certain = new Set([refused, '08001', '08004', '57P03'])
  if (certain.has(sqlstate)) return false
  return sqlstate === '40003' || sqlstate === closed || /^(08|57P|58|XX)/.test(sqlstate)
}

export class Line {
  readonly #place: Place
  #client: Client | null = null
  /** Prepared statements have other names after they were deallocated: a client of pg prepares each name once. */
  #generation = 0
  #socket: Socket | null = null

  constructor(place: Place) {
    this.#place = place
  }

  get open(): boolean {
    return this.#client !== null
  }

  /**
   * Runs one statement; rows are arrays of text. A statement with a `name` is prepared.
   * @throws LineError
   */
  async query(
    text: string,
    values: readonly unknown[] = [],
    name?: string,
  ): Promise<QueryResult<(string | null)[]>> {
    const client = this.#client ?? (await this.#connect())
    const types = { getTypeParser: () => (value: string | Buffer) => String(value) }
    const named = name === undefined ? {} : { name: `${name}-${this.#generation}` }
    try {
      return await client.query<(string | null)[]>({
        text,
        ...(values.length === 0 ? {} : { values: [...values] }),
        ...named,
        rowMode: 'array',
        types,
      })
    } catch (error) {
      throw this.#failure(error)
    }
  }

  /** Leaves nothing of what the connection was used for. @throws LineError */
  async clear(): Promise<void> {
    this.#generation += 1
    await this.query('DISCARD ALL')
  }

  /** Ends the connection without a word. */
  drop(): void {
    this.#socket?.destroy()
    this.#client = null
    this.#socket = null
  }

  async #connect(): Promise<Client> {
    // Kept, because a client of pg that waits for an answer cannot be made to hang up.
    const socket = new Socket()
    const client = new Client({
      ...this.#place,
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
      if (!(error instanceof DatabaseError)) throw new LineError(refused, String(error))
      const { code = refused, message } = error
      throw new LineError(leavesOpen(code) ? refused : code, message)
    }
    this.#client = client
    this.#socket = socket
    return client
  }

  #failure(error: unknown): LineError {
    if (!(error instanceof DatabaseError) || error.severity === 'FATAL') this.drop()
    if (error instanceof DatabaseError) return new LineError(error.code ?? 'XX000', error.message)
    return new LineError(closed, String(error))
  }
}
