// One write on every shard, DDL or a reference table: home first, so that concurrent writers queue up there in
// the same order everywhere; then the others at once. Committed in two phases with its transaction.
// Writers of reference tables hold a lock on every shard until their transaction has ended there: the next one sees
// the same rows on all of them, and no two wait for each other's rows in a circle over several shards.
import { type PgError, pgError } from '../../core/errors.ts'
import { advisoryLocks } from '../../catalog/connection.ts'
import { strideSequencesSql } from '../../catalog/sequences.ts'
import type { Plan } from '../../router/plan.ts'
import { ask } from '../../pool/exchange.ts'
import { noteLooks } from '../effects.ts'
import type { Lease } from '../leases.ts'
import type { Session } from '../session.ts'
import { Transaction } from '../transaction.ts'
import { toldOfHidden } from './hidden-violations.ts'
import { joinShard } from './join-shard.ts'
import { runUnit, type Unit } from './unit.ts'

type Everywhere = Extract<Plan, { kind: 'everywhere' }>

/** Prepared transactions keep it, unlike a session's lock. */
const queueSql = `SELECT pg_catalog.pg_advisory_xact_lock(${advisoryLocks.referenceWrite})`

/** @throws PgError any shard's error; the transaction must then be rolled back. */
export async function runEverywhere(session: Session, unit: Unit, plan: Everywhere): Promise<void> {
  const { state } = session
  const { topology } = state.database
  if (state.database.options.crossShardWrites === 'refuse') throw pgError('crossShardWriteRefused')
  state.transaction ??= new Transaction('BEGIN', state.settings, true)
  state.transaction.everywhere = true
  const leases: Lease[] = []
  for (const shard of plan.shards) leases.push(await joinShard(session, shard, true))
  const [home, ...others] = leases
  if (home === undefined) return
  noteLooks(state, unit, leases)
  if (plan.what === 'reference') await ask(home.server, queueSql)
  const rows = plan.once === null ? [] : (await ask(home.server, plan.once.sql)).rows
  const sql = plan.once?.rewrite(rows)
  const first = await runUnit(session, home.server, unit, { audience: 'all', sql })
  const told = (error: PgError, { server: { shard } }: Lease) =>
    toldOfHidden(error, state, [shard], [topology, state.database.topology])
  if (first.error !== null) throw told(first.error, home)
  const rest = await allEnded(
    others.map(async (lease) => {
      const { server } = lease
      if (plan.what === 'reference') await ask(server, queueSql)
      return { lease, ...(await runUnit(session, server, unit, { audience: 'nobody', sql })) }
    }),
  )
  for (const { lease, error, tag } of rest) {
    if (error !== null) throw told(error, lease)
    if (tag !== first.tag) throw pgError('referenceCopiesDiffer', [plan.relation])
  }
  if (plan.what === 'ddl') await afterDdl(session, leases)
  if (first.complete !== null) session.output.defer(first.complete)
}

/** New sequences of sharded tables get their shard's stride; the transaction sees its own schema now. */
async function afterDdl(session: Session, leases: readonly Lease[]): Promise<void> {
  const { state } = session
  const { rules } = state.database.options
  if (state.transaction !== null) {
    state.transaction.schemaChanged = true
    state.transaction.codeChanged = true
  }
  state.ownSchema = null
  if (rules === null) return
  const sql = strideSequencesSql(rules)
  await allEnded(leases.map(({ server }) => ask(server, sql)))
}

/**
 * Results of all, or the first error, once all have come to their end: what a shard still has to be sent would run behind
 * the ROLLBACK that follows an error, outside of any transaction.
 */
async function allEnded<T>(running: readonly Promise<T>[]): Promise<readonly T[]> {
  await Promise.allSettled(running)
  return await Promise.all(running)
}
