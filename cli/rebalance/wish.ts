// `ringfence rebalance pause | abort | rollback | complete`: what is wanted of a move is written into the catalog, where its
// runner finds it; where nobody runs the move, the command runs it itself.
import type { MoveWish } from '../../catalog/move-state.ts'
import { hasEnded, isSwitched } from '../../catalog/move-state.ts'
import { moveLock } from '../../catalog/connection.ts'
import { type Move, readMove, wish } from '../../catalog/move-store.ts'
import { CommandFailure } from '../load-config.ts'
import { type MoverFlags, readMover, withMoverCatalog } from '../mover.ts'
import { describeState, moveJson } from './describe.ts'
import { runAll } from './run.ts'

export type WishFlags = MoverFlags & { readonly dryRun: boolean; readonly verbose: boolean }

const meaning: Readonly<Record<MoveWish, string>> = {
  pause: 'rest before its next step, until "rebalance resume"',
  abort: 'give up: its rows on the target are deleted, the source goes on serving',
  rollback: 'go back: the source serves again, with everything written since the switch',
  complete: 'end: the rows on the source are deleted',
}

/** Exit code 0 when it was done, or will be by the move's runner. */
export async function wishCommand(
  wanted: MoveWish,
  id: number,
  flags: WishFlags,
  out: (text: string) => void,
): Promise<number> {
  const database = await readMover(flags)
  const { move, isRun } = await withMoverCatalog(database, async (catalog) => {
    const before = await readMove(catalog, id)
    refuse(before, wanted)
    if (flags.dryRun) return { move: before, isRun: true }
    await wish(catalog, id, wanted)
    const { rows } = await catalog.query<{ free: boolean }>(
      `SELECT pg_try_advisory_lock(${moveLock(id)}) AS free`,
    )
    return { move: await readMove(catalog, id), isRun: rows[0]?.free !== true }
  })
  if (flags.json && (isRun || wanted === 'pause'))
    out(`${JSON.stringify({ move: moveJson(move), dryRun: flags.dryRun })}\n`)
  else if (isRun || wanted === 'pause') {
    const who = flags.dryRun ? 'would be told to' : 'is told to'
    out(`move ${id} (${describeState(move)}) ${who} ${meaning[wanted]}\n`)
  }
  if (isRun || wanted === 'pause') return 0
  return runAll(database, [move], { ...flags, parallel: 1 }, out)
}

function refuse({ id, state }: Move, wanted: MoveWish): void {
  if (hasEnded(state)) throw new CommandFailure(`move ${id} has ended: it is ${state}`)
  const late = isSwitched(state)
  if (wanted === 'abort' && late) {
    throw new CommandFailure(
      `move ${id} has switched: take it back with "ringfence rebalance rollback ${id}"`,
    )
  }
  if ((wanted === 'rollback' || wanted === 'complete') && state !== 'switched') {
    throw new CommandFailure(`move ${id} is ${state}, not switched: it cannot be told to ${wanted}`)
  }
}
