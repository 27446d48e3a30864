// One server of a shard as operators are shown it.
import type { ShardId } from '../core/ids.ts'
import type { Lsn } from '../core/lsn.ts'
import type { HostMonitor } from '../pool/host-monitor.ts'
import type { ShardServers } from './shard-servers.ts'

/** What is known of one server of a shard; null where nothing is. */
export type HostView = {
  readonly shard: ShardId
  readonly host: string
  readonly port: number
  readonly role: 'primary' | 'replica' | null
  /** `refused`: it answers, but is of another cluster or of an older timeline. */
  readonly state: 'up' | 'down' | 'refused' | 'unknown'
  /** Why it is down or refused. */
  readonly reason: string | null
  readonly timeline: number | null
  readonly lsn: Lsn | null
  readonly lagBytes: bigint | null
  readonly lagMs: number | null
  readonly idle: number
  readonly active: number
  /** Average time of its reads that jumps up with a slow one and falls slowly. */
  readonly ewmaMs: number | null
  /** Reads that it has served. */
  readonly reads: number
}

/** The shard's servers in the order of the configuration; a shard without replicas has one, which nobody monitors. */
export function hostViews(servers: ShardServers): readonly HostView[] {
  const { id: shard, monitor } = servers
  if (monitor !== null) return monitor.hosts.map((host) => hostView(servers, host))
  const { host = '', port = 0 } = servers.primaryAddress ?? {}
  const { idle, leased: active } = servers.stats
  const state = servers.isOut ? 'down' : 'up'
  const unknown = { timeline: null, lsn: null, lagBytes: null, lagMs: null, ewmaMs: null }
  const reads = primaryReads(servers)
  return [
    { shard, host, port, role: 'primary', state, reason: null, idle, active, reads, ...unknown },
  ]
}

function hostView(servers: ShardServers, monitored: HostMonitor): HostView {
  const { id: shard, monitor } = servers
  const { address, status } = monitored
  const sample = status.kind === 'up' ? status.sample : null
  const lag = sample?.role === 'replica' ? (monitor?.lag(monitored) ?? null) : null
  const { idle, leased: active } = servers.statsOf(monitored)
  const load = servers.loadOf(monitored)
  const primary = monitor?.primary === monitored
  return {
    shard,
    host: address.host,
    port: address.port,
    role: sample?.role ?? null,
    state: status.kind,
    reason: status.kind === 'down' || status.kind === 'refused' ? status.reason : null,
    timeline: sample?.timeline ?? null,
    lsn: sample?.lsn ?? null,
    lagBytes: lag?.bytes ?? null,
    lagMs: lag?.ms ?? null,
    idle,
    active,
    ewmaMs: load.reads === 0 ? null : servers.latencyMsOf(monitored),
    reads: primary ? primaryReads(servers) : load.reads,
  }
}

/** Reads that could have gone to a replica. */
function primaryReads({ counts }: ShardServers): number {
  return Object.values(counts.primary).reduce((sum, count) => sum + count, 0)
}
