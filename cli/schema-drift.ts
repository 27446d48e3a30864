// Whether all shards have the same tables and other objects, and whether tables suit the way they are sharded. Pure.
// `ringfence check` puts into sentences what `ringfence schema diff` shows in full.
import type { ShardingConfig } from '../config/config.ts'
import { doubtful, wrong, type Verdict } from './finding.ts'
import type { SchemaObject } from './schema-objects.ts'
import type { ColumnFacts, TableFacts } from './server-probe.ts'

/** Where the rows of a table are, and by which column. */
type Placement =
  | { readonly kind: 'sharded'; readonly key: string }
  | { readonly kind: 'reference' }
  | { readonly kind: 'home' }

/** A shard with what it has. */
export type ShardSchema = {
  readonly id: string
  readonly tables: readonly TableFacts[]
  readonly objects: readonly SchemaObject[]
}

/** How a table differs from the model's of the same name. */
export type TableDifference =
  | { readonly kind: 'column missing' | 'column extra'; readonly column: ColumnFacts }
  | { readonly kind: ColumnAspect; readonly expected: ColumnFacts; readonly found: ColumnFacts }
  | {
      readonly kind: 'column order' | 'partitioning'
      readonly expected: string
      readonly found: string
    }
type ColumnAspect = 'column type' | 'column null' | 'column value'

/** What a shard has otherwise than the model; a table or object that is null is not there. */
export type SchemaDifference =
  | {
      readonly what: 'table'
      readonly expected: TableFacts | null
      readonly found: TableFacts | null
    }
  | {
      readonly what: 'table parts'
      readonly expected: TableFacts
      readonly found: TableFacts
      readonly parts: readonly TableDifference[]
    }
  | {
      readonly what: 'object'
      readonly expected: SchemaObject | null
      readonly found: SchemaObject | null
    }

const earlyKinds: ReadonlySet<string> = new Set(['extension', 'type', 'function'])

/** Everything but what is of the home shard alone. Of a table that is not on both sides nothing more is said. */
export function schemaDifferences(
  model: ShardSchema,
  shard: ShardSchema,
  rules: ShardingConfig,
): readonly SchemaDifference[] {
  const shared = new Set<string>()
  const tables = pairs(model.tables, shard.tables, ({ name }) => name).flatMap(
    ([expected, found]): SchemaDifference[] => {
      const either = [expected, found].filter((table) => table !== null)
      if (either.every((table) => placementOf(table, rules).kind === 'home')) return []
      if (expected === null || found === null) return [{ what: 'table', expected, found }]
      shared.add(expected.name)
      const parts = tableDifferences(expected, found)
      return parts.length === 0 ? [] : [{ what: 'table parts', expected, found, parts }]
    },
  )
  const isCompared = ({ table }: SchemaObject) => table === null || shared.has(table)
  // A table has one primary key, whatever its name is.
  const nameOf = ({ kind, table, name }: SchemaObject) =>
    kind === 'primary key' ? `${kind}\0${table}` : `${kind}\0${table}\0${name}`
  const objects = pairs(
    model.objects.filter(isCompared),
    shard.objects.filter(isCompared),
    nameOf,
  ).flatMap(([expected, found]) => {
    if (expected?.definition === found?.definition) return []
    return [{ what: 'object' as const, expected, found }]
  })
  // Tables may need them.
  const isEarly = ({ expected, found }: (typeof objects)[number]) => {
    return earlyKinds.has((expected ?? found)?.kind ?? '')
  }
  return [...objects.filter(isEarly), ...tables, ...objects.filter((each) => !isEarly(each))]
}

