// `ringfence rebalance verify`: compares both shards of a move once more, row for row.
import { readMove } from '../../catalog/move-store.ts'
import { createLog } from '../../core/log.ts'
import { verifySwitched } from '../../rebalancer/run-move.ts'
import { CommandFailure } from '../load-config.ts'
import { type MoverFlags, readMover, withMoverCatalog } from '../mover.ts'

/** Exit code 0 when all rows are the same, 1 when some differ. */
export async function verifyCommand(
  id: number,
  flags: MoverFlags,
  out: (text: string) => void,
): Promise<number> {
  const database = await readMover(flags)
  const move = await withMoverCatalog(database, (catalog) => readMove(catalog, id))
  if (move.state !== 'switched') {
    throw new CommandFailure(
      `move ${id} is ${move.state}: rows are compared by the move itself before the switch, and by this command after it, as long as the source is kept`,
    )
  }
  const { rows, differing, differences } = await verifySwitched({
    database,
    moveId: id,
    log: createLog('error'),
    signal: AbortSignal.timeout(24 * 3_600_000),
  })
  if (flags.json) out(`${JSON.stringify({ move: id, rows, differing, differences })}\n`)
  else {
    out(`${rows} rows compared, ${differing} differ\n`)
    for (const difference of differences) out(`  ${JSON.stringify(difference)}\n`)
  }
  return differing === 0 ? 0 : 1
}
