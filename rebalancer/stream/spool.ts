// Keeps the messages of one streamed transaction until it commits: a little in memory, the rest in
// a file that has no name any more once it is open, so that it goes away with us whatever happens.
import { randomBytes } from 'node:crypto'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { assert } from '../../core/assert.ts'

const headerBytes = 4
const readBytes = 1 << 20

/** First in, first out; appended to until it is read, and then read once. */
export class Spool {
  readonly #dir: string
  readonly #memoryBytesMax: number
  #held: Uint8Array[] = []
  #heldBytes = 0
  #file: FileHandle | null = null
  #fileBytes = 0

  /** Messages beyond `memoryBytesMax` go to a file in `dir`. */
  constructor(dir: string, memoryBytesMax: number) {
    this.#dir = dir
    this.#memoryBytesMax = memoryBytesMax
  }

  /** Bytes that are in the file; 0 while there is none. */
  get fileBytes(): number {
    return this.#fileBytes
  }

  /** Takes over `message`; null, or what has to be waited for before the next call. */
  append(message: Uint8Array): Promise<void> | null {
    this.#held.push(message)
    this.#heldBytes += message.length + headerBytes
    return this.#heldBytes > this.#memoryBytesMax ? this.#spill() : null
  }

  /** All messages in order. Each is a view of memory that is not used again. */
  async *read(): AsyncGenerator<Uint8Array> {
    if (this.#file !== null) yield* this.#readFile(this.#file)
    yield* this.#held
  }

  /** Gives memory and disk back; harmless the second time. */
  async close(): Promise<void> {
    const file = this.#file
    this.#file = null
    this.#held = []
    await file?.close()
  }

  async #spill(): Promise<void> {
    this.#file ??= await openUnnamed(this.#dir)
    const chunks = this.#held.flatMap((message) => {
      const header = Buffer.alloc(headerBytes)
      header.writeUInt32BE(message.length)
      return [header, message]
    })
    const bytes = this.#heldBytes
    this.#held = []
    this.#heldBytes = 0
    // One write for many small messages: writev takes 1,024 pieces at most.
    await this.#file.writeFile(Buffer.concat(chunks))
    this.#fileBytes += bytes
  }

  async *#readFile(file: FileHandle): AsyncGenerator<Uint8Array> {
    let rest: Uint8Array = new Uint8Array(0)
    for (let at = 0; at < this.#fileBytes; ) {
      const wanted = Math.max(readBytes, missingBytes(rest))
      const buffer = Buffer.allocUnsafe(rest.length + Math.min(wanted, this.#fileBytes - at))
      buffer.set(rest)
      const { bytesRead } = await file.read(buffer, rest.length, buffer.length - rest.length, at)
      assert(bytesRead > 0, 'a spool file is as long as what was written to it')
      at += bytesRead
      const bytes = buffer.subarray(0, rest.length + bytesRead)
      let start = 0
      for (
        let end = endOfMessage(bytes, 0);
        end <= bytes.length;
        end = endOfMessage(bytes, start)
      ) {
        yield bytes.subarray(start + headerBytes, end)
        start = end
      }
      rest = bytes.subarray(start)
    }
    assert(rest.length === 0, 'a spool file ends with a whole message')
  }
}

/** Where the message that starts at `start` ends; beyond the bytes when it is not all there. */
function endOfMessage(bytes: Buffer, start: number): number {
  if (bytes.length - start < headerBytes) return Number.POSITIVE_INFINITY
  return start + headerBytes + bytes.readUInt32BE(start)
}

/** Bytes that the cut message still needs. */
function missingBytes(rest: Uint8Array): number {
  if (rest.length < headerBytes) return 0
  return Buffer.from(rest.buffer, rest.byteOffset).readUInt32BE() + headerBytes - rest.length
}

async function openUnnamed(dir: string): Promise<FileHandle> {
  const path = join(dir, `ringfence-spool-${process.pid}-${randomBytes(6).toString('hex')}`)
  const file = await open(path, 'wx+', 0o600)
  try {
    await unlink(path)
  } catch (cause) {
    await file.close()
    throw cause
  }
  return file
}
