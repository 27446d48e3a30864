// Spans on their way to a collector: OTLP over HTTP as JSON (https://opentelemetry.io/docs/specs/otlp/), in batches, one
// request at a time. A collector that is out of reach or has too much to do is sent its batch again. What does not fit the
// queue meanwhile, or what it refuses, is dropped and counted: statements never wait for it.
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
/** What the specification has a client try again. */
const busyStatuses: ReadonlySet<number> = new Set([429, 502, 503, 504])

export class SpanExport {
  /** Spans that were taken by the collector, and those that were not. */
  readonly counts = { sent: 0, dropped: 0 }
  readonly #options: SpanExportOptions
  readonly #timer: NodeJS.Timeout
  readonly #queue: Span[] = []
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
    if (this.#queue.length >= batchMax && !this.#complained) this.#send()
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
    this.#drop(this.#queue.splice(0))
  }

  #send(): void {
    if (this.#sending !== null || this.#queue.length === 0) return
    const spans = this.#queue.splice(0, batchMax)
    this.#sending = this.#post(spans).then((again) => {
      this.#sending = null
      if (again) this.#putBack(spans)
      else if (this.#queue.length >= batchMax) this.#send()
    })
  }

  /** They go first at the next tick of the timer. */
  #putBack(spans: readonly Span[]): void {
    this.#queue.unshift(...spans)
    this.#drop(this.#queue.splice(queueMax))
  }

  #drop(spans: readonly Span[]): void {
    this.counts.dropped += spans.length
  }

  /** True when the spans are to be sent again. Never throws. */
  async #post(spans: readonly Span[]): Promise<boolean> {
    let refused = false
    try {
      const response = await fetch(this.#options.url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(this.#request(spans)),
        signal: AbortSignal.timeout(timeoutMs),
      })
      await response.body?.cancel()
      refused = !response.ok && !busyStatuses.has(response.status)
      if (!response.ok) throw new Error(`it answers ${response.status}`)
      this.counts.sent += spans.length
      this.#complained = false
      return false
    } catch (error) {
      const { url, log } = this.#options
      if (refused) this.#drop(spans)
      if (!this.#complained) log.warn({ error, url }, 'spans cannot be sent to the collector')
      this.#complained = true
      return !refused
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
