// Reads the topology out of the catalog, in one statement and so of one instant.
import type { Client } from 'pg'
import { epoch, type Epoch, type ShardId } from '../core/ids.ts'
import type { Topology } from '../router/topology.ts'
import { CatalogError } from './catalog-error.ts'

type Row = { epoch: string; vnode_bits: number; ids: string[]; owners: number[] | null }

/** Version of the topology in force. @throws CatalogError when init has not been run. */
export async function readEpoch(client: Client): Promise<Epoch> {
  const { rows } = await client.query<{ epoch: string }>('SELECT epoch FROM ringfence.topology')
  const row = rows[0]
  if (row === undefined) throw new CatalogError('the catalog is empty')
  return epoch(Number(row.epoch))
}

/**
 * The topology over `shards`, in their order. @throws CatalogError when a virtual node is owned by none of
 * them, and pg's error when there is no catalog.
 */
export async function readTopology(client: Client, shards: readonly ShardId[]): Promise<Topology> {
  const { rows } = await client.query<Row>(
    `SELECT t.epoch, t.vnode_bits,
            (SELECT array_agg(id ORDER BY ordinal) FROM ringfence.shard) AS ids,
            (SELECT array_agg(o.number ORDER BY v.vnode)
             FROM ringfence.vnode v
             JOIN (SELECT id, row_number() OVER (ORDER BY ordinal)::int - 1 AS number
                   FROM ringfence.shard) o ON o.id = v.shard) AS owners
     FROM ringfence.topology t`,
  )
  const row = rows[0]
  if (row === undefined || row.owners?.length !== 2 ** row.vnode_bits) {
    throw new CatalogError('the catalog does not name an owner for every virtual node')
  }
  const places = row.ids.map((id) => shards.findIndex((shard) => shard === id))
  const owners = Uint16Array.from(row.owners, (owner) => {
    const place = places[owner] ?? -1
    if (place >= 0) return place
    throw new CatalogError(
      `shard "${row.ids[owner]}" owns virtual nodes but is not in the configuration`,
    )
  })
  return { epoch: epoch(Number(row.epoch)), shards, owners }
}
