// A statement's text without its values, for logs and traces: every literal becomes $n, comments go. It follows PostgreSQL's
// lexical rules (src/backend/parser/scan.l), and where it could be wrong about where a literal ends it shows nothing.
import { lossyText } from '../wire/reader.ts'

/** How the session reads strings. */
export type Reading = {
  /** `standard_conforming_strings` is off: a backslash escapes in every string. */
  readonly escapes: boolean
  /** `client_encoding`, as the client knows it. */
  readonly encoding: string
}

/** Longest text that is looked at, bytes, and that comes out, characters. */
export const maskedBytesMax = 8 * 1024
const shownMax = 2_000

/** Encodings in which a byte of a character may look like a backslash. */
const misleading = /sjis|shift_jis|big5|gbk|uhc|gb18030|johab/i
const notShown = '(not shown)'

const word = String.raw`[\p{L}\p{M}_\u0080-\uffff][\p{L}\p{M}\p{N}_$\u0080-\uffff]*`
const number = String.raw`(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d[\d_]*)?`
/** What is open at the end of the text goes to its end. */
const plainString = String.raw`'(?:[^']|'')*(?:'|$)`
const escapedPart = String.raw`'(?:[^'\\]|\\[^]|''|\\$)*(?:'|$)`
/** It goes on behind a line's end, and a backslash goes on being one. */
const escapedString = String.raw`${escapedPart}(?:[ \t\f\v]*(?:--[^\r\n]*)?[\r\n](?:\s|--[^\r\n]*[\r\n])*${escapedPart})*`
/** A setting of the user's own takes a bare word as its value, which may be one that nobody else is to know. */
const part = String.raw`(?:${word}|"(?:[^"]|"")*")`
const bareValue = new RegExp(
  String.raw`(\bSET (?:SESSION |LOCAL )?${part}(?: ?\. ?${part})+ ?(?:=|\bTO\b))(?! ?\$\d)( ?)[^;]+`,
  'giu',
)

const patterns = {
  plain: tokenPattern(plainString),
  escaped: tokenPattern(escapedString),
}

/** Never throws; blank space is one blank. */
export function maskedSql(sql: Uint8Array, { escapes, encoding }: Reading): string {
  const bytes = sql.subarray(0, maskedBytesMax)
  if (misleading.test(encoding) && bytes.some((byte) => byte >= 0x80)) return notShown
  const text = lossyText(bytes)
  const pattern = escapes ? patterns.escaped : patterns.plain
  let next = highestParam(text) + 1
  let shown = ''
  let at = 0
  while (at < text.length && shown.length <= shownMax) {
    pattern.lastIndex = at
    const groups = pattern.exec(text)?.groups
    if (groups?.['comment'] !== undefined) {
      at = commentEnd(text, at)
      shown = joined(shown, ' ')
      continue
    }
    const { tag, value, kept, blank } = groups ?? {}
    if (tag !== undefined) {
      const end = text.indexOf(tag, at + tag.length)
      at = end < 0 ? text.length : end + tag.length
      shown = joined(shown, `$${next}`)
      next += 1
      continue
    }
    if (value !== undefined) {
      shown = joined(shown, `$${next}`)
      next += 1
    } else shown = joined(shown, blank === undefined ? (kept ?? text[at] ?? '') : ' ')
    at = groups === undefined ? at + 1 : pattern.lastIndex
  }
  const cut = shown.length > shownMax || sql.length > bytes.length
  shown = shown.replaceAll(bareValue, `$1$2${notShown}`)
  return `${shown.slice(0, shownMax).trim()}${cut ? ' …' : ''}`
}

/**
 * One token: a literal in a string, or a number with whatever letters stand right behind it; the opening of a comment or of a
 * dollar-quoted string; names, parameters and other signs are kept.
 */
function tokenPattern(string: string): RegExp {
  const parts = [
    String.raw`(?<blank>\s+|--[^\r\n]*)`,
    String.raw`(?<comment>\/\*)`,
    String.raw`(?<value>[eE]${escapedString}|[uU]&${string}|[bBxXnN]?${string}|${number}(?:${word})?)`,
    String.raw`(?<kept>\$\d+|"(?:[^"]|"")*(?:"|$)|${word})`,
    String.raw`(?<tag>\$(?:${word.replace('_$', '_')})?\$)`,
  ]
  return new RegExp(parts.join('|'), 'uy')
}

/** Comments nest. */
function commentEnd(text: string, start: number): number {
  const mark = /\/\*|\*\//g
  mark.lastIndex = start
  let depth = 0
  for (let found = mark.exec(text); found !== null; found = mark.exec(text)) {
    depth += found[0] === '/*' ? 1 : -1
    if (depth === 0) return mark.lastIndex
  }
  return text.length
}

function highestParam(text: string): number {
  let highest = 0
  for (const [, number] of text.matchAll(/\$(\d{1,5})/g))
    highest = Math.max(highest, Number(number))
  return highest
}

function joined(shown: string, token: string): string {
  return token === ' ' && (shown === '' || shown.endsWith(' ')) ? shown : shown + token
}
