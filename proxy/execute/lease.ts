// A server for what the session is about to send: the one that it holds, else one of the primary's pool, or for what
// may run there, of a replica's. What has to wait is read and planned again once it has a server: the topology, or
// what replicas are able to serve, may have changed meanwhile.
import { type PgError, toPgError } from '../../core/errors.ts'
import type { ShardId } from '../../core/ids.ts'
import type { Pool } from '../../pool/pool.ts'
import { isSerializable } from '../../router/setting-value.ts'
import type { PipelineEnd } from '../intake.ts'
import type { Lease } from '../leases.ts'
import type { ReadFacts } from '../read-facts.ts'
import type { Session } from '../session.ts'
import type { SessionState } from '../session-state.ts'
import type { ReadPlace } from '../session-reads.ts'

export type LeaseRequest = {
  readonly shard: ShardId
  readonly facts: ReadFacts
  /** Called once there is something new: a server, or something to decide on. */
  readonly again: () => void
  readonly end: PipelineEnd
}

/** The session's server on the shard; null when it must wait, or was refused. */
export function leaseOn(session: Session, request: LeaseRequest): Lease | null {
  const { state } = session
  const { shard, facts } = request
  const held = state.leases.get(shard)
  if (held !== undefined) return held
  if (!mayUseReplica(state, facts)) return takeFrom(session, state.poolOf(shard), request, null)
  const place = state.reads.place(shard, state.effective)
  switch (place.kind) {
    case 'primary':
      return takeFrom(session, state.poolOf(shard), request, null)
    case 'replica': {
      const pool = state.database.serversOf(shard).replicaPool(place.host, state.client)
      return takeFrom(session, pool, request, place)
    }
    case 'later':
      session.enter('waiting')
      void place.until.then(() => resume(session, request))
      return null
    case 'refuse':
      refuse(session, place.error, request)
      return null
  }
}

/** True when what comes next may be served by a replica; a read-only transaction stays with its first choice. */
export function mayUseReplica(state: SessionState, facts: ReadFacts): boolean {
  const { transaction, reads } = state
  if (transaction === null) return reads.readOnly || (facts.onReplica && suitsReplicas(state))
  if (!transaction.readOnly && !reads.readOnly) return false
  transaction.onReplicas ??= facts.onReplica || reads.readOnly
  return transaction.onReplicas
}

/** A standby has no SERIALIZABLE and would only say so, which is for those to hear who want nothing but replicas. */
function suitsReplicas({ effective, reads }: SessionState): boolean {
  const isolation = effective.get('default_transaction_isolation')
  return !isSerializable(isolation) || reads.avoidsPrimary(effective)
}

type ReplicaPlace = Extract<ReadPlace, { kind: 'replica' }>

function takeFrom(
  session: Session,
  pool: Pool,
  request: LeaseRequest,
  place: ReplicaPlace | null,
): Lease | null {
  const { state } = session
  const refused = (error: PgError) => {
    if (session.closed) return
    if (place === null) return refuse(session, error, request)
    state.reads.failed(place.host, request.shard)
    resume(session, request)
  }
  const granted = () => resume(session, request)
  const lease = state.leases.take(pool, state.settings, granted, refused)
  if (lease === null) session.enter('waiting')
  if (lease === null || place === null || lease.server.incarnation === place.incarnation)
    return lease
  // The server has restarted behind this connection: what is known of it holds for its new life only.
  state.leases.discard(request.shard, 'its server has restarted')
  return leaseOn(session, request)
}

function resume(session: Session, { again }: LeaseRequest): void {
  if (session.closed) return
  session.enter('ready')
  try {
    again()
  } catch (error) {
    session.fatal(toPgError(error))
  }
  session.pump()
}

function refuse(session: Session, error: PgError, { end }: LeaseRequest): void {
  if (session.closed) return
  session.enter('ready')
  session.refuse(error, end)
  session.pump()
}
