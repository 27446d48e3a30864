// Calls of pg_listening_channels() inside of a statement, with the channels of the client written in their place: through the
// proxy the server that runs the statement is not the one that listens.
import type { Node } from '@pgsql/types'
import { namesOf } from './names.ts'
import { parseSql } from './parser.ts'
import { childrenOf, isNode } from './syntax.ts'

/** The function that tells a session its channels. */
export const channelsFunction = 'pg_listening_channels'

/** A statement with the calls replaced. */
export type ChannelsWritten = {
  readonly sql: string
  /** Position, in characters from 1, in the statement as it came of what is at `position` in `sql`. */
  readonly positionBefore: (position: number) => number
}

type Edit = { readonly start: number; readonly end: number; readonly text: string }
type Call = { readonly at: number; readonly suffix: string }

/**
 * `sql`, one statement, as it answers for a session that listens to `channels`. Definitions keep the call: it is run by
 * somebody else. Null when a call stands where it cannot be replaced.
 * @throws PgError 42601 and others of parseSql()
 */
export function writeChannels(sql: string, channels: readonly string[]): ChannelsWritten | null {
  const [statement] = parseSql(sql)
  if (statement === undefined || !runsItself(statement.node)) return unchanged(sql)
  const calls = callsIn(statement.node)
  if (calls === null) return null
  const edits: Edit[] = []
  const bytes = Buffer.from(sql)
  for (const { at, suffix } of calls) {
    callText.lastIndex = at
    const found = callText.exec(bytes.toString('latin1'))
    if (found === null) return null
    const start = bytes.toString('utf8', 0, at).length
    const text = `pg_catalog.unnest(${arrayOf(channels)})${suffix}`
    edits.push({ start, end: start + found[0].length, text })
  }
  return edited(
    sql,
    edits.toSorted((a, b) => a.start - b.start),
  )
}

const callText = /(?:"?pg_catalog"?\s*\.\s*)?"?pg_listening_channels"?\s*\(\s*\)/iy

const running: readonly string[] = [
  'SelectStmt',
  'InsertStmt',
  'UpdateStmt',
  'DeleteStmt',
  'MergeStmt',
  'DeclareCursorStmt',
  'ExplainStmt',
  'CopyStmt',
]

function runsItself(node: Node): boolean {
  if ('CreateTableAsStmt' in node) return node.CreateTableAsStmt.objtype === 'OBJECT_TABLE'
  return running.some((tag) => tag in node)
}

/** Null when there is one that is neither an item of FROM nor a column of its own: its column would get another name. */
function callsIn(node: Node): readonly Call[] | null {
  const calls: Call[] = []
  let others = 0
  const visit = (part: object): void => {
    if (isNode(part)) {
      const call = callOf(part)
      if (call !== null) {
        calls.push(call)
        return
      }
      if (isCall(part)) others += 1
    }
    for (const child of childrenOf(part)) visit(child)
  }
  visit(node)
  return others === 0 ? calls : null
}

function callOf(node: Node): Call | null {
  if ('ResTarget' in node) {
    const { name, val } = node.ResTarget
    return callAt(val, name === undefined)
  }
  if (!('RangeFunction' in node)) return null
  const {
    functions = [],
    alias,
    ordinality = false,
    is_rowsfrom: several = false,
  } = node.RangeFunction
  if (several || (ordinality && alias === undefined)) return null
  const [item] = functions
  const [call] = item !== undefined && 'List' in item ? (item.List.items ?? []) : []
  return callAt(call, alias === undefined)
}

function callAt(node: Node | undefined, named: boolean): Call | null {
  if (node === undefined || !isCall(node) || !('FuncCall' in node)) return null
  return { at: node.FuncCall.location ?? 0, suffix: named ? ` AS ${channelsFunction}` : '' }
}

function isCall(node: Node): boolean {
  if (!('FuncCall' in node)) return false
  const names = namesOf(node.FuncCall.funcname)
  return names.at(-1) === channelsFunction && (names.length === 1 || names[0] === 'pg_catalog')
}

function arrayOf(channels: readonly string[]): string {
  return `ARRAY[${channels.map(literal).join(', ')}]::pg_catalog.text[]`
}

/** Reads the same whatever standard_conforming_strings says. */
function literal(text: string): string {
  const doubled = text.replaceAll("'", "''")
  return doubled.includes('\\') ? `E'${doubled.replaceAll('\\', '\\\\')}'` : `'${doubled}'`
}

function unchanged(sql: string): ChannelsWritten {
  return { sql, positionBefore: (position) => position }
}

function edited(before: string, edits: readonly Edit[]): ChannelsWritten {
  let sql = ''
  let end = 0
  for (const edit of edits) {
    sql += before.slice(end, edit.start) + edit.text
    end = edit.end
  }
  sql += before.slice(end)
  const positionBefore = (position: number) => {
    let longer = 0
    for (const edit of edits) {
      const start = charactersIn(before.slice(0, edit.start)) + longer
      if (position <= start) break
      const length = charactersIn(edit.text)
      if (position <= start + length) return start - longer + 1
      longer += length - charactersIn(before.slice(edit.start, edit.end))
    }
    return position - longer
  }
  return { sql, positionBefore }
}

/** Code points, which PostgreSQL counts positions in. */
function charactersIn(text: string): number {
  return Array.from(text).length
}
