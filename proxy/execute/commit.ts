// The end of a transaction on every shard that has joined it. One shard written: plain COMMIT. Several: two
// phases. All but one PREPARE; the last, the decider, writes the decision into its own commit record and
// commits, which is the decision; then the others COMMIT PREPARED. Whatever dies on the way is finished by
// catalog/recovery.ts from the decider's record alone.
import { randomUUID } from 'node:crypto'
import { decideCommitSql } from '../../catalog/commit-record.ts'
import { makeGid } from '../../catalog/gid.ts'
import { type PgError, pgError, toPgError } from '../../core/errors.ts'
import type { ShardId } from '../../core/ids.ts'
import { quoteLiteral } from '../../pool/settings-profile.ts'
import { ask, ServerError } from '../../pool/exchange.ts'
import type { Lease } from '../leases.ts'
import type { Session } from '../session.ts'
import { undecided } from '../transaction.ts'
import { toldOfHidden } from './hidden-violations.ts'

/** @throws PgError when nothing was committed anywhere, or 08007 when recovery has to decide. */
export async function commitTransaction(session: Session): Promise<void> {
  const { state } = session
  const { transaction } = state
  if (transaction === null) return
  if (transaction.listens.length > 0) await state.listening?.arm()
  const { written, schemaChanged } = transaction
  const leases = joinedLeases(session)
  const readers = leases.filter(({ server }) => !written.includes(server.shard))
  const writers = leases.filter(({ server }) => written.includes(server.shard))
  try {
    // A SERIALIZABLE reader can still fail at COMMIT: before anything is decided.
    await Promise.all(readers.map(({ server }) => commitOne(server).catch(refuseUndecided)))
    const [only] = writers
    if (only !== undefined && writers.length === 1) await commitOne(only.server)
    if (writers.length > 1) await commitInTwoPhases(session, writers)
  } catch (error) {
    await rollbackTransaction(session)
    if (!transaction.everywhere) throw error
    // Of a constraint that was deferred.
    throw toldOfHidden(toPgError(error), state, written, [state.database.topology])
  }
  tellParameters(session, leases)
  state.endTransaction('committed')
  if (schemaChanged) await state.database.schemaChanged()
}

/** Rolls back on every shard; servers that cannot are closed, which rolls back too. */
export async function rollbackTransaction(session: Session): Promise<void> {
  const { state } = session
  const leases = joinedLeases(session)
  await Promise.all(
    leases.map(async ({ server }) => {
      // A server whose BEGIN is still on its way says I too.
      if (server.transactionStatus === 'I' && server.exchangesOwed === 0) return
      try {
        await ask(server, 'ROLLBACK')
      } catch (error) {
        session.context.log.warn({ shard: server.shard, error }, 'rollback failed')
        state.leases.discard(server.shard, 'its rollback failed')
      }
    }),
  )
  const lost = state.transaction?.hasRouted === true && leases.every(({ server }) => server.closed)
  tellParameters(session, leases)
  state.endTransaction('rolledBack')
  if (lost) await tellWithoutServer(session)
}

/** What its client was told since BEGIN went with the server. */
async function tellWithoutServer({ state, output }: Session): Promise<void> {
  const { database, settings, client } = state
  try {
    output.tellWhenReady(await database.reports.of(settings, client))
  } catch {
    // Without a server nobody knows, and the next statement says why.
  }
}

/** Settings of the transaction have been kept or taken back: the client hears which, before it is ready. */
function tellParameters({ output }: Session, leases: readonly Lease[]): void {
  const alive = leases.find(({ server }) => !server.closed)
  if (alive !== undefined) output.tellWhenReady(alive.server.parameters)
}

/** COMMIT of a transaction that has failed answers ROLLBACK: that is an error here. */
async function commitOne(server: Lease['server']): Promise<void> {
  const { tags } = await ask(server, 'COMMIT')
  if (tags[0] !== 'COMMIT') throw pgError('transactionAborted')
}

async function commitInTwoPhases(session: Session, writers: readonly Lease[]): Promise<void> {
  const [decider, ...participants] = writers
  if (decider === undefined) return
  const id = randomUUID()
  const gidOf = ({ server }: Lease) => quoteLiteral(makeGid(decider.server.shard, id, server.shard))
  const prepared: Lease[] = []
  const failures: PgError[] = []
  await Promise.all(
    participants.map(async (lease) => {
      try {
        const { tags } = await ask(lease.server, `PREPARE TRANSACTION ${gidOf(lease)}`)
        // In a failed transaction PREPARE is a ROLLBACK, and says so.
        if (tags[0] === 'PREPARE TRANSACTION') prepared.push(lease)
        else failures.push(pgError('transactionAborted'))
      } catch (error) {
        failures.push(prepareError(lease.server.shard, error))
      }
    }),
  )
  const [failure] = failures
  try {
    if (failure !== undefined) throw undecided(failure)
    await ask(decider.server, decideCommitSql(id)).catch(refuseUndecided)
  } catch (error) {
    await finishPrepared(session, prepared, (lease) => `ROLLBACK PREPARED ${gidOf(lease)}`)
    throw error
  }
  await decideNow(session, decider, prepared, gidOf)
}

function refuseUndecided(error: unknown): never {
  throw undecided(toPgError(error))
}

/** The decider's COMMIT: after it the transaction is committed, whatever dies. */
async function decideNow(
  session: Session,
  decider: Lease,
  prepared: readonly Lease[],
  gidOf: (lease: Lease) => string,
): Promise<void> {
  try {
    await commitOne(decider.server)
  } catch (error) {
    // The decider's own refusal is a decision. Its silence is none: recovery asks its record.
    if (!(error instanceof ServerError) || decider.server.closed) {
      throw pgError('outcomeInDoubt', [decider.server.shard], { cause: error })
    }
    await finishPrepared(session, prepared, (lease) => `ROLLBACK PREPARED ${gidOf(lease)}`)
    throw error
  }
  await finishPrepared(session, prepared, (lease) => `COMMIT PREPARED ${gidOf(lease)}`)
}

/** Second phase. What fails here stays prepared and is finished by recovery: the outcome is settled. */
async function finishPrepared(
  session: Session,
  prepared: readonly Lease[],
  sqlOf: (lease: Lease) => string,
): Promise<void> {
  await Promise.all(
    prepared.map(async (lease) => {
      try {
        await ask(lease.server, sqlOf(lease))
      } catch (error) {
        const { shard } = lease.server
        session.context.log.warn({ shard, error }, 'a prepared transaction is left to recovery')
      }
    }),
  )
}

function prepareError(shard: ShardId, error: unknown): PgError {
  const known = toPgError(error)
  const disabled = known.sqlstate === '55000' && known.message.includes('prepared transactions')
  return disabled ? pgError('twoPhaseDisabled', [shard], { cause: error }) : known
}

function joinedLeases(session: Session): readonly Lease[] {
  const { transaction, leases } = session.state
  if (transaction === null) return []
  return [...transaction.participants.keys()].flatMap((shard) => leases.get(shard) ?? [])
}
