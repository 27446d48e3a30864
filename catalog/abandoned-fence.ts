// A fence whose runner has died holds clients until somebody lifts it. Proxies do, one of them: whoever gets the move's lock
// knows that nobody runs it, and takes the move back to before the switch. `ringfence rebalance resume` goes on from there.
import type { ShardId } from '../core/ids.ts'
import type { Log } from '../core/log.ts'
import { systemClock } from '../core/clock.ts'
import { type CatalogConnection, moveLock, openCatalogConnection } from './connection.ts'
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
  { client }: CatalogConnection,
  move: Move,
  urlOf: AbandonedFenceOptions['urlOf'],
): Promise<boolean> {
  if (move.state === 'fencing' || move.state === 'unfencing') {
    const next = { next: 'unfencing', error: why } as const
    const mine = move.state === 'unfencing' ? move : await advanceMove(client, move, next)
    if (mine === undefined) return false
    await liftOn(urlOf(move.from), move.id)
    return (await advanceMove(client, mine, { next: 'catching_up', error: why })) !== undefined
  }
  if (move.state === 'rolling_back' || move.state === 'unfencing_back') {
    // Taken away last before the source is given its rows back: without it the target alone must not be opened.
    if (!(await isFenced(urlOf(move.from), move.id))) return false
    const next = { next: 'unfencing_back', error: why } as const
    const mine = move.state === 'unfencing_back' ? move : await advanceMove(client, move, next)
    if (mine === undefined) return false
    await liftOn(urlOf(move.to), move.id)
    return (await advanceMove(client, mine, { next: 'switched', error: why })) !== undefined
  }
  return false
}

async function liftOn(url: string, moveId: number): Promise<void> {
  const shard = await openCatalogConnection(url, queryTimeoutMs)
  try {
    const now = () => systemClock.nowMs()
    await liftFence(shard.client, { moveId, timeoutMs: liftTimeoutMs, now })
  } finally {
    await shard.end()
  }
}

async function isFenced(url: string, moveId: number): Promise<boolean> {
  const shard = await openCatalogConnection(url, queryTimeoutMs)
  try {
    return (await fenceTriggers(shard.client, moveId)).length > 0
  } finally {
    await shard.end()
  }
}
