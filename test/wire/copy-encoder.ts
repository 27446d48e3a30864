// Writes rows as COPY data, each character in one of its spellings: the naive opposite of wire/copy.ts.
type Spelling = Iterator<number>
type Values = readonly (string | null)[]

const named: Record<string, string> = { '\n': 'n', '\r': 'r', '\t': 't' }
const pick = (spelling: Spelling): number => spelling.next().value

/** A line of text format without its newline; NULL is `\N`. */
export function textLine(values: Values, spelling: Spelling): string {
  const fields = values.map((value) => {
    if (value === null) return '\\N'
    return value
      .split('')
      .map((char) => textChar(char, spelling))
      .join('')
  })
  return fields.join('\t')
}

/** Digits and x after a backslash would begin an escape; a backslash before `.` could end the copy. */
function textChar(char: string, spelling: Spelling): string {
  const code = char.charCodeAt(0)
  const spellings = [
    `\\${code.toString(8).padStart(3, '0')}`,
    `\\x${code.toString(16).padStart(2, '0')}`,
    named[char] === undefined ? `\\${code.toString(8).padStart(3, '0')}` : `\\${named[char]}`,
    /[\t\n\r\\]/.test(char) ? `\\x${code.toString(16).padStart(2, '0')}` : char,
  ]
  return spellings[pick(spelling)] ?? char
}

/** A line of CSV without its newline; NULL is nothing at all. */
export function csvLine(values: Values, spelling: Spelling): string {
  return values.map((value) => csvField(value, spelling)).join(',')
}

function csvField(value: string | null, spelling: Spelling): string {
  if (value === null) return ''
  // A lone field `\.` at a line's start needs quotes: else it may be the end marker.
  const bare = !/[,"\n\r\\]/.test(value) && value !== ''
  if (bare && pick(spelling) < 2) return value
  return `"${value.replaceAll('"', '""')}"`
}

/** Header of the binary format with an extension area. */
export function binaryHeader(extension: Uint8Array): Uint8Array {
  const fixed = Buffer.alloc(19)
  fixed.write('PGCOPY\n\u00ff\r\n\0', 'latin1')
  fixed.writeInt32BE(extension.length, 15)
  return new Uint8Array(Buffer.concat([fixed, extension]))
}

/** A tuple of the binary format whose values are the characters' codes. */
export function binaryTuple(values: Values): Uint8Array {
  const count = Buffer.alloc(2)
  count.writeInt16BE(values.length)
  const fields = values.map((value) => {
    const length = Buffer.alloc(4)
    length.writeInt32BE(value === null ? -1 : value.length)
    return Buffer.concat([length, Buffer.from(value ?? '', 'latin1')])
  })
  return new Uint8Array(Buffer.concat([count, ...fields]))
}
