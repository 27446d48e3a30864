// `ringfence rebalance run` and `resume`: moves are made, or found in the catalog, and run through to their end.
import { createInterface } from 'node:readline/promises'
import type { Client } from 'pg'
import {
  createMove,
  listMoves,
  type Move,
  type MoveOptions,
  type NewMove,
  wish,
} from '../../catalog/move-store.ts'
import { createLog } from '../../core/log.ts'
import { shardId, type ShardId, vnode } from '../../core/ids.ts'
import { hasEnded } from '../../catalog/move-state.ts'
import type { MoverDatabase } from '../../rebalancer/run-move.ts'
import { type MoveResult, runMoves } from '../../rebalancer/run-moves.ts'
import { CommandFailure } from '../load-config.ts'
import { type MoverFlags, readMover, withMoverCatalog } from '../mover.ts'
import { parseVnodes } from '../../core/vnode-ranges.ts'
import { onStopSignals } from '../stop-signals.ts'
import { describeSet, moveJson } from './describe.ts'
import { dryRun } from './dry-run.ts'
import { propose } from './plan.ts'
import { progressView } from './progress.ts'

export type RunFlags = MoverFlags & {
  readonly from?: string
  readonly to?: string
  readonly vnodes?: string
  readonly yes: boolean
  readonly dryRun: boolean
  readonly parallel: number
  readonly verbose: boolean
  /** Of a plan that is made now. */
  readonly epsilon: number
  readonly maxBytes: number | null
  readonly limits: MoveOptions
  /** Options of a plan and its moves that stand on the command line. */
  readonly given: readonly string[]
}

/** Exit code 0 when every move is done, 1 otherwise. */
export async function runCommand(flags: RunFlags, out: (text: string) => void): Promise<number> {
  const database = await readMover(flags)
  const wanted = await withMoverCatalog(database, async (catalog) => {
    if (flags.from !== undefined || flags.to !== undefined || flags.vnodes !== undefined) {
      return byHand(catalog, database, flags)
    }
    const planned = (await listMoves(catalog, { active: true })).filter(
      ({ state }) => state === 'planned',
    )
    if (planned.length > 0) return keptAsTheyAre(planned, flags)
    const { moves } = await propose(database, flags)
    return moves.map(({ from, to, vnodes, keys }) => ({
      from,
      to,
      vnodes,
      keys,
      options: flags.limits,
    }))
  })
  if (wanted.length === 0) {
    if (flags.json) out(`${JSON.stringify({ moves: [] })}\n`)
    else out('nothing to move\n')
    return 0
  }
  if (flags.dryRun) return dryRun(database, wanted, flags, out)
  await confirm(wanted, flags)
  const moves = await withMoverCatalog(database, async (catalog) => {
    const made: Move[] = []
    for (const move of wanted) made.push('state' in move ? move : await createMove(catalog, move))
    return made
  })
  return runAll(database, moves, flags, out)
}

/** @throws CommandFailure rather than run them otherwise than it was asked for */
function keptAsTheyAre(
  planned: readonly Move[],
  { given }: Pick<RunFlags, 'given'>,
): readonly Move[] {
  if (given.length === 0) return planned
  const ids = planned.map(({ id }) => id).join(', ')
  throw new CommandFailure(
    `${given.join(', ')} would change nothing: moves ${ids} were kept with options of their own; ` +
      'run them without, or abort them with "ringfence rebalance abort <move>" and plan anew',
  )
}

/** Takes up every move that has not ended. Exit code 0 when all are done or aborted as was asked. */
export async function resumeCommand(
  flags: Pick<
    RunFlags,
    'config' | 'database' | 'json' | 'yes' | 'dryRun' | 'parallel' | 'verbose' | 'limits'
  >,
  out: (text: string) => void,
): Promise<number> {
  const database = await readMover(flags)
  const moves = await withMoverCatalog(database, (catalog) => listMoves(catalog, { active: true }))
  if (moves.length === 0) {
    if (flags.json) out(`${JSON.stringify({ moves: [] })}\n`)
    else out('no move is unfinished\n')
    return 0
  }
  if (flags.dryRun) return dryRun(database, moves, flags, out)
  await confirm(moves, flags)
  await withMoverCatalog(database, (catalog) => wishOnwards(catalog, moves))
  return runAll(database, moves, flags, out)
}

/** Nothing rests, and sources that were to be kept are not: through to the end. */
async function wishOnwards(catalog: Client, moves: readonly Move[]): Promise<void> {
  for (const { id, state, wish: wanted, options } of moves) {
    if (wanted !== null && wanted !== 'pause') continue
    const isKept = state === 'switched' && options.keepSourceMs === null
    if (isKept) await wish(catalog, id, 'complete')
    else if (wanted === 'pause') await wish(catalog, id, null)
  }
}

