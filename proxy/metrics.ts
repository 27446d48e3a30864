// Counters of a proxy, in Prometheus' text format at /metrics. What pools, monitors and sessions
// count in plain numbers is read on scrape: nothing of prom-client is on the way of a statement.
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client'
import { type GaugeSource, gaugesOf, type MoveGauges, type ShardGauges } from './gauges.ts'
import type { HostView } from './host-views.ts'
import { addPlain } from './plain-metrics.ts'
import { addTrafficMetrics, type TrafficSource } from './traffic-metrics.ts'

export type ProxyMetrics = {
  readonly registry: Registry
  readonly clients: Counter<'database'>
  readonly logins: Counter<'outcome'>
  readonly errors: Counter<'sqlstate'>
}

export type MetricsSource = TrafficSource & {
  /** Processes that share the port. */
  readonly workers: () => number
}

/** Metrics of one proxy in a registry of their own. */
export function createMetrics(source: MetricsSource): ProxyMetrics {
  const registry = new Registry()
  const registers = [registry]
  const gauges = () => gaugesOf(source.databases())
  collectDefaultMetrics({ register: registry, prefix: 'ringfence_' })
  addConnectionGauges(gauges, registers)
  addHostGauges(gauges, registers)
  addReadCounters(gauges, registers)
  addMoveGauges(gauges, registers)
  addTrafficMetrics(registry, source)
  const help = 'Processes that share the port'
  addPlain(registry, 'gauge', { name: 'ringfence_workers', help, labels: [] }, () => [
    [[], source.workers()],
  ])
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

function addConnectionGauges(gauges: GaugeSource, registers: Registry[]): void {
  new Gauge({
    name: 'ringfence_client_connections',
    help: 'Client connections now',
    labelNames: ['database'],
    registers,
    collect() {
      this.reset()
      for (const { database, clients } of gauges()) this.set({ database }, clients)
    },
  })
  new Gauge({
    name: 'ringfence_server_connections',
    help: 'Server connections now, by what they do; waiting counts statements without one',
    labelNames: ['database', 'shard', 'state'],
    registers,
    collect() {
      this.reset()
      for (const { database, shards } of gauges()) {
        for (const { shard, idle, leased, opening, waiting } of shards) {
          this.set({ database, shard, state: 'idle' }, idle)
          this.set({ database, shard, state: 'active' }, leased)
          this.set({ database, shard, state: 'opening' }, opening)
          this.set({ database, shard, state: 'waiting' }, waiting)
        }
      }
    },
  })
  new Gauge({
    name: 'ringfence_redis_connected',
    help: 'Whether session ids can be looked up in Redis: 1 or 0',
    labelNames: ['database'],
    registers,
    collect() {
      this.reset()
      for (const { database, redis } of gauges()) {
        if (redis !== null) this.set({ database }, redis === 'connected' ? 1 : 0)
      }
    },
  })
}

/** One gauge per aspect of a host; a host of which it is not known has no line. */
function addHostGauges(gauges: GaugeSource, registers: Registry[]): void {
  const add = (name: string, help: string, read: (host: HostView) => number | null) => {
    new Gauge({
      name,
      help,
      labelNames: ['database', 'shard', 'host'],
      registers,
      collect() {
        this.reset()
        for (const { database, hosts } of gauges()) {
          for (const view of hosts) {
            const value = read(view)
            const host = `${view.host}:${view.port}`
            if (value !== null) this.set({ database, shard: view.shard, host }, value)
          }
        }
      },
    })
  }
  add(
    'ringfence_host_up',
    'Whether a server answers and is of the right history: 1 or 0',
    (host) => (host.state === 'up' ? 1 : 0),
  )
  add('ringfence_host_primary', 'Whether a server is the primary of its shard: 1 or 0', (host) =>
    host.state === 'up' && host.role === 'primary' ? 1 : 0,
  )
  const ofReplica = (host: HostView) => (host.role === 'replica' ? host : null)
  add(
    'ringfence_replica_lag_seconds',
    'How long ago the primary was where a replica is',
    (host) => {
      const lagMs = ofReplica(host)?.lagMs ?? null
      return lagMs === null ? null : lagMs / 1_000
    },
  )
  add(
    'ringfence_replica_lag_bytes',
    'Write-ahead log that a replica has still to replay',
    (host) => {
      const lagBytes = ofReplica(host)?.lagBytes ?? null
      return lagBytes === null ? null : Number(lagBytes)
    },
  )
}

function addReadCounters(gauges: GaugeSource, registers: Registry[]): void {
  new Counter({
    name: 'ringfence_reads_total',
    help: 'Reads by the kind of server that served them, and why it did',
    labelNames: ['database', 'shard', 'target', 'reason'],
    registers,
    collect() {
      this.reset()
      for (const { database, shards } of gauges()) {
        for (const { shard, counts } of shards) {
          for (const target of ['replica', 'primary'] as const) {
            for (const [reason, count] of Object.entries(counts[target])) {
              this.inc({ database, shard, target, reason }, count)
            }
          }
        }
      }
    },
  })
  const add = (name: string, help: string, read: (shard: ShardGauges) => number) => {
    new Counter({
      name,
      help,
      labelNames: ['database', 'shard'],
      registers,
      collect() {
        this.reset()
        for (const { database, shards } of gauges()) {
          for (const each of shards) this.inc({ database, shard: each.shard }, read(each))
        }
      },
    })
  }
  add(
    'ringfence_read_waits_total',
    'Reads that waited for a replica to catch up',
    ({ counts }) => counts.waits,
  )
  add(
    'ringfence_retried_total',
    'Statements that were run again on another server',
    ({ counts }) => counts.retried,
  )
  add(
    'ringfence_failovers_total',
    'Times that another server has become the primary of a shard',
    ({ failovers }) => failovers,
  )
}

/** Counts of the gate are read on scrape, like all plain counters. */
function addMoveGauges(gauges: GaugeSource, registers: Registry[]): void {
  const figures: readonly (readonly [string, string, (moves: MoveGauges) => number])[] = [
    ['moves_active', 'Moves of virtual nodes under way', ({ active }) => active],
    ['held_statements', 'Statements that wait for a move now', ({ heldNow }) => heldNow],
    ['held_statements_total', 'Statements held for a move', ({ counts }) => counts.held],
    [
      'held_seconds_total',
      'Time that statements were held for moves',
      ({ counts }) => counts.heldMs / 1_000,
    ],
    [
      'held_refused_total',
      'Statements refused because too many were held, or for too long',
      ({ counts }) => counts.refused,
    ],
  ]
  for (const [name, help, read] of figures) {
    // A Gauge also for what only grows: it is set to what was counted elsewhere.
    new Gauge({
      name: `ringfence_${name}`,
      help,
      labelNames: ['database'],
      registers,
      collect() {
        this.reset()
        for (const { database, moves } of gauges()) {
          if (moves !== null) this.set({ database }, read(moves))
        }
      },
    })
  }
}
