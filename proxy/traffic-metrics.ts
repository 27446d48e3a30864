// Metrics of what clients and servers do: how much, how long, why they wait, what is kept for whom.
import { TLSSocket } from 'node:tls'
import type { Registry } from 'prom-client'
import type { Database } from './database.ts'
import { laneCountsOf } from './lane-figures.ts'
import { addPlain, type HistogramSample, PlainHistogram, type Sample } from './plain-metrics.ts'
import type { Session } from './session.ts'
import { statementClasses, type Traffic } from './traffic.ts'

export type TrafficSource = {
  readonly databases: () => readonly Database[]
  readonly sessions: Iterable<Session>
  /** Connections that are not logged in yet. */
  readonly logins: () => number
  readonly nowMs: () => number
  /** Spans that were sent and dropped; null without tracing. */
  readonly spans: () => { readonly sent: number; readonly dropped: number } | null
}

type Count = readonly [name: string, help: string, read: (traffic: Traffic) => number]

const second = 1e6
const counts: readonly Count[] = [
  ['queries_total', 'Simple queries and pipelines of clients', ({ queries }) => queries],
  ['transactions_total', 'Transactions of clients', ({ transactions }) => transactions],
  ['received_bytes_total', 'Bytes from clients', ({ receivedBytes }) => receivedBytes],
  ['sent_bytes_total', 'Bytes to clients', ({ sentBytes }) => sentBytes],
  [
    'query_seconds_total',
    'Time that clients waited for answers, without waiting for a server',
    ({ queryUs }) => queryUs / second,
  ],
  [
    'transaction_seconds_total',
    'Time that clients were in transactions, without waiting for a server',
    ({ transactionUs }) => transactionUs / second,
  ],
  ['wait_seconds_total', 'Time that clients waited for a server', ({ waitUs }) => waitUs / second],
  ['waits_total', 'Waits for a server that ended with one', ({ waits }) => waits],
  ['server_assignments_total', 'Servers given to clients', ({ assignments }) => assignments],
  [
    'client_parses_total',
    'Named statements that clients prepared',
    ({ clientParses }) => clientParses,
  ],
  [
    'server_parses_total',
    'Named statements that servers were sent to prepare',
    ({ serverParses }) => serverParses,
  ],
  ['binds_total', 'Named statements that were bound', ({ binds }) => binds],
]

/** Adds all of them; labels are databases, shards, classes and reasons, never users or texts. */
export function addTrafficMetrics(registry: Registry, source: TrafficSource): void {
  const { databases } = source
  const labels = ['database']
  for (const [name, help, read] of counts) {
    addPlain(registry, 'counter', { name: `ringfence_${name}`, help, labels }, () =>
      databases().map(({ options, traffic }): Sample => [[options.name], read(traffic)]),
    )
  }
  const help = 'Errors that servers answered with, by SQLSTATE'
  const about = { name: 'ringfence_server_errors_total', help, labels: ['database', 'sqlstate'] }
  addPlain(registry, 'counter', about, () =>
    databases().flatMap(({ options, traffic }) =>
      [...traffic.errors].map(([sqlstate, count]): Sample => [[options.name, sqlstate], count]),
    ),
  )
  addTimes(registry, databases)
  addCaches(registry, databases)
  addLanes(registry, databases)
  addClients(registry, source)
  addPlain(
    registry,
    'counter',
    { name: 'ringfence_spans_total', help: 'Spans by what became of them', labels: ['outcome'] },
    () =>
      Object.entries(source.spans() ?? {}).map(([outcome, count]): Sample => [[outcome], count]),
  )
}

function addTimes(registry: Registry, databases: TrafficSource['databases']): void {
  const each = (read: (traffic: Traffic, name: string) => readonly HistogramSample[]) => () =>
    databases().flatMap(({ options, traffic }) => read(traffic, options.name))
  new PlainHistogram(
    registry,
    {
      name: 'ringfence_client_duration_seconds',
      help: 'From a client’s message to the end of its answer, by where the statement ran',
      labels: ['database', 'class'],
    },
    each(({ clientTimes }, name) =>
      statementClasses
        .filter((kind) => clientTimes[kind].count > 0)
        .map((kind) => [[name, kind], clientTimes[kind]]),
    ),
  )
  new PlainHistogram(
    registry,
    {
      name: 'ringfence_server_duration_seconds',
      help: 'From sending to a server to the end of its answer',
      labels: ['database', 'shard'],
    },
    each(({ timesByShard }, name) =>
      [...timesByShard].map(([shard, times]) => [[name, shard], times]),
    ),
  )
  new PlainHistogram(
    registry,
    {
      name: 'ringfence_wait_duration_seconds',
      help: 'Waits for a server that ended with one',
      labels: ['database'],
    },
    each(({ waitTimes }, name) => [[[name], waitTimes]]),
  )
}

