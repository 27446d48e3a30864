// Few at a time, the others in their order: what a lookup may take of a server is bounded by this.
import { pgError } from '../core/errors.ts'
import { BoundedQueue } from '../core/queue.ts'

/** Those that may wait for a turn; more are refused. */
const waitingMax = 10_000

export class Turns {
  readonly #max: number
  readonly #waiting = new BoundedQueue<() => void>(waitingMax)
  #busy = 0

  /** So many at a time. */
  constructor(max: number) {
    this.#max = max
  }

  /** Runs `work` when it is its turn. @throws PgError 08001 when too many wait, and what `work` throws */
  async run<T>(work: () => Promise<T>): Promise<T> {
    await this.#take()
    try {
      return await work()
    } finally {
      this.#give()
    }
  }

  #take(): Promise<void> {
    if (this.#busy < this.#max) {
      this.#busy += 1
      return Promise.resolve()
    }
    return new Promise((resolve, reject) => {
      if (!this.#waiting.push(resolve)) {
        reject(pgError('serverUnreachable', ['lookup', 'too many lookups are waiting']))
      }
    })
  }

  /** The turn goes on to who waits longest. */
  #give(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#busy -= 1
    else next()
  }
}
