// What `--dry-run` prints: the moves, how much they take along, step by step what would be done, and what clients would feel.
import type { Move, NewMove } from '../../catalog/move-store.ts'
import type { MoverDatabase } from '../../rebalancer/run-move.ts'
import { estimateBytes } from '../../rebalancer/estimate.ts'
import { describeSet, formatBytes, formatSeconds } from './describe.ts'
import type { MoverFlags } from '../mover.ts'
import { formatVnodes } from '../../core/vnode-ranges.ts'

/** A cautious guess for servers of today; `bench/copy.ts` measures. */
const bytesPerSecondGuess = 40 * 1024 ** 2

/** Exit code 0: nothing is changed. */
export async function dryRun(
  database: MoverDatabase,
  moves: readonly (Move | NewMove)[],
  { json }: Pick<MoverFlags, 'json'>,
  out: (text: string) => void,
): Promise<number> {
  const planned = []
  for (const move of moves) {
    const set = 'set' in move ? move.set : { vnodes: move.vnodes, keys: move.keys, except: [] }
    const bytes = await estimateBytes(database, move.from, set)
    const rate = Math.min(
      move.options.bytesPerSecond ?? Number.POSITIVE_INFINITY,
      bytesPerSecondGuess,
    )
    planned.push({ move, set, bytes, copyMs: (bytes / rate) * 1_000 })
  }
  if (json) {
    const rows = planned.map(({ move, set, bytes, copyMs }) => ({
      id: 'id' in move ? move.id : null,
      state: 'state' in move ? move.state : null,
      from: move.from,
      to: move.to,
      vnodes: formatVnodes(set.vnodes),
      keys: set.keys,
      bytes,
      copySeconds: Math.round(copyMs / 1_000),
      cutoverTimeoutMs: move.options.cutoverTimeoutMs,
      steps: stepsOf(move),
    }))
    out(`${JSON.stringify({ dryRun: true, moves: rows })}\n`)
    return 0
  }
  for (const { move, set, bytes, copyMs } of planned) {
    const { cutoverTimeoutMs } = move.options
    out(`${move.from} → ${move.to}: ${describeSet({ set })}, about ${formatBytes(bytes)}\n`)
    for (const [at, step] of stepsOf(move).entries()) out(`  ${at + 1}. ${step}\n`)
    out(
      `  copy: about ${formatSeconds(copyMs)}; at the switch statements of these keys wait some 0.1 s, ${formatSeconds(cutoverTimeoutMs)} at most\n`,
    )
  }
  out('nothing was changed\n')
  return 0
}

function stepsOf({ from, to, options }: Pick<Move, 'from' | 'to' | 'options'>): readonly string[] {
  const keep = options.keepSourceMs
  const kept =
    keep === null
      ? `keep the rows on ${from} up to date until "rebalance complete" or "rebalance rollback"`
      : keep === 0
        ? null
        : `keep the rows on ${from} up to date for ${formatSeconds(keep)}, so that "rebalance rollback" loses nothing`
  return [
    `prepare: check ${from} and ${to}, wait until every proxy knows of the move, create slot and publication on ${from}`,
    `copy: rows out of one snapshot of ${from}, ${options.workers} workers`,
    `catch up: apply on ${to} what is written on ${from} meanwhile`,
    ...(options.verify ? [`verify: compare every row of ${from} and ${to}`] : []),
    `fence: proxies hold statements of these keys, ${from} rejects writes of them`,
    `switch: ${to} owns them, held statements go there, changes flow back to ${from}`,
    ...(kept === null ? [] : [kept]),
    `complete: delete the rows on ${from}, drop slots, publications and triggers`,
  ]
}