function addCaches(registry: Registry, databases: TrafficSource['databases']): void {
  const labels = ['database', 'cache']
  type Cache = { readonly size: number; readonly hits: number; readonly misses: number }
  const each = (read: (cache: Cache) => number) => () =>
    databases().flatMap(({ options, router, statements }): readonly Sample[] => [
      [[options.name, 'plans'], read(router.plans)],
      [[options.name, 'statements'], read(statements)],
    ])
  const add = (
    kind: 'counter' | 'gauge',
    name: string,
    help: string,
    read: (cache: Cache) => number,
  ) => addPlain(registry, kind, { name: `ringfence_cache_${name}`, help, labels }, each(read))
  add('gauge', 'entries', 'Entries of a cache', ({ size }) => size)
  add('counter', 'hits_total', 'Texts that a cache had', ({ hits }) => hits)
  add('counter', 'misses_total', 'Texts that a cache did not have', ({ misses }) => misses)
}

function addLanes(registry: Registry, databases: TrafficSource['databases']): void {
  const labels = ['database', 'shard', 'outcome']
  const help = 'Statements of the fast lane: sent on it, rescued from it, without a place on it'
  addPlain(registry, 'counter', { name: 'ringfence_lane_total', help, labels }, () =>
    databases().flatMap((database) =>
      database.shards.flatMap((shard): readonly Sample[] => {
        const counts = laneCountsOf(database.serversOf(shard).pools)
        const { name } = database.options
        return Object.entries(counts).map(([outcome, count]) => [[name, shard, outcome], count])
      }),
    ),
  )
}

function addClients(
  registry: Registry,
  { databases, sessions, logins, nowMs }: TrafficSource,
): void {
  const gauge = (
    name: string,
    help: string,
    labels: readonly string[],
    read: () => Iterable<Sample>,
  ) => addPlain(registry, 'gauge', { name: `ringfence_${name}`, help, labels }, read)
  const perDatabase = (read: (session: Session) => boolean) => () => {
    const sums = new Map(databases().map(({ options }) => [options.name, 0]))
    for (const session of sessions) {
      const { name } = session.state.database.options
      if (read(session)) sums.set(name, (sums.get(name) ?? 0) + 1)
    }
    return [...sums].map(([name, sum]): Sample => [[name], sum])
  }
  gauge('waiting_clients', 'Clients that wait for a server', ['database'], perDatabase(isWaiting))
  gauge(
    'tls_clients',
    'Clients that are connected with TLS',
    ['database'],
    perDatabase(isEncrypted),
  )
  gauge('logins_under_way', 'Connections that are not logged in yet', [], () => [[[], logins()]])
  gauge('max_wait_seconds', 'Longest wait for a server that is under way', ['database'], () => {
    const longest = new Map(databases().map(({ options }) => [options.name, 0]))
    for (const { state, times } of sessions) {
      if (times.waitingSinceMs === null) continue
      const { name } = state.database.options
      const seconds = (nowMs() - times.waitingSinceMs) / 1_000
      longest.set(name, Math.max(longest.get(name) ?? 0, seconds))
    }
    return [...longest].map(([name, seconds]): Sample => [[name], seconds])
  })
  gauge(
    'pinned_servers',
    'Servers that clients keep, by the reason',
    ['database', 'reason'],
    () => {
      const sums = new Map<string, Sample>()
      for (const { state } of sessions) {
        for (const reason of state.leases.pinReasons) {
          const labels = [state.database.options.name, reason]
          const key = labels.join('\0')
          sums.set(key, [labels, (sums.get(key)?.[1] ?? 0) + 1])
        }
      }
      return sums.values()
    },
  )
}

function isWaiting({ times }: Session): boolean {
  return times.waitingSinceMs !== null
}

function isEncrypted({ socket }: Session): boolean {
  return socket instanceof TLSSocket
}
