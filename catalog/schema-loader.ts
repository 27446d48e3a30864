// Reads the home shard's system catalogs into the router's Schema: three statements, whoever carries them.
import { assert } from '../core/assert.ts'
import type {
  Column,
  FunctionTraits,
  HiddenVolatile,
  LoginPaths,
  Relation,
  Schema,
  ShardingRules,
  Volatility,
} from '../router/schema.ts'
import { placeRelations, type FoundRelation } from './schema-placement.ts'
import { type ReadRelation, replicaTraits } from './schema-replica.ts'
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
  const facts = readFunctions(await ask(functionsSql))
  const columns = readColumns(await ask(columnsSql))
  const found = readRelations(await ask(relationsSql), columns)
  const placed = placeRelations(found, rules)
  const traits = replicaTraits(found)
  const relations = new Map<string, Relation>()
  for (const { oid, schema, name, kind, columns, primaryKey } of found.values()) {
    const { placement, key } = placed.get(oid) ?? { placement: 'catalog', key: null }
    const own = { schema, name, kind, placement, key, columns, primaryKey }
    relations.set(`${schema}.${name}`, { ...own, ...traits.get(oid) })
  }
  const { functions, hiddenVolatile, searchPath, loginPaths, schemas } = facts
  return {
    // Microseconds since the machine started: no two loads of a process end at the same one.
    version: Number(process.hrtime.bigint() / 1000n),
    relations,
    functions,
    ...(hiddenVolatile === null ? {} : { hiddenVolatile }),
    defaultSearchPath: expandSearchPath(searchPath, user).filter((name) => schemas.has(name)),
    loginPaths,
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

type LoadedRelation = FoundRelation & ReadRelation
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
): ReadonlyMap<string, LoadedRelation> {
  const relations = new Map<string, LoadedRelation>()
  for (const row of rows) {
    const oid = text(row, 0)
    const parents = row[4]?.split(' ') ?? []
    relations.set(oid, {
      oid,
      schema: text(row, 1),
      name: text(row, 2),
      kind: text(row, 3),
      parent: parents[0] ?? null,
      parents,
      reads: row[5]?.split(' ') ?? [],
      primaryKey: row[6]?.split('\u0001') ?? [],
      columns: columns.get(oid) ?? [],
      persistence: text(row, 7),
      functions: row[8]?.split('\u0001') ?? [],
      uses: row[9]?.split(' ') ?? [],
      locks: text(row, 10) === 't',
    })
  }
  return relations
}

type UserFunction = {
  readonly name: string
  readonly volatility: Volatility
  readonly schemas: readonly string[]
}

function readFunctions(rows: readonly Row[]) {
  const functions = new Map<string, FunctionTraits>()
  const users: UserFunction[] = []
  const schemas = new Set<string>()
  const aggregates = new Set<string>()
  const operators = new Set<string>()
  const types = new Set<string>()
  let implicitCast = false
  let searchPath = ''
  let reader = ''
  const own = new Map<string, string>()
  for (const row of rows) {
    const kind = text(row, 0)
    const name = text(row, 2)
    const volatility = volatilities[text(row, 1)] ?? 'volatile'
    if (kind === 'path') {
      searchPath = name
      reader = text(row, 3)
    } else if (kind === 'own path') own.set(text(row, 3), name)
    else if (kind === 'schema') schemas.add(name)
    else if (kind === 'aggregate') aggregates.add(name)
    else if (kind === 'operator') operators.add(name)
    else if (kind === 'type') types.add(name)
    else if (kind === 'implicit') implicitCast = true
    else if (kind === 'builtin') {
      for (const builtin of name.split(' ')) functions.set(builtin, { volatility, builtin: true })
    } else if (kind === 'function') {
      users.push({ name, volatility, schemas: text(row, 3).split('\u0001') })
    }
  }
  for (const { name, volatility, schemas: own } of users) {
    const system = functions.get(name)
    // An overload of a system function makes the name the user's, at the more volatile of both.
    functions.set(name, {
      volatility: system === undefined ? volatility : moreVolatile(system.volatility, volatility),
      builtin: false,
      // Of built-in names the router knows which are aggregates.
      aggregate: aggregates.has(name),
      schemas: own,
      ...(system === undefined ? {} : { shadows: true }),
    })
  }
  const none = operators.size === 0 && types.size === 0 && !implicitCast
  const hiddenVolatile: HiddenVolatile | null = none ? null : { operators, types, implicitCast }
  const loginPaths: LoginPaths = { common: own.has(reader) ? null : searchPath, own }
  return { functions, hiddenVolatile, searchPath, loginPaths, schemas }
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
