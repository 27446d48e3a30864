// A shard joins what the session is doing: its server is leased, its settings and transaction are in force.
import { assert } from '../../core/assert.ts'
import { toPgError } from '../../core/errors.ts'
import type { ShardId } from '../../core/ids.ts'
import type { Lease } from '../leases.ts'
import { noRead, type ReadFacts } from '../read-facts.ts'
import type { Session } from '../session.ts'
import { isUnreachable, mayUseReplica } from './lease.ts'
import { joinServer } from './single.ts'

// Each turn waits for something, or rules out a server.
const turnsMax = 32

/** @throws PgError 53300 or 08001 when no server could be had. */
export async function joinShard(
  session: Session,
  shard: ShardId,
  writes: boolean,
  facts: ReadFacts = noRead,
): Promise<Lease> {
  const lease = await serverOn(session, shard, facts)
  joinServer(session, lease, writes)
  return lease
}

/** The same decisions as execute/lease.ts takes, for who can wait. */
async function serverOn(session: Session, shard: ShardId, facts: ReadFacts): Promise<Lease> {
  const { state } = session
  const { leases, reads, settings } = state
  for (let turn = 0; turn < turnsMax; turn += 1) {
    const held = leases.get(shard)
    if (held !== undefined) return held
    if (!mayUseReplica(state, facts)) {
      if (reads.isAhead(shard, state.effective)) await leases.waitFor(reads.untilShown(shard))
      return leases.obtain(state.poolOf(shard), settings)
    }
    const place = reads.place(shard, state.effective)
    if (place.kind === 'primary') return leases.obtain(state.poolOf(shard), settings)
    if (place.kind === 'refuse') throw place.error
    if (place.kind === 'later') {
      await leases.waitFor(place.until)
      continue
    }
    const pool = state.database.serversOf(shard).replicaPool(place.host, state.client)
    try {
      const lease = await leases.obtain(pool, settings)
      if (lease.server.incarnation === place.incarnation) return lease
      leases.discard(shard, 'its server has restarted')
    } catch (error) {
      const known = toPgError(error)
      if (!isUnreachable(known)) throw known
      reads.failed(place.host, shard)
    }
  }
  assert(false, 'a read ends up on some server, or is refused')
}
