// Splits one line of a `.wire` script: bare words, "strings" with escapes, @sizes, and [lists].

/**
 * Cursor over the tokens of a line; each method takes the next one and throws when it is of
 * another kind.
 */
export type Tokens = {
  readonly more: () => boolean
  readonly word: () => string
  readonly keyword: (expected: string) => void
  readonly integer: () => number
  /** The bytes of a "string", or that many letters for `@1MB`, `@64KB`, `@100B`. */
  readonly text: () => Buffer
  readonly list: <T>(item: () => T) => T[]
  readonly end: () => void
}

type Token = { readonly kind: 'word' | 'text' | 'bracket'; readonly value: string }

const tokenPattern = /\s*(?:"((?:[^"\\]|\\.)*)"|([[\]])|([^\s"[\]]+))/y

/** Tokens of `line`; a comma between list items counts as white space. */
export function tokensOf(line: string): Tokens {
  const tokens = split(line)
  let at = 0
  const take = (kind: Token['kind']): string => {
    const token = tokens[at]
    if (token?.kind !== kind)
      throw new Error(`${kind} expected, found ${token?.value ?? 'the end'}`)
    at += 1
    return token.value
  }
  const bracket = (expected: string): void => {
    if (take('bracket') !== expected) throw new Error(`${expected} expected`)
  }
  const cursor: Tokens = {
    more: () => at < tokens.length,
    word: () => take('word'),
    keyword: (expected) => {
      if (take('word') !== expected) throw new Error(`"${expected}" expected`)
    },
    integer: () => {
      const value = Number(take('word'))
      if (!Number.isInteger(value)) throw new Error('integer expected')
      return value
    },
    text: () => (tokens[at]?.kind === 'word' ? sizedText(take('word')) : unescape(take('text'))),
    list: (item) => {
      const items: ReturnType<typeof item>[] = []
      bracket('[')
      while (tokens[at]?.value !== ']' || tokens[at]?.kind !== 'bracket') items.push(item())
      bracket(']')
      return items
    },
    end: () => {
      if (at < tokens.length) throw new Error(`nothing more expected, found ${tokens[at]?.value}`)
    },
  }
  return cursor
}

function split(line: string): Token[] {
  const tokens: Token[] = []
  const pattern = new RegExp(tokenPattern)
  while (pattern.lastIndex < line.trimEnd().length) {
    const at = pattern.lastIndex
    const found = pattern.exec(line)
    if (found === null) throw new Error(`cannot read from column ${at + 1}`)
    const [, text, bracket, word] = found
    if (text !== undefined) tokens.push({ kind: 'text', value: text })
    if (bracket !== undefined) tokens.push({ kind: 'bracket', value: bracket })
    const bare = word?.replace(/,$/, '') ?? ''
    if (bare !== '') tokens.push({ kind: 'word', value: bare })
  }
  return tokens
}

const unitBytes: Readonly<Record<string, number>> = { B: 1, KB: 1024, MB: 1024 * 1024 }

function sizedText(word: string): Buffer {
  const found = /^@(\d+)(B|KB|MB)$/.exec(word)
  if (found === null) throw new Error(`"string" or @size expected, found ${word}`)
  return Buffer.alloc(
    Number(found[1]) * (unitBytes[found[2] ?? ''] ?? 1),
    'abcdefghijklmnopqrstuvwxyz',
  )
}

const escapes: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', '0': '\0' }

/** `\n \r \t \0 \xHH`; any other escaped character stands for itself; the rest is UTF-8. */
function unescape(text: string): Buffer {
  const parts: Buffer[] = []
  for (const [piece] of text.matchAll(/\\x[0-9a-fA-F]{2}|\\.|[^\\]+/gs)) {
    if (piece.startsWith('\\x')) parts.push(Buffer.from(piece.slice(2), 'hex'))
    else if (piece.startsWith('\\'))
      parts.push(Buffer.from(escapes[piece.charAt(1)] ?? piece.charAt(1)))
    else parts.push(Buffer.from(piece))
  }
  return Buffer.concat(parts)
}
