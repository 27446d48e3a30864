// The replication connection to a source: plain statements first, then its log from a slot. pg
// speaks the login and the framing; from START_REPLICATION on the socket is ours to read, to pause
// and to answer on.
import { Client, type Connection, type Submittable } from 'pg'
import { connectByUrl, type UrlConfig } from '../../catalog/connect-by-url.ts'
import { assert } from '../../core/assert.ts'
import type { Clock, Timer } from '../../core/clock.ts'
import { formatLsn, type Lsn, lsn } from '../../core/lsn.ts'
import { toPgError } from '../../core/errors.ts'
import {
  decodeReplicationFrame,
  type ReplicationFrame,
  replicationStatus,
} from '../../wire/pgoutput-frames.ts'
import { ConnectionLost, lossOf } from './connection-lost.ts'
import { Signal } from './signal.ts'

/** What START_REPLICATION asks for. */
export type StreamRequest = {
  readonly slot: string
  readonly publication: string
  readonly startLsn: Lsn
  /** Of pgoutput, which PostgreSQL 14 has as 2, 15 as 3, later ones as 4. */
  readonly protocol: number
  readonly binary: boolean
}

const connectTimeoutMs = 10_000
const keepAliveDelayMs = 10_000
const statusEveryMs = 1_000
const tickMs = 200
/** Between questions for the server's position. */
const questionsEveryMs = 15
const askAfterMs = 10_000
const lostAfterMs = 40_000
const inboxBytesMax = 8 << 20
const inboxBytesResume = 2 << 20
/** What an entry costs beside its bytes. */
const entryBytes = 128

/** Statements of the session: text forms that every server reads alike, and no limits of time. */
const sessionSql = `SET search_path = pg_catalog; SET client_encoding = 'UTF8';
  SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 3;
  SET bytea_output = 'hex'; SET lc_monetary = 'C'; SET TimeZone = 'UTC';
  SET xmloption = 'content'; SET statement_timeout = 0; SET lock_timeout = 0;
  SELECT set_config(name, '0', false) FROM pg_settings
    WHERE name IN ('transaction_timeout', 'idle_session_timeout')`

/**
 * States: asking (query()) → streaming (after stream()) → lost, with the reason in `failure`.
 * `destroy` ends any of them.
 */
export class SourceConnection {
  readonly #client: Client
  readonly #clock: Clock
  readonly #signal = new Signal()
  #inbox: ReplicationFrame[] = []
  #inboxAt = 0
  #inboxBytes = 0
  #socketPaused = false
  #streaming = false
  #failure: Error | null = null
  #timer: Timer | null = null
  #heardMs: number
  #askedMs: number
  #statusMs: number
  #received = lsn(0n)
  #acknowledged = lsn(0n)

  private constructor(client: Client, clock: Clock) {
    this.#client = client
    this.#clock = clock
    this.#heardMs = clock.nowMs()
    this.#askedMs = this.#heardMs
    this.#statusMs = this.#heardMs
    client.on('error', (error) => this.#fail(lossOf(error, 'source')))
    client.on('end', () => this.#fail(new ConnectionLost('the source closed the connection')))
  }

  /** Connects. @throws what the server answers, or ConnectionLost. */
  static async open(url: string, name: string, clock: Clock): Promise<SourceConnection> {
    return await connectByUrl(url, (config) =>
      SourceConnection.#openOnce(config, name, clock),
    ).catch((cause: unknown) => {
      throw lossOf(cause, 'source')
    })
  }

  static async #openOnce(place: UrlConfig, name: string, clock: Clock): Promise<SourceConnection> {
    const config = {
      ...place,
      replication: 'database',
      application_name: name,
      connectionTimeoutMillis: connectTimeoutMs,
      keepAlive: true,
      keepAliveInitialDelayMillis: keepAliveDelayMs,
    }
    const connection = new SourceConnection(new Client(config), clock)
    try {
      await connection.#client.connect()
      await connection.#client.query(sessionSql)
      return connection
    } catch (cause) {
      connection.destroy()
      throw cause
    }
  }

  /** Up to where the server has told its log. */
  get received(): Lsn {
    return this.#received
  }

  /**
   * Rows of a statement without parameters: a replication connection knows the simple protocol
   * only.
   */
  async query<Row extends object>(sql: string): Promise<readonly Row[]> {
    assert(!this.#streaming, 'statements come before the stream')
    try {
      const { rows } = await this.#client.query<Row>(sql)
      return rows
    } catch (cause) {
      throw lossOf(cause, 'source')
    }
  }

  /**
   * Begins to stream; resolves when the server has agreed. @throws what the server answers instead.
   */
  async stream(request: StreamRequest): Promise<void> {
    this.#streaming = true
    this.#received = request.startLsn
    this.#acknowledged = request.startLsn
    await new Promise<void>((resolve, reject) => {
      const failed = (error: Error) => {
        this.#fail(lossOf(error, 'source'))
        reject(lossOf(error, 'source'))
      }
      const started = () => {
        resolve()
        this.#tick()
      }
      this.#client.query(
        new Streaming(startSql(request), started, (chunk) => this.#take(chunk), failed),
      )
      this.#client.connection.once('copyDone', () => {
        this.#fail(new ConnectionLost('the source ended the stream'))
      })
      this.#client.once('end', () =>
        reject(this.#failure ?? new ConnectionLost('the source is gone')),
      )
    })
  }

