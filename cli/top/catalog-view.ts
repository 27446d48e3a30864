// What the catalog adds to the picture: measured load by shard, virtual node and key, and moves under way. The catalog
// may be away, or older than this program: then there is nothing of it to be seen, and the reason.
import type { Client } from 'pg'
import { readLoad } from '../../catalog/load-store.ts'
import { listMoves } from '../../catalog/move-store.ts'
import type { Config, DatabaseConfig } from '../../config/config.ts'
import { withCatalog } from '../home-catalog.ts'
import { CommandFailure } from '../load-config.ts'
import { describeSet, describeState } from '../rebalance/describe.ts'

/** Statements and server time of late, per second. */
type Rate = { readonly statements: number; readonly serverMs: number }

export type CatalogSample = {
  readonly error: string | null
  readonly epoch: number | null
  readonly loads: ReadonlyMap<string, Rate>
  readonly moves: readonly {
    readonly id: number
    readonly from: string
    readonly to: string
    readonly what: string
    readonly state: string
  }[]
  /** The hottest first. */
  readonly vnodes: readonly (Rate & { readonly vnode: number; readonly shard: string })[]
  readonly keys: readonly (Rate & { readonly key: string; readonly shard: string })[]
}

const hottestMax = 20

/** Throws nothing that a server can cause. Empty for a database that is not sharded. */
export async function catalogSample(
  config: Config,
  database: DatabaseConfig,
): Promise<CatalogSample> {
  if (database.sharding === null) return nothing
  try {
    return await withCatalog(config, database, read)
  } catch (thrown) {
    const expected =
      thrown instanceof CommandFailure || (thrown instanceof Error && 'code' in thrown)
    if (!expected) throw thrown
    return { ...nothing, error: thrown.message }
  }
}

const nothing: CatalogSample = {
  error: null,
  epoch: null,
  loads: new Map(),
  moves: [],
  vnodes: [],
  keys: [],
}

async function read(client: Client): Promise<CatalogSample> {
  const { rows } = await client.query<{
    epoch: number
    owners: string[]
    pins: [string, string][]
  }>(
    `SELECT t.epoch::int, (SELECT array_agg(v.shard ORDER BY v.vnode) FROM ringfence.vnode v) AS owners,
       (SELECT coalesce(json_agg(json_build_array(p.key, p.shard)), '[]') FROM ringfence.pin p) AS pins
     FROM ringfence.topology t`,
  )
  const [row] = rows
  const owners = row?.owners ?? []
  const pins = new Map(row?.pins)
  const { vnodes, keys } = await readLoad(client)
  const moves = await listMoves(client, { active: true })
  const placed = vnodes.map(({ vnode, statements, serverMs }) => {
    return { vnode, shard: owners[vnode] ?? '', statements, serverMs }
  })
  const loads = new Map<string, Rate>()
  for (const { shard, statements, serverMs } of placed) {
    const sum = loads.get(shard) ?? { statements: 0, serverMs: 0 }
    loads.set(shard, { statements: sum.statements + statements, serverMs: sum.serverMs + serverMs })
  }
  return {
    error: null,
    epoch: row?.epoch ?? null,
    loads,
    moves: moves.map((move) => {
      const { id, from, to } = move
      return { id, from, to, what: describeSet(move), state: describeState(move) }
    }),
    vnodes: placed.toSorted((a, b) => b.serverMs - a.serverMs).slice(0, hottestMax),
    keys: keys.slice(0, hottestMax).map(({ key, vnode, statements, serverMs }) => {
      return { key, shard: pins.get(key) ?? owners[vnode] ?? '', statements, serverMs }
    }),
  }
}
