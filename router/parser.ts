// SQL text → PostgreSQL's own raw parse tree: the narrow adapter over libpg-query (grammar of
// PostgreSQL 18). A statement nested too deeply overflows the WASM stack and leaves the instance's
// memory unusable, so such an instance is dropped at once and a spare one takes over. This is the
// one place of module state: WASM instances are made asynchronously, and parsing must not wait.
import type { Node, ParseResult } from '@pgsql/types'
import createInstance, { type Instance } from 'libpg-query/wasm/libpg-query.js'
import { PgError, pgError } from '../core/errors.ts'

/** One statement of a string. Offsets count bytes of the string's UTF-8. */
export type ParsedStatement = {
  readonly node: Node
  /** First byte after the previous semicolon: white space and comments belong to the statement. */
  readonly start: number
  /** Byte after the last one, at the semicolon or the end of the string. */
  readonly end: number
}

/**
 * A longer string is not parsed: parsing costs about 0.3 s per MB of it, during which nobody is
 * served.
 */
export const parsedSqlBytesMax = 8 * 1024 * 1024

const sparesWanted = 3
const instances: Instance[] = []
let arriving = 0

/** Loads the parser; parseSql() may be called from then on. Harmless when called again. */
export async function loadParser(): Promise<void> {
  if (instances.length === 0) instances.push(await createInstance())
  refill()
}

/**
 * All statements of `sql`, which holds no NUL; empty for white space and comments alone.
 * @throws PgError 42601 with PostgreSQL's own message, 54001 when nested too deeply, 54000 when too
 * long
 */
export function parseSql(sql: string): ParsedStatement[] {
  const instance = instances[0]
  if (instance === undefined) throw pgError('statementTooComplex')
  const bytes = instance.lengthBytesUTF8(sql)
  if (bytes > parsedSqlBytesMax) throw pgError('statementTooLong', [parsedSqlBytesMax])
  let tree: string
  try {
    tree = parseWith(instance, sql, bytes)
  } catch (thrown) {
    if (thrown instanceof PgError) throw thrown
    instances.shift()
    refill()
    throw pgError('statementTooComplex', [], { cause: thrown })
  }
  const result: ParseResult = JSON.parse(tree)
  return (result.stmts ?? []).flatMap(({ stmt, stmt_location: start = 0, stmt_len: length = 0 }) =>
    stmt === undefined ? [] : [{ node: stmt, start, end: length === 0 ? bytes : start + length }],
  )
}

function refill(): void {
  while (instances.length + arriving <= sparesWanted) {
    arriving += 1
    void createInstance()
      .then((instance) => instances.push(instance))
      .finally(() => {
        arriving -= 1
      })
  }
}

/**
 * Layouts of PgQueryParseResult and PgQueryError in libpg_query's pg_query.h: 4 bytes per field.
 */
function parseWith(instance: Instance, sql: string, bytes: number): string {
  const text = instance._malloc(bytes + 1)
  instance.stringToUTF8(sql, text, bytes + 1)
  const result = instance._wasm_parse_query_raw(text)
  const error = instance.getValue(result + 8, 'i32')
  const tree = error === 0 ? instance.UTF8ToString(instance.getValue(result, 'i32')) : ''
  const refusal = error === 0 ? null : refusalAt(instance, error)
  instance._free(text)
  instance._wasm_free_parse_result(result)
  if (refusal !== null) throw refusal
  return tree
}

function refusalAt(instance: Instance, error: number): PgError {
  const message = instance.UTF8ToString(instance.getValue(error, 'i32'))
  const position = instance.getValue(error + 16, 'i32')
  // Bison's own stack has a limit as well; PostgreSQL reports it like any other syntax error.
  if (message.startsWith('memory exhausted')) return pgError('statementTooComplex')
  return pgError('syntaxError', [message], position > 0 ? { position } : {})
}
