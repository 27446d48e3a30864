// Where a line of COPY text or CSV ends: PostgreSQL's CopyReadLineText. The first newline settles the
// style (\n, \r or \r\n) for the whole copy; another style later is an error, not a newline.
import { copyError, type Unread } from './copy-row.ts'

/** Positions in the bytes given: the line's content ends at `content`, its newline at `end`. */
export type Line = { readonly content: number; readonly end: number; readonly isMarker: boolean }

/** What splitting needs to know of the COPY statement. */
export type LineRules = {
  readonly csv: boolean
  readonly quote: number
  readonly escape: number
  /**
   * `\.` alone on a CSV line: the end of data up to PostgreSQL 17, a row from 18 on; undefined: an
   * error, since one of the two would lose rows.
   */
  readonly csvEndMarker: 'end' | 'row' | undefined
}

const lf = 0x0a
const cr = 0x0d
const dot = 0x2e
const backslash = 0x5c

const markerStyle = 'end-of-copy marker does not match previous newline style'

/** Finds line after line; keeps what it knows of an unfinished one between calls. */
export class LineSplitter {
  readonly #rules: LineRules
  /** 0 when the quote is its own escape: then every quote just toggles. */
  readonly #escape: number
  #newline: 'unknown' | 'lf' | 'cr' | 'crlf' = 'unknown'
  /** Bytes of the unfinished line that need no second look. */
  #scanned = 0
  #inQuote = false
  #afterEscape = false
  /** Newlines inside of quotes, in the line at hand. */
  #embedded = 0
  #finished = 0

  constructor(rules: LineRules) {
    this.#rules = rules
    this.#escape = rules.quote === rules.escape ? -1 : rules.escape
  }

  /** Line number, from 1, that the line at hand has reached; PostgreSQL counts embedded newlines. */
  get line(): number {
    return this.#finished + 1 + this.#embedded
  }

  /** The line at `unread.start`; undefined when its end has not come, or nothing is left. */
  next(unread: Unread): Line | undefined {
    const { start, end, over } = unread
    if (this.#scanned === 0) this.#beginLine()
    const line = this.#rules.csv ? this.#csvLine(unread) : this.#textLine(unread)
    if (line !== undefined) {
      this.#scanned = 0
      return line
    }
    if (!over || start === end) return undefined
    this.#scanned = 0
    return { content: end, end, isMarker: false }
  }

  /** Counts the line that next() gave; called before the next one is asked for. */
  finishLine(): void {
    this.#finished += 1 + this.#embedded
    this.#embedded = 0
  }

  #beginLine(): void {
    this.#embedded = 0
    this.#inQuote = false
    this.#afterEscape = false
  }

