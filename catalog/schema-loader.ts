// Reads the home shard's system catalogs into the router's Schema: three statements, whoever carries them.
import { assert } from '../core/assert.ts'
import type {
  Column,
  FunctionTraits,
  Relation,
  Schema,
  ShardingRules,
  Volatility,
} from '../router/schema.ts'
import { placeRelations, type FoundRelation } from './schema-placement.ts'
import { columnsSql, functionsSql, relationsSql } from './schema-queries.ts'

/**
 * Runs one statement by the simple protocol; rows of text values. Inside a transaction it loses its search_path:
 * a savepoint brings that back.
 */
export type Ask = (sql: string) => Promise<readonly (readonly (string | null)[])[]>

const volatilities: Readonly<Record<string, Volatility>> = {
  i: 'immutable',
  s: 'stable',
  v: 'volatile',
}

/**
 * Everything that the router has to know of the database. `rules` is null for a database that is not sharded;
 * `user` is what `"$user"` in the search_path stands for. Throws what `ask` throws.
 */
export async function loadSchema(
  ask: Ask,
  rules: ShardingRules | null,
  user: string,
): Promise<Schema> {
  // First: the other two empty search_path for the rest of a transaction, if there is one around them.
  const { functions, searchPath, schemas } = readFunctions(await ask(functionsSql))
  const columns = readColumns(await ask(columnsSql))
  const found = readRelations(await ask(relationsSql), columns)
  const placed = placeRelations(found, rules)
  const relations = new Map<string, Relation>()
  for (const { oid, schema, name, kind, columns, primaryKey } of found.values()) {
    const { placement, key } = placed.get(oid) ?? { placement: 'catalog', key: null }
    relations.set(`${schema}.${name}`, { schema, name, kind, placement, key, columns, primaryKey })
  }
  return {
    // Microseconds since the machine started: no two loads of a process end at the same one.
    version: Number(process.hrtime.bigint() / 1000n),
    relations,
    functions,
    defaultSearchPath: expandSearchPath(searchPath, user).filter((name) => schemas.has(name)),
  }
}

/** Schemas that a search_path setting names, `"$user"` replaced; PostgreSQL's SplitIdentifierString. */
export function expandSearchPath(setting: string, user: string): readonly string[] {
  const names = setting.match(/"(?:[^"]|"")*"|[^\s,"]+/g) ?? []
  return names.map((name) => {
    if (!name.startsWith('"')) return name === '$user' ? user : name.toLowerCase()
    const unquoted = name.slice(1, -1).replaceAll('""', '"')
    return unquoted === '$user' ? user : unquoted
  })
}

type Row = readonly (string | null)[]

function readColumns(rows: readonly Row[]): ReadonlyMap<string, readonly Column[]> {
  const byRelation = new Map<string, Column[]>()
  for (const row of rows) {
    const relation = text(row, 0)
    const columns = byRelation.get(relation) ?? []
    byRelation.set(relation, columns)
    columns.push({
      name: text(row, 1),
      type: text(row, 2),
      typeOid: Number(text(row, 3)),
      notNull: text(row, 4) === 't',
      identity: identityOf(text(row, 5)),
      generated: text(row, 6) !== '',
      defaultSql: row[7] ?? null,
      defaultVolatile: text(row, 8) === 't',
      deterministic: text(row, 9) === 't',
    })
  }
  return byRelation
}

function identityOf(letter: string): Column['identity'] {
  if (letter === '') return 'none'
  return letter === 'a' ? 'always' : 'by_default'
}

function readRelations(
  rows: readonly Row[],
  columns: ReadonlyMap<string, readonly Column[]>,
): ReadonlyMap<string, FoundRelation> {
  const relations = new Map<string, FoundRelation>()
  for (const row of rows) {
    const oid = text(row, 0)
    relations.set(oid, {
      oid,
      schema: text(row, 1),
      name: text(row, 2),
      kind: text(row, 3),
      parent: row[4] ?? null,
      reads: row[5]?.split(' ') ?? [],
      primaryKey: row[6]?.split('\u0001') ?? [],
      columns: columns.get(oid) ?? [],
    })
  }
  return relations
}

function readFunctions(rows: readonly Row[]) {
  const functions = new Map<string, FunctionTraits>()
  const schemas = new Set<string>()
  const aggregates = new Set<string>()
  let searchPath = ''
  for (const row of rows) {
    const kind = text(row, 0)
    const name = text(row, 2)
    const volatility = volatilities[text(row, 1)] ?? 'volatile'
    if (kind === 'path') searchPath = name
    else if (kind === 'schema') schemas.add(name)
    else if (kind === 'aggregate') aggregates.add(name)
    else if (kind === 'builtin') {
      for (const builtin of name.split(' ')) addFunction(functions, builtin, volatility, true)
    } else addFunction(functions, name, volatility, false)
  }
  for (const [name, traits] of functions) {
    // Of built-in names the router knows which are aggregates.
    if (!traits.builtin) functions.set(name, { ...traits, aggregate: aggregates.has(name) })
  }
  return { functions, searchPath, schemas }
}

/** A user's overload of a system function makes the name the user's, at the more volatile of both. */
function addFunction(
  functions: Map<string, FunctionTraits>,
  name: string,
  volatility: Volatility,
  builtin: boolean,
): void {
  const known = functions.get(name)
  functions.set(name, {
    volatility: known === undefined ? volatility : moreVolatile(known.volatility, volatility),
    builtin: builtin && (known?.builtin ?? true),
  })
}

function moreVolatile(a: Volatility, b: Volatility): Volatility {
  if (a === 'volatile' || b === 'volatile') return 'volatile'
  return a === 'stable' ? a : b
}

function text(row: Row, index: number): string {
  const value = row[index]
  assert(value !== undefined && value !== null, `column ${index} of the catalogs has a value`)
  return value
}
