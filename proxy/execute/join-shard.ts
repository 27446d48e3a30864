// A shard joins what the session is doing: its server is leased, its settings and transaction are in force.
import type { ShardId } from '../../core/ids.ts'
import type { Lease } from '../leases.ts'
import type { Session } from '../session.ts'
import { joinServer } from './single.ts'

/** @throws PgError 53300 or 08001 when no server could be had. */
export async function joinShard(session: Session, shard: ShardId, writes: boolean): Promise<Lease> {
  const { state } = session
  const pool = state.database.poolFor(shard, state.client)
  const lease = await state.leases.obtain(pool, state.settings)
  joinServer(session, lease, writes)
  return lease
}
