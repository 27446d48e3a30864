// Prometheus' counters of several workers: added up, or each worker's own under the label `worker`.
import { AggregatorRegistry, Registry } from 'prom-client'
import { z } from 'zod'
import type { Answered } from './crew.ts'

/** Of the text that `addUp` gives. */
export const contentType = Registry.PROMETHEUS_CONTENT_TYPE

/** What every worker sees alike, so that adding it up would be wrong: the rule of prom-client that holds instead. */
const seenAlike: ReadonlyMap<string, 'min' | 'max'> = new Map([
  ['ringfence_workers', 'max'],
  ['ringfence_host_up', 'min'],
  ['ringfence_host_primary', 'max'],
  ['ringfence_replica_lag_seconds', 'max'],
  ['ringfence_replica_lag_bytes', 'max'],
  ['ringfence_failovers_total', 'max'],
  ['ringfence_redis_connected', 'min'],
  ['ringfence_moves_active', 'max'],
  ['ringfence_max_wait_seconds', 'max'],
])

const value = z.looseObject({ labels: z.record(z.string(), z.union([z.string(), z.number()])) })
const metric = z.looseObject({
  name: z.string(),
  aggregator: z.string(),
  values: z.array(value),
})
const metrics = z.array(metric)

/** Text of the counters that workers have sent as JSON of prom-client. */
export async function addUp(answers: readonly Answered[], which: 'sum' | 'each'): Promise<string> {
  const all = answers.map(({ worker, value: sent }) => {
    const counted = metrics.parse(sent)
    if (which === 'each') return counted.map((each) => labelled(each, worker))
    return counted.map((each) => {
      return { ...each, aggregator: seenAlike.get(each.name) ?? each.aggregator }
    })
  })
  return await AggregatorRegistry.aggregate(all).metrics()
}

/** With a label of its own nothing is added to anything: an average too is what it was. */
function labelled(counted: z.output<typeof metric>, worker: number): z.output<typeof metric> {
  const values = counted.values.map((each) => {
    return { ...each, labels: { ...each.labels, worker: String(worker) } }
  })
  return { ...counted, aggregator: counted.aggregator === 'omit' ? 'omit' : 'first', values }
}
