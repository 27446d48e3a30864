// Counters of a proxy, in Prometheus' text format at /metrics. Gauges are read from the pools on scrape.
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client'

export type ProxyMetrics = {
  readonly registry: Registry
  readonly clients: Counter<'database'>
  readonly logins: Counter<'outcome'>
  readonly errors: Counter<'sqlstate'>
}

/** What the gauges show; read when somebody scrapes. */
export type GaugeSource = () => readonly {
  readonly database: string
  readonly clients: number
  readonly shards: readonly {
    readonly shard: string
    readonly idle: number
    readonly leased: number
    readonly waiting: number
  }[]
}[]

/** Metrics of one proxy in a registry of their own. */
export function createMetrics(gauges: GaugeSource): ProxyMetrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry, prefix: 'ringfence_' })
  new Gauge({
    name: 'ringfence_client_connections',
    help: 'Client connections now',
    labelNames: ['database'],
    registers,
    collect() {
      for (const { database, clients } of gauges()) this.set({ database }, clients)
    },
  })
  new Gauge({
    name: 'ringfence_server_connections',
    help: 'Server connections now, by what they do; waiting counts statements without one',
    labelNames: ['database', 'shard', 'state'],
    registers,
    collect() {
      for (const { database, shards } of gauges()) {
        for (const { shard, idle, leased, waiting } of shards) {
          this.set({ database, shard, state: 'idle' }, idle)
          this.set({ database, shard, state: 'active' }, leased)
          this.set({ database, shard, state: 'waiting' }, waiting)
        }
      }
    },
  })
  return {
    registry,
    clients: new Counter({
      name: 'ringfence_client_connections_total',
      help: 'Client connections that have logged in',
      labelNames: ['database'],
      registers,
    }),
    logins: new Counter({
      name: 'ringfence_logins_total',
      help: 'Login attempts by outcome',
      labelNames: ['outcome'],
      registers,
    }),
    errors: new Counter({
      name: 'ringfence_errors_total',
      help: 'Errors that the proxy itself raised, by SQLSTATE',
      labelNames: ['sqlstate'],
      registers,
    }),
  }
}
