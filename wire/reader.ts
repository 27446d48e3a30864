// Reads the fields of one message with every offset checked: a decoder built on it cannot look past
// its frame, and whatever does not fit is a protocolViolation (08P01), never another exception.
import { pgError, type PgError } from '../core/errors.ts'

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const lossyUtf8 = new TextDecoder('utf-8', { ignoreBOM: true })

/** The error for bytes that the protocol does not allow: FATAL, 08P01. */
export function violation(reason: string): PgError {
  return pgError('protocolViolation', [reason])
}

/** Big-endian int32 at `at`; the caller has checked that four bytes are there. */
export function readI32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] ?? 0) << 24) |
    ((bytes[at + 1] ?? 0) << 16) |
    ((bytes[at + 2] ?? 0) << 8) |
    (bytes[at + 3] ?? 0)
  )
}

/** UTF-8 with anything invalid shown as U+FFFD: for texts that people read, never for identity. */
export function lossyText(bytes: Uint8Array): string {
  return lossyUtf8.decode(bytes)
}

/** A cursor over one message. Reading beyond the end throws 08P01. */
export class Reader {
  readonly #bytes: Uint8Array
  #at: number

  /** `at`: where the first field starts. */
  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes
    this.#at = at
  }

  get position(): number {
    return this.#at
  }

  get remaining(): number {
    return this.#bytes.length - this.#at
  }

  u8(): number {
    return this.#bytes[this.#advance(1)] ?? 0
  }

  u16(): number {
    const at = this.#advance(2)
    return ((this.#bytes[at] ?? 0) << 8) | (this.#bytes[at + 1] ?? 0)
  }

  i16(): number {
    return (this.u16() << 16) >> 16
  }

  i32(): number {
    return readI32(this.#bytes, this.#advance(4))
  }

  u32(): number {
    return this.i32() >>> 0
  }

  /** The next `count` bytes, as a view. */
  take(count: number): Uint8Array {
    const at = this.#advance(count)
    return this.#bytes.subarray(at, at + count)
  }

  /** A length-prefixed value, as a view; −1 is NULL. */
  value(): Uint8Array | null {
    const length = this.i32()
    if (length === -1) return null
    return this.take(length)
  }

  /** Bytes up to the next NUL, as a view without it. */
  cbytes(): Uint8Array {
    const start = this.skipCString()
    return this.#bytes.subarray(start, this.#at - 1)
  }

  /** Moves behind the next NUL; returns the position of what it passed over. */
  skipCString(): number {
    const at = this.#at
    const nul = this.#bytes.indexOf(0, at)
    if (nul < 0) throw violation('string without terminator')
    this.#at = nul + 1
    return at
  }

  /** A NUL-terminated string that must be UTF-8: two different names never read the same. */
  cstring(): string {
    let text = ''
    for (let at = this.#at; at < this.#bytes.length; at++) {
      const byte = this.#bytes[at] ?? 0
      if (byte >= 0x80) return this.#utf8CString()
      if (byte === 0) {
        this.#at = at + 1
        return text
      }
      text += String.fromCharCode(byte)
    }
    throw violation('string without terminator')
  }

  /** Asserts that nothing is left. */
  end(): void {
    if (this.#at !== this.#bytes.length) throw violation('invalid message format')
  }

  #utf8CString(): string {
    const bytes = this.cbytes()
    try {
      return strictUtf8.decode(bytes)
    } catch {
      throw violation('invalid byte sequence for encoding "UTF8"')
    }
  }

  #advance(count: number): number {
    const at = this.#at
    if (count < 0 || count > this.#bytes.length - at) {
      throw violation('insufficient data left in message')
    }
    this.#at = at + count
    return at
  }
}

/** Reader of a frame's body; the header's length must agree with the bytes at hand. */
export function readFrame(frame: Uint8Array): Reader {
  if (frame.length < 5 || readI32(frame, 1) !== frame.length - 1) {
    throw violation('frame length does not match its header')
  }
  return new Reader(frame, 5)
}
