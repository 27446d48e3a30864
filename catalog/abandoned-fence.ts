// A fence whose runner has died holds clients until somebody lifts it. Proxies do, one of them: whoever gets the move's lock
// knows that nobody runs it, and takes the move back to before the switch. `ringfence rebalance resume` goes on from there.
import type { ShardId } from '../core/ids.ts'
import type { Log } from '../core/log.ts'
import { systemClock } from '../core/clock.ts'
import {
  type CatalogConnection,
  moveLock,
  moverSession,
  openCatalogConnection,
} from './connection.ts'
import { fenceTriggers, liftFence } from './fence.ts'
import { advanceMove, type Move, readMove } from './move-store.ts'

export type AbandonedFenceOptions = {
  readonly moveId: number
  /** Of shards' primaries; the login may drop triggers of sharded tables. */
  readonly urlOf: (shard: ShardId) => string
  readonly home: ShardId
  readonly log: Log
}

const queryTimeoutMs = 15_000
const liftTimeoutMs = 5_000
const why = { message: 'the switch was put off: its runner was gone', hint: null }

/** Does nothing while the move has a runner. @throws what pg throws, among others for want of rights */
export async function liftAbandonedFence(options: AbandonedFenceOptions): Promise<void> {
  const { moveId, urlOf, home, log } = options
  const catalog = await openCatalogConnection(urlOf(home), queryTimeoutMs)
  try {
    const { rows } = await catalog.client.query<{ won: boolean }>(
      `SELECT pg_try_advisory_lock(${moveLock(moveId)}) AS won`,
    )
    if (rows[0]?.won !== true) return
    const lifted = await lift(catalog, await readMove(catalog.client, moveId), urlOf)
    if (lifted) log.warn({ move: moveId }, 'lifted the fence of a move that nobody runs')
  } finally {
    await catalog.end()
  }
}

async function lift(
  catalog: CatalogConnection,
  move: Move,
  urlOf: AbandonedFenceOptions['urlOf'],
): Promise<boolean> {
  const { client } = catalog
  if (move.state === 'fencing' || move.state === 'unfencing') {
    const next = { next: 'unfencing', error: why } as const
    const mine = move.state === 'unfencing' ? move : await advanceMove(client, move, next)
    if (mine === undefined) return false
    await liftOn(urlOf(move.from), move, catalog)
    return (await advanceMove(client, mine, { next: 'catching_up', error: why })) !== undefined
  }
  if (move.state === 'rolling_back' || move.state === 'unfencing_back') {
    // Taken away last before the source is given its rows back: without it the target alone must not be opened.
    const ofSource = await countTriggers(urlOf(move.from), move.id)
    const ofTarget = await countTriggers(urlOf(move.to), move.id)
    if (ofSource === 0 || ofSource < ofTarget) return false
    const next = { next: 'unfencing_back', error: why } as const
    const mine = move.state === 'unfencing_back' ? move : await advanceMove(client, move, next)
    if (mine === undefined) return false
    await liftOn(urlOf(move.to), move, catalog)
    return (await advanceMove(client, mine, { next: 'switched', error: why })) !== undefined
  }
  return false
}

async function liftOn(url: string, move: Move, catalog: CatalogConnection): Promise<void> {
  const shard = await openCatalogConnection(url, queryTimeoutMs)
  // Without the lock it would be the next runner's fence that is lifted.
  catalog.client.once('end', shard.destroy)
  try {
    const name = [moverSession(move)]
    await shard.client.query(`SELECT set_config('application_name', $1, false)`, name)
    const now = () => systemClock.nowMs()
    await liftFence(shard.client, { moveId: move.id, timeoutMs: liftTimeoutMs, now })
  } finally {
    catalog.client.off('end', shard.destroy)
    await shard.end()
  }
}

async function countTriggers(url: string, moveId: number): Promise<number> {
  const shard = await openCatalogConnection(url, queryTimeoutMs)
  try {
    return (await fenceTriggers(shard.client, moveId)).filter(({ enabled }) => enabled).length
  } finally {
    await shard.end()
  }
}
