// Statements that make a shard's schema like the model's. What would destroy rows, or cannot be told to be safe, is
// given as a comment: a person has to look at it. Pure.
import { escapeIdentifier } from 'pg'
import type { SchemaDifference, TableDifference } from './schema-drift.ts'
import type { SchemaObject } from './schema-objects.ts'
import type { ColumnFacts, TableFacts } from './server-probe.ts'

/** One statement or comment a string. `modelObjects`: what a missing table has besides its columns. */
export function repairSql(
  difference: SchemaDifference,
  modelObjects: readonly SchemaObject[],
): readonly string[] {
  const { what, expected, found } = difference
  if (what === 'object') return objectSql(expected, found)
  if (what === 'table parts') {
    return difference.parts.flatMap((part) => partSql(tableName(difference.expected), part))
  }
  if (expected === null) {
    return found === null ? [] : [comment(`DROP TABLE ${tableName(found)}`)]
  }
  const own = modelObjects.filter(({ table }) => table === expected.name)
  const sequences = expected.columns.flatMap(({ value }) => sequenceOf(value))
  return [
    ...sequences.map((name) => statement(`CREATE SEQUENCE IF NOT EXISTS ${name}`)),
    createTable(expected),
    ...own.map(({ createSql }) => statement(createSql)),
  ]
}

/** Whether the statements make a sequence, which gives the same numbers on every shard until init has seen it. */
export function makesSequence(sql: string): boolean {
  return !sql.startsWith('-- ') && /^CREATE SEQUENCE | AS IDENTITY\b/m.test(sql)
}

/** Of a serial column, whose default names it. */
function sequenceOf(value: string): readonly string[] {
  const [, name] = /^DEFAULT nextval\('((?:[^']|'')+)'::regclass\)$/.exec(value) ?? []
  return name === undefined ? [] : [name.replaceAll("''", "'")]
}

function objectSql(expected: SchemaObject | null, found: SchemaObject | null): readonly string[] {
  if (expected === null) return found === null ? [] : [comment(found.dropSql)]
  if (found === null) return [statement(expected.createSql)]
  // These take the place of the old one by themselves.
  if (expected.createSql.startsWith('CREATE OR REPLACE ')) return [statement(expected.createSql)]
  if (expected.kind === 'type' || expected.kind === 'extension' || expected.kind === 'partition') {
    const from = `${expected.kind} ${expected.name} is ${found.definition}`
    return [comment(`alter it by hand: ${from}, and should be ${expected.definition}`)]
  }
  return [statement(found.dropSql), statement(expected.createSql)]
}

function partSql(table: string, part: TableDifference): readonly string[] {
  const alter = (action: string) => statement(`ALTER TABLE ${table} ${action}`)
  switch (part.kind) {
    case 'column missing':
      return [alter(`ADD COLUMN ${columnSql(part.column)}`)]
    case 'column extra':
      return [comment(`ALTER TABLE ${table} DROP COLUMN ${escapeIdentifier(part.column.name)}`)]
    case 'column type':
      return [alter(`ALTER COLUMN ${quotedName(part.expected)} TYPE ${part.expected.type}`)]
    case 'column null': {
      const action = part.expected.notNull ? 'SET NOT NULL' : 'DROP NOT NULL'
      return [alter(`ALTER COLUMN ${quotedName(part.expected)} ${action}`)]
    }
    case 'column value':
      return [valueSql(alter, part.expected, part.found)]
    case 'column order':
      return [comment(`only a new table can have its columns as (${part.expected})`)]
    case 'partitioning':
      return [comment(`only a new table can be partitioned by ${part.expected}`)]
  }
}

function valueSql(
  alter: (action: string) => string,
  expected: ColumnFacts,
  found: ColumnFacts,
): string {
  const column = `ALTER COLUMN ${quotedName(expected)}`
  const isDefault = ({ value }: ColumnFacts) => value === '' || value.startsWith('DEFAULT ')
  const isIdentity = ({ value }: ColumnFacts) => value.endsWith(' AS IDENTITY')
  if (isDefault(expected) && isDefault(found)) {
    return alter(`${column} ${expected.value === '' ? 'DROP DEFAULT' : `SET ${expected.value}`}`)
  }
  if (isIdentity(expected) && found.value === '') return alter(`${column} ADD ${expected.value}`)
  if (isIdentity(found) && expected.value === '') return alter(`${column} DROP IDENTITY`)
  if (isIdentity(expected) && isIdentity(found)) {
    return alter(`${column} SET ${expected.value.replace(' AS IDENTITY', '')}`)
  }
  const [from, to] = [found.value || 'plain', expected.value || 'plain']
  return comment(`alter it by hand: column "${expected.name}" is ${from}, and should be ${to}`)
}

function createTable(table: TableFacts): string {
  const columns = table.columns.map((column) => `  ${columnSql(column)}`)
  const by = table.partitionKey === null ? '' : ` PARTITION BY ${table.partitionKey}`
  return statement(`CREATE TABLE ${tableName(table)} (\n${columns.join(',\n')}\n)${by}`)
}

function columnSql({ name, type, notNull, value }: ColumnFacts): string {
  const parts = [escapeIdentifier(name), type, value, notNull ? 'NOT NULL' : '']
  return parts.filter((part) => part !== '').join(' ')
}

function quotedName({ name }: ColumnFacts): string {
  return escapeIdentifier(name)
}

/** Names of schemas have no dot; those of tables may. */
function tableName({ name }: TableFacts): string {
  const dot = name.indexOf('.')
  return `${escapeIdentifier(name.slice(0, dot))}.${escapeIdentifier(name.slice(dot + 1))}`
}

function statement(sql: string): string {
  return `${sql};`
}

function comment(text: string): string {
  return `-- ${text.replaceAll('\n', '\n-- ')};`
}
