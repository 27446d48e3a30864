// Names of a statement → relations and functions of the schema, by the search path in force.
import type { Node, RangeVar, TypeName } from '@pgsql/types'
import type { CastFamily } from './key-source.ts'
import type { Column, Relation, Schema, ShardingRules } from './schema.ts'

/** One name resolution for one search path. */
export class Names {
  readonly schema: Schema
  readonly rules: ShardingRules
  readonly #path: readonly string[]

  constructor(schema: Schema, rules: ShardingRules, searchPath: readonly string[]) {
    this.schema = schema
    this.rules = rules
    this.#path = searchedSchemas(searchPath)
  }

  /** The relation that a name means now; undefined when there is none. */
  relation(range: RangeVar): Relation | undefined {
    return findRelation(this.schema, this.#path, range)
  }

  /** Schema in which CREATE puts a relation that is not qualified. */
  get creationSchema(): string {
    return this.#path.find((name) => name !== 'pg_catalog') ?? 'public'
  }

  /** What the configuration says of a table, existing or to be created. */
  configured(schema: string, name: string): { key: string } | { placement: string } | undefined {
    return this.rules.tables.get(`${schema}.${name}`) ?? this.rules.tables.get(name)
  }
}

/** Schemas that a name may be found in: pg_catalog first unless the path says where (manual, 5.10.5). */
export function searchedSchemas(path: readonly string[]): readonly string[] {
  return path.includes('pg_catalog') ? path : ['pg_catalog', ...path]
}

/** The relation that a name means; `searched` is of searchedSchemas(). */
export function findRelation(
  { relations }: Schema,
  searched: readonly string[],
  { schemaname, relname = '' }: RangeVar,
): Relation | undefined {
  if (schemaname !== undefined) return relations.get(`${schemaname}.${relname}`)
  for (const schema of searched) {
    const found = relations.get(`${schema}.${relname}`)
    if (found !== undefined) return found
  }
  return undefined
}

/** `schema.name` when the statement wrote it so, else the bare name. */
export function writtenName({ schemaname, relname = '' }: RangeVar): string {
  return schemaname === undefined ? relname : `${schemaname}.${relname}`
}

/** The strings of a list of names; `*` for a star, nothing for what is no name. */
export function namesOf(nodes: readonly Node[] | undefined): string[] {
  return (nodes ?? []).map((node) => {
    if ('String' in node) return node.String.sval ?? ''
    return 'A_Star' in node ? '*' : ''
  })
}

/**
 * Family of a key column, by its type; undefined when its values cannot be hashed as the rules say.
 */
export function keyFamily(column: Column): CastFamily | undefined {
  if (column.typeOid === 20 || column.typeOid === 21 || column.typeOid === 23) return 'integer'
  if (column.typeOid === 2950) return 'uuid'
  const text = column.typeOid === 25 || column.typeOid === 1043
  return text && column.deterministic !== false ? 'text' : undefined
}

/** Characters that `character varying(n)` holds. */
export function charsMaxOf(column: Column): number | null {
  const match = /^character varying\((\d+)\)$/.exec(column.type)
  return match?.[1] === undefined ? null : Number(match[1])
}

const families: ReadonlyMap<string, CastFamily> = new Map([
  ['int2', 'integer'],
  ['int4', 'integer'],
  ['int8', 'integer'],
  ['numeric', 'numeric'],
  ['text', 'text'],
  ['varchar', 'text'],
  ['uuid', 'uuid'],
])

/**
 * Family of a cast's target and whether it is an array; undefined when the cast may change a value.
 */
export function castTarget(
  type: TypeName | undefined,
): { readonly family: CastFamily; readonly array: boolean } | undefined {
  const names = namesOf(type?.names)
  const qualified = names.length === 2 && names[0] === 'pg_catalog'
  if (type === undefined || (names.length !== 1 && !qualified)) return undefined
  if ((type.typmods ?? []).length > 0 || type.setof === true || type.pct_type === true) {
    return undefined
  }
  const family = families.get(names.at(-1) ?? '')
  return family === undefined ? undefined : { family, array: (type.arrayBounds ?? []).length > 0 }
}