  #textLine(unread: Unread): Line | undefined {
    const { bytes, start, end, over } = unread
    let at = start + this.#scanned
    while (at < end) {
      const byte = bytes[at] ?? 0
      if (byte === lf || byte === cr) {
        const length = this.#newlineAt(unread, at)
        if (length === 0) break
        return { content: at, end: at + length, isMarker: false }
      }
      if (byte !== backslash) {
        at++
        continue
      }
      if (at + 1 === end && !over) break
      // A backslash takes the next byte with it, be it a newline; before the end of data it is data.
      if (bytes[at + 1] !== dot || at + 1 === end) {
        at = Math.min(at + 2, end)
        continue
      }
      const length = this.#newlineAfterMarker(unread, at)
      if (length === 0) break
      if (length < 0 || at !== start) {
        throw copyError(
          length < 0 && this.#isOtherNewline(bytes.subarray(at + 2, end))
            ? markerStyle
            : 'end-of-copy marker is not alone on its line',
          this.line,
        )
      }
      return { content: at, end: at + 2 + length, isMarker: true }
    }
    this.#scanned = at - start
    return undefined
  }

  #csvLine(unread: Unread): Line | undefined {
    const { bytes, start, end, over } = unread
    const { quote } = this.#rules
    let at = start + this.#scanned
    while (at < end) {
      const byte = bytes[at] ?? 0
      // Look ahead before any state changes: the byte is looked at again when more has come.
      if ((byte === backslash || byte === cr) && at + 1 === end && !over) break
      if (byte === backslash && at === start && bytes[at + 1] === dot) {
        const marker = this.#csvMarker(unread)
        if (marker === 'more') break
        if (marker !== 'row') return marker
      }
      if (this.#inQuote && byte === this.#escape) this.#afterEscape = !this.#afterEscape
      if (byte === quote && !this.#afterEscape) this.#inQuote = !this.#inQuote
      if (byte !== this.#escape) this.#afterEscape = false
      if (this.#inQuote) {
        if (byte === (this.#newline === 'lf' ? lf : cr)) this.#embedded++
      } else if (byte === lf || byte === cr) {
        return { content: at, end: at + this.#newlineAt(unread, at), isMarker: false }
      }
      at++
    }
    this.#scanned = at - start
    return undefined
  }

  /** `\.` stands at the start of a CSV line. */
  #csvMarker(unread: Unread): Line | 'row' | 'more' {
    if (this.#rules.csvEndMarker === 'row') return 'row'
    const { bytes, start, end } = unread
    const length = this.#newlineAfterMarker(unread, start)
    if (length === 0) return 'more'
    if (length < 0) {
      const after = bytes.subarray(start + 2, end)
      // PostgreSQL up to 17 takes `\.` and a bare \n in a \r\n copy for data; the \n is then refused.
      const isData = this.#newline === 'crlf' && after[0] === lf
      if (!isData && this.#isOtherNewline(after)) throw copyError(markerStyle, this.line)
      return 'row'
    }
    if (this.#rules.csvEndMarker === undefined) {
      throw copyError(
        '"\\." alone on a line of CSV is ambiguous',
        this.line,
        'End the data with CopyDone; write the value as "\\." in quotes.',
      )
    }
    return { content: start, end: start + 2 + length, isMarker: true }
  }

  /** Length of the newline whose first byte is at `at`; 0 when it takes another byte to tell. */
  #newlineAt({ bytes, end, over }: Unread, at: number): number {
    if (bytes[at] === lf) {
      if (this.#newline === 'cr' || this.#newline === 'crlf') throw this.#stray('newline', '\\n')
      this.#newline = 'lf'
      return 1
    }
    if (this.#newline === 'cr') return 1
    if (this.#newline === 'lf') throw this.#stray('carriage return', '\\r')
    if (at + 1 === end && !over) return 0
    if (at + 1 < end && bytes[at + 1] === lf) {
      this.#newline = 'crlf'
      return 2
    }
    if (this.#newline === 'crlf') throw this.#stray('carriage return', '\\r')
    this.#newline = 'cr'
    return 1
  }

  /** Length of the newline right after `\.` at `at`: 0 when it has not come, −1 when there is none. */
  #newlineAfterMarker({ bytes, end, over }: Unread, at: number): number {
    const length = this.#newline === 'crlf' ? 2 : 1
    if (at + 2 + length > end) return over ? -1 : 0
    const first = bytes[at + 2]
    if (length === 2) return first === cr && bytes[at + 3] === lf ? 2 : -1
    if (first === lf) return this.#newline === 'cr' ? -1 : 1
    return first === cr && this.#newline !== 'lf' ? 1 : -1
  }

  /** What follows a marker is no newline of the copy's style; true when it is one of another style. */
  #isOtherNewline(after: Uint8Array): boolean {
    if (this.#newline === 'crlf' && after[0] === cr) return after[1] === cr
    return after[0] === lf || after[0] === cr
  }

  #stray(what: string, letter: string): Error {
    return this.#rules.csv
      ? copyError(
          `unquoted ${what} found in data`,
          this.line,
          `Use quoted CSV field to represent ${what}.`,
        )
      : copyError(
          `literal ${what} found in data`,
          this.line,
          `Use "${letter}" to represent ${what}.`,
        )
  }
}
