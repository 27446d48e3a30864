// One load against one peer, once: the figures of a window that begins when all clients are at work.
// CPU time is read at both ends of that window while pgbench runs; which transactions belong to it
// pgbench's log tells, so that logins and idle ends are in no figure.
import { setTimeout as delay } from 'node:timers/promises'
import type { Cluster } from '../demo/cluster.ts'
import { cpuMicrosOf } from './cpu.ts'
import type { Peer, ReadCounts } from './peers.ts'
import { type Load, type LoggedTransaction, runPgbench } from './pgbench.ts'

/** What one round of one row gave for one peer. */
export type Sample = {
  /** Counted transactions per second. */
  readonly tps: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
  /** CPU time of the proxy per transaction in µs; null without a proxy. */
  readonly proxyMicros: number | null
  /** CPU time of all PostgreSQL servers per transaction in µs. */
  readonly serverMicros: number
  /** Of the reads that replicas could have served; null where there are none, or no replicas. */
  readonly replicaShare: number | null
}

/** What stays the same from round to round. */
export type Bench = {
  readonly cluster: Cluster
  readonly pgbench: string
  /** Length of the window. */
  readonly seconds: number
  readonly signal: AbortSignal
}

/** A reading of the CPU times at one instant, and of the reads just before. */
export type Reading = {
  /** Microseconds since 1970, as in pgbench's log. */
  readonly atMicros: number
  readonly proxyMicros: number | null
  readonly serverMicros: number
  readonly reads: ReadCounts | null
}

/** Runs the load once. Throws when pgbench reports an error or nothing was done. */
export async function measure(
  bench: Bench,
  peer: Peer,
  what: { readonly load: Load; readonly ratePerSecond: number | null },
): Promise<Sample> {
  const { pgbench: program, cluster, signal } = bench
  const { port, database, variables } = peer
  const run = { ...what, program, port, database, variables, signal, dir: cluster.dir }
  const [transactions, [from, to]] = await runPgbench(run, () => readTwice(bench, peer))
  return summarize(transactions, { from, to, uncountedClients: what.load.uncountedClients })
}

/** The window's figures. Throws when no counted transaction or a failed one is in it. */
export function summarize(
  transactions: readonly LoggedTransaction[],
  window: {
    readonly from: Reading
    readonly to: Reading
    readonly uncountedClients: number
  },
): Sample {
  const { from, to, uncountedClients } = window
  const inside = transactions.filter(
    ({ endedMicros }) => endedMicros > from.atMicros && endedMicros <= to.atMicros,
  )
  const failed = inside.filter(({ latencyMicros }) => latencyMicros === null)
  if (failed.length > 0) throw new Error(`${failed.length} transactions failed`)
  const counted = inside.filter(({ client }) => client >= uncountedClients)
  if (counted.length === 0) throw new Error('no transaction ended in the time measured')
  const latencies = Float64Array.from(counted, ({ latencyMicros }) => latencyMicros ?? 0).sort()
  const perTransaction = (after: number, before: number) => (after - before) / inside.length
  return {
    tps: counted.length / ((to.atMicros - from.atMicros) / 1_000_000),
    p50Ms: percentile(latencies, 0.5) / 1000,
    p99Ms: percentile(latencies, 0.99) / 1000,
    maxMs: percentile(latencies, 1) / 1000,
    proxyMicros:
      to.proxyMicros === null || from.proxyMicros === null
        ? null
        : perTransaction(to.proxyMicros, from.proxyMicros),
    serverMicros: perTransaction(to.serverMicros, from.serverMicros),
    replicaShare: shareOfReplicas(from.reads, to.reads),
  }
}

function shareOfReplicas(from: ReadCounts | null, to: ReadCounts | null): number | null {
  if (from === null || to === null) return null
  const onReplicas = to.replica - from.replica
  const all = onReplicas + to.primary - from.primary
  return all === 0 ? null : onReplicas / all
}

/** Nearest rank: the smallest value that at least `share` of all values do not exceed. */
export function percentile(sorted: Float64Array, share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN
}

async function readTwice(
  { cluster, seconds, signal }: Bench,
  peer: Peer,
): Promise<readonly [Reading, Reading]> {
  const from = await read(cluster, peer)
  await delay(seconds * 1000, undefined, { signal })
  return [from, await read(cluster, peer)]
}

async function read({ shards }: Cluster, { proxyPid, readCounts }: Peer): Promise<Reading> {
  const reads = readCounts === null ? null : await readCounts()
  const started = performance.timeOrigin + performance.now()
  const proxyMicros = proxyPid === null ? null : cpuMicrosOf(proxyPid)
  const pids = shards.flatMap(({ primary, replicas }) =>
    [primary, ...replicas].map(({ pid }) => pid),
  )
  const servers = pids.map((pid) => (pid === null ? 0 : cpuMicrosOf(pid)))
  const ended = performance.timeOrigin + performance.now()
  return {
    atMicros: ((started + ended) / 2) * 1000,
    proxyMicros,
    serverMicros: servers.reduce((sum, micros) => sum + micros, 0),
    reads,
  }
}
