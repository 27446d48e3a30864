// The monitor's own connection to one server, never a client's, and the questions over it. One at a
// time, each within a limit. A new connection replaces the kept one once it has brought an answer.
import { PgError } from '../core/errors.ts'
import type { Lsn } from '../core/lsn.ts'
import { type DialOptions, dial } from './dial.ts'
import { ask } from './exchange.ts'
import {
  briefSql,
  fullSql,
  type HostLife,
  type HostSample,
  lifeAfter,
  prepareSql,
  readAnswer,
  timelineOf,
} from './host-sample.ts'
import { failureKind, type LookFailure, type LookWay } from './host-verdict.ts'
import type { ServerConnection, ServerOwner, ServerTarget } from './server-connection.ts'

export type HostLinkOptions = {
  readonly target: ServerTarget
  readonly dial: DialOptions
  /** A position at or behind the start of a timeline; null when none is known. */
  readonly timelineStart: (timeline: number) => Lsn | null
  /** The kept connection has died. */
  readonly lost: () => void
}

/** What a look brought. */
export type Seen =
  | { readonly kind: 'sample'; readonly sample: HostSample }
  | { readonly kind: 'failure'; readonly failure: LookFailure }

/** What a replica has replayed of stands in its control file: worth reading now and then. */
const fullEveryMs = 1_000

export class HostLink implements ServerOwner {
  readonly #options: HostLinkOptions
  #server: ServerConnection | null = null
  #life: HostLife | null = null
  #fullAtMs = 0
  #closed = false

  constructor(options: HostLinkOptions) {
    this.#options = options
  }

  /** True while there is a connection that has not failed. */
  get keeps(): boolean {
    return this.#server !== null && !this.#server.closed
  }

  /** Highest timeline that the server has told that it receives or writes. */
  get timelineSeen(): number {
    return this.#life?.receivedTimeline ?? 0
  }

  /** Asks the server what it is, within `limitMs`. Never rejects. */
  async look(way: LookWay, limitMs: number): Promise<Seen> {
    try {
      const kept = way === 'kept' ? this.#server : null
      const sample =
        kept === null ? await this.#askFresh(limitMs) : await this.#ask(kept, false, limitMs)
      return { kind: 'sample', sample }
    } catch (thrown) {
      return { kind: 'failure', failure: failureOf(thrown) }
    }
  }

  /**
   * First column of the answer to a question besides the looks. A server that falls silent is closed by the next look's
   * limit, which ends the question too. @throws when there is no connection, or it fails
   */
  async ask(sql: string): Promise<readonly string[]> {
    const server = this.#server
    if (server === null) throw new Error('the monitor has no connection to the server')
    const { rows } = await ask(server, sql)
    return rows.map(([value]) => value ?? '')
  }

  /** Gives up the kept connection. */
  drop(): void {
    const server = this.#server
    this.#server = null
    if (server === null) return
    server.owner = null
    server.close('the monitor does not need the connection any more')
  }

  /** A look in flight ends soon after. */
  close(): void {
    this.#closed = true
    this.drop()
  }

  /** ServerOwner: what a server says unasked is of no interest. */
  serverSpoke(): void {}

  /** ServerOwner. */
  serverClosed(server: ServerConnection): void {
    if (server !== this.#server) return
    this.#server = null
    this.#options.lost()
  }

  async #askFresh(limitMs: number): Promise<HostSample> {
    const { target, dial: dialOptions } = this.#options
    const { clock, connectTimeoutMs } = dialOptions
    const startedMs = clock.nowMs()
    const shorter = { ...dialOptions, connectTimeoutMs: Math.min(connectTimeoutMs, limitMs) }
    const server = await dial(target, shorter)
    try {
      const leftMs = Math.max(1, limitMs - (clock.nowMs() - startedMs))
      const sample = await this.#ask(server, true, leftMs)
      if (this.#closed) throw new Error('the monitor is closed')
      this.drop()
      this.#server = server
      server.owner = this
      return sample
    } catch (thrown) {
      server.close('the monitor has no use for the connection')
      throw thrown
    }
  }

  async #ask(server: ServerConnection, fresh: boolean, limitMs: number): Promise<HostSample> {
    const { clock } = this.#options.dial
    let waiting = true
    // After a stall of our own the answer may be here, and only not read yet: one more turn.
    const deadline = clock.after(limitMs, () =>
      setImmediate(() => waiting && server.close(`no answer within ${Math.round(limitMs)} ms`)),
    )
    const askedAtMs = clock.nowMs()
    const full = fresh || askedAtMs - this.#fullAtMs >= fullEveryMs
    try {
      const prepared = fresh ? ask(server, prepareSql) : null
      const [answer] = await Promise.all([ask(server, full ? fullSql : briefSql), prepared])
      if (full) this.#fullAtMs = askedAtMs
      return this.#read(readAnswer(answer), askedAtMs)
    } finally {
      waiting = false
      deadline.cancel()
    }
  }

  #read(reading: ReturnType<typeof readAnswer>, askedAtMs: number): HostSample {
    const { dial: dialOptions, timelineStart } = this.#options
    const life = lifeAfter(this.#life, reading)
    if (life === null) throw new Error('the server does not tell who it is')
    this.#life = life
    return {
      role: reading.role,
      systemId: life.systemId,
      timeline: timelineOf(reading, life, timelineStart),
      incarnation: life.incarnation,
      lsn: reading.lsn,
      flushed: reading.flushed,
      askedAtMs,
      answeredAtMs: dialOptions.clock.nowMs(),
    }
  }
}

function failureOf(thrown: unknown): LookFailure {
  if (!(thrown instanceof PgError)) {
    return { kind: 'broken', reason: thrown instanceof Error ? thrown.message : String(thrown) }
  }
  // A login that the server refused carries its own words as the cause.
  const { sqlstate, message } = thrown.cause instanceof PgError ? thrown.cause : thrown
  return { kind: failureKind(sqlstate), reason: message }
}
