// Metrics of prom-client that count nothing themselves: they are read from plain numbers on scrape, so that nothing of
// prom-client is on the way of a statement.
import { Counter, Gauge, Histogram as PromHistogram, type Registry } from 'prom-client'
import { bucketSeconds, type Histogram } from './histogram.ts'

/** One line: a value for each label, in the order of the metric's labels. */
export type Sample = readonly [labels: readonly string[], value: number]
/** The same of a histogram. */
export type HistogramSample = readonly [labels: readonly string[], times: Histogram]

type About = {
  readonly name: string
  readonly help: string
  readonly labels: readonly string[]
}

/** A metric whose lines are what `read` gives now: labels that are gone go too. */
export function addPlain(
  registry: Registry,
  kind: 'counter' | 'gauge',
  { name, help, labels }: About,
  read: () => Iterable<Sample>,
): void {
  const about = { name, help, labelNames: labels, registers: [registry] }
  if (kind === 'gauge') {
    new Gauge({
      ...about,
      collect() {
        this.reset()
        for (const [values, value] of read()) this.set(named(labels, values), value)
      },
    })
    return
  }
  new Counter({
    ...about,
    collect() {
      this.reset()
      for (const [values, value] of read()) this.inc(named(labels, values), value)
    },
  })
}

/** A histogram whose counts are kept elsewhere. */
export class PlainHistogram extends PromHistogram {
  readonly #about: About
  /** Of the same name and help, and without any values. */
  readonly #empty: PromHistogram
  readonly #read: () => Iterable<HistogramSample>

  constructor(registry: Registry, about: About, read: () => Iterable<HistogramSample>) {
    const { name, help, labels } = about
    const shape = { name, help, labelNames: labels, buckets: [...bucketSeconds] }
    super({ ...shape, registers: [registry] })
    this.#empty = new PromHistogram({ ...shape, registers: [] })
    this.#about = about
    this.#read = read
  }

  /** For /metrics in JSON, which workers hand to the one that answers. */
  override get(): ReturnType<PromHistogram['get']> {
    return this.getForPromString()
  }

  /** For /metrics as text: the registry asks for it by this name where a metric has it. */
  async getForPromString(): Promise<Awaited<ReturnType<PromHistogram['get']>>> {
    const { name, labels: labelNames } = this.#about
    const values = [...this.#read()].flatMap(([texts, times]) => {
      const labels = named(labelNames, texts)
      const { count } = times
      const buckets = times.cumulative().map((value, at) => ({
        labels: { ...labels, le: bucketSeconds[at] ?? 0 },
        value,
        metricName: `${name}_bucket`,
      }))
      return [
        ...buckets,
        { labels: { ...labels, le: '+Inf' }, value: count, metricName: `${name}_bucket` },
        { labels, value: times.sumSeconds, metricName: `${name}_sum` },
        { labels, value: count, metricName: `${name}_count` },
      ]
    })
    return { ...(await this.#empty.get()), values }
  }
}

function named(labels: readonly string[], values: readonly string[]): Record<string, string> {
  return Object.fromEntries(labels.map((label, at) => [label, values[at] ?? '']))
}
