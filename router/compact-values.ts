// INSERT of many rows: parsing a thousand rows of constants takes the parser as long as a thousand statements, and tells
// nothing that the first row does not. What is left of such a text when all rows but the first are cut out has the same
// shape where rows are not looked at one by one, which is where nothing is sharded.
import type { Lexed } from './lexer.ts'

// Shorter texts are parsed as they are, and kept.
const bytesMin = 4_096
const rowsMin = 3
const words = /(?:null|true|false|default)(?![\w$\x80-\xff])/iy

/** The text, one character per byte, without its second and further rows of constants; null when there are no such. */
export function compactValues(lexed: Lexed): string | null {
  const { raw } = lexed
  if (raw.length < bytesMin || !/^\s*insert\b/i.test(raw) || lexed.hints.length > 0) return null
  const reading = new Rows(lexed)
  const start = reading.findValues()
  if (start < 0) return null
  const firstEnd = reading.row(start)
  let end = firstEnd
  let rows = 1
  for (let next = reading.afterComma(end); next >= 0; next = reading.afterComma(end)) {
    const rowEnd = reading.row(next)
    if (rowEnd < 0) return null
    end = rowEnd
    rows += 1
  }
  if (firstEnd < 0 || rows < rowsMin) return null
  return raw.slice(0, firstEnd) + raw.slice(end)
}

/** Reads rows of constants; positions only grow. */
class Rows {
  readonly #raw: string
  readonly #literals: readonly number[]
  /** The first literal that does not end before the place that is read. */
  #next = 0

  constructor({ raw, literals }: Lexed) {
    this.#raw = raw
    this.#literals = literals
  }

  /** Where the parenthesis of the first row stands; -1 when it cannot be told from here. */
  findValues(): number {
    const raw = this.#raw
    const first = this.#literals[0] ?? raw.length
    const head = raw.slice(0, first)
    // A comment or a quoted name might hold the word.
    if (head.includes('--') || head.includes('/*') || head.includes('"')) return -1
    const found = /\bvalues\s*\(/i.exec(head)
    return found === null ? -1 : found.index + found[0].length - 1
  }

  /** Place behind the row whose parenthesis stands at `at`; -1 when it has more than constants. */
  row(at: number): number {
    const raw = this.#raw
    let place = at + 1
    for (;;) {
      const literalEnd = this.#literalAt(place)
      if (literalEnd >= 0) {
        place = literalEnd
        continue
      }
      const char = raw.charCodeAt(place)
      if (char === 0x29) return place + 1
      if (isBlank(char) || char === 0x2c || isSign(raw, place)) {
        place += 1
        continue
      }
      words.lastIndex = place
      if (!words.test(raw)) return -1
      place = words.lastIndex
    }
  }

  /** Place of the next row's parenthesis behind a comma; -1 when no row follows. */
  afterComma(at: number): number {
    const comma = this.#skipBlanks(at)
    if (this.#raw.charCodeAt(comma) !== 0x2c) return -1
    const next = this.#skipBlanks(comma + 1)
    return this.#raw.charCodeAt(next) === 0x28 ? next : -1
  }

  #skipBlanks(at: number): number {
    let place = at
    while (isBlank(this.#raw.charCodeAt(place))) place += 1
    return place
  }

  /** End of the literal that starts at `at`; -1 when none does. */
  #literalAt(at: number): number {
    while ((this.#literals[this.#next] ?? Number.POSITIVE_INFINITY) < at) this.#next += 3
    return this.#literals[this.#next] === at ? (this.#literals[this.#next + 1] ?? -1) : -1
  }
}

function isBlank(char: number): boolean {
  return char === 0x20 || (char >= 0x09 && char <= 0x0d)
}

/** A sign in front of a number, but no comment. */
function isSign(raw: string, at: number): boolean {
  const char = raw.charCodeAt(at)
  return char === 0x2b || (char === 0x2d && raw.charCodeAt(at + 1) !== 0x2d)
}
