// Several moves, one after the other or at once: two that share a shard never run together.
import type { Move } from '../catalog/move-store.ts'
import type { RunMoveOptions } from './run-move.ts'
import { runMove } from './run-move.ts'

export type RunMovesOptions = Omit<RunMoveOptions, 'moveId'> & {
  /** At once, at most. */
  readonly parallel: number
}

/** What became of one move. */
export type MoveResult = { readonly move: Move; readonly error: Error | null }

/** Runs all of them, whatever becomes of each; results in the order of `moves`. @throws the signal's reason */
export async function runMoves(
  moves: readonly Move[],
  options: RunMovesOptions,
): Promise<readonly MoveResult[]> {
  const results = new Map<number, MoveResult>()
  const waiting = [...moves]
  const busy = new Set<string>()
  const running = new Set<Promise<void>>()
  const start = (move: Move) => {
    busy.add(move.from).add(move.to)
    const run = runOne(move, options).then((result) => {
      results.set(move.id, result)
      busy.delete(move.from)
      busy.delete(move.to)
      running.delete(run)
    })
    running.add(run)
  }
  while (waiting.length > 0 || running.size > 0) {
    for (const move of Array.from(waiting)) {
      if (running.size >= options.parallel) break
      if (busy.has(move.from) || busy.has(move.to)) continue
      waiting.splice(waiting.indexOf(move), 1)
      start(move)
    }
    await Promise.race(running)
    // One of them may have a fence to lift before it stops.
    if (options.signal.aborted) await Promise.all(running)
    options.signal.throwIfAborted()
  }
  return moves.flatMap(({ id }) => results.get(id) ?? [])
}

async function runOne(move: Move, options: RunMovesOptions): Promise<MoveResult> {
  try {
    return { move: await runMove({ ...options, moveId: move.id }), error: null }
  } catch (error) {
    return { move, error: error instanceof Error ? error : new Error(String(error)) }
  }
}
