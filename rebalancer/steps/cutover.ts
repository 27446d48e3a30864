// The switch and its way back. Between the fence's publication and the new owner's, clients wait: everything that can be
// done before or after is not done here, and all of it has one deadline.
import type { Move, Transition } from '../../catalog/move-store.ts'
import { acknowledged, describeLate } from '../acknowledged.ts'
import type { MoveRunner } from '../runner.ts'
import { failedOver } from '../same-server.ts'
import type { Direction, Side } from '../world.ts'
import { whileFollowing } from './while-following.ts'

/** The source is fenced; drained to its end, the target owns what is moved. */
export async function fence(
  runner: MoveRunner,
  move: Move,
  signal: AbortSignal,
): Promise<Transition | null> {
  if (move.wish === 'abort') return { next: 'unfencing' }
  // Only who has kept up until now is done in moments; clients do not wait for a runner that has just started.
  if (!runner.isFollowing('forward')) return givenUp(move, 'its runner was replaced')
  const problem = await drain(runner, move, { direction: 'forward', side: 'source' }, signal)
  if (problem !== null) return givenUp(move, problem)
  const { world } = runner
  const position = await world.position(move, 'target')
  const lost = failedOver(move, position)
  if (lost !== null) return givenUp(move, lost.message)
  const { fencedAt = 0 } = move.progress
  return {
    next: 'switched',
    floor: { shard: move.to, position },
    progress: {
      reverseLsn: position.lsn.toString(),
      heldMs: Math.max(0, world.wallMs() - fencedAt),
    },
  }
}

/** The source serves on. */
export async function unfence({ world }: MoveRunner, move: Move): Promise<Transition> {
  await world.liftFence(move, 'source')
  if (move.wish === 'abort') return { next: 'aborting', granted: true }
  return { next: 'catching_up', error: keptError(move) }
}

/** The same the other way: what was written on the target since the switch is on the source when it owns again. */
export async function fenceBack(
  runner: MoveRunner,
  move: Move,
  signal: AbortSignal,
): Promise<Transition | null> {
  if (!runner.isFollowing('reverse')) {
    return { next: 'unfencing_back', error: { message: 'its runner was replaced', hint: null } }
  }
  const problem = await drain(runner, move, { direction: 'reverse', side: 'target' }, signal)
  if (problem !== null) return { next: 'unfencing_back', error: { message: problem, hint: null } }
  const { world } = runner
  // The target is fenced: nobody writes anywhere until the source is published.
  await world.liftFence(move, 'source')
  const position = await world.position(move, 'source')
  return {
    next: 'aborting',
    floor: { shard: move.from, position },
    progress: { rolledBack: true },
  }
}

/** The target serves on, and the source is fenced as before. */
export async function unfenceBack({ world }: MoveRunner, move: Move): Promise<Transition> {
  await world.fence(move, 'source', move.options.cutoverTimeoutMs)
  await world.liftFence(move, 'target')
  return { next: 'switched', error: keptError(move) }
}

type Way = { readonly direction: Direction; readonly side: Side }

/** Proxies hold, the side is fenced, its log is applied on the other one: null, or what was too slow. */
async function drain(
  runner: MoveRunner,
  move: Move,
  { direction, side }: Way,
  signal: AbortSignal,
): Promise<string | null> {
  const { world } = runner
  const { cutoverTimeoutMs } = move.options
  const untilMs = world.nowMs() + cutoverTimeoutMs
  const deadline = new AbortController()
  const both = AbortSignal.any([signal, deadline.signal])
  const left = () => Math.max(0, untilMs - world.nowMs())
  const timer = world.sleep(cutoverTimeoutMs, both).then(
    () => deadline.abort(new Error('the cutover takes too long')),
    () => undefined,
  )
  try {
    const following = await runner.following(move, direction, both)
    return await whileFollowing(following, both, async (signal) => {
      const late = await acknowledged(world, { whom: 'living', timeoutMs: left(), signal })
      if (late.length > 0) return `transactions were still open in ${describeLate(late)}`
      const lsn = await world.fence(move, side, left())
      await following.reached(lsn, signal)
      return null
    })
  } catch (error) {
    signal.throwIfAborted()
    const reason = error instanceof Error ? error.message : String(error)
    return deadline.signal.aborted ? `within ${cutoverTimeoutMs} ms: ${reason}` : reason
  } finally {
    deadline.abort()
    await timer
  }
}

function givenUp(move: Move, why: string): Transition {
  const message = `the switch was put off: ${why}`
  const cutoverTries = (move.progress.cutoverTries ?? 0) + 1
  return { next: 'unfencing', progress: { cutoverTries }, error: { message, hint: null } }
}

function keptError({ error, hint }: Move): NonNullable<Transition['error']> | null {
  return error === null ? null : { message: error, hint }
}
