// `ringfence shard list`: the shards of the catalog and of the file, side by side.
import { readEpoch } from '../catalog/topology-query.ts'
import { type CatalogShard, listShards } from '../catalog/shards.ts'
import { openShard } from '../rebalancer/copy/connection.ts'
import { primaryUrl } from '../rebalancer/shard-address.ts'
import {
  type ConfiguredShard,
  readCluster,
  type ShardCluster,
  type ShardFlags,
} from './shard-cluster.ts'
import { renderTable } from './table.ts'

type Row = {
  readonly id: string
  readonly address: string | null
  readonly ordinal: number | null
  /** `not joined`: in the file only; `not in the file`: in the catalog only. */
  readonly state: CatalogShard['state'] | 'not joined'
  readonly inFile: boolean
  readonly weight: number
  readonly vnodes: number
  /** Of all virtual nodes, 0 to 1. */
  readonly share: number
  readonly pins: number
  readonly moves: readonly number[]
  /** Of the database, bytes; null when it could not be asked. */
  readonly bytes: number | null
  readonly reason: string | null
}

const deadlineMs = 3_000

/** Exit code 0, or 1 when a shard could not be asked. */
export async function shardListCommand(
  flags: ShardFlags,
  out: (text: string) => void,
): Promise<number> {
  const cluster = await readCluster(flags)
  const signal = AbortSignal.timeout(10 * deadlineMs)
  await using home = await openShard(await primaryUrl(cluster.home), signal)
  const epoch = await readEpoch(home.client)
  const shards = await listShards(home.client)
  const rows = await rowsOf(cluster, shards)
  const ok = rows.every(({ reason }) => reason === null)
  if (flags.json) out(`${JSON.stringify({ ok, database: cluster.name, epoch, shards: rows })}\n`)
  else {
    out(renderTable(head, rows.map(cells)))
    out(`epoch ${epoch}\n`)
    for (const { id, reason } of rows) if (reason !== null) out(`${id}: ${reason}\n`)
  }
  return ok ? 0 : 1
}

const head = [
  'shard',
  'address',
  'ordinal',
  'state',
  'weight',
  'vnodes',
  'share',
  'pins',
  'moves',
  'size',
]

async function rowsOf(
  { shards: inFile }: ShardCluster,
  registered: readonly CatalogShard[],
): Promise<readonly Row[]> {
  const total = registered.reduce((sum, { vnodes }) => sum + vnodes, 0)
  const own = registered.map(async ({ id, ...shard }): Promise<Row> => {
    const file = inFile.get(id)
    const size = await sizeOf(file)
    const share = total === 0 ? 0 : shard.vnodes / total
    const reason = file === undefined ? 'it is in the catalog but not in the file' : size.reason
    const address = file?.place ?? null
    return { id, ...shard, address, share, ...size, reason, inFile: file !== undefined }
  })
  const known = new Set(registered.map(({ id }) => id))
  const waiting = [...inFile].filter(([id]) => !known.has(id))
  const others = waiting.map(async ([id, file]): Promise<Row> => {
    const nothing = { ordinal: null, vnodes: 0, share: 0, pins: 0, moves: [], inFile: true }
    const { place: address, weight } = file
    // Its server need not be there yet.
    const { bytes } = await sizeOf(file)
    return { id, address, state: 'not joined', weight, ...nothing, bytes, reason: null }
  })
  return await Promise.all([...own, ...others])
}

async function sizeOf(
  shard: ConfiguredShard | undefined,
): Promise<{ readonly bytes: number | null; readonly reason: string | null }> {
  if (shard === undefined) return { bytes: null, reason: null }
  try {
    const signal = AbortSignal.timeout(deadlineMs)
    await using opened = await openShard(await primaryUrl(shard.address), signal)
    const { rows } = await opened.client.query<{ bytes: string }>(
      'SELECT pg_database_size(current_database())::text AS bytes',
    )
    return { bytes: Number(rows[0]?.bytes ?? 0), reason: null }
  } catch (error) {
    return { bytes: null, reason: error instanceof Error ? error.message : String(error) }
  }
}

function cells(row: Row): readonly string[] {
  const { id, address, ordinal, state, inFile, weight, vnodes, share, pins, moves, bytes } = row
  return [
    id,
    address ?? '-',
    ordinal === null ? '-' : String(ordinal),
    inFile ? state : `${state}, not in the file`,
    String(weight),
    String(vnodes),
    `${(share * 100).toFixed(1)} %`,
    String(pins),
    moves.length === 0 ? '-' : moves.join(', '),
    bytes === null ? '-' : sizeText(bytes),
  ]
}

function sizeText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const at = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10))
  return `${(bytes / 1024 ** at).toFixed(at === 0 ? 0 : 1)} ${units[at]}`
}
