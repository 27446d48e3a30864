// A statement that was sent and is of no more use: its client is gone, or has its answer from elsewhere. The server answers all
// the same, and its next answers come behind.
import { backend } from '../wire/codes.ts'
import type { ReplySink } from './server-connection.ts'

/** Takes such an answer; `over` is called once it has ended. */
export class DroppedReply implements ReplySink {
  readonly rows = 'stream'
  readonly #over: () => void

  constructor(over: () => void) {
    this.#over = over
  }

  slice(): void {}

  frame(code: number): void {
    if (code === backend.readyForQuery) this.#over()
  }

  lost(): void {}
}
