// COPY's binary format (PostgreSQL manual, COPY, "Binary Format"): a header, tuples, a trailer of −1.
// Looks at the tuple again from its start when more bytes come: that is a few lengths, not the values.
import { copyError, type CopyRow, type Unread } from './copy-row.ts'
import { readI32 } from './reader.ts'

type BinaryLayout = {
  readonly columnCount: number
  readonly keyIndex: number
  readonly rowBytesMax: number
}

const signature = Buffer.from('PGCOPY\n\u00ff\r\n\0', 'latin1')
const fixedHeaderBytes = signature.length + 8

/** Header first, then tuple after tuple, then the end. */
export class BinarySplitter {
  readonly #layout: BinaryLayout
  #headerSeen = false
  #rows = 0

  constructor(layout: BinaryLayout) {
    this.#layout = layout
  }

  /** What stands at `unread.start`; undefined when it is not all there, or nothing is left. */
  next(unread: Unread): CopyRow | undefined {
    const row = this.#headerSeen ? this.#tuple(unread) : this.#header(unread)
    if (row === undefined && unread.over) this.#checkOver(unread)
    return row
  }

  /** @throws PgError 22P04: something follows the trailer. */
  refuseMore(): never {
    throw copyError('received copy data after EOF marker', this.#rows)
  }

  #header({ bytes, start, end }: Unread): CopyRow | undefined {
    const have = Math.min(end - start, signature.length)
    const sent = bytes.subarray(start, start + have)
    if (Buffer.compare(sent, signature.subarray(0, have)) !== 0) throw this.#unrecognized()
    if (end - start < fixedHeaderBytes) return undefined
    const flags = readI32(bytes, start + signature.length)
    if ((flags & 0x1_0000) !== 0) throw copyError('invalid COPY file header (WITH OIDS)', 0)
    if (flags >>> 16 !== 0) throw copyError('unrecognized critical flags in COPY file header', 0)
    const extensionBytes = readI32(bytes, start + signature.length + 4)
    if (extensionBytes < 0) throw copyError('invalid COPY file header (missing length)', 0)
    const headerBytes = fixedHeaderBytes + extensionBytes
    this.#checkLength(headerBytes)
    if (end - start < headerBytes) return undefined
    this.#headerSeen = true
    const header = bytes.subarray(start, start + headerBytes)
    return { kind: 'header', bytes: header, key: null, line: 0 }
  }

  #tuple({ bytes, start, end }: Unread): CopyRow | undefined {
    const { columnCount, keyIndex } = this.#layout
    if (end - start < 2) return undefined
    const line = this.#rows + 1
    const count = (((bytes[start] ?? 0) << 24) >> 16) | (bytes[start + 1] ?? 0)
    if (count === -1) {
      return { kind: 'end', bytes: bytes.subarray(start, start + 2), key: null, line }
    }
    if (count !== columnCount) {
      throw copyError(`row field count is ${count}, expected ${columnCount}`, line)
    }
    let at = start + 2
    let key: Uint8Array | null = null
    for (let field = 0; field < count; field++) {
      if (end - at < 4) return undefined
      const length = readI32(bytes, at)
      if (length < -1) throw copyError('invalid field size', line)
      at += 4
      const valueEnd = at + Math.max(length, 0)
      this.#checkLength(valueEnd - start)
      if (valueEnd > end) return undefined
      if (field === keyIndex && length >= 0) key = bytes.subarray(at, valueEnd)
      at = valueEnd
    }
    this.#rows = line
    return { kind: 'row', bytes: bytes.subarray(start, at), key, line }
  }

  #checkLength(rowBytes: number): void {
    const { rowBytesMax } = this.#layout
    if (rowBytes > rowBytesMax) {
      throw copyError(`row is longer than ${rowBytesMax} bytes`, this.#rows + 1)
    }
  }

  /** The data may end between tuples, with or without trailer, and nowhere else. */
  #checkOver({ start, end }: Unread): void {
    if (!this.#headerSeen) throw this.#unrecognized()
    if (end > start) throw copyError('unexpected EOF in COPY data', this.#rows + 1)
  }

  #unrecognized(): Error {
    return copyError('COPY file signature not recognized', 0)
  }
}
