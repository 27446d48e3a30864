// What the metrics of databases are made from: plain numbers of pools, monitors and gates, read when somebody scrapes.
import type { Database } from './database.ts'
import type { HostView } from './host-views.ts'
import type { ReadCounts } from './read-counts.ts'

/** What the gauges show; read when somebody scrapes. */
export type GaugeSource = () => readonly DatabaseGauges[]

type DatabaseGauges = {
  readonly database: string
  readonly clients: number
  readonly shards: readonly ShardGauges[]
  /** Servers of shards that have replicas. */
  readonly hosts: readonly HostView[]
  /** Of virtual nodes on the move; null without sharding. */
  readonly moves: MoveGauges | null
  /** Null without Redis. */
  readonly redis: 'connected' | 'away' | null
}

export type MoveGauges = {
  readonly active: number
  readonly heldNow: number
  /** Statements held, and for how long, milliseconds; refused for want of room or time. */
  readonly counts: { readonly held: number; readonly heldMs: number; readonly refused: number }
}

export type ShardGauges = {
  readonly shard: string
  readonly idle: number
  readonly leased: number
  readonly opening: number
  readonly waiting: number
  readonly counts: ReadCounts
  /** Times that another server has become the primary. */
  readonly failovers: number
}

/** Of databases as they are now. */
export function gaugesOf(databases: readonly Database[]): readonly DatabaseGauges[] {
  return databases.map((database) => ({
    database: database.options.name,
    clients: database.clients,
    shards: database.shards.map((shard) => {
      const { counts, failovers } = database.serversOf(shard)
      return { shard, ...database.stats(shard), counts, failovers }
    }),
    hosts: database.hasReplicas ? database.hosts() : [],
    moves: database.gate?.figures ?? null,
    redis: database.tokens?.state ?? null,
  }))
}
