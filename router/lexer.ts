// One pass over a statement's bytes by PostgreSQL's lexical rules (src/backend/parser/scan.l, with
// standard_conforming_strings on). It cuts the literals out: what is left is the template under
// which the shape of the statement is cached, so that statements that differ in values alone are
// parsed once. Equal templates have equal tokens apart from the values, so a template is compared
// as a whole, never hashed.

/**
 * Kinds of literals, as the grammar tells them apart; the number is also the byte that stands for
 * one in a template.
 * An integer beyond 32 bits is a `decimal`.
 */
export const literalKind = { integer: 1, decimal: 2, string: 3, bits: 4 } as const

export type Lexed = {
  /** The SQL with one byte per character: a byte of UTF-8 is a character U+0000 to U+00FF. */
  readonly raw: string
  /**
   * `raw` with a byte 1 to 4 for every literal, comments as blanks; null when only the exact text
   * may be cached.
   */
  readonly template: string | null
  /** Start, end and kind of every literal, in bytes: three numbers each. */
  readonly literals: readonly number[]
  /** Where the semicolons stand that separate statements (or stand in a function's body). */
  readonly semicolons: readonly number[]
  /** Start and end, in bytes, of every comment that begins with `ringfence:`: two numbers each. */
  readonly hints: readonly number[]
  readonly ascii: boolean
}

const other = 0
const word = 1
const digit = 2
const quote = 3
const doubleQuote = 4
const dollar = 5
const dash = 6
const slash = 7
const dot = 8
const semicolon = 9
const control = 10

const classes = makeClasses()
const newline = 0x0a
const int4Max = 2_147_483_647
const templateBytesMax = 64 * 1024
const hintMark = Buffer.from('ringfence:')
const noHints: readonly number[] = []

/** Reusable scanner: keeps its scratch space between statements. */
export class Lexer {
  #sql: Uint8Array = new Uint8Array(0)
  #scratch = Buffer.allocUnsafe(templateBytesMax)
  #length = 0
  #literals: number[] = []
  #semicolons: number[] = []
  /** Made when the first hint is seen: most statements have none. */
  #hints: number[] | null = null
  #plain = true

  scan(sql: Uint8Array): Lexed {
    this.#sql = sql
    this.#length = 0
    this.#literals = []
    this.#semicolons = []
    this.#hints = null
    this.#plain = sql.length <= templateBytesMax
    let ascii = true
    for (let at = 0; at < sql.length; ) {
      const byte = sql[at] ?? 0
      if (byte >= 0x80) ascii = false
      at = this.#token(classes[byte] ?? other, byte, at)
    }
    // Inside of literals and comments nobody has looked.
    if (ascii) ascii = isAscii(sql)
    const raw = latin1(sql, 0, sql.length)
    const template = this.#plain ? this.#scratch.toString('latin1', 0, this.#length) : null
    this.#sql = sql.subarray(0, 0)
    const hints = this.#hints ?? noHints
    return { raw, template, literals: this.#literals, semicolons: this.#semicolons, hints, ascii }
  }

  /** Handles the token that starts at `at`; returns where the next one starts. */
  #token(kind: number, byte: number, at: number): number {
    switch (kind) {
      case word:
        return this.#word(byte, at)
      case digit:
        return this.#number(at)
      case quote:
        return this.#string(at, at, false, literalKind.string)
      case doubleQuote:
        return this.#copyThrough(at, this.#closing(at + 1, 0x22))
      case dollar:
        return this.#dollar(at)
      case dash:
        return this.#sql[at + 1] === 0x2d ? this.#lineComment(at) : this.#copy(byte, at)
      case slash:
        return this.#sql[at + 1] === 0x2a ? this.#blockComment(at) : this.#copy(byte, at)
      case dot:
        if (this.#sql[at + 1] === 0x2e) return this.#copyThrough(at, at + 2)
        return isDigit(this.#sql[at + 1]) ? this.#number(at) : this.#copy(byte, at)
      case semicolon:
        this.#semicolons.push(at)
        return this.#copy(byte, at)
      case control:
        // Would look like one of the bytes that stand for literals.
        this.#plain = false
        return at + 1
      default:
        return this.#copy(byte, at)
    }
  }

  #copy(byte: number, at: number): number {
    if (this.#plain) this.#scratch[this.#length++] = byte
    return at + 1
  }

  #copyThrough(start: number, end: number): number {
    for (let at = start; at < end; at += 1) {
      const byte = this.#sql[at] ?? 0
      if (byte < 9) this.#plain = false
      this.#copy(byte, at)
    }
    return end
  }

  #literal(start: number, end: number, kind: number): number {
    this.#literals.push(start, end, kind)
    this.#copy(kind, start)
    return end
  }

