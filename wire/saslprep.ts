// SASLprep (RFC 4013) of passwords, as PostgreSQL does it (src/common/saslprep.c): its checks look at
// the text before normalization, and a password it would refuse is used as it is.
import {
  leftToRight,
  mappedToNothing,
  nonAsciiSpaces,
  prohibited,
  rightToLeft,
  unassigned,
} from './saslprep-tables.ts'

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

/** Walks the table: passwords beyond ASCII are rare, and the key derivation costs far more. */
function contains(table: string, code: number): boolean {
  let end = 0
  for (const word of table.split(' ')) {
    const [gap = '', more = '0'] = word.split('+')
    const start = end + Number.parseInt(gap, 36)
    if (code < start) return false
    end = start + Number.parseInt(more, 36)
    if (code <= end) return true
  }
  return false
}
