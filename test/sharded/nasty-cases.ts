// Reads the files of nasty/: blocks of a name with an expectation and of statements, one a line.
// `same`: both sides answer alike; `refused`: the proxy says 0A000; `from 17`: known since that
// version. Of several statements the last one is meant; those before it must be the same, or
// refused when they begin with "!". Lines that begin with a blank go on; those with an arrow say
// what is bound (format, type's oid, value) or copied.
import type { Param, Statement } from './side.ts'

type Outcome = 'same' | 'refused'

export type NastyCase = {
  readonly name: string
  /** Lowest PostgreSQL version that knows the statements. */
  readonly version: number
  readonly steps: readonly { readonly statement: Statement; readonly expected: Outcome }[]
}

/** The cases of one file. @throws Error for a line that means nothing. */
export function parseCases(text: string): NastyCase[] {
  const blocks = text.split(/\n{2,}/).map((block) => {
    return block.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  })
  return blocks.filter((lines) => lines.length > 0).map(parseCase)
}

function parseCase([head = '', ...lines]: string[]): NastyCase {
  const match = /^(.+): (same|refused)(?: from (\d+))?$/.exec(head)
  if (match === null) throw new Error(`no name and expectation: ${head}`)
  const [, name = '', expected = '', version = '0'] = match
  const statements: Statement[] = []
  for (const line of lines) {
    const last = statements.at(-1)
    if (/^[→ ]/.test(line) && last !== undefined) statements.splice(-1, 1, extended(last, line))
    else statements.push({ sql: line, params: null })
  }
  const steps = statements.map((statement, at) => {
    const refused = statement.sql.startsWith('!')
    const sql = statement.sql.slice(refused ? 1 : 0)
    // Of a subquery's order nothing is to be seen.
    const ordered = /\bORDER BY [^()]*$/.test(sql)
    const meant: Outcome = at === statements.length - 1 ? outcomeNamed(expected) : 'same'
    return { statement: { ...statement, sql, ordered }, expected: refused ? 'refused' : meant }
  })
  return { name, version: Number(version), steps }
}

function outcomeNamed(text: string): Outcome {
  return text === 'same' ? 'same' : 'refused'
}

function extended(statement: Statement, line: string): Statement {
  if (line.startsWith(' ')) return { ...statement, sql: `${statement.sql}\n${line}` }
  const copied = /^→ copy (".*")$/.exec(line)?.[1]
  if (copied !== undefined) return { ...statement, copyData: String(JSON.parse(copied)) }
  return { ...statement, params: [...(statement.params ?? []), paramOf(line)] }
}

function paramOf(line: string): Param {
  const match = /^→ (text|binary) (\d+) (NULL|".*"|[\da-f]+)$/.exec(line)
  if (match === null) throw new Error(`not understood: ${line}`)
  const [, format, type, written = ''] = match
  const base = { type: Number(type), format: format === 'binary' ? 1 : 0 } as const
  if (written === 'NULL') return { ...base, value: null }
  const value =
    base.format === 1 ? Buffer.from(written, 'hex') : Buffer.from(String(JSON.parse(written)))
  return { ...base, value }
}