  /** An identifier or keyword, or the letter that belongs to a string such as E'…'. */
  #word(byte: number, start: number): number {
    const next = this.#sql[start + 1]
    if (next === 0x27) {
      const letter = byte | 0x20
      if (letter === 0x65) return this.#string(start, start + 1, true, literalKind.string)
      if (letter === 0x62 || letter === 0x78) {
        return this.#string(start, start + 1, false, literalKind.bits)
      }
      if (letter === 0x6e) this.#plain = false
    }
    // U&'…' and U&"…" depend on a UESCAPE that may follow.
    if (next === 0x26 && (byte | 0x20) === 0x75) {
      const after = this.#sql[start + 2]
      if (after === 0x27 || after === 0x22) {
        this.#plain = false
        return this.#closing(start + 3, after)
      }
    }
    let at = start
    let kind: number
    do {
      const part = this.#sql[at] ?? 0
      this.#copy(part, at)
      at += 1
      kind = classes[this.#sql[at] ?? 0] ?? other
    } while (kind === word || kind === digit || kind === dollar)
    return at
  }

  /** decinteger, hexinteger, octinteger, bininteger, numeric and real of scan.l. */
  #number(start: number): number {
    const sql = this.#sql
    const base = sql[start] === 0x30 ? (sql[start + 1] ?? 0) | 0x20 : 0
    if (base === 0x78 || base === 0x6f || base === 0x62) {
      let at = start + 2
      while (isWordByte(sql[at])) at += 1
      return this.#integer(start, at)
    }
    let at = digitsEnd(sql, start)
    let kind: number = literalKind.integer
    // `1..10` is the integer 1 and two dots.
    if (sql[at] === 0x2e && sql[at + 1] !== 0x2e) {
      kind = literalKind.decimal
      at = digitsEnd(sql, at + 1)
    }
    if (((sql[at] ?? 0) | 0x20) === 0x65) {
      const sign = sql[at + 1] === 0x2b || sql[at + 1] === 0x2d ? 1 : 0
      if (isDigit(sql[at + 1 + sign])) {
        kind = literalKind.decimal
        at = digitsEnd(sql, at + 1 + sign)
      }
    }
    // A letter right behind a number is an error or an alias, depending on the server's version.
    if (isWordByte(sql[at])) this.#plain = false
    return kind === literalKind.integer ? this.#integer(start, at) : this.#literal(start, at, kind)
  }

  /** What does not fit 32 bits is another token to the grammar, which takes it in fewer places. */
  #integer(start: number, end: number): number {
    const short = end - start < 9
    const fits = short || Number(latin1(this.#sql, start, end).replaceAll('_', '')) <= int4Max
    return this.#literal(start, end, fits ? literalKind.integer : literalKind.decimal)
  }

  #string(start: number, opening: number, escapes: boolean, kind: number): number {
    const end = escapes
      ? this.#closingEscaped(opening + 1)
      : kind === literalKind.bits
        ? this.#firstQuote(opening + 1)
        : this.#closing(opening + 1, 0x27)
    // A string goes on after white space with a newline: too rare to be worth more than the exact
    // text.
    if (continues(this.#sql, end)) this.#plain = false
    return this.#literal(start, end, kind)
  }

  /** Byte after the quote that closes what began before `at`; a doubled quote stands for itself. */
  #closing(at: number, closing: number): number {
    for (;;) {
      const found = this.#sql.indexOf(closing, at)
      if (found < 0) return this.#unterminated()
      if (this.#sql[found + 1] !== closing) return found + 1
      at = found + 2
    }
  }

  /** In a bit string a doubled quote is its end and the start of another string. */
  #firstQuote(at: number): number {
    const found = this.#sql.indexOf(0x27, at)
    return found < 0 ? this.#unterminated() : found + 1
  }

  #closingEscaped(at: number): number {
    while (at < this.#sql.length) {
      const byte = this.#sql[at]
      if (byte === 0x5c) at += 2
      else if (byte !== 0x27) at += 1
      else if (this.#sql[at + 1] === 0x27) at += 2
      else return at + 1
    }
    return this.#unterminated()
  }

  #unterminated(): number {
    this.#plain = false
    return this.#sql.length
  }

  /** $1, $tag$…$tag$ or a lone dollar. */
  #dollar(start: number): number {
    const sql = this.#sql
    let at = start + 1
    if (isDigit(sql[at])) {
      while (isDigit(sql[at])) at += 1
      if (isWordByte(sql[at])) this.#plain = false
      return this.#copyThrough(start, at)
    }
    while (isWordByte(sql[at])) at += 1
    if (sql[at] !== 0x24) return this.#copyThrough(start, start + 1)
    const tag = Buffer.from(sql.subarray(start, at + 1))
    const found = Buffer.from(sql.buffer, sql.byteOffset, sql.byteLength).indexOf(tag, at + 1)
    if (found < 0) return this.#unterminated()
    return this.#literal(start, found + tag.length, literalKind.string)
  }

  #lineComment(at: number): number {
    const found = this.#sql.indexOf(newline, at)
    const returned = this.#sql.indexOf(0x0d, at)
    const ends = [found, returned].filter((end) => end >= 0)
    this.#copy(0x20, at)
    return this.#comment(at, ends.length === 0 ? this.#sql.length : Math.min(...ends))
  }

  #blockComment(start: number): number {
    const sql = this.#sql
    let depth = 1
    let at = start + 2
    while (depth > 0) {
      if (at >= sql.length) return this.#unterminated()
      const pair = ((sql[at] ?? 0) << 8) | (sql[at + 1] ?? 0)
      if (pair === 0x2f2a) depth += 1
      else if (pair === 0x2a2f) depth -= 1
      at += pair === 0x2f2a || pair === 0x2a2f ? 2 : 1
    }
    this.#copy(0x20, start)
    return this.#comment(start, at)
  }

  /** A comment from `start` to `end` has been read: it may be a hint. */
  #comment(start: number, end: number): number {
    if (isHint(this.#sql, start + 2)) {
      this.#hints ??= []
      this.#hints.push(start, end)
    }
    return end
  }
}