  /**
   * The next frame; undefined when there is none yet. Its payload is owned. @throws the reason of a
   * loss.
   */
  next(): ReplicationFrame | undefined {
    if (this.#failure !== null) throw this.#failure
    const frame = this.#inbox[this.#inboxAt]
    if (frame === undefined) {
      this.#inbox = []
      this.#inboxAt = 0
      return undefined
    }
    this.#inboxAt += 1
    this.#inboxBytes -= costOf(frame)
    if (this.#socketPaused && this.#inboxBytes < inboxBytesResume) {
      this.#socketPaused = false
      this.#heardMs = this.#clock.nowMs()
      this.#client.connection.stream.resume()
    }
    return frame
  }

  /** Resolves when next() may have something to give or to throw. */
  more(): Promise<void> {
    if (this.#failure !== null || this.#inboxAt < this.#inbox.length) return Promise.resolve()
    return this.#signal.wait()
  }

  /** From now on the server is told that everything before `position` is durable here. */
  acknowledge(position: Lsn): void {
    if (position > this.#acknowledged) this.#acknowledged = position
  }

  /** Tells the server where we are, now. */
  sendStatus(replyRequested: boolean): void {
    if (!this.#streaming || this.#failure !== null) return
    const status = {
      received: this.#received > this.#acknowledged ? this.#received : this.#acknowledged,
      flushed: this.#acknowledged,
      replyRequested,
    }
    this.#statusMs = this.#clock.nowMs()
    this.#client.connection.stream.write(replicationStatus(status, Date.now()))
  }

  /** Asks the server for its position unless it was asked just now. */
  askPosition(): void {
    const now = this.#clock.nowMs()
    if (now - this.#askedMs < questionsEveryMs) return
    this.#askedMs = now
    this.sendStatus(true)
  }

  /** Says how far we are and takes leave. */
  async end(): Promise<void> {
    this.sendStatus(false)
    const { stream } = this.#client.connection
    await new Promise<void>((resolve) => {
      const limit = this.#clock.after(statusEveryMs, resolve)
      stream.end(() => {
        limit.cancel()
        resolve()
      })
    })
    this.destroy()
  }

  /** Closes the connection at once. */
  destroy(): void {
    this.#fail(new ConnectionLost('the connection to the source was closed'))
    this.#client.connection.stream.destroy()
  }

  #take(chunk: Uint8Array): void {
    this.#heardMs = this.#clock.nowMs()
    let frame: ReplicationFrame
    try {
      // pg reuses its buffer for what comes next.
      frame = decodeReplicationFrame(Buffer.from(chunk))
    } catch (cause) {
      return this.#fail(toPgError(cause))
    }
    if (frame.walEnd > this.#received) this.#received = frame.walEnd
    this.#inbox.push(frame)
    this.#inboxBytes += costOf(frame)
    if (!this.#socketPaused && this.#inboxBytes > inboxBytesMax) {
      this.#socketPaused = true
      this.#client.connection.stream.pause()
    }
    this.#signal.notify()
  }

  /**
   * Runs while streaming: a status every second, a question after a long silence, an end after a
   * longer one.
   */
  #tick(): void {
    if (this.#failure !== null) return
    const now = this.#clock.nowMs()
    const silentMs = this.#socketPaused ? 0 : now - this.#heardMs
    if (silentMs > lostAfterMs) {
      this.#fail(new ConnectionLost(`the source has been silent for ${lostAfterMs} ms`))
      return this.destroy()
    }
    if (silentMs > askAfterMs && now - this.#askedMs > askAfterMs) this.askPosition()
    if (now - this.#statusMs >= statusEveryMs) this.sendStatus(false)
    this.#timer = this.#clock.after(tickMs, () => this.#tick())
  }

  #fail(error: Error): void {
    this.#failure ??= error
    this.#timer?.cancel()
    this.#signal.notify()
  }
}

/** START_REPLICATION as a query of pg's: its handlers get what the server sends under it. */
class Streaming implements Submittable {
  readonly #sql: string
  readonly #started: () => void
  readonly #chunk: (bytes: Uint8Array) => void
  readonly #failed: (error: Error) => void

  constructor(
    sql: string,
    started: () => void,
    chunk: (bytes: Uint8Array) => void,
    failed: (error: Error) => void,
  ) {
    this.#sql = sql
    this.#started = started
    this.#chunk = chunk
    this.#failed = failed
  }

  submit(connection: Connection): void {
    connection.once('replicationStart', this.#started)
    connection.query(this.#sql)
  }

  handleCopyData({ chunk }: { readonly chunk: Uint8Array }): void {
    this.#chunk(chunk)
  }

  handleError(error: Error): void {
    this.#failed(error)
  }

  handleCommandComplete(): void {
    this.#failed(new ConnectionLost('the source ended the stream'))
  }

  handleReadyForQuery(): void {
    this.#failed(new ConnectionLost('the source ended the stream'))
  }
}

function startSql({ slot, publication, startLsn, protocol, binary }: StreamRequest): string {
  const options = [
    `proto_version '${protocol}'`,
    `publication_names ${literal(quoted(publication))}`,
    `messages 'true'`,
    ...(binary ? [`binary 'true'`] : []),
    ...(protocol >= 2 ? [`streaming 'true'`] : []),
  ]
  const from = formatLsn(startLsn)
  return `START_REPLICATION SLOT ${quoted(slot)} LOGICAL ${from} (${options.join(', ')})`
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** The replication grammar knows no escapes but the doubled quote. */
function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

function costOf(frame: ReplicationFrame): number {
  return frame.kind === 'data' ? frame.payload.length + entryBytes : entryBytes
}
