// How running moves are shown: on a terminal a line for each with a bar, redrawn; else a plain line whenever a state
// changes and now and then while rows are copied.
import { Listr } from 'listr2'
import { hasEnded } from '../../catalog/move-state.ts'
import type { Move } from '../../catalog/move-store.ts'
import { describeSet, describeState } from './describe.ts'

/** Told of every change; `end`, also of a run that was cut short, leaves the terminal as it was. */
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
  const shown = new Map(moves.map(({ id }) => [id, new ShownMove()]))
  const list = new Listr(
    moves.map((move) => ({
      title: `move ${move.id} ${move.from} → ${move.to}, ${describeSet(move)}`,
      task: async (_context, task) => {
        const failure = await shown.get(move.id)?.follow((text) => (task.output = text))
        if (failure !== undefined && failure !== null) throw new Error(failure)
      },
    })),
    // A signal is the command's to obey: listr would wait for tasks that have no end then.
    { concurrent: true, exitOnError: false, registerSignalListeners: false },
  )
  const running = list.run().catch(() => undefined)
  return {
    move(move) {
      const text = describeState(move, rates.of(move))
      shown.get(move.id)?.tell(`${bar(move)} ${text}`)
      if (hasEnded(move.state)) shown.get(move.id)?.end(move.state === 'done' ? null : text)
    },
    throttled(moveId, reason) {
      if (reason !== null) shown.get(moveId)?.tell(`copying rests: ${reason}`)
    },
    async end() {
      for (const each of shown.values()) each.end('left as it is')
      await running
    },
  }
}

/** What is said of a move, before and after its line is there. */
class ShownMove {
  readonly #ended = Promise.withResolvers<string | null>()
  #show: (text: string) => void = () => undefined

  tell(text: string): void {
    this.#show(text)
  }

  /** Null, or why it is not done; the first call counts. */
  end(failure: string | null): void {
    this.#ended.resolve(failure)
  }

  follow(show: (text: string) => void): Promise<string | null> {
    this.#show = show
    return this.#ended.promise
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
