// Statements of an SQL file as psql or pg_dump write it: separated by semicolons, with psql's own commands and the
// rows of COPY … FROM stdin left out.
import { Lexer } from '../../router/lexer.ts'
import type { Observation } from './observation.ts'

/** Each statement counts once. */
export async function* fileStatements(lines: AsyncIterable<string>): AsyncGenerator<Observation> {
  const lexer = new Lexer()
  let text = ''
  let inCopy = false
  for await (const line of lines) {
    if (inCopy) {
      inCopy = line !== '\\.'
      continue
    }
    if (text.trim() === '' && line.startsWith('\\')) continue
    text += `${line}\n`
    if (!line.trimEnd().endsWith(';')) continue
    // A semicolon in a string, a comment or a function's body ends nothing.
    const bytes = Buffer.from(text)
    const { semicolons } = lexer.scan(bytes)
    if (semicolons.at(-1) !== Buffer.byteLength(text.trimEnd()) - 1) continue
    const ends = [-1, ...semicolons]
    for (const [at, end] of semicolons.entries()) {
      const sql = bytes.subarray((ends[at] ?? -1) + 1, end).toString()
      if (sql.trim() !== '') yield { sql, calls: 1, timeMs: null }
    }
    inCopy = /\bFROM\s+stdin\b[^;]*;\s*$/i.test(text)
    text = ''
  }
  if (text.trim() !== '') yield { sql: text, calls: 1, timeMs: null }
}
