// Looks after a step that takes long: an operator's wish, too much log kept on a shard, too much time. Aborts the step; the
// runner decides what comes next.
import { isFenced, isSwitched } from '../catalog/move-state.ts'
import type { Move } from '../catalog/move-store.ts'
import { MoveProblem } from './move-problem.ts'
import type { MoveRunner } from './runner.ts'

/** The step was left because something else is to be done. */
export class Interrupted extends Error {
  constructor() {
    super('the step was interrupted')
    this.name = 'Interrupted'
  }
}

const lookMs = 500

/** Watches until stopped; aborts `controller` with Interrupted or a MoveProblem. */
export function watch(
  runner: MoveRunner,
  move: Move,
  controller: AbortController,
): { stop(): Promise<void> } {
  const { world } = runner
  const end = new AbortController()
  const run = async () => {
    while (!end.signal.aborted && !controller.signal.aborted) {
      await world.sleep(lookMs, end.signal)
      // What cannot be read now may be read the next time: a step may take hours, and must be stopped then as well.
      const reason = await reasonToStop(runner, move).catch(() => null)
      if (reason !== null && !end.signal.aborted) controller.abort(reason)
    }
  }
  // Its sleep ends with the step.
  const running = run().catch(() => undefined)
  return {
    stop: async () => {
      end.abort()
      await running
    },
  }
}

async function reasonToStop(runner: MoveRunner, move: Move): Promise<Error | null> {
  const { world } = runner
  const now = await world.readMove()
  runner.tell(now)
  if (now.state !== move.state || now.wish !== move.wish) return new Interrupted()
  if (isFenced(move.state)) return null
  const late = tooLate(move, world.wallMs())
  if (late !== null) return late
  const direction = isSwitched(move.state) ? 'reverse' : 'forward'
  const slot = direction === 'forward' ? move.progress.slot : move.progress.reverseSlot
  const bytes = slot === undefined ? null : await world.retained(move, direction)
  const { maxWalRetainedBytes: most } = move.options
  if (bytes === null || bytes <= most || move.state === 'completing' || move.state === 'aborting')
    return null
  return new MoveProblem(
    'walRetained',
    `the move keeps ${bytes} bytes of log on a shard, more than ${most}`,
    {
      hint: 'Move fewer virtual nodes at once, raise --max-wal-retained, or find out why changes are applied slowly.',
    },
  )
}

/** After the switch there is no way back but the operator's. A plan that was kept for later has not begun. */
function tooLate({ state, options, progress }: Move, wallMs: number): MoveProblem | null {
  const { maxMs } = options
  if (maxMs === null || isSwitched(state) || state === 'aborting') return null
  const { begunAt = wallMs } = progress
  if (wallMs - begunAt <= maxMs) return null
  return new MoveProblem('takesTooLong', `the move has taken longer than ${maxMs} ms`, {
    hint: 'Move fewer virtual nodes at once, or raise --max-time.',
  })
}
