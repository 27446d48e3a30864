// `ringfence rebalance plan` and `apply`: which moves would even out the measured load, and keeping them for `run`.
import { createMove, type MoveOptions } from '../../catalog/move-store.ts'
import { readPlanInput } from '../../rebalancer/load/read-plan-input.ts'
import type { Balance, Proposal } from '../../rebalancer/plan/plan-input.ts'
import { propose as proposeMoves } from '../../rebalancer/plan/propose.ts'
import type { MoverDatabase } from '../../rebalancer/run-move.ts'
import { formatVnodes } from '../../core/vnode-ranges.ts'
import { CommandFailure } from '../load-config.ts'
import { type MoverFlags, readMover, withMoverCatalog } from '../mover.ts'
import { renderTable } from '../table.ts'
import { describeSet, formatBytes } from './describe.ts'

/** What a plan aims at. */
export type PlanFlags = {
  readonly epsilon: number
  readonly maxBytes: number | null
  readonly maxMoves?: number
}

const readTimeoutMs = 600_000

/** Prints the plan; nothing is changed. Exit code 0. */
export async function planCommand(
  flags: MoverFlags & PlanFlags,
  out: (text: string) => void,
): Promise<number> {
  const database = await readMover(flags)
  const proposal = await propose(database, flags)
  print(proposal, flags.json, out)
  return 0
}

/** Keeps the plan's moves in the catalog, for `run`. Exit code 0. */
export async function applyCommand(
  flags: MoverFlags &
    PlanFlags & { readonly yes: boolean; readonly dryRun: boolean; readonly limits: MoveOptions },
  out: (text: string) => void,
): Promise<number> {
  const database = await readMover(flags)
  const proposal = await propose(database, flags)
  print(proposal, flags.json, out)
  if (flags.dryRun || proposal.moves.length === 0) return 0
  if (!flags.yes)
    throw new CommandFailure('nothing was kept: say --yes to keep these moves for "rebalance run"')
  const ids = await withMoverCatalog(database, async (catalog) => {
    const made: number[] = []
    for (const { from, to, vnodes, keys } of proposal.moves) {
      const move = await createMove(catalog, { from, to, vnodes, keys, options: flags.limits })
      made.push(move.id)
    }
    return made
  })
  if (!flags.json)
    out(`kept as moves ${ids.join(', ')}; run them with: ringfence rebalance run --yes\n`)
  return 0
}

/** Moves that even out the measured load of a database. */
export async function propose(database: MoverDatabase, flags: PlanFlags): Promise<Proposal> {
  const target = {
    epsilon: flags.epsilon,
    bytesMax: flags.maxBytes,
    ...(flags.maxMoves === undefined ? {} : { movesMax: flags.maxMoves }),
  }
  return proposeMoves(await readPlanInput(database, target, AbortSignal.timeout(readTimeoutMs)))
}

function print(proposal: Proposal, json: boolean, out: (text: string) => void): void {
  const { moves, before, after, lowerBoundBytes, notes } = proposal
  if (json) {
    const rows = moves.map((move) => ({ ...move, vnodes: formatVnodes(move.vnodes) }))
    out(`${JSON.stringify({ moves: rows, before, after, lowerBoundBytes, notes })}\n`)
    return
  }
  out(
    renderTable(['shard', 'load now', 'share', 'load after', 'share'], balanceRows(before, after)),
  )
  out(
    `highest load over the fair share: ${before.maxOverMean.toFixed(2)} now, ${after.maxOverMean.toFixed(2)} after\n`,
  )
  for (const note of notes) out(`${note}\n`)
  if (moves.length === 0) return out('\nnothing needs to move\n')
  const rows = moves.map((move) => [
    `${move.from} → ${move.to}`,
    describeSet({ set: { vnodes: move.vnodes, keys: move.keys, except: [] } }),
    move.load.toFixed(1),
    formatBytes(move.bytes),
  ])
  out(`\n${renderTable(['from → to', 'what', 'load', 'size'], rows)}`)
  const total = moves.reduce((sum, { bytes }) => sum + bytes, 0)
  out(`${formatBytes(total)} in all; at least ${formatBytes(lowerBoundBytes)} must move for that\n`)
}

function balanceRows(before: Balance, after: Balance): readonly (readonly string[])[] {
  return before.shards.map(({ id, load, share }) => {
    const then = after.shards.find((shard) => shard.id === id)
    return [
      id,
      load.toFixed(1),
      `${Math.round(share * 100)} %`,
      then?.load.toFixed(1) ?? '',
      then === undefined ? '' : `${Math.round(then.share * 100)} %`,
    ]
  })
}
