// What the clients of `ringfence bench` run: statements as functions of a random number.
import { escapeIdentifier, type QueryConfig } from 'pg'

/** The statement for the random number `n`. */
export type BenchStatement = (n: number) => QueryConfig

export type KeyValueOptions = {
  readonly table: string
  readonly key: string
  /** Of 100 statements. */
  readonly writes: number
  readonly protocol: 'simple' | 'prepared'
}

const mixLength = 100

/** The given texts in turn; every `:n` is the number. */
export function ownWorkload(
  texts: readonly string[],
  protocol: 'simple' | 'prepared',
): readonly BenchStatement[] {
  return texts.map((text, at) => statementOf(text, `own ${at}`, protocol))
}

/** Reads of one row, and updates of one row evenly among them. */
export function keyValueWorkload(options: KeyValueOptions): readonly BenchStatement[] {
  const { writes, protocol } = options
  const key = escapeIdentifier(options.key)
  const table = escapeIdentifier(options.table)
  const read = statementOf(`SELECT value FROM ${table} WHERE ${key} = :n`, 'read', protocol)
  const change = `UPDATE ${table} SET value = 'changed' WHERE ${key} = :n`
  const write = statementOf(change, 'write', protocol)
  return Array.from({ length: mixLength }, (_, at) => {
    const before = Math.floor((at * writes) / mixLength)
    return Math.floor(((at + 1) * writes) / mixLength) > before ? write : read
  })
}

/** A cast (`::numeric`) is no placeholder, and neither is `:name`. */
function statementOf(text: string, name: string, protocol: 'simple' | 'prepared'): BenchStatement {
  const placeholder = /(?<!:):n\b/g
  if (protocol === 'simple') return (n) => ({ text: text.replaceAll(placeholder, `${n}`) })
  const prepared = text.replaceAll(placeholder, '$1')
  const takes = prepared !== text
  return (n) => ({ name, text: prepared, values: takes ? [n] : [] })
}
