// How a sharded database follows its topology: where the catalog is now, which shards it knows, what it has seen.
import type { ProxyIdentity } from '../catalog/proxy-registry.ts'
import { TopologyStore } from '../catalog/topology-store.ts'
import type { Clock } from '../core/clock.ts'
import { epoch } from '../core/ids.ts'
import type { Log } from '../core/log.ts'
import type { DatabaseOptions } from './database-options.ts'
import type { MoveGate } from './move-gate.ts'

/** A database, as its store sees it. */
export interface Followed {
  readonly options: DatabaseOptions
  readonly clock: Clock
  readonly gate: MoveGate | null
  homeUrl(): string
}

const topologyPollMs = 1_000

/** Not started yet. */
export function topologyStoreOf(
  database: Followed,
  { identity, log }: { readonly identity: ProxyIdentity; readonly log: Log },
): TopologyStore {
  const { gate, clock } = database
  const proxy = {
    identity,
    seen: () => gate?.seen ?? epoch(0),
    beaten: (sentMs: number) => gate?.beaten(sentMs),
  }
  return new TopologyStore({
    clock,
    proxy,
    // Read at every connection: a failover changes it.
    get url() {
      return database.homeUrl()
    },
    get shards() {
      return database.options.shards.map((shard) => shard.id)
    },
    log,
    pollMs: topologyPollMs,
  })
}
