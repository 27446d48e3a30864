// Statements that took long, one line of the log each: what, where and for whom, never with which values. A proxy on which
// everything is slow logs as many lines per second as are of use, and how many it has left out.
import type { Clock } from '../core/clock.ts'
import type { Log } from '../core/log.ts'
import type { SeenStatement, StatementTaker } from './statement-watch.ts'

/** Lines at once, and per second from then on. */
const burstMax = 50
const linesPerSecond = 10

export class SlowLog implements StatementTaker {
  readonly traces = false
  readonly #fromMs: number
  readonly #log: Log
  readonly #clock: Clock
  #lines = burstMax
  #countedAtMs: number
  #leftOut = 0

  /** Logs what takes longer than `fromMs`. */
  constructor(fromMs: number, log: Log, clock: Clock) {
    this.#fromMs = fromMs
    this.#log = log
    this.#clock = clock
    this.#countedAtMs = clock.nowMs()
  }

  wants(ms: number): boolean {
    return ms >= this.#fromMs
  }

  take(statement: SeenStatement): void {
    if (!this.#mayLog()) {
      this.#leftOut += 1
      return
    }
    const { database, user, application, address, class: kind, shard, rows, failed } = statement
    this.#log.warn(
      {
        database,
        user,
        application_name: application,
        client: address,
        class: kind,
        shard,
        duration_ms: rounded(statement.ms),
        wait_ms: rounded(statement.waitMs),
        rows,
        failed,
        ...(this.#leftOut > 0 ? { left_out: this.#leftOut } : {}),
        statement: statement.text(),
      },
      'slow statement',
    )
    this.#leftOut = 0
  }

  #mayLog(): boolean {
    const nowMs = this.#clock.nowMs()
    const more = ((nowMs - this.#countedAtMs) * linesPerSecond) / 1_000
    this.#lines = Math.min(burstMax, this.#lines + more)
    this.#countedAtMs = nowMs
    if (this.#lines < 1) return false
    this.#lines -= 1
    return true
  }
}

function rounded(ms: number): number {
  return Math.round(ms * 1_000) / 1_000
}
