// How running moves are shown: on a terminal a line for each with a bar, redrawn; else a plain line whenever a state
// changes and now and then while rows are copied.
import { Listr } from 'listr2'
import type { Move } from '../../catalog/move-store.ts'
import { describeSet, describeState } from './describe.ts'

/** Told of every change; `end` waits until everything is shown. */
export type ProgressView = {
  move(move: Move): void
  throttled(moveId: number, reason: string | null): void
  end(): Promise<void>
}

const barCells = 24
const lineEveryMs = 5_000

/** A view for where the output goes; `silent` shows nothing, as with --json. */
export function progressView(moves: readonly Move[], silent: boolean): ProgressView {
  if (silent)
    return { move: () => undefined, throttled: () => undefined, end: async () => undefined }
  return process.stdout.isTTY ? terminalView(moves) : lineView()
}

function lineView(): ProgressView {
  const last = new Map<number, { state: string; atMs: number; error: string | null }>()
  const rates = new Rates()
  return {
    move(move) {
      const before = last.get(move.id)
      const nowMs = Date.now()
      const rate = rates.of(move)
      const same = before?.state === move.state && before.error === move.error
      if (same && nowMs - before.atMs < lineEveryMs) return
      last.set(move.id, { state: move.state, atMs: nowMs, error: move.error })
      process.stdout.write(
        `move ${move.id} ${move.from} → ${move.to}: ${describeState(move, rate)}\n`,
      )
    },
    throttled(moveId, reason) {
      if (reason !== null) process.stdout.write(`move ${moveId}: copying rests, ${reason}\n`)
    },
    end: async () => undefined,
  }
}

function terminalView(moves: readonly Move[]): ProgressView {
  const rates = new Rates()
  const tasks = new Map<number, (text: string, done: Move | null) => void>()
  const list = new Listr(
    moves.map((move) => ({
      title: `move ${move.id} ${move.from} → ${move.to}, ${describeSet(move)}`,
      task: (_context, task) =>
        new Promise<void>((resolve, reject) => {
          tasks.set(move.id, (text, ended) => {
            task.output = text
            if (ended?.state === 'done') resolve()
            else if (ended !== null) reject(new Error(describeState(ended)))
          })
        }),
    })),
    { concurrent: true, exitOnError: false },
  )
  const shown = list.run().catch(() => undefined)
  const latest = new Map<number, Move>()
  return {
    move(move) {
      latest.set(move.id, move)
      const ended = move.state === 'done' || move.state === 'aborted'
      tasks.get(move.id)?.(
        `${bar(move)} ${describeState(move, rates.of(move))}`,
        ended ? move : null,
      )
    },
    throttled(moveId, reason) {
      if (reason !== null) tasks.get(moveId)?.(`copying rests: ${reason}`, null)
    },
    async end() {
      for (const [id, tell] of tasks) {
        const move = latest.get(id)
        if (move !== undefined) tell(describeState(move), move)
      }
      await shown
    },
  }
}

/** Copying is most of the work of a move: the bar is that of the bytes. */
function bar({ state, progress }: Move): string {
  const { bytesCopied = 0, bytesTotal = 0 } = progress
  const before = state === 'planned' || state === 'preparing'
  const share = before
    ? 0
    : state !== 'copying'
      ? 1
      : Math.min(1, bytesCopied / Math.max(1, bytesTotal))
  const full = Math.round(share * barCells)
  return `${'█'.repeat(full)}${'░'.repeat(barCells - full)} ${Math.round(share * 100)} %`
}

/** Bytes per second of each move's copy, over its last seconds. */
class Rates {
  readonly #before = new Map<number, { atMs: number; bytes: number; rate: number | null }>()

  of({ id, progress: { bytesCopied = 0 } }: Move): number | null {
    const atMs = Date.now()
    const before = this.#before.get(id)
    if (before === undefined || bytesCopied < before.bytes) {
      this.#before.set(id, { atMs, bytes: bytesCopied, rate: null })
      return null
    }
    if (bytesCopied === before.bytes) return before.rate
    const seconds = Math.max(0.001, (atMs - before.atMs) / 1_000)
    const rate = (bytesCopied - before.bytes) / seconds
    this.#before.set(id, { atMs, bytes: bytesCopied, rate })
    return rate
  }
}
