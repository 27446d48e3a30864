// Which shards a cluster has, as the catalog and each shard itself record it. A database that says that it is
// another shard, or one of another cluster, stops init: rows would be looked for in the wrong place.
import type { Client } from 'pg'
import { assert } from '../core/assert.ts'
import type { ShardId } from '../core/ids.ts'
import { vnodeBitsOf } from '../router/key-hash.ts'
import { placeVnodes, type WeightedShard } from '../router/ring.ts'
import type { KeyType, ShardingRules } from '../router/schema.ts'
import { CatalogError } from './catalog-error.ts'
import { publish } from './move-store.ts'
import { inTransaction } from './in-transaction.ts'

/** What init registered: the cluster's identity and each shard's ordinal. */
export type Registration = {
  readonly cluster: string
  readonly ordinals: ReadonlyMap<string, number>
}

type ConfiguredShard = WeightedShard & { readonly client: Client }
type TopologyRow = { cluster: string; vnode_bits: number; key_type: KeyType; next_ordinal: number }
type ShardRow = { id: string; ordinal: number; weight: number; vnodes: number; pins: number }

const epsilon = 0.05
/** Sequences step by 1,024, one residue per ordinal. */
const ordinalsMax = 1024

/**
 * @throws CatalogError when a database is registered as another shard, when what is fixed for the life of a
 * cluster differs, or when a shard that still owns something is missing from the configuration.
 */
export async function checkRegistration(
  shards: readonly ConfiguredShard[],
  rules: ShardingRules,
): Promise<void> {
  const home = shards[0]
  assert(home !== undefined, 'a database has a home shard')
  const topology = (await tableExists(home.client, 'topology'))
    ? await readTopology(home.client)
    : undefined
  for (const { id, client } of shards) await checkIdentity(client, id, topology?.cluster)
  if (topology === undefined) return
  const bits = vnodeBitsOf(rules.vnodeCount)
  if (topology.vnode_bits !== bits) {
    throw new CatalogError(
      `the cluster has ${2 ** topology.vnode_bits} virtual nodes, the configuration ${rules.vnodeCount}`,
      'The number is fixed when the cluster is created: put sharding.vnodes back.',
    )
  }
  if (topology.key_type !== rules.keyType) {
    throw new CatalogError(
      `the cluster's shard key is of type ${topology.key_type}, the configuration's ${rules.keyType}`,
      'The type is fixed when the cluster is created: put sharding.key_type back.',
    )
  }
  for (const gone of await goneShards(home.client, shards)) {
    if (gone.vnodes === 0 && gone.pins === 0 && gone.ordinal !== 0) continue
    throw new CatalogError(
      gone.ordinal === 0
        ? `shard "${gone.id}" is the home shard and cannot be removed`
        : `shard "${gone.id}" is not in the configuration but owns ${gone.vnodes} virtual nodes`,
      'Put it back, and move everything off it before it is removed.',
    )
  }
}

/**
 * Records the configured shards in the catalog, in one transaction. The first time, the ring places the virtual
 * nodes; later, new shards own none. A change of the set or of a weight is a new epoch.
 */
export async function registerShards(
  home: Client,
  shards: readonly ConfiguredShard[],
  rules: ShardingRules,
): Promise<Registration> {
  return await inTransaction(home, async () => {
    const existing = await readTopology(home)
    if (existing === undefined) await createTopology(home, shards, rules)
    else await updateShards(home, shards, existing.next_ordinal)
    const topology = await readTopology(home)
    assert(topology !== undefined, 'the topology has just been written')
    const { rows } = await home.query<{ id: string; ordinal: number }>(
      'SELECT id, ordinal FROM ringfence.shard',
    )
    const ordinals = new Map(rows.map(({ id, ordinal }) => [id, ordinal]))
    return { cluster: topology.cluster, ordinals }
  })
}

/** Records on a shard which one it is. */
export async function registerLocally(
  client: Client,
  id: ShardId,
  { cluster, ordinals }: Registration,
): Promise<void> {
  await client.query(
    `INSERT INTO ringfence.local_shard (cluster, id, ordinal) VALUES ($1, $2, $3)
     ON CONFLICT DO NOTHING`,
    [cluster, id, ordinals.get(id)],
  )
}

