// Which names a query level sees, and which of its columns carry the shard key. One Scope per
// level, linked to the level around it; entries stand in FROM order.
import type { Alias } from '@pgsql/types'
import { namesOf } from './names.ts'
import type { Relation } from './schema.ts'
import type { NodeId } from './ties.ts'

/**
 * A column by name (null: of a name that nobody can write) and the node that carries the key in it.
 */
export type KeyColumn = { readonly name: string | null; readonly node: NodeId | null }

/** One item of FROM. */
export type Entry = {
  readonly alias: string
  /** `schema.name` while no alias hides it. */
  readonly qualified: string | null
  /** Null when they are not known, as for most functions. */
  readonly columns: readonly KeyColumn[] | null
  readonly relation: Relation | null
}

/** A common table expression. `columns` null: unknown. */
export type Cte = {
  readonly name: string
  readonly columns: readonly KeyColumn[] | null
  /** Referenced once, so that a filter on the reference is a filter on its rows. */
  readonly single: boolean
  /** Nodes that may drive a scatter when its single reference does. */
  readonly drivers: readonly NodeId[]
}

/** One query level. `aggregate` and `window` name the first such call found at the level. */
export type Scope = {
  readonly parent: Scope | null
  readonly entries: Entry[]
  /** Columns that JOIN … USING merged: found before those of the entries. */
  readonly merged: KeyColumn[]
  readonly ctes: Cte[]
  aggregate: string | null
  window: string | null
}

/** A level inside of `parent`. */
export function newScope(parent: Scope | null): Scope {
  return { parent, entries: [], merged: [], ctes: [], aggregate: null, window: null }
}

/** CTE of that name, innermost first. */
export function findCte(scope: Scope | null, name: string): Cte | undefined {
  for (let level = scope; level !== null; level = level.parent) {
    const found = level.ctes.findLast((cte) => cte.name === name)
    if (found !== undefined) return found
  }
  return undefined
}

/** What a column reference means; `unknown`: it may be a column that cannot be seen from here. */
export type Resolved =
  | { readonly kind: 'column'; readonly node: NodeId | null; readonly scope: Scope }
  /** The entry is known and has no such column: a function called by attribute notation. */
  | { readonly kind: 'attribute'; readonly name: string; readonly scope: Scope }
  | { readonly kind: 'unknown' }

/** Resolves `column`, `alias.column` or `schema.table.column` from `scope` outwards. */
export function resolve(scope: Scope, fields: readonly string[]): Resolved {
  const name = fields.at(-1) ?? ''
  for (let level: Scope | null = scope; level !== null; level = level.parent) {
    const found = fields.length === 1 ? bare(level, name) : qualified(level, fields, name)
    if (found !== undefined) return found
  }
  return { kind: 'unknown' }
}

function bare(scope: Scope, name: string): Resolved | undefined {
  const merged = scope.merged.find((column) => column.name === name)
  if (merged !== undefined) return { kind: 'column', node: merged.node, scope }
  const matches: KeyColumn[] = []
  let hidden = false
  for (const { columns, alias } of scope.entries) {
    if (columns === null || alias === name) hidden = true
    matches.push(...(columns ?? []).filter((column) => column.name === name))
  }
  // More than one is an error that the server will tell.
  if (matches.length > 0) {
    return { kind: 'column', node: matches.length === 1 ? (matches[0]?.node ?? null) : null, scope }
  }
  return hidden ? { kind: 'unknown' } : undefined
}

function qualified(scope: Scope, fields: readonly string[], name: string): Resolved | undefined {
  const prefix = fields.slice(0, -1).join('.')
  const entry = scope.entries.find((candidate) =>
    fields.length === 2 ? candidate.alias === prefix : candidate.qualified === prefix,
  )
  if (entry === undefined) return undefined
  if (entry.columns === null) return { kind: 'unknown' }
  const matches = entry.columns.filter((column) => column.name === name)
  if (matches.length === 0) return { kind: 'attribute', name, scope }
  return { kind: 'column', node: matches.length === 1 ? (matches[0]?.node ?? null) : null, scope }
}

/** Columns renamed by the list of an alias such as `AS o (a, b)`; the rest keep their names. */
export function renamed(
  columns: readonly KeyColumn[] | null,
  alias: Pick<Alias, 'colnames'> | undefined,
): readonly KeyColumn[] | null {
  const names = namesOf(alias?.colnames)
  if (columns === null || names.length === 0) return columns
  return columns.map((column, at) => ({ ...column, name: names[at] ?? column.name }))
}