/** What is wrong on `shard` when it is compared with the model. */
export function driftFrom(
  model: ShardSchema,
  shard: ShardSchema,
  rules: ShardingConfig,
): Verdict[] {
  const differences = schemaDifferences(model, shard, rules)
  const keys = differences.flatMap((each) => keyDifference(each, model.id))
  const tables = differences.flatMap((difference): Verdict[] => {
    if (difference.what === 'object') return []
    const { expected, found } = difference
    const name = (expected ?? found)?.name ?? ''
    if (found === null) {
      return [wrong(`table "${name}" is missing; it is on shard "${model.id}"`, align)]
    }
    if (difference.what === 'table') {
      return [wrong(`table "${name}" is here but not on shard "${model.id}"`, align)]
    }
    const own = keys.filter((key) => key.table === name).map(({ text }) => text)
    const texts = [...difference.parts.map((part) => partText(part, model.id)), ...own]
    return [wrong(`table "${name}" differs: ${texts.join('; ')}`, align)]
  })
  const told = differences.flatMap((each) => (each.what === 'table parts' ? each.found.name : []))
  const alone = keys.filter(({ table }) => !told.includes(table))
  const keyVerdicts = alone.map(({ table, text }) => {
    return wrong(`table "${table}" differs: ${text}`, align)
  })
  return [
    ...tables,
    ...keyVerdicts,
    ...differences.flatMap((each) => objectVerdict(each, model.id)),
  ]
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

function tableDifferences(expected: TableFacts, found: TableFacts): readonly TableDifference[] {
  const differences = pairs(expected.columns, found.columns, ({ name }) => name).flatMap(
    ([there, here]): TableDifference[] => {
      if (here === null) return there === null ? [] : [{ kind: 'column missing', column: there }]
      if (there === null) return [{ kind: 'column extra', column: here }]
      const kinds: ColumnAspect[] = []
      if (there.type !== here.type) kinds.push('column type')
      if (there.notNull !== here.notNull) kinds.push('column null')
      if (there.value !== here.value) kinds.push('column value')
      return kinds.map((kind) => ({ kind, expected: there, found: here }))
    },
  )
  const orders = [expected, found].map(({ columns }) => columns.map(({ name }) => name).join(', '))
  const [there = '', here = ''] = orders
  const sameColumns = differences.every(({ kind }) => !/missing|extra/.test(kind))
  if (sameColumns && there !== here) {
    differences.push({ kind: 'column order', expected: there, found: here })
  }
  if (expected.partitionKey !== found.partitionKey) {
    const [by, instead] = [expected, found].map(({ partitionKey }) => partitionKey ?? 'nothing')
    differences.push({ kind: 'partitioning', expected: by ?? '', found: instead ?? '' })
  }
  return differences
}

/** What is on either side under the same name, in the model's order; null where it is missing. */
function pairs<T>(
  model: readonly T[],
  shard: readonly T[],
  nameOf: (one: T) => string,
): readonly (readonly [T | null, T | null])[] {
  const here = new Map(shard.map((one) => [nameOf(one), one]))
  const there = new Set(model.map(nameOf))
  return [
    ...model.map((one) => [one, here.get(nameOf(one)) ?? null] as const),
    ...shard.filter((one) => !there.has(nameOf(one))).map((one) => [null, one] as const),
  ]
}

function partText(part: TableDifference, modelId: string): string {
  switch (part.kind) {
    case 'column missing':
      return `no column "${part.column.name}"`
    case 'column extra':
      return `column "${part.column.name}" is not on "${modelId}"`
    case 'column type':
      return `column "${part.found.name}" is ${part.found.type}, on "${modelId}" ${part.expected.type}`
    case 'column null': {
      const nulls = part.expected.notNull ? 'may be null' : 'is not null'
      return `column "${part.found.name}" ${nulls}, unlike on "${modelId}"`
    }
    case 'column value': {
      const [here, there] = [part.found.value || 'no default', part.expected.value || 'none']
      return `column "${part.found.name}" has ${here}, on "${modelId}" ${there}`
    }
    case 'column order':
      return `its columns stand in another order (${part.found})`
    case 'partitioning':
      return `it is partitioned by ${part.found}, on "${modelId}" by ${part.expected}`
  }
}

/** A primary key over other columns. */
function keyDifference(
  difference: SchemaDifference,
  modelId: string,
): readonly { readonly table: string; readonly text: string }[] {
  if (difference.what !== 'object') return []
  const { expected, found } = difference
  const either = expected ?? found
  if (either?.kind !== 'primary key') return []
  const columnsOf = (key: SchemaObject | null) => {
    return key === null ? 'missing' : key.definition.replace(/^PRIMARY KEY /, '')
  }
  const text = `its primary key is ${columnsOf(found)}, on "${modelId}" ${columnsOf(expected)}`
  return [{ table: either.table ?? '', text }]
}

/** Rows are right without an index; with another function they may not be, but nobody can tell that. */
function objectVerdict(difference: SchemaDifference, modelId: string): Verdict[] {
  if (difference.what !== 'object') return []
  const { expected, found } = difference
  const either = expected ?? found
  if (either === null || either.kind === 'primary key') return []
  const of = either.table === null ? '' : ` of table "${either.table}"`
  const name = `${either.kind} "${either.name}"${of}`
  if (found === null) return [doubtful(`${name} is missing; it is on shard "${modelId}"`, show)]
  if (expected === null) return [doubtful(`${name} is here but not on shard "${modelId}"`, show)]
  return [doubtful(`${name} differs from that on shard "${modelId}"`, show)]
}

function isNamed(table: TableFacts, name: string): boolean {
  return table.name === name || bareName(table) === name
}

function bareName(table: TableFacts): string {
  return table.name.slice(table.name.indexOf('.') + 1)
}

const align = 'make the table the same on all shards'
const show = '"ringfence schema diff" shows the statements'
const keyTypes: Readonly<Record<ShardingConfig['keyType'], readonly string[]>> = {
  bigint: ['smallint', 'integer', 'bigint'],
  text: ['text', 'character varying'],
  uuid: ['uuid'],
}