async function checkIdentity(
  client: Client,
  id: ShardId,
  cluster: string | undefined,
): Promise<void> {
  if (!(await tableExists(client, 'local_shard'))) return
  const { rows } = await client.query<{ id: string; cluster: string }>(
    'SELECT id, cluster FROM ringfence.local_shard',
  )
  const found = rows[0]
  if (found === undefined || (found.id === id && found.cluster === cluster)) return
  throw new CatalogError(
    found.id === id
      ? `the database of shard "${id}" belongs to another cluster`
      : `the database of shard "${id}" is shard "${found.id}" of a cluster`,
    'Check the order of the shards and their addresses; the first is the home shard.',
  )
}

async function tableExists(client: Client, table: string): Promise<boolean> {
  const { rows } = await client.query<{ present: boolean }>(
    'SELECT to_regclass($1) IS NOT NULL AS present',
    [`ringfence.${table}`],
  )
  return rows[0]?.present === true
}

async function readTopology(client: Client): Promise<TopologyRow | undefined> {
  const { rows } = await client.query<TopologyRow>(
    'SELECT cluster, vnode_bits, key_type, next_ordinal FROM ringfence.topology',
  )
  return rows[0]
}

async function readShards(client: Client): Promise<readonly ShardRow[]> {
  const { rows } = await client.query<ShardRow>(
    `SELECT id, ordinal, weight,
            (SELECT count(*)::int FROM ringfence.vnode v WHERE v.shard = s.id) AS vnodes,
            (SELECT count(*)::int FROM ringfence.pin p WHERE p.shard = s.id) AS pins
     FROM ringfence.shard s ORDER BY ordinal`,
  )
  return rows
}

async function goneShards(
  client: Client,
  shards: readonly ConfiguredShard[],
): Promise<readonly ShardRow[]> {
  const configured = new Set<string>(shards.map(({ id }) => id))
  return (await readShards(client)).filter(({ id }) => !configured.has(id))
}

async function createTopology(
  home: Client,
  shards: readonly ConfiguredShard[],
  rules: ShardingRules,
): Promise<void> {
  for (const [ordinal, shard] of shards.entries()) await insertShard(home, shard, ordinal)
  await home.query(
    `INSERT INTO ringfence.topology (epoch, vnode_bits, key_type, next_ordinal)
     VALUES (1, $1, $2, $3)`,
    [vnodeBitsOf(rules.vnodeCount), rules.keyType, shards.length],
  )
  const owners = placeVnodes(rules.vnodeCount, shards, { epsilon })
  await home.query(
    `INSERT INTO ringfence.vnode (vnode, shard)
     SELECT v.number - 1, s.id
     FROM unnest($1::int[]) WITH ORDINALITY AS v (owner, number)
     JOIN ringfence.shard s ON s.ordinal = v.owner`,
    [[...owners]],
  )
  await home.query(
    `INSERT INTO ringfence.topology_history (epoch, what) VALUES (1, 'the ring placed all virtual nodes')`,
  )
  await home.query('NOTIFY ringfence_topology')
}

async function updateShards(
  home: Client,
  shards: readonly ConfiguredShard[],
  nextOrdinal: number,
): Promise<void> {
  const registered = new Map((await readShards(home)).map((row) => [row.id, row]))
  let ordinal = nextOrdinal
  let changed = false
  for (const shard of shards) {
    const row = registered.get(shard.id)
    if (row?.weight === shard.weight) continue
    changed = true
    if (row === undefined) await insertShard(home, shard, ordinal++)
    else
      await home.query('UPDATE ringfence.shard SET weight = $2 WHERE id = $1', [
        shard.id,
        shard.weight,
      ])
  }
  for (const { id } of await goneShards(home, shards)) {
    changed = true
    await home.query('DELETE FROM ringfence.shard WHERE id = $1', [id])
  }
  if (!changed) return
  await home.query('UPDATE ringfence.topology SET next_ordinal = $1', [ordinal])
  await publish(home, 'shards of the configuration', { shards: shards.map(({ id }) => id) })
}

async function insertShard(home: Client, shard: WeightedShard, ordinal: number): Promise<void> {
  if (ordinal >= ordinalsMax) {
    throw new CatalogError(`a cluster can register ${ordinalsMax} shards in its life`)
  }
  await home.query('INSERT INTO ringfence.shard (id, ordinal, weight) VALUES ($1, $2, $3)', [
    shard.id,
    ordinal,
    shard.weight,
  ])
}
