// A server for what the session is about to send: the one that it holds, else one of the primary's pool, or for what
// may run there, of a replica's. What has to wait is read and planned again once it has a server: the topology, or
// what replicas are able to serve, may have changed meanwhile.
import { type PgError, toPgError } from '../../core/errors.ts'
import type { ShardId, Vnode } from '../../core/ids.ts'
import { ask } from '../../pool/exchange.ts'
import type { Pool } from '../../pool/pool.ts'
import { isSerializable } from '../../router/setting-value.ts'
import type { PipelineEnd } from '../intake.ts'
import type { Lease } from '../leases.ts'
import type { ReadFacts } from '../read-facts.ts'
import type { Session } from '../session.ts'
import type { SessionState } from '../session-state.ts'
import { untilSlot } from './key-slot.ts'
import type { ReadPlace } from '../read-place.ts'
import type { Transaction } from '../transaction.ts'

export type LeaseRequest = {
  readonly shard: ShardId
  readonly facts: ReadFacts
  /** Whose place it takes; null: nobody's. */
  readonly vnode: Vnode | null
  /** Called once there is something new: a server, or something to decide on. */
  readonly again: () => void
  readonly end: PipelineEnd
}

const isolationSql = "SELECT pg_catalog.current_setting('transaction_isolation')"

type Resumed = Pick<LeaseRequest, 'again' | 'end'>

/** The session's server on the shard; null when it must wait, or was refused. */
export function leaseOn(session: Session, request: LeaseRequest): Lease | null {
  const { state } = session
  const { shard, facts } = request
  const held = state.leases.get(shard)
  if (held !== undefined) return held
  const slot = untilSlot(session, request.vnode)
  if (slot !== null) {
    session.enter('waiting')
    resumeAfter(session, slot, request)
    return null
  }
  if (!mayUseReplica(state, facts)) return takePrimary(session, request)
  const place = state.reads.place(shard, state.effective)
  switch (place.kind) {
    case 'primary':
      return takePrimary(session, request)
    case 'replica': {
      const pool = state.database.serversOf(shard).replicaPool(place.host, state.client)
      return takeFrom(session, pool, request, place)
    }
    case 'later':
      session.enter('waiting')
      wait(session, place.until, request)
      return null
    case 'refuse':
      refuse(session, place.error, request)
      return null
  }
}

/** True when what comes next may be served by a replica; a read-only transaction stays with its first choice. */
export function mayUseReplica(state: SessionState, facts: ReadFacts): boolean {
  const { transaction, reads, leases } = state
  // In session mode the one server of the session is the primary, whatever it is asked.
  if (leases.keeps && !reads.readOnly) return false
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

/** Of the primary, once it shows what the session has seen on replicas. */
function takePrimary(session: Session, request: LeaseRequest): Lease | null {
  const { state } = session
  const { shard } = request
  if (!state.reads.isAhead(shard, state.effective)) {
    return takeFrom(session, state.poolOf(shard), request, null)
  }
  session.enter('waiting')
  wait(session, state.reads.untilShown(shard), request)
  return null
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
    if (place === null || !isUnreachable(error)) return refuse(session, error, request)
    state.reads.failed(place.host, request.shard)
    resume(session, request)
  }
  const granted = ({ server }: Lease) => {
    if (place !== null && server.incarnation !== place.incarnation) leaveRestarted(state, request)
    resume(session, request)
  }
  const lease = state.leases.take(pool, state.settings, granted, refused)
  if (lease === null) session.enter('waiting')
  if (lease === null || place === null || lease.server.incarnation === place.incarnation)
    return lease
  leaveRestarted(state, request)
  return leaseOn(session, request)
}

/** Behind that connection the server has restarted: what is known of it holds for its new life only. */
function leaveRestarted({ leases }: SessionState, { shard }: LeaseRequest): void {
  leases.discard(shard, 'its server has restarted')
}

/** True when another server may do: this one cannot be reached, and nobody has stopped the waiting. */
export function isUnreachable({ sqlstate }: PgError): boolean {
  return sqlstate.startsWith('08')
}

/** What is to be run waits for a move; it is planned again whenever there is something new. */
export function waitHeld(session: Session, request: Resumed): void {
  const until = untilUnheld(session)
  session.enter('waiting')
  wait(session, until, request)
}

/**
 * The fence has met what is run again by `again`: its topology is old, if it has not been replaced
 * since.
 */
export function waitNewerTopology(session: Session, again: () => void): void {
  const { database, routedBy } = session.state
  const request = { again, end: 'sync' } as const
  if (database.topology !== routedBy) return resume(session, request)
  database.gate?.askCatalog()
  waitHeld(session, request)
}

/** Resolves when it is worth planning again. @throws PgError 53300, 57P03, or why the session stops waiting */
export function untilUnheld(session: Session): Promise<void> {
  const { gate, clock } = session.state.database
  if (gate === null) return Promise.resolve()
  const { transaction } = session.state
  if (transaction?.keepsSnapshot === 'asked') return askIsolation(session, transaction)
  session.heldSinceMs ??= clock.nowMs()
  return gate.hold(session.heldSinceMs)
}

/** Whoever set it, and wherever: the server knows. @throws PgError 08006 */
async function askIsolation({ state }: Session, transaction: Transaction): Promise<void> {
  transaction.keepsSnapshot = 'unknown'
  const [shard] = transaction.participants.keys()
  const server = shard === undefined ? undefined : state.leases.get(shard)?.server
  if (server === undefined) return
  const { rows } = await ask(server, isolationSql)
  transaction.keepsSnapshot = rows[0]?.[0]?.startsWith('read ') === true ? 'no' : 'yes'
}

/** What is to be run waits for `until`, and is planned again then. */
export function waitUntil(session: Session, until: Promise<void>, request: Resumed): void {
  session.enter('waiting')
  wait(session, until, request)
}

function wait(session: Session, until: Promise<void>, request: Resumed): void {
  resumeAfter(session, session.state.leases.waitFor(until), request)
}

function resumeAfter(session: Session, until: Promise<void>, request: Resumed): void {
  until.then(
    () => resume(session, request),
    (error: unknown) => refuse(session, toPgError(error), request),
  )
}

/** What was to wait is run now. */
export function resume(session: Session, { again }: Resumed): void {
  if (session.closed) return
  session.enter('ready')
  try {
    again()
  } catch (error) {
    session.fatal(toPgError(error))
  }
  session.pump()
}

function refuse(session: Session, error: PgError, { end }: Resumed): void {
  if (session.closed) return
  if (session.state.leases.isEmpty) session.state.leases.freeSlot()
  session.enter('ready')
  session.refuse(error, end)
  session.pump()
}
