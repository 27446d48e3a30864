// Who hears of every statement: nobody, unless slow statements are logged or statements are traced. Then the statement's
// text is kept until its answer is complete; else this costs one comparison.
import { frontend } from '../wire/codes.ts'
import type { Frame } from '../wire/framer.ts'
import { decodeBindNames, decodeParse, decodeQuery } from '../wire/frontend.ts'
import type { ClientCommand } from './intake.ts'
import { maskedBytesMax, maskedSql } from './masked-sql.ts'
import type { Session } from './session.ts'
import { rowsOf } from './load-meter.ts'
import type { StatementClass } from './traffic.ts'

type WatchedCommand = Extract<ClientCommand, { kind: 'simple' | 'pipeline' }>

/** A simple query, or a pipeline by its last statement, whose answer is complete, or whose client has not waited for that. */
export type SeenStatement = {
  readonly database: string
  readonly user: string
  readonly application: string
  /** Peer's address; '' on a Unix socket. */
  readonly address: string
  readonly class: StatementClass
  /** Null when no server was asked. */
  readonly shard: string | null
  /** From the client's message to the end of the answer, or of the session. */
  readonly ms: number
  /** Of that, waiting for a server. */
  readonly waitMs: number
  /** As its CommandComplete says. */
  readonly rows: number
  readonly failed: boolean
  /** Without literals, see masked-sql.ts; made when it is asked for. */
  readonly text: () => string
  /** Of a comment in the manner of sqlcommenter; null without one. */
  readonly traceparent: string | null
}

/** Takes statements; whether it wants one is asked first, as most are not slow and not sampled. */
export type StatementTaker = {
  /** Whether `traceparent` is looked for. */
  readonly traces: boolean
  wants(ms: number, traceparent: string | null): boolean
  take(statement: SeenStatement): void
}

const tracing = Buffer.from('traceparent=')
const traceparentPattern = /^traceparent='([0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})'/
const traceparentBytes = 80

export class StatementWatch {
  readonly #takers: readonly StatementTaker[]
  readonly #traces: boolean

  private constructor(takers: readonly StatementTaker[]) {
    this.#takers = takers
    this.#traces = takers.some(({ traces }) => traces)
  }

  /** Null when nobody wants to hear of statements. */
  static of(takers: readonly (StatementTaker | null)[]): StatementWatch | null {
    const there = takers.filter((taker) => taker !== null)
    return there.length === 0 ? null : new StatementWatch(there)
  }

  /** The client has asked for something; the frames are views. */
  began({ times, state }: Session, command: WatchedCommand): void {
    const frames = command.kind === 'simple' ? [command.frame] : command.frames
    for (const frame of frames) {
      const sql = sqlOf(frame, (name) => state.statements.get(name)?.cached.sql)
      if (sql === undefined) continue
      times.sql = Uint8Array.from(sql.subarray(0, maskedBytesMax))
      if (this.#traces) times.traceparent = traceparentOf(sql)
    }
  }

  /** The session ends, whatever it was doing. */
  cutOff(session: Session): void {
    session.times.cutOff()
    this.over(session)
  }

  /** ReadyForQuery goes to the client. */
  over(session: Session): void {
    const { times } = session
    const { sql, traceparent } = times
    times.sql = null
    times.traceparent = null
    if (sql === null) return
    const ms = times.tookUs / 1_000
    for (const taker of this.#takers) {
      if (taker.wants(ms, traceparent)) taker.take(seen(session, sql, traceparent))
    }
  }
}

function seen(
  { state, times, output, socket }: Session,
  sql: Uint8Array,
  traceparent: string | null,
): SeenStatement {
  return {
    database: state.database.options.name,
    user: state.client.name,
    application: output.parameter('application_name') ?? '',
    address: socket.remoteAddress ?? '',
    class: times.class,
    shard: times.shard,
    ms: times.tookUs / 1_000,
    waitMs: times.waitUs / 1_000,
    rows: rowsOf(times.tag),
    failed: times.failed,
    text: () =>
      maskedSql(sql, {
        escapes: output.parameter('standard_conforming_strings') === 'off',
        encoding: output.parameter('client_encoding') ?? '',
      }),
    traceparent,
  }
}

/** Text of a Query or Parse, or of the statement that a Bind names; a malformed message is somebody else's to refuse. */
function sqlOf(
  { code, bytes }: Frame,
  prepared: (name: string) => Uint8Array | undefined,
): Uint8Array | undefined {
  try {
    if (code === frontend.query) return decodeQuery(bytes)
    if (code === frontend.parse) return decodeParse(bytes).sql
    if (code === frontend.bind) return prepared(decodeBindNames(bytes).statement)
  } catch {
    return undefined
  }
  return undefined
}

/** `traceparent='00-…'` of a comment, wherever it stands (https://google.github.io/sqlcommenter/spec/). */
function traceparentOf(sql: Uint8Array): string | null {
  const bytes = Buffer.from(sql.buffer, sql.byteOffset, sql.byteLength)
  const at = bytes.lastIndexOf(tracing)
  if (at < 0) return null
  return traceparentPattern.exec(bytes.toString('latin1', at, at + traceparentBytes))?.[1] ?? null
}
