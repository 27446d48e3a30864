// COPY TO STDOUT of one server into COPY FROM STDIN of another. A server that takes slowly slows down the one that gives.
import type { Client, Connection, Submittable } from 'pg'
import { assert } from '../../core/assert.ts'
import { writeCopyDone } from '../../wire/frontend.ts'
import { Writer } from '../../wire/writer.ts'
import { Signal } from '../stream/signal.ts'
import { CopyOut } from './copy-out.ts'

export type PassedCopy = {
  /** COPY … TO STDOUT */
  readonly read: string
  /** COPY … FROM STDIN, in the same format. */
  readonly write: string
  /** Asked before `bytes` more are passed on. */
  readonly pass?: (bytes: number) => Promise<void>
}

/**
 * Gives the rows that were written, and their bytes in COPY's format. @throws what a server says, or that it is gone; of
 * neither connection can be made use then.
 */
export async function passCopy(
  source: Client,
  target: Client,
  { read, write, pass }: PassedCopy,
): Promise<{ readonly rows: number; readonly bytes: number }> {
  const reading = source.query(new CopyOut(read))
  const writing = target.query(new CopyIn(write))
  try {
    for (;;) {
      const batch = await reading.next()
      if (batch === null) break
      await pass?.(batch.reduce((sum, { length }) => sum + length, 0))
      await writing.write(batch)
    }
    return { rows: await writing.end(), bytes: reading.bytes }
  } catch (thrown) {
    // Half a message may be on its way.
    reading.destroy()
    writing.destroy()
    throw thrown
  }
}

/** States: asked → taking → done, or failed. */
class CopyIn implements Submittable {
  readonly #sql: string
  readonly #signal = new Signal()
  #stream: Connection['stream'] | null = null
  #state: 'asked' | 'taking' | 'done' = 'asked'
  #failure: Error | null = null
  #rows = 0

  constructor(sql: string) {
    this.#sql = sql
  }

  submit(connection: Connection): void {
    this.#stream = connection.stream
    connection.query(this.#sql)
  }

  /** Resolves when there is room for more. */
  async write(messages: readonly Uint8Array[]): Promise<void> {
    const stream = await this.#taking()
    stream.cork()
    for (const message of messages) stream.write(message)
    stream.uncork()
    if (!stream.writableNeedDrain) return
    const drained = () => this.#signal.notify()
    stream.once('drain', drained)
    while (stream.writableNeedDrain && this.#failure === null) await this.#signal.wait()
    stream.off('drain', drained)
    if (this.#failure !== null) throw this.#failure
  }

  /** Gives the number of rows. */
  async end(): Promise<number> {
    const stream = await this.#taking()
    const writer = new Writer()
    writeCopyDone(writer)
    stream.write(writer.bytes())
    while (this.#state !== 'done' && this.#failure === null) await this.#signal.wait()
    if (this.#failure !== null) throw this.#failure
    return this.#rows
  }

  destroy(): void {
    this.#stream?.destroy()
  }

  handleCopyInResponse(): void {
    this.#state = 'taking'
    this.#signal.notify()
  }

  handleCommandComplete({ text }: { readonly text: string }): void {
    this.#rows = Number(/^COPY (\d+)$/.exec(text)?.[1] ?? 0)
  }

  handleError(error: Error): void {
    this.#failure ??= error
    this.#signal.notify()
  }

  handleReadyForQuery(): void {
    this.#state = 'done'
    this.#signal.notify()
  }

  async #taking(): Promise<Connection['stream']> {
    while (this.#state === 'asked' && this.#failure === null) await this.#signal.wait()
    if (this.#failure !== null) throw this.#failure
    assert(this.#stream !== null && this.#state === 'taking', 'rows are written until the end')
    return this.#stream
  }
}