/** Runs moves and shows how they go. Exit code 0 when none was left unfinished or failed. */
export async function runAll(
  database: MoverDatabase,
  moves: readonly Move[],
  flags: Pick<RunFlags, 'json' | 'parallel' | 'verbose'>,
  out: (text: string) => void,
): Promise<number> {
  const view = progressView(moves, flags.json)
  const controller = new AbortController()
  using _stopping = onStopSignals(() => {
    controller.abort(new CommandFailure('interrupted; go on with: ringfence rebalance resume'))
  })
  try {
    const results = await runMoves(moves, {
      database,
      log: createLog(flags.verbose ? 'info' : 'error'),
      signal: controller.signal,
      onMove: (move) => view.move(move),
      parallel: flags.parallel,
    })
    await view.end()
    return report(results, flags, out)
  } finally {
    await view.end()
  }
}

function report(
  results: readonly MoveResult[],
  { json }: Pick<RunFlags, 'json'>,
  out: (text: string) => void,
): number {
  const ok = results.every(({ move, error }) => {
    const asked = move.progress.rolledBack === true || move.error === null
    return error === null && hasEnded(move.state) && (move.state === 'done' || asked)
  })
  if (json) {
    const moves = results.map(({ move, error }) => ({
      ...moveJson(move),
      failure: error?.message ?? null,
    }))
    out(`${JSON.stringify({ ok, moves })}\n`)
    return ok ? 0 : 1
  }
  for (const { move, error } of results) {
    const why = error?.message ?? move.error
    if (move.state === 'done') {
      const { rowsCopied, rowsVerified, heldMs = 0 } = move.progress
      const rows = rowsVerified ?? rowsCopied ?? 0
      out(
        `move ${move.id} done: ${describeSet(move)} now on ${move.to}, ${rows} rows compared, clients waited ${Math.round(heldMs)} ms at most\n`,
      )
    } else if (move.progress.rolledBack === true)
      out(`move ${move.id} rolled back: ${move.from} serves again\n`)
    else out(`move ${move.id} ${move.state}${why === null ? '' : `: ${why}`}\n`)
    for (const problem of move.progress.problems ?? []) out(`  - ${problem}\n`)
    if (move.hint !== null) out(`hint: ${move.hint}\n`)
  }
  return ok ? 0 : 1
}

/** Those of the named virtual nodes that the shard owns and that are on no move. */
async function byHand(
  catalog: Client,
  database: MoverDatabase,
  flags: RunFlags,
): Promise<readonly NewMove[]> {
  const { from: source, to: target, vnodes: text } = flags
  if (source === undefined || target === undefined || text === undefined) {
    throw new CommandFailure('a move by hand needs --from, --to and --vnodes')
  }
  const from = knownShard(database, source)
  const to = knownShard(database, target)
  if (from === to) throw new CommandFailure('--from and --to are the same shard')
  const named = parseVnodes(text, database.rules.vnodeCount - 1)
  if (named === undefined) {
    throw new CommandFailure(
      `--vnodes takes numbers from 0 to ${database.rules.vnodeCount - 1}, like 0-1023,2000`,
    )
  }
  const { rows } = await catalog.query<{ vnode: number }>(
    `SELECT vnode FROM ringfence.vnode
     WHERE shard = $1 AND move_id IS NULL AND vnode = ANY ($2::int[]) ORDER BY vnode`,
    [from, [...named]],
  )
  if (rows.length === 0) return []
  const vnodes = rows.map((row) => vnode(row.vnode))
  return [{ from, to, vnodes, keys: [], options: flags.limits }]
}

function knownShard({ shards, name }: MoverDatabase, id: string): ShardId {
  const shard = shardId(id)
  if (shards.has(shard)) return shard
  throw new CommandFailure(
    `database "${name}" has no shard "${id}"; it has ${[...shards.keys()].join(', ')}`,
  )
}

async function confirm(
  moves: readonly (Move | NewMove)[],
  { yes, json }: Pick<RunFlags, 'yes' | 'json'>,
): Promise<void> {
  if (yes) return
  if (!process.stdin.isTTY || json)
    throw new CommandFailure('nothing was done: say --yes to run without being asked')
  for (const move of moves) {
    const set = 'set' in move ? move.set : { vnodes: move.vnodes, keys: move.keys, except: [] }
    process.stdout.write(`${move.from} → ${move.to}: ${describeSet({ set })}\n`)
  }
  if (!/^y(?:es)?$/i.test((await ask('Run? [y/N] ')).trim())) {
    throw new CommandFailure('nothing was done')
  }
}

/** A line of the terminal; empty at Ctrl-C and Ctrl-D, which close it without an answer. */
async function ask(question: string): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stdout })
  const closed = new Promise<string>((resolve) => {
    terminal.once('close', () => resolve(''))
  })
  const answer = await Promise.race([terminal.question(question), closed])
  terminal.close()
  if (answer === '') process.stdout.write('\n')
  return answer
}
