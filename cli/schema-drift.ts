// Whether all shards have the same tables, and whether these suit the way they are sharded. Pure.
import type { ShardingConfig } from '../config/config.ts'
import { doubtful, wrong, type Verdict } from './finding.ts'
import type { TableFacts } from './server-probe.ts'

/** Where the rows of a table are, and by which column. */
type Placement =
  | { readonly kind: 'sharded'; readonly key: string }
  | { readonly kind: 'reference' }
  | { readonly kind: 'home' }

/** A shard with the tables it has. */
export type ShardTables = { readonly id: string; readonly tables: readonly TableFacts[] }

/** What is wrong on `shard` when its sharded and reference tables are compared with the model's. */
export function driftFrom(
  model: ShardTables,
  shard: ShardTables,
  rules: ShardingConfig,
): Verdict[] {
  const here = new Map(shard.tables.map((table) => [table.name, table]))
  const there = new Map(model.tables.map((table) => [table.name, table]))
  const names = [...new Set([...there.keys(), ...here.keys()])].sort()
  return names.flatMap((name): Verdict[] => {
    const [expected, found] = [there.get(name), here.get(name)]
    const shared = [expected, found].some(
      (table) => table !== undefined && placementOf(table, rules).kind !== 'home',
    )
    if (!shared) return []
    if (found === undefined) {
      return [wrong(`table "${name}" is missing; it is on shard "${model.id}"`, align)]
    }
    if (expected === undefined) {
      return [wrong(`table "${name}" is here but not on shard "${model.id}"`, align)]
    }
    const differences = differencesOf(expected, found, model.id)
    if (differences.length === 0) return []
    return [wrong(`table "${name}" differs: ${differences.join('; ')}`, align)]
  })
}

/** What does not suit sharding in one shard's own tables. */
export function unsuitable(tables: readonly TableFacts[], rules: ShardingConfig): Verdict[] {
  const listed = [...rules.tables.keys()].filter(
    (name) => !tables.some((table) => isNamed(table, name)),
  )
  return [
    ...listed.map((name) =>
      doubtful(
        `table "${name}" of sharding.tables does not exist`,
        'create it, or remove the line',
      ),
    ),
    ...tables.flatMap((table) => {
      const placement = placementOf(table, rules)
      return placement.kind === 'sharded' ? unsuitableKey(table, placement.key, rules) : []
    }),
  ]
}

function unsuitableKey(table: TableFacts, key: string, { keyType }: ShardingConfig): Verdict[] {
  const column = table.columns.find(({ name }) => name === key)
  if (column === undefined) {
    const message = `table "${table.name}" has no column "${key}", its key in sharding.tables`
    return [wrong(message, 'correct the key, or add the column')]
  }
  const found: Verdict[] = []
  if (!keyTypes[keyType].includes(column.baseType)) {
    const message = `key "${key}" of table "${table.name}" is ${column.type}, but key_type is ${keyType}`
    found.push(wrong(message, `make it ${keyType}, or place the table as reference or home`))
  }
  if (!column.notNull) {
    const message = `key "${key}" of table "${table.name}" may be null, and such a row has no shard`
    found.push(doubtful(message, `ALTER TABLE ${table.name} ALTER ${key} SET NOT NULL`))
  }
  for (const { name, primary, columns } of table.uniques) {
    if (columns.includes(key)) continue
    const what = primary ? 'primary key' : `unique index "${name}"`
    const message = `${what} (${columns.join(', ')}) of table "${table.name}" lacks the key "${key}"`
    found.push(doubtful(`${message}: it is unique on each shard only`, `add "${key}" to it`))
  }
  return found
}

function placementOf(table: TableFacts, rules: ShardingConfig): Placement {
  const named = rules.tables.get(table.name) ?? rules.tables.get(bareName(table))
  if (named !== undefined) {
    return 'key' in named ? { kind: 'sharded', key: named.key } : { kind: named.placement }
  }
  const hasKey = table.columns.some(({ name }) => name === rules.key)
  return hasKey ? { kind: 'sharded', key: rules.key } : { kind: 'home' }
}

function differencesOf(expected: TableFacts, found: TableFacts, modelId: string): string[] {
  const columnsOf = (table: TableFacts) => new Map(table.columns.map((item) => [item.name, item]))
  const [there, here] = [columnsOf(expected), columnsOf(found)]
  const differences: string[] = []
  for (const [name, column] of there) {
    const own = here.get(name)
    if (own === undefined) differences.push(`no column "${name}"`)
    else if (own.type !== column.type) {
      differences.push(`column "${name}" is ${own.type}, on "${modelId}" ${column.type}`)
    } else if (own.notNull !== column.notNull) {
      const nulls = column.notNull ? 'may be null' : 'is not null'
      differences.push(`column "${name}" ${nulls}, unlike on "${modelId}"`)
    }
  }
  for (const name of here.keys()) {
    if (!there.has(name)) differences.push(`column "${name}" is not on "${modelId}"`)
  }
  if (differences.length === 0 && [...there.keys()].join('\0') !== [...here.keys()].join('\0')) {
    differences.push(`its columns stand in another order (${[...here.keys()].join(', ')})`)
  }
  const [keyThere, keyHere] = [primaryKey(expected), primaryKey(found)]
  if (keyThere !== keyHere) {
    differences.push(`its primary key is ${keyHere}, on "${modelId}" ${keyThere}`)
  }
  return differences
}

function primaryKey(table: TableFacts): string {
  const key = table.uniques.find(({ primary }) => primary)
  return key === undefined ? 'missing' : `(${key.columns.join(', ')})`
}

function isNamed(table: TableFacts, name: string): boolean {
  return table.name === name || bareName(table) === name
}

function bareName(table: TableFacts): string {
  return table.name.slice(table.name.indexOf('.') + 1)
}

const align = 'make the table the same on all shards'
const keyTypes: Readonly<Record<ShardingConfig['keyType'], readonly string[]>> = {
  bigint: ['smallint', 'integer', 'bigint'],
  text: ['text', 'character varying'],
  uuid: ['uuid'],
}
