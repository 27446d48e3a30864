// A span for each statement that is sampled, joined to the trace that its client has named in a comment. Names are those of
// OpenTelemetry's conventions for databases (https://opentelemetry.io/docs/specs/semconv/database/database-spans/).
import { randomBytes } from 'node:crypto'
import type { SeenStatement, StatementTaker } from './statement-watch.ts'

/** A span as OTLP/JSON has it: ids in hex, times in nanoseconds as text. */
export type Span = {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly flags: number
  readonly name: string
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: readonly Attribute[]
  readonly status: { readonly code: number }
}

export type Attribute = {
  readonly key: string
  readonly value:
    | { readonly stringValue: string }
    | { readonly intValue: string }
    | { readonly doubleValue: number }
}

/** SPAN_KIND_CLIENT: towards the servers the proxy is one. */
const clientKind = 3
const statusUnset = 0
const statusError = 2
const sampledFlag = 1

export type TracerOptions = {
  /** Share of the statements without a trace of their client's, 0 to 1; with one the client has decided. */
  readonly sample: number
  readonly random: () => number
  /** Wall clock, milliseconds. */
  readonly nowMs: () => number
  readonly send: (span: Span) => void
}

export class Tracer implements StatementTaker {
  readonly traces = true
  readonly #options: TracerOptions

  constructor(options: TracerOptions) {
    this.#options = options
  }

  wants(_ms: number, traceparent: string | null): boolean {
    if (traceparent !== null) return (flagsOf(traceparent) & sampledFlag) === sampledFlag
    const { sample, random } = this.#options
    return sample > 0 && random() < sample
  }

  take(statement: SeenStatement): void {
    const { nowMs, send } = this.#options
    const endMs = nowMs()
    const [, traceId, parentSpanId] = statement.traceparent?.split('-') ?? []
    send({
      traceId: traceId ?? randomBytes(16).toString('hex'),
      spanId: randomBytes(8).toString('hex'),
      ...(parentSpanId === undefined ? {} : { parentSpanId }),
      flags: sampledFlag,
      name: spanName(statement),
      kind: clientKind,
      startTimeUnixNano: nanoseconds(endMs - statement.ms),
      endTimeUnixNano: nanoseconds(endMs),
      attributes: attributesOf(statement),
      status: { code: statement.failed ? statusError : statusUnset },
    })
  }
}

/** Bounded in number, unlike the text. */
function spanName(statement: SeenStatement): string {
  const operation = /^[a-z]+/i.exec(statement.text())?.[0]?.toUpperCase()
  return operation === undefined ? statement.database : `${operation} ${statement.database}`
}

function attributesOf(statement: SeenStatement): readonly Attribute[] {
  const { shard, ms, waitMs } = statement
  const texts = {
    'db.system.name': 'postgresql',
    'db.namespace': statement.database,
    'db.query.text': statement.text(),
    'ringfence.user': statement.user,
    'ringfence.application_name': statement.application,
    'ringfence.class': statement.class,
    ...(shard === null ? {} : { 'ringfence.shard': shard }),
    ...(statement.address === '' ? {} : { 'client.address': statement.address }),
  }
  return [
    ...Object.entries(texts).map(([key, text]) => ({ key, value: { stringValue: text } })),
    { key: 'db.response.returned_rows', value: { intValue: String(statement.rows) } },
    { key: 'ringfence.wait_ms', value: { doubleValue: waitMs } },
    { key: 'ringfence.server_ms', value: { doubleValue: Math.max(0, ms - waitMs) } },
  ]
}

function flagsOf(traceparent: string): number {
  return Number.parseInt(traceparent.slice(-2), 16)
}

/** Beyond what a number holds exactly, so in two parts. */
function nanoseconds(ms: number): string {
  return String(BigInt(Math.round(ms * 1_000)) * 1_000n)
}
