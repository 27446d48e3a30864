// Splits the data of COPY … FROM STDIN into rows exactly as PostgreSQL's COPY FROM does, and takes the
// shard key's field out of each, so that rows can go to their shards byte for byte. Works on bytes:
// the client's encoding must keep ASCII bytes for ASCII characters (UTF8 and LATIN* do, SJIS does not).
import { assert } from '../core/assert.ts'
import { BinarySplitter } from './copy-binary.ts'
import { csvKey, type FieldLayout, textKey } from './copy-fields.ts'
import { LineSplitter } from './copy-lines.ts'
import { copyError, type CopyRow, type Unread } from './copy-row.ts'
import { Inbox } from './inbox.ts'

/** The options of the COPY statement. Delimiter, quote and escape are one byte each. */
export type CopyLayout = {
  readonly format: 'text' | 'csv' | 'binary'
  readonly delimiter: string
  readonly nullString: string
  readonly quote: string
  readonly escape: string
  readonly header: boolean
  readonly columnCount: number
  /** Position of the shard key among the columns sent, from 0. */
  readonly keyIndex: number
  /** What `\.` alone on a CSV line is: 'end' up to PostgreSQL 17, 'row' from 18. Absent: refused. */
  readonly csvEndMarker?: 'end' | 'row' | undefined
  /** Longest row; 1 GiB when absent, as in PostgreSQL. */
  readonly rowBytesMax?: number | undefined
}

const rowBytesMaxDefault = 1024 * 1024 * 1024

/**
 * push() what CopyData messages hold, take rows with next() until it has none; after CopyDone call
 * finish() and take the rest. Views are valid until the next push(); the chunk itself is no longer
 * needed once next() gave undefined. @throws PgError 22P04 on data that PostgreSQL would refuse too.
 */
export class CopyRowScanner {
  readonly #inbox = new Inbox()
  readonly #layout: FieldLayout
  readonly #csv: boolean
  readonly #rowBytesMax: number
  readonly #lines: LineSplitter
  readonly #tuples: BinarySplitter | undefined
  #headerExpected: boolean
  #over = false
  #ended = false

  constructor(layout: CopyLayout) {
    const { columnCount, keyIndex } = layout
    assert(keyIndex >= 0 && keyIndex < columnCount, 'the shard key is one of the columns sent')
    this.#csv = layout.format === 'csv'
    this.#rowBytesMax = layout.rowBytesMax ?? rowBytesMaxDefault
    this.#headerExpected = layout.header
    const quote = oneByte(layout.quote)
    const escape = oneByte(layout.escape)
    const { csvEndMarker } = layout
    this.#layout = {
      delimiter: oneByte(layout.delimiter),
      nullBytes: Buffer.from(layout.nullString),
      quote,
      escape,
      columnCount,
      keyIndex,
    }
    this.#lines = new LineSplitter({ csv: this.#csv, quote, escape, csvEndMarker })
    this.#tuples =
      layout.format === 'binary'
        ? new BinarySplitter({ columnCount, keyIndex, rowBytesMax: this.#rowBytesMax })
        : undefined
  }

  /** Takes the next bytes; they need not end where rows end. */
  push(chunk: Uint8Array): void {
    assert(!this.#over, 'no data comes after finish()')
    if (!this.#ended) this.#inbox.push(chunk)
    else if (chunk.length > 0) this.#tuples?.refuseMore()
  }

  /** No more data comes: a last row without newline counts. */
  finish(): void {
    this.#over = true
  }

  /** The next row; undefined when its end has not come, or after the end of data. */
  next(): CopyRow | undefined {
    if (this.#ended) return undefined
    const inbox = this.#inbox
    const { bytes, start, end } = inbox
    const unread = { bytes, start, end, over: this.#over }
    const row = this.#tuples === undefined ? this.#nextLine(unread) : this.#tuples.next(unread)
    if (row === undefined) {
      if (inbox.length > this.#rowBytesMax) throw this.#tooLong()
      inbox.own()
      return undefined
    }
    inbox.start = start + row.bytes.length
    if (row.kind === 'end') this.#end()
    return row
  }

  #nextLine(unread: Unread): CopyRow | undefined {
    const found = this.#lines.next(unread)
    if (found === undefined) return undefined
    const { start } = unread
    if (found.end - start > this.#rowBytesMax) throw this.#tooLong()
    const bytes = unread.bytes.subarray(start, found.end)
    const { line } = this.#lines
    this.#lines.finishLine()
    if (found.isMarker) return { kind: 'end', bytes, key: null, line }
    if (this.#headerExpected) {
      this.#headerExpected = false
      return { kind: 'header', bytes, key: null, line }
    }
    const content = bytes.subarray(0, found.content - start)
    const key = this.#csv
      ? csvKey(content, this.#layout, line)
      : textKey(content, this.#layout, line)
    return { kind: 'row', bytes, key, line }
  }

  /** In text and CSV whatever follows the end marker is ignored; in binary nothing may follow. */
  #end(): void {
    this.#ended = true
    if (this.#inbox.length > 0) this.#tuples?.refuseMore()
    this.#inbox.start = this.#inbox.end
    this.#inbox.own()
  }

  #tooLong(): Error {
    return copyError(`row is longer than ${this.#rowBytesMax} bytes`, this.#lines.line)
  }
}

function oneByte(text: string): number {
  const bytes = Buffer.from(text)
  assert(bytes.length <= 1, 'delimiter, quote and escape of COPY are one byte each')
  return bytes[0] ?? -1
}
