// Which tables a statement names, and which one it writes, out of PostgreSQL's parse tree.
import { findRelation, searchedSchemas } from '../../router/names.ts'
import { parseSql } from '../../router/parser.ts'
import type { Relation, Schema } from '../../router/schema.ts'
import { readings } from './readings.ts'

export type TableUses = {
  /** Tables and views of the user's. */
  readonly all: ReadonlySet<Relation>
  readonly written: ReadonlySet<Relation>
  /** It asks the system catalogs, and nothing else. */
  readonly catalogOnly: boolean
}

/** None for what cannot be parsed. */
export function tableUses(sql: string, schema: Schema, searchPath: readonly string[]): TableUses {
  const all = new Set<Relation>()
  const written = new Set<Relation>()
  const commonNames = new Set<string>()
  const named: { readonly range: object; readonly writes: boolean }[] = []
  for (const { node } of parsed(sql)) walk(node, '', { commonNames, named })
  let catalogs = 0
  let others = 0
  for (const { range, writes } of named) {
    const relname = textOf(range, 'relname')
    const schemaname = textOf(range, 'schemaname')
    if (schemaname === undefined && commonNames.has(relname ?? '')) continue
    const place = { relname: relname ?? '', ...(schemaname === undefined ? {} : { schemaname }) }
    const relation = findRelation(schema, searchedSchemas(searchPath), place)
    if (relation?.placement === 'catalog') catalogs += 1
    else others += 1
    if (relation === undefined || relation.placement === 'catalog') continue
    all.add(relation)
    if (writes) written.add(relation)
  }
  return { all, written, catalogOnly: catalogs > 0 && others === 0 }
}

function parsed(sql: string) {
  for (const reading of readings(sql)) {
    try {
      return parseSql(reading)
    } catch {
      // The next reading may do.
    }
  }
  return []
}

const writing: ReadonlySet<string> = new Set([
  'InsertStmt',
  'UpdateStmt',
  'DeleteStmt',
  'MergeStmt',
  'TruncateStmt',
])

type Found = {
  readonly commonNames: Set<string>
  readonly named: { readonly range: object; readonly writes: boolean }[]
}

/** `within`: the kind of node around; a written table stands under `relation` there, without a node of its own. */
function walk(value: unknown, within: string, found: Found): void {
  if (Array.isArray(value)) {
    for (const each of value) walk(each, within, found)
    return
  }
  if (typeof value !== 'object' || value === null) return
  const common = textOf(value, 'ctename')
  if (common !== undefined) found.commonNames.add(common)
  for (const [name, child] of Object.entries(value)) {
    const isRange = typeof child === 'object' && child !== null && 'relname' in child
    if (isRange) {
      const direct = name === 'relation' && writing.has(within)
      found.named.push({ range: child, writes: direct || within === 'TruncateStmt' })
    } else {
      walk(child, /^[A-Z]/.test(name) ? name : within, found)
    }
  }
}

function textOf(node: object, name: string): string | undefined {
  const value: unknown = Reflect.get(node, name)
  return typeof value === 'string' ? value : undefined
}
