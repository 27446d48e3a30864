// The one connection that writes on the target: no triggers, no foreign keys, marked with the
// move's replication origin, and the only one of its name.
import { Client, DatabaseError } from 'pg'
import { connectByUrl, type UrlConfig } from '../../catalog/connect-by-url.ts'
import type { Clock } from '../../core/clock.ts'
import { lossOf } from '../stream/connection-lost.ts'
import { type Answer, Exchange } from './exchange.ts'
import type { Statement } from './statements.ts'

const connectTimeoutMs = 10_000
const keepAliveDelayMs = 10_000
/** A TRUNCATE may have to remove many rows; nothing else comes near. */
const answerTimeoutMs = 15 * 60_000
const endTimeoutMs = 1_000
const originAttemptsMax = 50
const originDelayMs = 100
/** In use, created by somebody else just now, dropped just now. */
const contended = new Set(['55006', '23505', '42704'])

/** Plans must not depend on what the tables were like when they were made: always the index. */
const sessionSql = `SET search_path = pg_catalog; SET client_encoding = 'UTF8';
  SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'; SET lc_monetary = 'C';
  SET TimeZone = 'UTC'; SET xmloption = 'content'; SET array_nulls = on;
  SET session_replication_role = replica;
  SET statement_timeout = 0; SET lock_timeout = '60s';
  SET idle_in_transaction_session_timeout = 0; SET row_security = off;
  SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off;
  SET default_transaction_deferrable = off; SET client_min_messages = warning;
  SET plan_cache_mode = force_generic_plan; SET jit = off;
  SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
  SELECT set_config(name, '0', false) FROM pg_settings
    WHERE name IN ('transaction_timeout', 'idle_session_timeout');
  SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off'`

/**
 * Runs exchanges one after the other. A loss of the connection fails the one under way and all
 * later ones.
 */
export class TargetSession {
  readonly #client: Client
  readonly #clock: Clock
  readonly #prepared = new Map<string, string>()
  #lost: Error | null = null
  #underWay: ((answer: Answer) => void) | null = null

  private constructor(client: Client, clock: Clock) {
    this.#client = client
    this.#clock = clock
    client.on('error', (error) => this.#lose(error))
    client.on('end', () => this.#lose(new Error('the target closed the connection')))
  }

  /**
   * Connects as `name`, ends an earlier session of that name, and takes over the replication
   * origin. @throws what the server answers, or ConnectionLost.
   */
  static async open(
    url: string,
    name: string,
    origin: string,
    clock: Clock,
  ): Promise<TargetSession> {
    return await connectByUrl(url, (config) =>
      TargetSession.#openOnce(config, name, origin, clock),
    ).catch((cause: unknown) => {
      throw lossOf(cause, 'target')
    })
  }

  static async #openOnce(
    config: UrlConfig,
    name: string,
    origin: string,
    clock: Clock,
  ): Promise<TargetSession> {
    const client = new Client({
      ...config,
      application_name: name,
      connectionTimeoutMillis: connectTimeoutMs,
      keepAlive: true,
      keepAliveInitialDelayMillis: keepAliveDelayMs,
    })
    const session = new TargetSession(client, clock)
    try {
      await client.connect()
      await client.query(sessionSql)
      await session.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name = $1 AND datname = current_database() AND pid <> pg_backend_pid()`,
        [name],
      )
      await session.#takeOrigin(origin)
      return session
    } catch (cause) {
      session.destroy()
      throw cause
    }
  }

  /** Rows of one statement. */
  async query<Row extends object>(sql: string, values: readonly string[]): Promise<readonly Row[]> {
    try {
      const { rows } = await this.#client.query<Row>(sql, [...values])
      return rows
    } catch (cause) {
      throw lossOf(cause, 'target')
    }
  }

  /**
   * Sends all statements at once; gives the rows that each touched. After the first that fails none
   * runs. @throws what the server answered to it, or ConnectionLost.
   */
  async run(statements: readonly Statement[]): Promise<readonly number[]> {
    const answer = await this.#exchange(statements)
    if (answer.kind === 'done') return answer.counts
    throw lossOf(answer.error, 'target')
  }

  /** Ends the transaction that a statement failed in, and with it whatever was half prepared. */
  async rollBack(command: string): Promise<void> {
    await this.query(command, [])
    await this.query('DEALLOCATE ALL', [])
    this.#prepared.clear()
  }

  /** Takes leave. */
  async end(): Promise<void> {
    const limit = this.#clock.after(endTimeoutMs, () => this.destroy())
    // Whether the server says goodbye changes nothing.
    await this.#client.end().catch(() => undefined)
    limit.cancel()
    this.destroy()
  }

  /** Closes the connection at once. */
  destroy(): void {
    this.#lose(new Error('the connection to the target was closed'))
    this.#client.connection.stream.destroy()
  }

  async #exchange(statements: readonly Statement[]): Promise<Answer> {
    const limit = this.#clock.after(answerTimeoutMs, () => this.destroy())
    try {
      return await new Promise<Answer>((resolve) => {
        this.#underWay = resolve
        if (this.#lost !== null) return resolve({ kind: 'failed', error: this.#lost })
        this.#client.query(new Exchange(statements, this.#prepared, resolve))
      })
    } finally {
      this.#underWay = null
      limit.cancel()
    }
  }

  /** A session that was ended just now may hold the origin for another moment. */
  async #takeOrigin(origin: string): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await this.query(
          `SELECT pg_replication_origin_create($1) WHERE pg_replication_origin_oid($1) IS NULL`,
          [origin],
        )
        await this.query('SELECT pg_replication_origin_session_setup($1)', [origin])
        return
      } catch (cause) {
        const code = cause instanceof DatabaseError ? (cause.code ?? '') : ''
        if (!contended.has(code) || attempt === originAttemptsMax) throw cause
      }
      await new Promise<void>((resolve) => {
        this.#clock.after(originDelayMs, resolve)
      })
    }
  }

  #lose(error: Error): void {
    this.#lost ??= lossOf(error, 'target')
    this.#underWay?.({ kind: 'failed', error: this.#lost })
  }
}
