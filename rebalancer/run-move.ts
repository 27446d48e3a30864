// Runs a move under its lock. The lock belongs to a session on the home shard: when that connection is lost, so may be the
// lock, and whatever is under way stops at once; then the lock is tried for anew.
import type { MoveOptions, Move } from '../catalog/move-store.ts'
import { type CatalogConnection, openCatalogConnection } from '../catalog/connection.ts'
import { readMove } from '../catalog/move-store.ts'
import { systemClock } from '../core/clock.ts'
import type { ShardId } from '../core/ids.ts'
import type { Log } from '../core/log.ts'
import type { ShardingRules } from '../router/schema.ts'
import { isTransient } from './failure.ts'
import { lockMove, LockLost, type MoveLock } from './move-lock.ts'
import { MoveRunner } from './runner.ts'
import { ServersWorld, type ServersWorldOptions } from './servers-world.ts'
import { primaryUrl, type ShardAddress } from './shard-address.ts'
import { whileFollowing } from './steps/while-following.ts'
import { startProbe } from './throttle-probe.ts'
import { Throttle } from './throttle.ts'
import type { Verified } from './world.ts'

/** A sharded database as the mover reaches it. */
export type MoverDatabase = {
  readonly name: string
  readonly rules: ShardingRules
  readonly home: ShardId
  readonly shards: ReadonlyMap<ShardId, ShardAddress>
}

export type RunMoveOptions = {
  readonly database: MoverDatabase
  readonly moveId: number
  readonly log: Log
  readonly signal: AbortSignal
  readonly onMove?: (move: Move) => void
  readonly onRows?: ServersWorldOptions['onRows']
  /** Why copying rests at the moment; null when it does not. */
  readonly onThrottle?: (reason: string | null) => void
}

/** Another process holds the lock of the move. */
class MoveBusy extends Error {
  readonly hint = 'One process runs a move; see "ringfence rebalance status".'

  constructor(moveId: number) {
    super(`move ${moveId} is run by another process`)
    this.name = 'MoveBusy'
  }
}

/** Defaults of a move's limits. */
export const defaultMoveOptions: MoveOptions = {
  workers: 2,
  bytesPerSecond: null,
  maxWalRetainedBytes: 16 * 1024 ** 3,
  maxReplicaLagBytes: 256 * 1024 ** 2,
  maxLatencyFactor: null,
  cutoverTimeoutMs: 2_000,
  cutoverTries: 20,
  prepareTimeoutMs: 30_000,
  verify: true,
  keepSourceMs: 0,
  maxMs: null,
}

const queryTimeoutMs = 15_000
const giveUpAfterMs = 300_000
const retryMs = 1_000
/** A lock may still be held by the session of a runner that was killed. */
const busyTriesMax = 15

/** Gives the move as it ended. @throws MoveBusy, MoveProblem, the signal's reason, or what kept failing for minutes */
export async function runMove(options: RunMoveOptions): Promise<Move> {
  const { database, moveId, log, signal } = options
  let failingSinceMs: number | null = null
  for (let busy = 0; ; ) {
    signal.throwIfAborted()
    try {
      const move = await underLock(options)
      if (move !== null) return move
      failingSinceMs = null
      busy += 1
      if (busy >= busyTriesMax) throw new MoveBusy(moveId)
    } catch (error) {
      signal.throwIfAborted()
      failingSinceMs ??= systemClock.nowMs()
      const lasting = systemClock.nowMs() - failingSinceMs > giveUpAfterMs
      if (error instanceof MoveBusy || lasting || !(isTransient(error) || isLockLost(error)))
        throw error
      const reason = error instanceof Error ? error.message : String(error)
      log.warn({ database: database.name, move: moveId, reason }, 'the move rests; will go on')
    }
    await pause(retryMs, signal)
  }
}

/** Opens the catalog where its primary is now. */
export async function openCatalog(database: MoverDatabase): Promise<CatalogConnection> {
  const home = database.shards.get(database.home) ?? { urls: [] }
  const connection = await openCatalogConnection(await primaryUrl(home), queryTimeoutMs)
  await connection.client.query('SET search_path = pg_catalog')
  return connection
}

/**
 * Compares both shards of a move that has switched, while what is written goes on being carried back. @throws MoveBusy when
 * a runner has it
 */
export async function verifySwitched(options: RunMoveOptions): Promise<Verified> {
  const found = await withLock(options, async (world, runner, inner) => {
    const move = await world.readMove()
    const following = await runner.following(move, 'reverse', inner)
    try {
      return await whileFollowing(following, inner, (signal) =>
        world.verify(move, following, signal, 'reverse'),
      )
    } finally {
      await runner.stopFollowing()
    }
  })
  if (found === null) throw new MoveBusy(options.moveId)
  return found
}

/** Null: somebody else has the lock. */
function underLock(options: RunMoveOptions): Promise<Move | null> {
  return withLock(options, (_world, runner) => runner.run(options.signal))
}

async function withLock<T>(
  options: RunMoveOptions,
  use: (world: ServersWorld, runner: MoveRunner, inner: AbortSignal) => Promise<T>,
): Promise<T | null> {
  const { database, moveId, log, onMove, signal } = options
  const connection = await openCatalog(database)
  let lock: MoveLock | null = null
  try {
    lock = await lockMove(connection, moveId)
    if (lock === null) return null
    const { lost } = lock
    const inner = AbortSignal.any([signal, lost])
    const move = await readMove(connection.client, moveId)
    const throttle = throttleOf(move.options)
    const world = new ServersWorld({
      moveId,
      catalog: connection.client,
      home: database.home,
      shards: database.shards,
      rules: database.rules,
      throttle,
      log,
      signal: lost,
      onRows: options.onRows ?? (() => undefined),
    })
    const probing = new AbortController()
    const probe = probeFor(options, move, throttle, AbortSignal.any([inner, probing.signal]))
    try {
      // What a runner of before has sent may still be on its way.
      await world.endEarlierSessions(move)
      const runner = new MoveRunner(world, { log, giveUpAfterMs, lost, ...(onMove && { onMove }) })
      return await use(world, runner, inner)
    } finally {
      probing.abort()
      await probe
      await world.close()
    }
  } finally {
    lock?.stop()
    await connection.end()
  }
}

function throttleOf(options: MoveOptions): Throttle {
  return new Throttle(
    {
      bytesPerSecondMax: options.bytesPerSecond,
      lagBytesMax: options.maxReplicaLagBytes,
      lagMsMax: null,
      latencyRatioMax: options.maxLatencyFactor,
    },
    systemClock,
  )
}

/** Without servers that can be asked now the throttle goes by its rate alone. */
async function probeFor(
  { database }: RunMoveOptions,
  { from, to }: Move,
  throttle: Throttle,
  signal: AbortSignal,
): Promise<void> {
  try {
    const [source, target] = [database.shards.get(from), database.shards.get(to)]
    if (source === undefined || target === undefined) return
    const sourceUrl = await primaryUrl(source)
    const targetUrl = await primaryUrl(target)
    const probe = await startProbe({ sourceUrl, targetUrl, throttle, clock: systemClock, signal })
    await probe.ended
  } catch {
    throttle.unobserve()
  }
}

function isLockLost(error: unknown): boolean {
  return error instanceof LockLost
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const go = () => {
      clearTimeout(timer)
      resolve()
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', go)
      resolve()
    }, ms)
    signal.addEventListener('abort', go, { once: true })
  })
}
