// Cuts byte streams into frames. Framer: the client's side, whole frames, the length bounded before
// anything is kept. FrameScanner: the server's side, whose big frames pass through unbuffered.
import { Inbox } from './inbox.ts'
import { readI32, violation } from './reader.ts'

/** One whole message, header included. A view that is valid until the next push(). */
export type Frame = { readonly code: number; readonly bytes: Uint8Array }

const headerBytes = 5
/** A gathering buffer above this is not kept for the next frame. */
const keptBytesMax = 4096
const nothing = new Uint8Array(0)

/** client → proxy. One per connection, from the first frame after the startup packet. */
export class Framer {
  /** Largest length field accepted; smaller before authentication. */
  frameBytesMax: number
  readonly #inbox = new Inbox()

  constructor(frameBytesMax: number) {
    this.frameBytesMax = frameBytesMax
  }

  get bufferedBytes(): number {
    return this.#inbox.length
  }

  /** Takes the next bytes. They are read in place until own() or a next() that finds no frame. */
  push(chunk: Uint8Array): void {
    this.#inbox.push(chunk)
  }

  /** Copies what is unread out of the caller's chunk, which may be overwritten from then on. */
  own(): void {
    this.#inbox.own()
  }

  /**
   * The next whole frame; undefined when its rest has not come yet, and then the caller's chunk is
   * no longer needed. @throws PgError 08P01 on a length below 4 or above frameBytesMax.
   */
  next(): Frame | undefined {
    const inbox = this.#inbox
    const { bytes, start } = inbox
    if (inbox.length >= headerBytes) {
      const length = readI32(bytes, start + 1)
      if (length < 4 || length > this.frameBytesMax) throw violation(`frame length ${length}`)
      if (inbox.length > length) {
        inbox.start = start + 1 + length
        return { code: bytes[start] ?? 0, bytes: bytes.subarray(start, inbox.start) }
      }
    }
    inbox.own()
    return undefined
  }
}

/** Who is told of the server's frames. Never call push() from inside one of these. */
export interface FrameSink {
  /**
   * A header is known; the body has `length` − 4 bytes. 'stream': the bytes come through slice();
   * 'whole': the frame is gathered and comes through frame(). May be called before the slice that
   * holds earlier streamed frames.
   */
  header(code: number, length: number): 'stream' | 'whole'
  /** Bytes of streamed frames, headers included, before any later frame(). Dies with push(). */
  slice(bytes: Uint8Array): void
  /** A whole frame, header included. The view dies when the call returns. */
  frame(code: number, bytes: Uint8Array): void
}

/**
 * server → proxy. Streamed frames pass through without being buffered, however big; consecutive ones
 * of a chunk come as one slice. States: between frames (`#streamLeft` 0, nothing gathered), in a
 * header cut by a chunk's end (`#headerFill` > 0), in a streamed body, in a gathered frame.
 */
export class FrameScanner {
  readonly #sink: FrameSink
  readonly #wholeBytesMax: number
  /** A cut header. A push() can finish one and begin another, and both slices live until its end. */
  #header = new Uint8Array(headerBytes)
  #otherHeader = new Uint8Array(headerBytes)
  #headerFill = 0
  #streamLeft = 0
  #gathered: Uint8Array = nothing
  #gatheredFill = 0
  /** Bytes of the frame being gathered, its header included; 0 when there is none. */
  #gatheredTotal = 0

  constructor(sink: FrameSink, wholeBytesMax: number) {
    this.#sink = sink
    this.#wholeBytesMax = wholeBytesMax
  }

  /** True when the beginning of a streamed frame has been passed on whose end has not come. */
  get inStreamed(): boolean {
    return this.#streamLeft > 0
  }

  /** @throws PgError 08P01 on a length below 4, or a gathered frame above wholeBytesMax. */
  push(chunk: Uint8Array): void {
    let at = this.#finishPending(chunk)
    let runStart = at
    // A run of streamed bytes ends at a whole frame, at a cut header, or with the chunk.
    while (at < chunk.length) {
      if (this.#streamLeft > 0) {
        const count = Math.min(this.#streamLeft, chunk.length - at)
        this.#streamLeft -= count
        at += count
        continue
      }
      if (chunk.length - at < headerBytes) {
        this.#slice(chunk, runStart, at)
        this.#header.set(chunk.subarray(at))
        this.#headerFill = chunk.length - at
        return
      }
      const code = chunk[at] ?? 0
      const length = checkedLength(readI32(chunk, at + 1))
      if (this.#sink.header(code, length) === 'stream') {
        this.#streamLeft = length - 4
        at += headerBytes
        continue
      }
      this.#checkWhole(length)
      this.#slice(chunk, runStart, at)
      at = this.#whole(chunk, at, code, length)
      runStart = at
    }
    this.#slice(chunk, runStart, at)
  }

  /** Finishes a cut header and a frame being gathered; returns where the rest of the chunk starts. */
  #finishPending(chunk: Uint8Array): number {
    let at = 0
    if (this.#headerFill > 0) {
      const count = Math.min(headerBytes - this.#headerFill, chunk.length)
      this.#header.set(chunk.subarray(0, count), this.#headerFill)
      this.#headerFill += count
      if (this.#headerFill < headerBytes) return count
      at = count
      this.#decideCutHeader()
    }
    if (this.#gatheredTotal > 0) at = this.#gather(chunk, at)
    return at
  }

  #decideCutHeader(): void {
    const header = this.#header
    this.#header = this.#otherHeader
    this.#otherHeader = header
    this.#headerFill = 0
    const length = checkedLength(readI32(header, 1))
    if (this.#sink.header(header[0] ?? 0, length) === 'stream') {
      this.#streamLeft = length - 4
      this.#sink.slice(header)
      return
    }
    this.#checkWhole(length)
    this.#beginGathering(length)
    this.#gather(header, 0)
  }

  /** A gathered frame whose header is in the chunk at `at`; returns where the next frame starts. */
  #whole(chunk: Uint8Array, at: number, code: number, length: number): number {
    const end = at + 1 + length
    if (end <= chunk.length) {
      this.#sink.frame(code, chunk.subarray(at, end))
      return end
    }
    this.#beginGathering(length)
    return this.#gather(chunk, at)
  }

  #beginGathering(length: number): void {
    this.#gatheredTotal = length + 1
    this.#gatheredFill = 0
    if (this.#gathered.length < this.#gatheredTotal) {
      this.#gathered = new Uint8Array(this.#gatheredTotal)
    }
  }

  #gather(chunk: Uint8Array, at: number): number {
    const total = this.#gatheredTotal
    const count = Math.min(total - this.#gatheredFill, chunk.length - at)
    this.#gathered.set(chunk.subarray(at, at + count), this.#gatheredFill)
    this.#gatheredFill += count
    if (this.#gatheredFill === total) {
      this.#gatheredTotal = 0
      const gathered = this.#gathered
      if (gathered.length > keptBytesMax) this.#gathered = nothing
      this.#sink.frame(gathered[0] ?? 0, gathered.subarray(0, total))
    }
    return at + count
  }

  #checkWhole(length: number): void {
    if (length > this.#wholeBytesMax) throw violation(`frame length ${length}`)
  }

  #slice(chunk: Uint8Array, start: number, end: number): void {
    if (end > start) this.#sink.slice(chunk.subarray(start, end))
  }
}

function checkedLength(length: number): number {
  if (length < 4) throw violation(`frame length ${length}`)
  return length
}
