// Replica identities are a shard's, moves share them: the last move that needs one restores it.
import type { Client } from 'pg'
import type { Move } from '../catalog/move-store.ts'
import { inTransaction } from '../catalog/in-transaction.ts'

/**
 * Passes on what other moves of the same shards will still need; `restore` gets the rest, by shard and table as in the
 * move's progress, and is done before any other move can begin.
 */
export async function handOver(
  catalog: Client,
  move: Move,
  restore: (left: Readonly<Record<string, string>>) => Promise<void>,
): Promise<void> {
  const identities = move.progress.identities ?? {}
  const left: Record<string, string> = {}
  await inTransaction(catalog, async () => {
    // Moves change their states under this lock.
    await catalog.query('SELECT epoch FROM ringfence.topology FOR UPDATE')
    for (const [name, identity] of Object.entries(identities)) {
      const shard = name.slice(0, name.indexOf(' '))
      const { rowCount } = await catalog.query(
        `UPDATE ringfence.move SET progress = progress || jsonb_build_object('identities',
           coalesce(progress -> 'identities', '{}') || jsonb_build_object($3::text, $4::text))
         WHERE id = (SELECT id FROM ringfence.move
                     WHERE id <> $1 AND $2 IN (from_shard, to_shard)
                       AND state NOT IN ('planned', 'completing', 'aborting', 'done', 'aborted')
                     ORDER BY id LIMIT 1)`,
        [move.id, shard, name, identity],
      )
      if (rowCount === 0) left[name] = identity
    }
    await restore(left)
  })
}
