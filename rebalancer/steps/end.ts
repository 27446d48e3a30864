// The end of a move, one way or the other: nothing of it is left on any shard. What is deleted belongs to a shard that no
// proxy asks for it any more: all have said so, or have been silent for longer than their lease.
import type { Move, Transition } from '../../catalog/move-store.ts'
import { acknowledged } from '../acknowledged.ts'
import type { MoveRunner } from '../runner.ts'
import type { Side } from '../world.ts'

const lookMs = 200

/** The source's rows go; the fence with them. */
export async function complete(
  runner: MoveRunner,
  move: Move,
  signal: AbortSignal,
): Promise<Transition | null> {
  const { world } = runner
  if (!(await isKnown(runner, signal))) return null
  await closeStreams(runner, move)
  const rowsDeleted = await world.deleteRows(move, 'source', signal)
  await cleanUp(runner, move)
  const position = await world.position(move, 'source')
  return { next: 'done', floor: { shard: move.from, position }, progress: { rowsDeleted } }
}

/** The target's rows go; whatever was made for the move. */
export async function abort(
  runner: MoveRunner,
  move: Move,
  signal: AbortSignal,
): Promise<Transition | null> {
  const { world } = runner
  // Without a slot nothing has been copied: a proxy that cannot take up the move must not keep it from ending.
  const isCopied = move.progress.slot !== undefined
  if (isCopied && !(await isKnown(runner, signal))) return null
  await closeStreams(runner, move)
  const rowsDeleted = await world.deleteRows(move, 'target', signal)
  await cleanUp(runner, move)
  const position = await world.position(move, 'target')
  const { error, hint } = move
  return {
    next: 'aborted',
    floor: { shard: move.to, position },
    progress: { rowsDeleted },
    error: error === null ? null : { message: error, hint },
  }
}

async function isKnown({ world }: MoveRunner, signal: AbortSignal): Promise<boolean> {
  const late = await acknowledged(world, { whom: 'living', timeoutMs: lookMs, signal })
  return late.length === 0
}

async function closeStreams(runner: MoveRunner, move: Move): Promise<void> {
  await runner.stopFollowing()
  await runner.world.closeStream(move, 'forward')
  await runner.world.closeStream(move, 'reverse')
}

async function cleanUp({ world }: MoveRunner, move: Move): Promise<void> {
  const sides: readonly Side[] = ['source', 'target']
  for (const side of sides) await world.dropFence(move, side)
  await world.restoreIdentities(move)
  await world.forget(move)
}
