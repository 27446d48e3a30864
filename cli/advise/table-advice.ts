// What to do with each table that lacks the key column, from how it is used and what it refers to. Pure.
import type { Relation, Schema, ShardingRules } from '../../router/schema.ts'
import { counted } from './counted.ts'
import type { DatabaseFacts, TableFact } from './table-facts.ts'
import type { Tallied } from './tally.ts'
import type { TableUses } from './table-uses.ts'

/**
 * `own key`: its own id is what others call the key. `reference`: a copy on every shard. `add key`: its rows belong to
 * rows that have one. `home`: stays on the home shard. `look`: neither small nor joined by the key.
 */
type AdviceKind = 'own key' | 'reference' | 'add key' | 'home' | 'look'

export type TableAdvice = {
  /** `schema.name`. */
  readonly table: string
  readonly kind: AdviceKind
  /** Column of `own key`. */
  readonly column: string | null
  readonly why: string
  readonly rows: number | null
  readonly bytes: number | null
  readonly calls: number
  readonly writes: number
}

/** A statement's uses of tables, with how often it ran. */
export type Used = { readonly entry: Tallied; readonly uses: TableUses }

// A copy on every shard is cheap while it is small, and each write of it is a transaction on all shards.
const referenceRowsMax = 100_000
const referenceBytesMax = 64 * 1024 * 1024
const referenceWriteShareMax = 0.05

/** Of every table without the key, by name. */
export function adviseTables(
  schema: Schema,
  rules: ShardingRules,
  used: readonly Used[],
  facts: DatabaseFacts,
): readonly TableAdvice[] {
  const tables = [...schema.relations.values()].filter(
    ({ kind, placement, ...table }) =>
      (kind === 'r' || kind === 'p') && placement === 'home' && isTopmost(table, facts),
  )
  return tables.map((table) => adviceOf(table, { schema, rules, used, facts })).sort(byName)
}

type Given = {
  readonly schema: Schema
  readonly rules: ShardingRules
  readonly used: readonly Used[]
  readonly facts: DatabaseFacts
}

function adviceOf(table: Relation, given: Given): TableAdvice {
  const name = nameOf(table)
  const { schema, rules, used, facts } = given
  const own = used.filter(({ uses }) => uses.all.has(table))
  const calls = sum(own)
  const writes = sum(own.filter(({ uses }) => uses.written.has(table)))
  const fact = facts.tables.find((each) => each.name === name)
  const base = { table: name, rows: fact?.rows ?? null, bytes: fact?.bytes ?? null, calls, writes }
  const isSharded = (other: string) => schema.relations.get(other)?.placement === 'sharded'
  const referring = facts.foreignKeys.filter(({ from, to }) => to === name && isSharded(from))
  const keyed = referring.flatMap(({ from, columns }) =>
    columns
      .filter((pair) => pair.from === keyOf(schema, from))
      .map((pair) => ({ table: from, column: pair.to })),
  )
  const [identity] = keyed
  if (identity !== undefined && hasKeyType(table, identity.column, rules)) {
    const { column } = identity
    const why = `"${identity.table}" refers to its column "${column}" by the key`
    return { ...base, kind: 'own key', column, why }
  }
  const member = facts.foreignKeys
    .filter(({ from, to }) => from === name && isSharded(to))
    .flatMap(({ to, columns }) => columns.filter((pair) => pair.to === keyOf(schema, to)))[0]
  if (member !== undefined && hasKeyType(table, member.from, rules)) {
    const why = `its column "${member.from}" refers to the key "${member.to}" of another table`
    return { ...base, kind: 'own key', column: member.from, why }
  }
  const joined = own.filter(({ uses }) =>
    [...uses.all].some(({ placement }) => placement === 'sharded'),
  )
  const together = sum(joined)
  const parent = facts.foreignKeys.find(({ from, to }) => from === name && isSharded(to))
  const needed = together > 0 || referring.length > 0
  if (needed && isSmall(fact) && writes <= calls * referenceWriteShareMax && parent === undefined) {
    const why =
      together > 0
        ? `${counted(together, 'call')} joined it with sharded tables`
        : 'sharded tables refer to it'
    const size = fact === undefined ? '' : `; it is small (${sizeText(fact)})`
    return { ...base, kind: 'reference', column: null, why: `${why}${size} and rarely written` }
  }
  if (parent !== undefined) {
    const why = `it refers to "${parent.to}", so its rows belong to a ${rules.key}`
    return { ...base, kind: 'add key', column: null, why }
  }
  if (!needed) {
    const why = 'nothing uses it together with sharded tables'
    return { ...base, kind: 'home', column: null, why }
  }
  const reason = isSmall(fact)
    ? `${writes} of ${counted(calls, 'call')} wrote to it`
    : `it is large (${sizeText(fact)})`
  const why = `${counted(together, 'call')} joined it with sharded tables, but ${reason}: give it the column "${rules.key}"`
  return { ...base, kind: 'look', column: null, why }
}

/** The rules with what is advised; null when that is nothing. */
export function advisedRules(
  rules: ShardingRules,
  advice: readonly TableAdvice[],
): ShardingRules | null {
  const tables = new Map(rules.tables)
  for (const { table, kind, column } of advice) {
    if (kind === 'reference') tables.set(table, { placement: 'reference' })
    else if (kind === 'own key' && column !== null) tables.set(table, { key: column })
  }
  return tables.size === rules.tables.size ? null : { ...rules, tables }
}

/** `schema.name`. */
function nameOf({ schema, name }: Pick<Relation, 'schema' | 'name'>): string {
  return `${schema}.${name}`
}

function isTopmost(table: Pick<Relation, 'schema' | 'name'>, { tables }: DatabaseFacts): boolean {
  return tables.some(({ name }) => name === nameOf(table))
}

function keyOf({ relations }: Schema, table: string): string | null {
  return relations.get(table)?.key ?? null
}

const typesOfKeys: Readonly<Record<ShardingRules['keyType'], readonly number[]>> = {
  bigint: [20, 21, 23],
  text: [25, 1043],
  uuid: [2950],
}

function hasKeyType({ columns }: Relation, name: string, { keyType }: ShardingRules): boolean {
  const column = columns.find((each) => each.name === name)
  return column !== undefined && typesOfKeys[keyType].includes(column.typeOid)
}

/** Where nothing is known of its size, it is taken for small. */
function isSmall(fact: TableFact | undefined): boolean {
  return (fact?.rows ?? 0) <= referenceRowsMax && (fact?.bytes ?? 0) <= referenceBytesMax
}

function sizeText(fact: TableFact | undefined): string {
  if (fact === undefined) return 'size unknown'
  const rows = fact.rows === null ? '' : `${Math.round(fact.rows)} rows, `
  return `${rows}${Math.ceil(fact.bytes / 1024)} kB`
}

function sum(used: readonly Used[]): number {
  return used.reduce((total, { entry }) => total + entry.calls, 0)
}

function byName(a: TableAdvice, b: TableAdvice): number {
  return a.table < b.table ? -1 : 1
}
