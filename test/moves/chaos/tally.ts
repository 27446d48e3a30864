// What a run counts besides its ledger: operations, waits, and errors with the faults that explain them.
import type { Fault } from './faults.ts'
import { explain, type Failure, isRetryable } from './verdict.ts'

/** Errors that no fault explains. */
export type Unexplained = Failure & { readonly doing: string }

const examplesMax = 20

export class Tally {
  operations = 0
  /** Of operations that ended well, milliseconds. */
  longestMs = 0
  slow = 0
  readonly #faults: readonly Fault[]
  /** By SQLSTATE and the kind of fault that explains them, or `nothing`. */
  readonly errors = new Map<string, number>()
  /** What the first of each said. */
  readonly messages = new Map<string, string>()
  readonly unexplained: Unexplained[] = []
  unexplainedCount = 0
  /** Of them those that no client is told to retry. */
  forbidden = 0

  /** `faults`: grows while the run goes on. */
  constructor(faults: readonly Fault[]) {
    this.#faults = faults
  }

  succeeded(ms: number): void {
    this.operations += 1
    this.longestMs = Math.max(this.longestMs, ms)
    if (ms > slowMs) this.slow += 1
  }

  failed(doing: string, failure: Failure): void {
    this.operations += 1
    const fault = explain(failure, this.#faults)
    const key = `${failure.sqlstate} by ${fault?.kind ?? 'nothing'}`
    this.errors.set(key, (this.errors.get(key) ?? 0) + 1)
    if (!this.messages.has(key)) this.messages.set(key, failure.message)
    if (fault !== undefined) return
    this.unexplainedCount += 1
    if (!isRetryable(failure.sqlstate)) this.forbidden += 1
    if (this.unexplained.length < examplesMax) this.unexplained.push({ doing, ...failure })
  }

  get errorCount(): number {
    return [...this.errors.values()].reduce((sum, count) => sum + count, 0)
  }

  /** Share of the operations, of the errors that no fault explains. */
  get unexplainedShare(): number {
    return this.unexplainedCount / Math.max(1, this.operations)
  }
}

const slowMs = 1_000
