// What a plan is made from, as the catalog and the shards have it now: owners, pins and measured load from the
// catalog, sizes from every shard. Pinned keys count for themselves and not for their virtual nodes, whoever has
// measured them.
import type { Client } from 'pg'
import { type MeasuredLoad, readLoad } from '../../catalog/load-store.ts'
import { listShards } from '../../catalog/shards.ts'
import { type ShardId, shardId, vnode, type Vnode } from '../../core/ids.ts'
import { openShard } from '../copy/connection.ts'
import type { PlanInput } from '../plan/plan-input.ts'
import { type MoverDatabase, openCatalog } from '../run-move.ts'
import { primaryUrl } from '../shard-address.ts'
import { readMovedTables } from '../tables.ts'
import { readSizes, type Sizes } from './sizes.ts'

export type PlanTarget = Pick<PlanInput, 'epsilon' | 'bytesMax' | 'movesMax'>

/** Hot keys that are worth a look, and a place in the list that every row is compared with. */
const hotKeysMax = 256

/** Placement and load as the catalog has them. */
type Placed = {
  readonly shards: PlanInput['shards']
  readonly owners: readonly { readonly vnode: Vnode; readonly shard: ShardId }[]
  readonly pins: readonly { readonly key: string; readonly shard: ShardId }[]
  readonly load: MeasuredLoad
}

/** Input of a plan, with sizes; every shard is read. @throws the signal's reason, or what pg throws */
export async function readPlanInput(
  database: MoverDatabase,
  target: PlanTarget,
  signal: AbortSignal,
): Promise<PlanInput> {
  const placed = await readPlacedOf(database)
  const keys = [...placed.pins.map(({ key }) => key), ...placed.load.keys.map(({ key }) => key)]
  const sizes = new Map<ShardId, Sizes>()
  for (const { id } of placed.shards) {
    const address = database.shards.get(id) ?? { urls: [] }
    await using shard = await openShard(await primaryUrl(address), signal)
    const tables = await readMovedTables(shard.client, database.rules)
    const { keyType } = database.rules
    sizes.set(id, await readSizes(shard.client, tables, { keyType, keys: [...new Set(keys)] }))
  }
  return inputOf(placed, sizes, target)
}

/** The same without sizes, from the catalog alone: enough to see how even the load is. */
export async function readLoadInput(catalog: Client, target: PlanTarget): Promise<PlanInput> {
  return inputOf(await readPlaced(catalog), new Map(), target)
}

async function readPlacedOf(database: MoverDatabase): Promise<Placed> {
  const catalog = await openCatalog(database)
  try {
    return await readPlaced(catalog.client)
  } finally {
    await catalog.end()
  }
}

async function readPlaced(catalog: Client): Promise<Placed> {
  // One that is about to join has no tables yet.
  const shards = (await listShards(catalog)).filter(({ state }) => state !== 'joining')
  const owners = await catalog.query<{ vnode: number; shard: string }>(
    'SELECT vnode, shard FROM ringfence.vnode ORDER BY vnode',
  )
  const pins = await catalog.query<{ key: string; shard: string }>(
    'SELECT key, shard FROM ringfence.pin ORDER BY key',
  )
  const load = await readLoad(catalog)
  const isPinned = (key: string) => pins.rows.some((pin) => pin.key === key)
  return {
    shards: shards.map(({ id, weight, state }) => ({ id, weight, draining: state === 'draining' })),
    owners: owners.rows.map((row) => ({ vnode: vnode(row.vnode), shard: shardId(row.shard) })),
    pins: pins.rows.map(({ key, shard }) => ({ key, shard: shardId(shard) })),
    load: { ...load, keys: load.keys.filter(({ key }, at) => at < hotKeysMax || isPinned(key)) },
  }
}

function inputOf(
  { shards, owners, pins, load }: Placed,
  sizes: ReadonlyMap<ShardId, Sizes>,
  target: PlanTarget,
): PlanInput {
  const ownerOf = new Map(owners.map((owner) => [owner.vnode, owner.shard]))
  const pinned = new Set(pins.map(({ key }) => key))
  const loads = new Map(load.vnodes.map((each) => [each.vnode, each.serverMs]))
  const bytes = new Map(
    owners.map((owner) => [
      owner.vnode,
      sizes.get(owner.shard)?.vnodes.get(owner.vnode)?.bytes ?? 0,
    ]),
  )
  const keyLoads = new Map(load.keys.map((each) => [each.key, each.serverMs]))
  const hotKeys = load.keys.flatMap(({ key, vnode: at, serverMs }) => {
    if (pinned.has(key)) {
      loads.set(at, Math.max(0, (loads.get(at) ?? 0) - serverMs))
      return []
    }
    const shard = ownerOf.get(at)
    const own = (shard === undefined ? undefined : sizes.get(shard))?.keys.get(key)?.bytes ?? 0
    bytes.set(at, (bytes.get(at) ?? 0) + own)
    return [{ key, vnode: at, load: serverMs, bytes: own }]
  })
  return {
    ...target,
    shards,
    vnodes: owners.map(({ vnode: at, shard }) => {
      return { vnode: at, shard, load: loads.get(at) ?? 0, bytes: bytes.get(at) ?? 0 }
    }),
    hotKeys,
    pins: pins.map(({ key, shard }) => {
      const size = sizes.get(shard)?.keys.get(key)?.bytes ?? 0
      return { key, shard, load: keyLoads.get(key) ?? 0, bytes: size }
    }),
  }
}
