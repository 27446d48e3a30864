// One picture of the whole: all proxies' pools summed by shard, replicas as the proxy sees them that is worst off, and
// what the catalog knows.
import type { CatalogSample } from './catalog-view.ts'
import type { ProxySample, ShownRow } from './proxy-view.ts'

/** What `--json` prints. */
export type TopSample = {
  /** ISO 8601. */
  readonly at: string
  readonly database: string
  readonly epoch: number | null
  readonly proxies: readonly {
    readonly proxy: string
    readonly clients: number
    readonly error: string | null
  }[]
  /** Why there is nothing from the catalog. */
  readonly catalogError: string | null
  readonly shards: readonly ShardLine[]
  readonly replicas: readonly ReplicaLine[]
  readonly moves: CatalogSample['moves']
  readonly vnodes: CatalogSample['vnodes']
  readonly keys: CatalogSample['keys']
}

type ShardLine = {
  readonly shard: string
  /** Of its primary; null while there is none. */
  readonly host: string | null
  readonly vnodes: number
  readonly paused: boolean
  readonly idle: number
  readonly active: number
  readonly opening: number
  /** Statements without a server connection. */
  readonly waiting: number
  /** Statements that share a server with others, on the fast lane. */
  readonly riding: number
  /** Per second, over the last ten minutes or so; null where nothing is measured. */
  readonly statements: number | null
  readonly serverMs: number | null
}

type ReplicaLine = {
  readonly shard: string
  readonly host: string
  readonly role: string | null
  readonly state: string
  readonly lagMs: number | null
  readonly lagBytes: number | null
  readonly reads: number
}

/** Of `database` alone; shards in the proxies' order. */
export function composeSample(
  database: string,
  at: Date,
  proxies: readonly ProxySample[],
  catalog: CatalogSample,
): TopSample {
  const own = (rows: readonly ShownRow[]) => rows.filter((row) => row['database'] === database)
  const shardRows = proxies.flatMap(({ shards }) => own(shards))
  const laneRows = proxies.flatMap(({ lanes }) => own(lanes))
  const ids = [...new Set(shardRows.map((row) => row['shard'] ?? ''))]
  return {
    at: at.toISOString(),
    database,
    epoch: catalog.epoch,
    proxies: proxies.map(({ proxy, error, databases }) => {
      const row = databases.find((each) => each['name'] === database)
      return { proxy, clients: numberOf(row, 'current_client_connections'), error }
    }),
    catalogError: catalog.error,
    shards: ids.map((shard): ShardLine => {
      const shown = shardRows.filter((row) => row['shard'] === shard)
      const lanes = laneRows.filter((row) => row['shard'] === shard)
      const load = catalog.loads.get(shard)
      const [first] = shown
      return {
        shard,
        host: hostOf(first),
        vnodes: numberOf(first, 'vnodes'),
        paused: shown.some((row) => row['paused'] === 'yes'),
        idle: sum(shown, 'idle'),
        active: sum(shown, 'active'),
        opening: sum(shown, 'opening'),
        waiting: sum(shown, 'waiting'),
        riding: sum(lanes, 'riders'),
        statements: load?.statements ?? (catalog.loads.size === 0 ? null : 0),
        serverMs: load?.serverMs ?? (catalog.loads.size === 0 ? null : 0),
      }
    }),
    replicas: replicaLines(proxies.flatMap(({ replicas }) => own(replicas))),
    moves: catalog.moves,
    vnodes: catalog.vnodes,
    keys: catalog.keys,
  }
}

/** Servers besides primaries that work; of several proxies' views the one with the greatest lag. */
function replicaLines(rows: readonly ShownRow[]): readonly ReplicaLine[] {
  const lines = new Map<string, ReplicaLine>()
  for (const row of rows) {
    if (row['role'] === 'primary' && row['state'] === 'up') continue
    const host = hostOf(row) ?? ''
    const line: ReplicaLine = {
      shard: row['shard'] ?? '',
      host,
      role: row['role'] ?? null,
      state: [row['state'], row['reason']].filter((word) => (word ?? '') !== '').join(': '),
      lagMs: optional(row, 'lag_ms'),
      lagBytes: optional(row, 'lag_bytes'),
      reads: numberOf(row, 'reads'),
    }
    const known = lines.get(host)
    const worse = known === undefined || (line.lagMs ?? 0) >= (known.lagMs ?? 0)
    const reads = line.reads + (known?.reads ?? 0)
    lines.set(host, { ...(worse ? line : known), reads })
  }
  return [...lines.values()]
}

function hostOf(row: ShownRow | undefined): string | null {
  const host = row?.['host'] ?? null
  return host === null ? null : `${host}:${row?.['port'] ?? ''}`
}

function sum(rows: readonly ShownRow[], column: string): number {
  return rows.reduce((total, row) => total + numberOf(row, column), 0)
}

function numberOf(row: ShownRow | undefined, column: string): number {
  return Number(row?.[column] ?? 0)
}

function optional(row: ShownRow, column: string): number | null {
  const value = row[column] ?? null
  return value === null ? null : Number(value)
}
