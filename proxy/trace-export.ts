// Spans on their way to a collector: OTLP over HTTP as JSON (https://opentelemetry.io/docs/specs/otlp/), in batches, one
// request at a time. What does not fit the queue, or what the collector does not take, is dropped and counted: statements
// never wait for it.
import type { Log } from '../core/log.ts'
import type { Attribute, Span } from './trace.ts'

export type SpanExportOptions = {
  /** Such as http://127.0.0.1:4318/v1/traces. */
  readonly url: string
  readonly version: string
  /** Name of this proxy among others. */
  readonly instance: string
  readonly log: Log
}

const queueMax = 4_096
const batchMax = 512
const pauseMs = 1_000
const timeoutMs = 5_000
const closeMs = 1_000

export class SpanExport {
  /** Spans that were taken by the collector, and those that were not. */
  readonly counts = { sent: 0, dropped: 0 }
  readonly #options: SpanExportOptions
  readonly #timer: NodeJS.Timeout
  #queue: Span[] = []
  #sending: Promise<void> | null = null
  #complained = false

  constructor(options: SpanExportOptions) {
    this.#options = options
    this.#timer = setInterval(() => this.#send(), pauseMs)
    this.#timer.unref()
  }

  add(span: Span): void {
    if (this.#queue.length >= queueMax) {
      this.counts.dropped += 1
      return
    }
    this.#queue.push(span)
    if (this.#queue.length >= batchMax) this.#send()
  }

  /** Sends what is left, within a second. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    const deadline = new Promise<void>((resolve) => setTimeout(resolve, closeMs).unref())
    const flush = async () => {
      await this.#sending
      this.#send()
      await this.#sending
    }
    await Promise.race([flush(), deadline])
  }

  #send(): void {
    if (this.#sending !== null || this.#queue.length === 0) return
    const spans = this.#queue.slice(0, batchMax)
    this.#queue = this.#queue.slice(batchMax)
    this.#sending = this.#post(spans).finally(() => {
      this.#sending = null
      if (this.#queue.length >= batchMax) this.#send()
    })
  }

  /** Never throws. */
  async #post(spans: readonly Span[]): Promise<void> {
    const { url, log } = this.#options
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(this.#request(spans)),
        signal: AbortSignal.timeout(timeoutMs),
      })
      await response.body?.cancel()
      if (!response.ok) throw new Error(`it answers ${response.status}`)
      this.counts.sent += spans.length
      this.#complained = false
    } catch (error) {
      this.counts.dropped += spans.length
      if (!this.#complained) log.warn({ error, url }, 'spans cannot be sent to the collector')
      this.#complained = true
    }
  }

  #request(spans: readonly Span[]) {
    const { version, instance } = this.#options
    const text = (key: string, stringValue: string): Attribute => ({ key, value: { stringValue } })
    const attributes = [
      text('service.name', 'ringfence'),
      text('service.version', version),
      text('service.instance.id', instance),
    ]
    const scope = { name: 'ringfence', version }
    return { resourceSpans: [{ resource: { attributes }, scopeSpans: [{ scope, spans }] }] }
  }
}