function makeClasses(): Uint8Array {
  const table = new Uint8Array(256)
  const fill = (from: number, to: number, kind: number) => table.fill(kind, from, to + 1)
  fill(0x00, 0x08, control)
  fill(0x41, 0x5a, word)
  fill(0x61, 0x7a, word)
  fill(0x80, 0xff, word)
  fill(0x5f, 0x5f, word)
  fill(0x30, 0x39, digit)
  const single = { "'": quote, '"': doubleQuote, $: dollar, '-': dash, '/': slash, '.': dot }
  for (const [char, kind] of Object.entries(single)) table[char.charCodeAt(0)] = kind
  table[0x3b] = semicolon
  return table
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39
}

function isWordByte(byte: number | undefined): boolean {
  const kind = classes[byte ?? 0]
  return kind === word || kind === digit
}

/** Byte after decimal digits, which single underscores may group. */
function digitsEnd(sql: Uint8Array, at: number): number {
  const first = at
  while (isDigit(sql[at]) || (at > first && sql[at] === 0x5f && isDigit(sql[at + 1]))) at += 1
  return at
}

/** True when white space with a newline and then a quote follow a string that ended before `at`. */
function continues(sql: Uint8Array, at: number): boolean {
  let newlines = 0
  for (; at < sql.length; at += 1) {
    const byte = sql[at]
    if (byte === newline || byte === 0x0d) newlines += 1
    else if (byte === 0x27) return newlines > 0
    else if (byte === 0x2d && sql[at + 1] === 0x2d) {
      while (at + 1 < sql.length && sql[at + 1] !== newline && sql[at + 1] !== 0x0d) at += 1
    } else if (byte !== 0x20 && (byte === undefined || byte < 0x09 || byte > 0x0c)) return false
  }
  return false
}

function isHint(sql: Uint8Array, at: number): boolean {
  while (isBlank(sql[at])) at += 1
  return hintMark.every((byte, index) => sql[at + index] === byte)
}

function isBlank(byte: number | undefined): boolean {
  return byte === 0x20 || (byte !== undefined && byte >= 0x09 && byte <= 0x0d)
}

function isAscii(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += 1) if ((bytes[at] ?? 0) >= 0x80) return false
  return true
}

function latin1(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString(
    'latin1',
    start,
    end,
  )
}
