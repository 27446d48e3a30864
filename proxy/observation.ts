// What is told of clients and statements besides counts: log lines of logins and ends, of errors of our own, of slow
// statements; spans. A reload may change all of it.
import type { Clock } from '../core/clock.ts'
import type { PgError } from '../core/errors.ts'
import type { Log } from '../core/log.ts'
import type { Session } from './session.ts'
import { SlowLog } from './slow-log.ts'
import { StatementWatch } from './statement-watch.ts'
import { SpanExport } from './trace-export.ts'
import { Tracer } from './trace.ts'
import type { Traffic } from './traffic.ts'

export type ObservationOptions = {
  /** Statements that take as long are logged; null: none. */
  readonly slowStatementMs: number | null
  readonly logsConnections: boolean
  readonly logsDisconnections: boolean
  /** FATAL errors of our own. */
  readonly logsErrors: boolean
  /** Time over which statistics are averaged. */
  readonly statsPeriodMs: number
  /** Null: no spans. */
  readonly trace: { readonly url: string; readonly sample: number } | null
}

/** Nothing is told, and statistics are averaged over a minute, as PgBouncer does. */
export const silentObservation: ObservationOptions = {
  slowStatementMs: null,
  logsConnections: false,
  logsDisconnections: false,
  logsErrors: false,
  statsPeriodMs: 60_000,
  trace: null,
}

export type ObservationContext = {
  readonly clock: Clock
  readonly log: Log
  readonly version: string
  /** Name of this proxy among others. */
  readonly instance: string
}

export class Observation {
  /** Null unless somebody wants to hear of statements. */
  watch: StatementWatch | null = null
  readonly #context: ObservationContext
  #options: ObservationOptions = silentObservation
  #spans: SpanExport | null = null
  #periodAtMs: number

  constructor(options: ObservationOptions, context: ObservationContext) {
    this.#context = context
    this.#periodAtMs = context.clock.nowMs()
    this.configure(options)
  }

  get options(): ObservationOptions {
    return this.#options
  }

  /** Spans that a collector has taken, and those that none has; null without tracing. */
  get spanCounts(): SpanExport['counts'] | null {
    return this.#spans?.counts ?? null
  }

  /** Goes by these options from now on. */
  configure(options: ObservationOptions): void {
    const { log, clock, version, instance } = this.#context
    const { slowStatementMs, trace } = options
    if (trace?.url !== this.#options.trace?.url) {
      void this.#spans?.close()
      const url = trace?.url
      this.#spans = url === undefined ? null : new SpanExport({ url, version, instance, log })
    }
    this.#options = options
    const spans = this.#spans
    const { sample } = trace ?? { sample: 0 }
    const send = (span: Parameters<SpanExport['add']>[0]) => spans?.add(span)
    const tracer =
      spans === null ? null : new Tracer({ sample, random: Math.random, nowMs: Date.now, send })
    const slow = slowStatementMs === null ? null : new SlowLog(slowStatementMs, log, clock)
    this.watch = StatementWatch.of([slow, tracer])
  }

  /** Averages begin anew when their time is over; called on a timer. */
  sweep(traffics: () => readonly Traffic[]): void {
    const nowMs = this.#context.clock.nowMs()
    if (nowMs - this.#periodAtMs < this.#options.statsPeriodMs) return
    this.#periodAtMs = nowMs
    for (const traffic of traffics()) traffic.turnPeriod(nowMs)
  }

  connected(session: Session): void {
    if (this.#options.logsConnections) this.#context.log.info(namesOf(session), 'client connected')
  }

  disconnected(session: Session): void {
    if (!this.#options.logsDisconnections) return
    const { log, clock } = this.#context
    const age = Math.round((clock.nowMs() - session.connectedAtMs) / 1_000)
    log.info({ ...namesOf(session), age_s: age }, 'client disconnected')
  }

  /** The proxy itself has ended a client with `error`. */
  failed(session: Session, { sqlstate, message }: PgError): void {
    if (!this.#options.logsErrors) return
    this.#context.log.warn({ ...namesOf(session), sqlstate, reason: message }, 'client was ended')
  }

  /** Sends what is left of the spans. */
  async close(): Promise<void> {
    await this.#spans?.close()
  }
}

/** What a client is called in the log. */
function namesOf({ state, output, socket }: Session) {
  return {
    database: state.database.options.name,
    user: state.client.name,
    application_name: output.parameter('application_name') ?? '',
    client: socket.remoteAddress ?? '',
  }
}
