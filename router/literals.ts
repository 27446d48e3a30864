// The values of one text's literals, read lazily: a plan needs one or two of them.
// Strings are decoded as PostgreSQL does with standard_conforming_strings on (manual, 4.1.2).
import { assert } from '../core/assert.ts'
import { literalKind, type Lexed } from './lexer.ts'

/** A constant as written: a number's text, or the bytes of a string one per character. */
export type Constant = { readonly kind: 'number' | 'string' | 'bits'; readonly raw: string }

/** Literals of one text by number, in the order they stand in. */
export class Literals {
  readonly #lexed: Lexed

  constructor(lexed: Lexed) {
    this.#lexed = lexed
  }

  get count(): number {
    return this.#lexed.literals.length / 3
  }

  /** Value of literal `index`. */
  at(index: number): Constant {
    const { literals, raw } = this.#lexed
    const start = literals[index * 3]
    const end = literals[index * 3 + 1]
    const kind = literals[index * 3 + 2]
    assert(start !== undefined && end !== undefined, `literal ${index} is in the text`)
    if (kind === literalKind.string) return { kind: 'string', raw: stringValue(raw, start, end) }
    return { kind: kind === literalKind.bits ? 'bits' : 'number', raw: raw.slice(start, end) }
  }

  /** False for an E'…' with bytes or code points by number, which only the server can tell in its own encoding. */
  isPlain(index: number): boolean {
    const { literals, raw } = this.#lexed
    const start = literals[index * 3] ?? 0
    if (raw[start] !== 'E' && raw[start] !== 'e') return true
    const body = raw.slice(start + 2, literals[index * 3 + 1])
    return !body.includes('\\') || plainBody.test(body)
  }

  /**
   * Literal that starts at byte `offset`, or follows the minus sign there; undefined when neither.
   */
  find(offset: number): { readonly index: number; readonly negative: boolean } | undefined {
    const { literals, raw } = this.#lexed
    let low = 0
    let high = this.count
    while (low < high) {
      const middle = (low + high) >> 1
      if ((literals[middle * 3] ?? 0) < offset) low = middle + 1
      else high = middle
    }
    const start = literals[low * 3]
    if (start === undefined) return undefined
    if (start === offset) return { index: low, negative: false }
    const between = raw.slice(Math.max(offset, 0), start)
    return /^-\s*$/.test(between) ? { index: low, negative: true } : undefined
  }

  /**
   * True when the literal has the value that the parser gave for it: the two then speak of the same
   * token.
   */
  means(found: { readonly index: number; readonly negative: boolean }, parsed: string): boolean {
    const { kind, raw } = this.at(found.index)
    if (kind === 'string') return !found.negative && utf8Of(raw) === parsed
    if (kind === 'bits') return !found.negative
    if (`${found.negative ? '-' : ''}${raw}` === parsed) return true
    const magnitude = raw.replaceAll('_', '')
    if (!/^(?:\d+|0[xob][\da-f]+)$/i.test(magnitude)) return false
    const value = BigInt(magnitude)
    return String(found.negative ? -value : value) === parsed.replaceAll('_', '')
  }

  /** Position of byte `offset` in characters from 1, as error messages count. */
  characterAt(offset: number): number {
    return charactersIn(utf8Of(this.#lexed.raw.slice(0, offset))) + 1
  }
}

/** Characters as PostgreSQL counts them: code points, not UTF-16 units. */
export function charactersIn(text: string): number {
  let count = 0
  for (const _ of text) count += 1
  return count
}

/** Bytes of a string, one per character, as a text of UTF-16. */
export function utf8Of(raw: string): string {
  return bytesOf(raw).toString('utf8')
}

/** Bytes of a string that has one per character. */
export function bytesOf(raw: string): Buffer {
  return Buffer.from(raw, 'latin1')
}

function stringValue(raw: string, start: number, end: number): string {
  const first = raw[start]
  if (first === "'") return raw.slice(start + 1, end - 1).replaceAll("''", "'")
  if (first === '$') {
    const tagLength = raw.indexOf('$', start + 1) - start + 1
    return raw.slice(start + tagLength, end - tagLength)
  }
  return unescape(raw.slice(start + 2, end - 1))
}

/** Of ASCII alone: in some encodings the last byte of a character looks like a backslash. */
const plainBody = /^(?:[^\\\x80-\xff]|\\[^xuU0-7\x80-\xff])*$/
const escape = /''|\\(?:u([\da-fA-F]{4})|U([\da-fA-F]{8})|x([\da-fA-F]{1,2})|([0-7]{1,3})|[^])/g
const letters: Readonly<Record<string, string>> = { b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' }

/** Body of an E'…' string. */
function unescape(body: string): string {
  if (!body.includes('\\') && !body.includes("''")) return body
  // UTF-16 escapes may come as surrogate pairs, so they are joined before they become UTF-8.
  const joined = body.replaceAll(
    /\\u([dD][89abAB][\da-fA-F]{2})\\u([dD][c-fC-F][\da-fA-F]{2})/g,
    (_, high: string, low: string) => {
      const point =
        (Number.parseInt(high, 16) - 0xd800) * 0x400 + Number.parseInt(low, 16) - 0xdc00 + 0x10000
      return `\\U${point.toString(16).padStart(8, '0')}`
    },
  )
  return joined.replace(escape, (all: string, u?: string, U?: string, x?: string, o?: string) => {
    if (all === "''") return "'"
    const point = u ?? U
    if (point !== undefined) return utf8Char(Number.parseInt(point, 16))
    if (x !== undefined) return String.fromCharCode(Number.parseInt(x, 16))
    if (o !== undefined) return String.fromCharCode(Number.parseInt(o, 8) & 0xff)
    const char = all[1] ?? ''
    return letters[char] ?? char
  })
}

/** UTF-8 of a code point, one byte per character. */
function utf8Char(point: number): string {
  if (point > 0x10ffff) return ''
  return Buffer.from(String.fromCodePoint(point), 'utf8').toString('latin1')
}
