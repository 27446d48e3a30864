// The texts of SQL's PREPARE and EXECUTE taken apart: the name by which the client calls its statement is not the one
// that servers know, and types and body of a PREPARE are what servers share.

/** A PREPARE in its parts. */
export type PrepareText = {
  /** Types of the parameters as they are written; `at`: characters before them. */
  readonly types: readonly { readonly text: string; readonly at: number }[]
  readonly body: string
  /** Characters of the text before the body. */
  readonly bodyAt: number
}

/** Where a name stands in a text. */
export type Span = { readonly start: number; readonly end: number }

type Token = Span & { readonly kind: 'name' | 'other'; readonly text: string }

/** Parts of a PREPARE statement that the parser has accepted; null when they cannot be told apart. */
export function prepareParts(sql: string): PrepareText | null {
  const tokens = tokensOf(sql)
  const at = tokens.findIndex(({ text }) => text === 'prepare')
  const next = tokens[at + 2]
  if (at < 0 || next === undefined) return null
  const types: { readonly text: string; readonly at: number }[] = []
  let after = at + 2
  if (next.text === '(') {
    let depth = 0
    let start = next.end
    for (; after < tokens.length; after += 1) {
      const token = tokens[after]
      if (token === undefined) return null
      if (token.text === '(') depth += 1
      if (token.text === ')') depth -= 1
      const ends = depth === 0 || (depth === 1 && token.text === ',')
      const text = sql.slice(start, token.start)
      if (ends) types.push({ text: text.trim(), at: start + text.length - text.trimStart().length })
      if (ends) start = token.end
      if (depth === 0) break
    }
    after += 1
  }
  const as = tokens[after]
  if (as?.text !== 'as') return null
  return { types, body: sql.slice(as.end), bodyAt: as.end }
}

/** Where an EXECUTE names its statement; null when it is not found. */
export function executedName(sql: string, name: string): Span | null {
  const tokens = tokensOf(sql)
  for (const [at, token] of tokens.entries()) {
    const next = tokens[at + 1]
    if (token.text !== 'execute' || next?.kind !== 'name') continue
    // What is longer than an identifier may be has been cut.
    if (next.text.startsWith(name)) return { start: next.start, end: next.end }
  }
  return null
}

const blank = /\s+|--[^\n\r]*/y
const quotedName = /(?:[uU]&)?"(?:[^"]|"")*"/y
const bareName = /[A-Za-z_\x80-\uffff][\w$\x80-\uffff]*/y
const string = /(?:[eE]'(?:[^'\\]|''|\\[^])*'|(?:[bBxXnN]|[uU]&)?'(?:[^']|'')*')/y
const dollar = /\$(?:[A-Za-z_\x80-\uffff][\w\x80-\uffff]*)?\$/y

function tokensOf(sql: string): Token[] {
  const tokens: Token[] = []
  let at = 0
  const match = (pattern: RegExp) => {
    pattern.lastIndex = at
    return pattern.exec(sql)?.[0]
  }
  while (at < sql.length) {
    const start = at
    const skipped = match(blank) ?? comment(sql, at)
    if (skipped !== undefined) {
      at += skipped.length
      continue
    }
    const quoted = match(quotedName)
    const text = quoted === undefined ? match(string) : undefined
    const name = quoted === undefined && text === undefined ? match(bareName) : undefined
    const tag = name === undefined ? match(dollar) : undefined
    if (quoted !== undefined) {
      at += quoted.length
      const plain = quoted.slice(1, -1).replaceAll('""', '"')
      tokens.push({ kind: 'name', text: plain, start, end: at })
    } else if (name !== undefined) {
      at += name.length
      tokens.push({ kind: 'name', text: name.toLowerCase(), start, end: at })
    } else if (text !== undefined || tag !== undefined) {
      const close = tag === undefined ? -1 : sql.indexOf(tag, at + tag.length)
      at += text?.length ?? (close < 0 ? sql.length : close - at + (tag?.length ?? 0))
      tokens.push({ kind: 'other', text: '', start, end: at })
    } else {
      at += 1
      tokens.push({ kind: 'other', text: sql.charAt(start), start, end: at })
    }
  }
  return tokens
}

/** A comment in C's manner at `at`; they nest. */
function comment(sql: string, at: number): string | undefined {
  if (!sql.startsWith('/*', at)) return undefined
  let depth = 0
  for (let end = at; end < sql.length; end += 1) {
    const two = sql.slice(end, end + 2)
    if (two !== '/*' && two !== '*/') continue
    depth += two === '/*' ? 1 : -1
    end += 1
    if (depth === 0) return sql.slice(at, end + 1)
  }
  return sql.slice(at)
}
