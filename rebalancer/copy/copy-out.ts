// COPY TO STDOUT as a query of pg's. Its CopyData messages are given as they came, header and all: COPY FROM STDIN takes
// the very same (PostgreSQL manual, "Message Formats"), so that nobody looks at each row on the way.
import type { Connection, Submittable } from 'pg'
import { assert } from '../../core/assert.ts'
import { backend } from '../../wire/codes.ts'
import { writeCopyData } from '../../wire/frontend.ts'
import { Writer } from '../../wire/writer.ts'
import { Signal } from '../stream/signal.ts'

/** Of type and length, which counts itself. */
const headerBytes = 5
/** Servers send rows by the 8 kB: given one by one, each would wake the server that takes them. */
const batchBytes = 64 * 1024

/** A socket whose listeners are of no known type. */
type Emitter = {
  on(event: 'data', listener: unknown): unknown
  off(event: 'data', listener: unknown): unknown
}

/** States: reading → done, or failed. */
export class CopyOut implements Submittable {
  readonly #sql: string
  readonly #signal = new Signal()
  #stream: Connection['stream'] | null = null
  #giveBack: (rest: Buffer) => void = () => undefined
  #held: Uint8Array[] = []
  #heldBytes = 0
  /** Less than a header, of the message that begins there. */
  #partial: Buffer = Buffer.alloc(0)
  /** Bytes of the message under way that are to come. */
  #left = 0
  #leftIsData = false
  #done = false
  #failure: Error | null = null
  #bytes = 0

  constructor(sql: string) {
    this.#sql = sql
  }

  /** Of rows, without headers of messages, so far. */
  get bytes(): number {
    return this.#bytes
  }

  submit(connection: Connection): void {
    const { stream } = connection
    const emitter: Emitter = stream
    const [reader] = stream.listeners('data')
    assert(reader !== undefined, 'pg reads its socket')
    this.#stream = stream
    this.#giveBack = (rest) => {
      emitter.on('data', reader)
      stream.off('data', this.#take)
      Reflect.apply(reader, stream, [rest])
      stream.resume()
    }
    stream.on('data', this.#take)
    emitter.off('data', reader)
    connection.query(this.#sql)
  }

  /**
   * Messages that follow each other, cut anywhere; null: there are no more. @throws what the server says, or that it is
   * gone.
   */
  async next(): Promise<readonly Uint8Array[] | null> {
    while (!this.#done && this.#failure === null && this.#heldBytes < batchBytes) {
      await this.#signal.wait()
    }
    if (this.#failure !== null) throw this.#failure
    const batch = this.#held
    this.#held = []
    this.#heldBytes = 0
    if (!this.#done) this.#stream?.resume()
    return batch.length === 0 ? null : batch
  }

  /** Ends the connection. */
  destroy(): void {
    this.#stream?.destroy()
  }

  /** Of what pg reads itself, behind a message that says something else. */
  handleCopyData({ chunk }: { readonly chunk: Buffer }): void {
    const writer = new Writer(chunk.length + headerBytes)
    writeCopyData(writer, chunk)
    this.#bytes += chunk.length
    this.#hold(writer.bytes())
  }

  handleError(error: Error): void {
    this.#failure ??= error
    this.#signal.notify()
  }

  handleCommandComplete(): void {}

  handleReadyForQuery(): void {
    this.#done = true
    // Rows that pg has read may have paused it.
    this.#stream?.resume()
    this.#signal.notify()
  }

  readonly #take = (chunk: Buffer): void => {
    const bytes = this.#partial.length === 0 ? chunk : Buffer.concat([this.#partial, chunk])
    let at = Math.min(this.#left, bytes.length)
    let begin = this.#leftIsData ? 0 : at
    this.#left -= at
    while (at + headerBytes <= bytes.length) {
      const type = bytes[at]
      const end = at + 1 + bytes.readUInt32BE(at + 1)
      if (type === backend.copyData) this.#bytes += end - at - headerBytes
      else {
        this.#hold(bytes.subarray(begin, at))
        if (type !== backend.copyOutResponse) return this.#giveBack(bytes.subarray(at))
        begin = Math.min(end, bytes.length)
      }
      this.#left = Math.max(0, end - bytes.length)
      this.#leftIsData = type === backend.copyData
      at = Math.min(end, bytes.length)
    }
    this.#hold(bytes.subarray(begin, at))
    this.#partial = bytes.subarray(at)
  }

  #hold(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.#held.push(bytes)
    this.#heldBytes += bytes.length
    if (this.#heldBytes < batchBytes) return
    this.#stream?.pause()
    this.#signal.notify()
  }
}
