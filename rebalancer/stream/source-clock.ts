// Where the source's own log stands: a stream tells only what it has got to, so this is asked on a
// connection of its own, once in a while.
import { Client } from 'pg'
import { connectByUrl, type UrlConfig } from '../../catalog/connect-by-url.ts'
import type { Clock, Timer } from '../../core/clock.ts'
import { type Lsn, lsn, parseLsn } from '../../core/lsn.ts'
import { ConnectionLost, lossOf } from './connection-lost.ts'

const connectTimeoutMs = 10_000
const askEveryMs = 500
const answerTimeoutMs = 10_000

/** Follows the end of a server's log until it is destroyed, or until the server stops answering. */
export class SourceClock {
  readonly #client: Client
  readonly #clock: Clock
  #position = lsn(0n)
  #timer: Timer | null = null
  #lose: (error: Error) => void = () => undefined
  #destroyed = false
  /** Rejects when the position cannot be told any more; never resolves. */
  readonly lost: Promise<never>

  private constructor(client: Client, clock: Clock) {
    this.#client = client
    this.#clock = clock
    this.lost = new Promise((_, reject) => {
      this.#lose = reject
    })
    this.lost.catch(() => undefined)
    client.on('error', () => this.destroy())
    client.on('end', () => this.destroy())
  }

  /** Connects and asks once. @throws what the server answers, or ConnectionLost. */
  static async open(url: string, name: string, clock: Clock): Promise<SourceClock> {
    return await connectByUrl(url, (config) => SourceClock.#openOnce(config, name, clock)).catch(
      (cause: unknown) => {
        throw lossOf(cause, 'source')
      },
    )
  }

  static async #openOnce(config: UrlConfig, name: string, clock: Clock): Promise<SourceClock> {
    const client = new Client({
      ...config,
      application_name: name,
      connectionTimeoutMillis: connectTimeoutMs,
      query_timeout: answerTimeoutMs,
    })
    const following = new SourceClock(client, clock)
    try {
      await client.connect()
      await client.query('SET statement_timeout = 0; SET idle_session_timeout = 0')
      await following.#ask()
      return following
    } catch (cause) {
      following.destroy()
      throw cause
    }
  }

  /** End of the log when it was asked for last; never goes back. */
  get position(): Lsn {
    return this.#position
  }

  /** Closes the connection at once. */
  destroy(): void {
    this.#destroyed = true
    this.#timer?.cancel()
    this.#lose(new ConnectionLost('the source does not tell its position any more'))
    this.#client.connection.stream.destroy()
  }

  async #ask(): Promise<void> {
    const sql = 'SELECT pg_catalog.pg_current_wal_flush_lsn() AS at'
    const { rows } = await this.#client.query<{ at: string }>(sql)
    const position = parseLsn(rows[0]?.at ?? '')
    if (position !== undefined && position > this.#position) this.#position = position
    if (this.#destroyed) return
    this.#timer = this.#clock.after(askEveryMs, () => {
      this.#ask().catch(() => this.destroy())
    })
  }
}
