// Elements of a PostgreSQL array value, from its text form ('{1,"a b",NULL}', manual 8.15.2) or its
// binary form (array_recv: dimensions, flags, element type, then length and bounds of each
// dimension, then the elements).

const elementsMax = 1_000_000

/**
 * All elements, of all dimensions; null for NULL. Undefined when the server would refuse the value.
 */
export function arrayElements(
  bytes: Uint8Array,
  binary: boolean,
): (Uint8Array | null)[] | undefined {
  return binary ? fromBinary(bytes) : fromText(Buffer.from(bytes).toString('latin1'))
}

function fromBinary(bytes: Uint8Array): (Uint8Array | null)[] | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < 12) return undefined
  const dimensions = view.getInt32(0)
  if (dimensions === 0) return []
  if (dimensions < 0 || dimensions > 6 || bytes.length < 12 + dimensions * 8) return undefined
  let count = 1
  for (let at = 0; at < dimensions; at += 1) count *= view.getInt32(12 + at * 8)
  if (count < 0 || count > elementsMax) return undefined
  const elements: (Uint8Array | null)[] = []
  let at = 12 + dimensions * 8
  for (let index = 0; index < count; index += 1) {
    if (at + 4 > bytes.length) return undefined
    const length = view.getInt32(at)
    at += 4
    if (length < -1 || at + Math.max(length, 0) > bytes.length) return undefined
    elements.push(length === -1 ? null : bytes.subarray(at, at + length))
    at += Math.max(length, 0)
  }
  return at === bytes.length ? elements : undefined
}

/** As array_isspace() has it: in a text of one byte per character, \s would take parts of letters. */
const blank = String.raw`[ \t\n\r\v\f]`
const bounds = new RegExp(String.raw`^${blank}*(?:\[[-+\d:]+\]${blank}*)+=`)
const structure = new RegExp(String.raw`${blank}*([{},])`, 'y')
const element = new RegExp(
  String.raw`(?:${blank}*"((?:[^"\\]|\\[^])*)"${blank}*|((?:[^{},"\\]|\\[^])+))(?=[,{}])`,
  'y',
)

/** `text` has one byte per character, so that UTF-8 passes through. */
function fromText(text: string): (Uint8Array | null)[] | undefined {
  const body = trimmed(text.replace(bounds, ''))
  if (!body.startsWith('{') || !body.endsWith('}')) return undefined
  const elements: (Uint8Array | null)[] = []
  let depth = 1
  let at = 1
  while (depth > 0) {
    if (elements.length > elementsMax) return undefined
    structure.lastIndex = at
    const mark = structure.exec(body)
    if (mark !== null) {
      depth += mark[1] === '{' ? 1 : mark[1] === '}' ? -1 : 0
      at = structure.lastIndex
      continue
    }
    element.lastIndex = at
    const match = element.exec(body)
    if (match === null) return undefined
    const [, quoted, written = ''] = match
    const bare = trimmed(written)
    if (quoted === undefined && bare.toUpperCase() === 'NULL') elements.push(null)
    else elements.push(Buffer.from((quoted ?? bare).replaceAll(/\\([^])/g, '$1'), 'latin1'))
    at = element.lastIndex
  }
  return trimmed(body.slice(at)) === '' ? elements : undefined
}

const isBlank = (text: string, at: number) => ' \t\n\r\v\f'.includes(text.charAt(at))

/** Without blanks at both ends, but for one behind a backslash. */
function trimmed(text: string): string {
  let [from, to] = [0, text.length]
  while (from < to && isBlank(text, from)) from += 1
  while (to > from && isBlank(text, to - 1)) to -= 1
  return text.slice(from, to < text.length && isEscape(text, to - 1) ? to + 1 : to)
}

/** True when a backslash at `at` is no letter itself, but says that what follows is one. */
function isEscape(text: string, at: number): boolean {
  let from = at
  while (from >= 0 && text.charAt(from) === '\\') from -= 1
  return (at - from) % 2 === 1
}
