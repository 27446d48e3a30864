// A transaction on a simulated shard, and the log record that it leaves.
import type { Row, Value } from './rows.ts'

export type Change = { readonly row: Row; readonly before: Value; readonly after: Value }

/** `startLsn`: of the commit record; what begins at `endLsn` is later. */
export type LogRecord = {
  readonly startLsn: number
  readonly endLsn: number
  readonly origin: string | null
  readonly changes: readonly Change[]
}

/** `client`: of a proxy; `mover`: passes fences, and may name its origin. */
export type Author =
  | { readonly kind: 'client' }
  | { readonly kind: 'mover'; readonly origin: string | null }

export type TransactionEnd = 'committed' | 'aborted'

export class SimulatedTransaction {
  readonly author: Author
  readonly writes = new Map<Row, Value>()
  /** Values that the first write of each row found. */
  readonly found = new Map<Row, Value>()
  readonly locked = new Set<Row>()
  /** It has locks of its tables: a fence waits for those that write, its removal for all. */
  isWriting = false
  end: TransactionEnd | null = null
  readonly #waiting: (() => void)[] = []

  constructor(author: Author) {
    this.author = author
  }

  /** Resolves when it has ended. */
  ended(): Promise<void> {
    if (this.end !== null) return Promise.resolve()
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  finish(end: TransactionEnd): void {
    this.end = end
    for (const resolve of this.#waiting) resolve()
  }
}
