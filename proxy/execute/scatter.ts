// One SELECT on several shards at once, its rows put one after the other as they come. Shards that hold rows of others,
// while virtual nodes are on the move, get the statement without those rows.
import { type PgError, pgError, toPgError } from '../../core/errors.ts'
import type { ShardId } from '../../core/ids.ts'
import { ServerError, shiftPosition } from '../../pool/exchange.ts'
import type { SplicedSql } from '../../router/hidden-splice.ts'
import type { Plan } from '../../router/plan.ts'
import { writeCommandComplete, writeNotice } from '../../wire/backend.ts'
import type { Lease } from '../leases.ts'
import { ownNames } from '../own-settings.ts'
import { noteLooks } from '../effects.ts'
import { unitFacts } from '../read-facts.ts'
import type { Session } from '../session.ts'
import { isHeld } from '../where.ts'
import { joinShard } from './join-shard.ts'
import { runReadUnit } from './read-unit.ts'
import { ResultHeader } from './result-header.ts'
import { RowGate } from './row-gate.ts'
import type { Outcome, Unit } from './unit.ts'

type Scatter = Extract<Plan, { kind: 'scatter' }>

/** @throws PgError the first shard's error; rows of others may have been sent, as with one PostgreSQL. */
export async function runScatter(session: Session, unit: Unit, plan: Scatter): Promise<void> {
  const { state } = session
  state.transaction?.routedBy(state.database.topology)
  if (state.database.options.scatter === 'refuse') throw pgError('scatterRefused')
  const facts = unitFacts(unit)
  const rewritten = withoutHidden(session, unit, plan)
  const leases = await leaseAll(session, plan.shards, unit)
  noteLooks(state, unit, leases)
  // Heard of nothing while it waited for servers: what it would read may be another shard's by now.
  if (isHeld(plan, session.state)) throw pgError('vnodesHeld', ['the catalog cannot be reached'])
  const outcomes: Outcome[] = []
  const gate = new RowGate((bytes) => session.output.forward(bytes))
  const header = new ResultHeader()
  let first: PgError | null = null
  const running = leases.map(async (lease, at) => {
    const audience = at === 0 ? 'all' : 'rows'
    const visible = rewritten.get(lease.server.shard)
    const options = { audience, gate, header, facts, sql: visible?.sql } as const
    const outcome = await runReadUnit(session, lease, unit, options)
    outcomes.push(outcome)
    // Another shard's part may have to wait for a server of somebody who waits for this one.
    if (outcome.error === null) return state.settleEarly(lease.server.shard)
    if (first !== null) return
    first = inOriginal(outcome.error, visible)
    gate.close()
    void state.leases.cancel()
  })
  await Promise.all(running)
  if (first !== null) throw first
  session.output.deferMessage((writer) =>
    writeCommandComplete(writer, `SELECT ${totalRows(outcomes)}`),
  )
}

/** The texts for shards that hold rows without owning them. */
function withoutHidden(
  { state }: Session,
  { sql }: Unit,
  { shards, hidden }: Scatter,
): ReadonlyMap<ShardId, SplicedSql> {
  const rewritten = new Map<ShardId, SplicedSql>()
  for (const shard of shards) {
    const sets = hidden.get(shard)
    if (sets === undefined) continue
    rewritten.set(shard, state.database.hiddenRows.withoutHidden(sql, state.context(), sets))
  }
  return rewritten
}

/** The client knows its own text only. */
function inOriginal(error: PgError, visible: SplicedSql | undefined): PgError {
  const position = error.position ?? 0
  if (visible === undefined || !(error instanceof ServerError) || position < 1) return error
  return shiftPosition(error, visible.originalPosition(position) - position)
}

/**
 * A server of every shard, in the order of the configuration: two sessions never wait for each other's servers in a
 * circle. With ringfence.partial a shard that cannot be reached is left out, and the client is told.
 */
async function leaseAll(
  session: Session,
  shards: readonly ShardId[],
  unit: Unit,
): Promise<readonly Lease[]> {
  const { transaction, effective } = session.state
  const partial = transaction === null && effective.own(ownNames.partial) === 'on'
  const leases: Lease[] = []
  const missing: { readonly shard: ShardId; readonly error: PgError }[] = []
  for (const shard of shards) {
    try {
      leases.push(await joinShard(session, shard, false, unitFacts(unit)))
    } catch (error) {
      const known = toPgError(error)
      if (!partial || !/^(?:08|57P)/.test(known.sqlstate)) throw error
      missing.push({ shard, error: known })
    }
  }
  const [only] = missing
  if (only !== undefined && leases.length === 0) throw only.error
  if (missing.length > 0) warnOfMissing(session, missing)
  return leases
}

function warnOfMissing(
  session: Session,
  missing: readonly { readonly shard: ShardId; readonly error: PgError }[],
): void {
  const names = missing.map(({ shard }) => `"${shard}"`).join(', ')
  session.output.emit((writer) =>
    writeNotice(writer, {
      severity: 'WARNING',
      sqlstate: '01000',
      message: `the rows of shard ${names} are missing`,
      detail: missing.map(({ error }) => error.message).join('; '),
    }),
  )
}

function totalRows(outcomes: readonly Outcome[]): number {
  return outcomes.reduce((sum, { tag }) => sum + Number(tag.split(' ')[1] ?? 0), 0)
}
