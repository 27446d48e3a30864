// SASLprep (RFC 4013) of passwords, as PostgreSQL does it (src/common/saslprep.c): its checks look at
// the text before normalization, and a password it would refuse is used as it is.
import * as words from './saslprep-tables.ts'

/** Code points from the even numbers to the odd ones behind them, in order. */
type Ranges = readonly number[]

const nonAsciiSpaces = rangesOf(words.nonAsciiSpaces)
const mappedToNothing = rangesOf(words.mappedToNothing)
const prohibited = rangesOf(words.prohibited)
const unassigned = rangesOf(words.unassigned)
const rightToLeft = rangesOf(words.rightToLeft)
const leftToRight = rangesOf(words.leftToRight)

/** The password's canonical form; itself when it has none. */
export function saslprep(password: string): string {
  if (isAscii(password)) return password
  const mapped: number[] = []
  for (const char of password) {
    const code = char.codePointAt(0) ?? 0
    if (contains(nonAsciiSpaces, code)) mapped.push(0x20)
    else if (!contains(mappedToNothing, code)) mapped.push(code)
  }
  if (mapped.length === 0 || !isAllowed(mapped)) return password
  return mapped
    .map((code) => String.fromCodePoint(code))
    .join('')
    .normalize('NFKC')
}

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) >= 0x80) return false
  return true
}

function isAllowed(codes: readonly number[]): boolean {
  if (codes.some((code) => contains(prohibited, code) || contains(unassigned, code))) return false
  if (!codes.some((code) => contains(rightToLeft, code))) return true
  // RFC 3454, section 6: right-to-left text starts and ends so and has nothing left-to-right in it.
  return (
    !codes.some((code) => contains(leftToRight, code)) &&
    contains(rightToLeft, codes[0] ?? 0) &&
    contains(rightToLeft, codes.at(-1) ?? 0)
  )
}

/** What a client that is nobody yet sends is looked at character by character: each look has to be short. */
function contains(ranges: Ranges, code: number): boolean {
  let from = 0
  let to = ranges.length / 2
  while (from < to) {
    const middle = (from + to) >> 1
    if (code > (ranges[middle * 2 + 1] ?? 0)) from = middle + 1
    else to = middle
  }
  return from * 2 < ranges.length && code >= (ranges[from * 2] ?? 0)
}

function rangesOf(table: string): Ranges {
  let end = 0
  return table.split(' ').flatMap((word) => {
    const [gap = '', more = '0'] = word.split('+')
    const start = end + Number.parseInt(gap, 36)
    end = start + Number.parseInt(more, 36)
    return [start, end]
  })
}
