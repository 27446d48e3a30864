// How many bytes a move will take along, without reading rows: of whole tables the share that its virtual nodes have.
import type { ShardId } from '../core/ids.ts'
import type { MovedSet } from '../router/moved-set.ts'
import { openShard } from './copy/connection.ts'
import { type MoverDatabase, openCatalog } from './run-move.ts'
import { primaryUrl } from './shard-address.ts'
import { readMovedTables } from './tables.ts'

const timeoutMs = 30_000

/** A guess: a key counts as one virtual node. */
export async function estimateBytes(
  database: MoverDatabase,
  shard: ShardId,
  { vnodes, keys }: MovedSet,
): Promise<number> {
  const address = database.shards.get(shard) ?? { urls: [] }
  await using connection = await openShard(
    await primaryUrl(address),
    AbortSignal.timeout(timeoutMs),
  )
  const tables = await readMovedTables(connection.client, database.rules)
  const all = tables.flatMap(({ leaves }) => leaves).reduce((sum, { bytes }) => sum + bytes, 0)
  const catalog = await openCatalog(database)
  try {
    const { rows } = await catalog.client.query<{ vnodes: number }>(
      'SELECT count(*)::int AS vnodes FROM ringfence.vnode WHERE shard = $1',
      [shard],
    )
    return Math.round((all * (vnodes.length + keys.length)) / Math.max(1, rows[0]?.vnodes ?? 1))
  } finally {
    await catalog.end()
  }
}
