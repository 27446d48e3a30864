// One field out of a COPY line: PostgreSQL's CopyReadAttributesText and CopyReadAttributesCSV, which
// split and unescape; only the shard key's field is unescaped here.
import { copyError } from './copy-row.ts'

/** How rows look, in bytes; what the COPY statement says. */
export type FieldLayout = {
  readonly delimiter: number
  readonly nullBytes: Uint8Array
  readonly quote: number
  readonly escape: number
  readonly columnCount: number
  /** Position of the wanted field, from 0. */
  readonly keyIndex: number
}

const backslash = 0x5c

/**
 * Field number `keyIndex` of a text line (without its newline): null, a view, or an unescaped copy.
 * @throws PgError 22P04 when the line has no such field, or more fields than columns.
 */
export function textKey(row: Uint8Array, layout: FieldLayout, line: number): Uint8Array | null {
  let index = 0
  let start = 0
  let end = 0
  let key: Uint8Array | null | undefined
  do {
    let escaped = false
    for (end = start; end < row.length && row[end] !== layout.delimiter; end++) {
      if (row[end] !== backslash) continue
      if (end + 1 === row.length) break // a lone backslash before the end of data is dropped
      escaped = true
      end++
    }
    if (index === layout.keyIndex) key = textValue(row.subarray(start, end), escaped, layout)
    index++
    start = end + 1
  } while (end < row.length && row[end] === layout.delimiter)
  return checkedKey(key, index, layout, line)
}

/**
 * Field number `keyIndex` of a CSV row (without its newline): null, a view, or an unquoted copy.
 * @throws PgError 22P04 as textKey(), and when a quoted field does not end.
 */
export function csvKey(row: Uint8Array, layout: FieldLayout, line: number): Uint8Array | null {
  let index = 0
  let start = 0
  let end = 0
  let key: Uint8Array | null | undefined
  do {
    let quoted = false
    for (end = start; end < row.length && row[end] !== layout.delimiter; end++) {
      if (row[end] !== layout.quote) continue
      quoted = true
      end = closingQuote(row, end + 1, layout, line)
    }
    if (index === layout.keyIndex) key = csvValue(row.subarray(start, end), quoted, layout)
    index++
    start = end + 1
  } while (end < row.length)
  return checkedKey(key, index, layout, line)
}

function checkedKey(
  key: Uint8Array | null | undefined,
  fields: number,
  layout: FieldLayout,
  line: number,
): Uint8Array | null {
  if (fields > layout.columnCount) throw copyError('extra data after last expected column', line)
  if (key === undefined) throw copyError(`missing data for column number ${fields + 1}`, line)
  return key
}

function textValue(raw: Uint8Array, escaped: boolean, layout: FieldLayout): Uint8Array | null {
  if (Buffer.compare(raw, layout.nullBytes) === 0) return null
  return escaped ? unescapeText(raw) : raw
}

function csvValue(raw: Uint8Array, quoted: boolean, layout: FieldLayout): Uint8Array | null {
  if (quoted) return unquote(raw, layout)
  return Buffer.compare(raw, layout.nullBytes) === 0 ? null : raw
}

/** `raw` does not end inside of an escape: the delimiter that ended it was not escaped. */
function unescapeText(raw: Uint8Array): Uint8Array {
  const value = new Uint8Array(raw.length)
  let length = 0
  for (let at = 0; at < raw.length; at++) {
    let byte = raw[at] ?? 0
    if (byte === backslash) {
      const escape = raw[++at] ?? 0
      byte = namedEscapes.get(escape) ?? escape
      const base = escape === 0x78 ? 16 : 8
      // \x takes digits after itself, an octal escape starts with its first digit.
      const from = base === 16 ? at + 1 : at
      const digits = countDigits(raw, from, base)
      if (digits > 0) {
        byte = Number.parseInt(Buffer.from(raw.subarray(from, from + digits)).toString(), base)
        at = from + digits - 1
      }
    }
    value[length++] = byte // modulo 256, as PostgreSQL does it
  }
  return value.subarray(0, length)
}

const namedEscapes = new Map([
  [0x62, 0x08], // b
  [0x66, 0x0c], // f
  [0x6e, 0x0a], // n
  [0x72, 0x0d], // r
  [0x74, 0x09], // t
  [0x76, 0x0b], // v
])

function countDigits(raw: Uint8Array, from: number, base: 8 | 16): number {
  const digitsMax = base === 8 ? 3 : 2
  let count = 0
  while (count < digitsMax && isDigit(raw[from + count], base)) count++
  return count
}

function isDigit(byte: number | undefined, base: 8 | 16): boolean {
  if (byte === undefined) return false
  if (byte >= 0x30 && byte <= 0x37) return true
  const lower = byte | 0x20
  return base === 16 && ((byte >= 0x38 && byte <= 0x39) || (lower >= 0x61 && lower <= 0x66))
}

/** Where the quoted part that starts at `at` ends; its closing quote's position. */
function closingQuote(row: Uint8Array, at: number, layout: FieldLayout, line: number): number {
  for (let i = at; i < row.length; i++) {
    if (isEscapePair(row, i, layout)) i++
    else if (row[i] === layout.quote) return i
  }
  throw copyError('unterminated CSV quoted field', line)
}

/** Copies a field with quoted parts; closingQuote() has proven that they all end. */
function unquote(raw: Uint8Array, layout: FieldLayout): Uint8Array {
  const value = new Uint8Array(raw.length)
  let length = 0
  let inQuote = false
  for (let at = 0; at < raw.length; at++) {
    if (inQuote && isEscapePair(raw, at, layout)) at++
    else if (raw[at] === layout.quote) {
      inQuote = !inQuote
      continue
    }
    value[length++] = raw[at] ?? 0
  }
  return value.subarray(0, length)
}

/** The escape counts only before a quote or another escape. */
function isEscapePair(row: Uint8Array, at: number, layout: FieldLayout): boolean {
  if (row[at] !== layout.escape) return false
  const next = row[at + 1]
  return next === layout.escape || next === layout.quote
}
