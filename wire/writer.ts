// Scratch buffer that messages are appended to; one Writer serves many messages and one socket write.
import { assert } from '../core/assert.ts'

const initialBytesDefault = 1024
/** A buffer that one huge message has blown up is not kept beyond the next reset(). */
const keptBytesMax = 1024 * 1024
/** Up to here a loop beats the call into native code. */
const shortBytesMax = 64

/** Growable buffer with the protocol's primitives; all integers big-endian. */
export class Writer {
  #bytes: Uint8Array
  /** The same memory as `#bytes`: Buffer encodes strings in place. */
  #text: Buffer
  #length = 0
  /** Where the open frame's length field stands; −1 outside of a frame. */
  #lengthAt = -1

  constructor(initialBytes: number = initialBytesDefault) {
    this.#bytes = new Uint8Array(initialBytes)
    this.#text = Buffer.from(this.#bytes.buffer)
  }

  get length(): number {
    return this.#length
  }

  /** Forgets everything; views given by bytes() are overwritten by what comes next. */
  reset(): void {
    this.#length = 0
    this.#lengthAt = -1
    if (this.#bytes.length > keptBytesMax) this.#replace(initialBytesDefault)
  }

  /** What was written, as a view that is valid until the next write or reset. */
  bytes(): Uint8Array {
    assert(this.#lengthAt < 0, 'no frame is open when bytes are taken')
    return this.#bytes.subarray(0, this.#length)
  }

  /** What was written, as a copy. */
  take(): Uint8Array {
    return new Uint8Array(this.bytes())
  }

  u8(value: number): void {
    const at = this.#grow(1)
    this.#bytes[at] = value
  }

  /** Also for counts up to 65535, which PostgreSQL reads as unsigned. */
  i16(value: number): void {
    const at = this.#grow(2)
    this.#bytes[at] = value >>> 8
    this.#bytes[at + 1] = value
  }

  i32(value: number): void {
    this.#setI32(this.#grow(4), value)
  }

  u32(value: number): void {
    this.#setI32(this.#grow(4), value)
  }

  raw(bytes: Uint8Array): void {
    const at = this.#grow(bytes.length)
    this.#bytes.set(bytes, at)
  }

  /** The bytes from `from` to `to`; short ones are cheaper to copy here than as a view. */
  rawRange(bytes: Uint8Array, from: number, to: number): void {
    if (to - from > shortBytesMax) return this.raw(bytes.subarray(from, to))
    let at = this.#grow(to - from)
    for (let i = from; i < to; i++) this.#bytes[at++] = bytes[i] ?? 0
  }

  /** Text and its terminator. Like a C string it ends at its first NUL, so no field can be forged. */
  cstring(text: string): void {
    const nul = text.indexOf('\0')
    this.utf8(nul < 0 ? text : text.slice(0, nul))
    this.u8(0)
  }

  /** Text without terminator. */
  utf8(text: string): void {
    if (text.length <= shortBytesMax && this.#ascii(text)) return
    const at = this.#grow(Buffer.byteLength(text))
    this.#text.write(text, at)
  }

  /** Opens a frame of type `code`; 0 for a packet without type byte (startup, cancel). */
  begin(code: number): void {
    assert(this.#lengthAt < 0, 'frames do not nest')
    if (code !== 0) this.u8(code)
    this.#lengthAt = this.#grow(4)
  }

  /** Closes the frame: its length field gets what was written since, itself included. */
  end(): void {
    assert(this.#lengthAt >= 0, 'a frame is open')
    this.#setI32(this.#lengthAt, this.#length - this.#lengthAt)
    this.#lengthAt = -1
  }

  /** Writes `text` when it is ASCII; else writes nothing and returns false. */
  #ascii(text: string): boolean {
    const at = this.#grow(text.length)
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i)
      if (code >= 0x80) {
        this.#length = at
        return false
      }
      this.#bytes[at + i] = code
    }
    return true
  }

  #setI32(at: number, value: number): void {
    this.#bytes[at] = value >>> 24
    this.#bytes[at + 1] = value >>> 16
    this.#bytes[at + 2] = value >>> 8
    this.#bytes[at + 3] = value
  }

  /** Makes room for `count` more bytes and returns where they start. */
  #grow(count: number): number {
    const at = this.#length
    const needed = at + count
    if (needed > this.#bytes.length) {
      assert(needed <= 0x7fff_ffff, 'one write stays below 2 GiB')
      this.#replace(Math.max(needed, this.#bytes.length * 2))
    }
    this.#length = needed
    return at
  }

  #replace(capacity: number): void {
    const before = this.#bytes.subarray(0, this.#length)
    this.#bytes = new Uint8Array(capacity)
    this.#bytes.set(before)
    this.#text = Buffer.from(this.#bytes.buffer)
  }
}
