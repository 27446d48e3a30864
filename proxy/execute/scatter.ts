// One SELECT on several shards at once, its rows put one after the other as they come.
import { type PgError, pgError } from '../../core/errors.ts'
import type { ShardId } from '../../core/ids.ts'
import { writeCommandComplete } from '../../wire/backend.ts'
import type { Lease } from '../leases.ts'
import type { Session } from '../session.ts'
import { joinShard } from './join-shard.ts'
import { RowGate } from './row-gate.ts'
import { type Outcome, runUnit, type Unit } from './unit.ts'

/** @throws PgError the first shard's error; rows of others may have been sent, as with one PostgreSQL. */
export async function runScatter(
  session: Session,
  unit: Unit,
  shards: readonly ShardId[],
): Promise<void> {
  const { options } = session.state.database
  if (options.scatter === 'refuse') throw pgError('scatterRefused')
  // In the order of the configuration: two sessions never wait for each other's servers in a circle.
  const leases: Lease[] = []
  for (const shard of shards) leases.push(await joinShard(session, shard, false))
  const outcomes: Outcome[] = []
  const gate = new RowGate((bytes) => session.output.forward(bytes))
  let first: PgError | null = null
  const running = leases.map(async ({ server }, at) => {
    const audience = at === 0 ? 'all' : 'rows'
    const outcome = await runUnit(session, server, unit, { audience, gate })
    outcomes.push(outcome)
    if (outcome.error === null || first !== null) return
    first = outcome.error
    gate.close()
    for (const { pool, server } of leases) if (server.exchangesOwed > 0) void pool.cancel(server)
  })
  await Promise.all(running)
  if (first !== null) throw first
  session.output.deferMessage((writer) =>
    writeCommandComplete(writer, `SELECT ${totalRows(outcomes)}`),
  )
}

function totalRows(outcomes: readonly Outcome[]): number {
  return outcomes.reduce((sum, { tag }) => sum + Number(tag.split(' ')[1] ?? 0), 0)
}
