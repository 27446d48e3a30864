// Which tables a move takes rows from, what of them the mover has to know, and what keeps one from
// being moved. Both shards are read and compared before anything is changed.
import type { Client } from 'pg'
import type { KeyType, ShardingRules } from '../router/schema.ts'
import { MoveProblem } from './move-problem.ts'
import { faultsSql, leavesSql, namesSql, tablesSql } from './tables-query.ts'

/** A column of a sharded table. */
type MovedColumn = {
  readonly name: string
  /** format_type() under search_path = pg_catalog: qualified unless it is the system's own. */
  readonly type: string
  /** What it is made of, through domains, without its length. */
  readonly base: string
  /** Computed by the server, stored or virtual: never written. */
  readonly generated: boolean
  readonly identity: 'none' | 'always' | 'by_default'
  readonly notNull: boolean
  /** False where the binary form has numbers in it that mean something else on another server. */
  readonly binary: boolean
}

/** A relation that holds rows: a partition, or the table itself. */
export type Leaf = {
  readonly schema: string
  readonly name: string
  readonly oid: number
  readonly replicaIdentity: 'default' | 'full' | 'index' | 'nothing'
  /** What an old tuple of the replication stream tells. */
  readonly identityColumns: readonly string[]
  /** Without indexes; with what is out of line (TOAST). */
  readonly bytes: number
  /** Of a partition, as SQL; else empty. */
  readonly bound: string
}

/** A sharded table: the topmost parent, through which rows are written. */
export type MovedTable = {
  readonly schema: string
  readonly name: string
  readonly oid: number
  /** Shard key column. */
  readonly key: string
  /** Its type; empty when there is no such column. */
  readonly keyType: string
  /** In order of attnum. */
  readonly columns: readonly MovedColumn[]
  /** In the order of the key; empty without one. */
  readonly primaryKey: readonly string[]
  readonly partitioned: boolean
  /** As SQL; empty when not partitioned. */
  readonly partitionKey: string
  readonly leaves: readonly Leaf[]
  /** The table itself where it is partitioned: its rows are published under its identity. */
  readonly parent: Leaf | null
  /** Why it cannot be moved, whatever the other shard is like. */
  readonly faults: readonly string[]
}

type TableRow = {
  readonly schema: string
  readonly name: string
  readonly oid: string
  readonly partitioned: boolean
  readonly partitionKey: string
  readonly primaryKey: readonly string[]
  readonly columns: readonly MovedColumn[]
}

type LeafRow = Pick<Leaf, 'schema' | 'name' | 'replicaIdentity' | 'identityColumns' | 'bound'> & {
  readonly root: string
  readonly oid: string
  readonly bytes: string
  readonly hasRows: boolean
}

/**
 * All sharded tables of a shard, by schema and name. `client` has search_path = pg_catalog.
 */
export async function readMovedTables(
  client: Client,
  rules: ShardingRules,
): Promise<readonly MovedTable[]> {
  const values = argumentsOf(rules)
  const tables = await client.query<TableRow>(tablesSql, values)
  const leaves = await client.query<LeafRow>(leavesSql, values)
  const faults = await client.query<{ root: string; fault: string }>(faultsSql, values)
  return tables.rows.map((row) => {
    const { columns } = row
    const rule = rules.tables.get(`${row.schema}.${row.name}`) ?? rules.tables.get(row.name)
    const key = rule !== undefined && 'key' in rule ? rule.key : rules.key
    const ofTable = ({ root }: { readonly root: string }) => root === row.oid
    const relations = leaves.rows.filter(ofTable)
    const parent = relations.find(({ hasRows }) => !hasRows)
    const table = {
      ...row,
      oid: Number(row.oid),
      key,
      keyType: columns.find(({ name }) => name === key)?.type ?? '',
      leaves: relations.filter(({ hasRows }) => hasRows).map(leafOf),
      parent: parent === undefined ? null : leafOf(parent),
    }
    const found = faults.rows.filter(ofTable).map(({ fault }) => fault)
    return { ...table, faults: [...ownFaults(table, rules), ...found] }
  })
}

/** Names of all sharded tables, as tableName() gives them. */
export async function readTableNames(
  client: Client,
  rules: ShardingRules,
): Promise<readonly string[]> {
  const { rows } = await client.query<{ schema: string; name: string }>(
    namesSql,
    argumentsOf(rules),
  )
  return rows.map(tableName)
}

/** @throws MoveProblem schemaChanged when one of `names` is not among those that are moved. */
export function refuseOthers(names: readonly string[], moved: readonly string[]): void {
  const other = names.find((name) => !moved.includes(name))
  if (other === undefined) return
  throw new MoveProblem('schemaChanged', `table ${other} has come since the move has begun`, {
    hint: 'Nothing of it was moved. Abort the move and begin it again.',
  })
}

/** Of ringfence.sharded_tables(). */
function argumentsOf({ key, tables }: ShardingRules) {
  const keyed: string[] = []
  const others: string[] = []
  for (const [table, rule] of tables) {
    if ('key' in rule) keyed.push(table)
    else others.push(table)
  }
  return [key, keyed, others]
}

/**
 * Everything that keeps rows of these tables from being moved between two shards. One sentence
 * each, in the order of the tables; empty: nothing.
 */
export function tableProblems(
  source: readonly MovedTable[],
  target: readonly MovedTable[],
): readonly string[] {
  const problems: string[] = []
  for (const table of source) {
    const named = tableName(table)
    for (const fault of table.faults) problems.push(`on the source, table ${named}: ${fault}`)
    const other = target.find((each) => tableName(each) === named)
    if (other === undefined) problems.push(`table ${named} is missing on the target`)
    else problems.push(...differences(table, other).map((text) => `table ${named}: ${text}`))
  }
  for (const table of target) {
    const named = tableName(table)
    for (const fault of table.faults) problems.push(`on the target, table ${named}: ${fault}`)
    if (source.some((each) => tableName(each) === named)) continue
    problems.push(`table ${named} is missing on the source`)
  }
  return problems
}

/**
 * Relations whose replica identity does not cover the shard key and the primary key: they need
 * REPLICA IDENTITY FULL while a move follows their changes. A partitioned table's identity says what
 * the old rows of its partitions are, so all of them have it then, or none.
 */
export function needsFullIdentity(table: MovedTable): readonly Leaf[] {
  const { key, primaryKey, leaves, parent } = table
  const needed = [key, ...primaryKey]
  const relations = parent === null ? leaves : [parent, ...leaves]
  const narrow = relations.filter(({ replicaIdentity }) => replicaIdentity !== 'full')
  const lacking = narrow.filter(({ identityColumns }) => {
    return needed.some((column) => !identityColumns.includes(column))
  })
  if (parent === null) return lacking
  return lacking.length > 0 || parent.replicaIdentity === 'full' ? narrow : []
}

/** `schema.name`, as the configuration and progress name a table. */
export function tableName({ schema, name }: { readonly schema: string; readonly name: string }) {
  return `${schema}.${name}`
}

function leafOf({ schema, name, oid, bytes, bound, ...identity }: LeafRow): Leaf {
  const { replicaIdentity, identityColumns } = identity
  const numbers = { oid: Number(oid), bytes: Number(bytes) }
  return { schema, name, replicaIdentity, identityColumns, bound, ...numbers }
}

/** Types that are hashed as the router hashes the key: others are padded, folded or signed otherwise. */
const keyBases: Readonly<Record<KeyType, readonly string[]>> = {
  bigint: ['smallint', 'integer', 'bigint'],
  text: ['text', 'character varying'],
  uuid: ['uuid'],
}

function ownFaults(
  { key, columns, primaryKey }: Pick<MovedTable, 'key' | 'columns' | 'primaryKey'>,
  { keyType }: ShardingRules,
): string[] {
  const faults: string[] = []
  const column = columns.find(({ name }) => name === key)
  if (column === undefined) faults.push(`it has no column "${key}", its shard key`)
  else if (!keyBases[keyType].includes(column.base)) {
    faults.push(`its shard key "${key}" is ${column.type}, which is no key of type ${keyType}`)
  }
  if (primaryKey.length === 0) faults.push('it has no primary key')
  const computed = columns.filter(({ generated }) => generated).map(({ name }) => name)
  for (const name of new Set([key, ...primaryKey])) {
    if (computed.includes(name)) faults.push(`column "${name}" of its keys is generated`)
  }
  return faults
}

/** Of two tables of one name. */
function differences(source: MovedTable, target: MovedTable): string[] {
  const found: string[] = []
  for (const column of source.columns) {
    const other = target.columns.find(({ name }) => name === column.name)
    if (other === undefined) found.push(`column "${column.name}" is missing on the target`)
    else found.push(...columnDifferences(column, other))
  }
  for (const { name } of target.columns) {
    if (source.columns.some((column) => column.name === name)) continue
    found.push(`column "${name}" is missing on the source`)
  }
  const keys = [source, target].map(({ primaryKey }) => primaryKey.join(', '))
  if (keys[0] !== keys[1]) {
    found.push(`the primary key is (${keys[0]}) on the source, (${keys[1]}) on the target`)
  }
  return [...found, ...partitionDifferences(source, target)]
}

function columnDifferences(source: MovedColumn, target: MovedColumn): string[] {
  const found: string[] = []
  const named = `column "${source.name}"`
  if (source.type !== target.type) {
    found.push(`${named} is ${source.type} on the source, ${target.type} on the target`)
  }
  if (source.generated !== target.generated) {
    found.push(`${named} is generated on the ${source.generated ? 'source' : 'target'} only`)
  }
  // A looser column would take what the other refuses once rows are moved back.
  if (source.notNull !== target.notNull) {
    found.push(`${named} is NOT NULL on the ${source.notNull ? 'source' : 'target'} only`)
  }
  return found
}

/**
 * Tables that are partitioned in different ways take each other's rows as long as there is a
 * partition for each.
 */
function partitionDifferences(source: MovedTable, target: MovedTable): string[] {
  if (!source.partitioned || source.partitionKey !== target.partitionKey) return []
  const bounds = new Set(target.leaves.map(({ name, bound }) => `${name} ${bound}`))
  return source.leaves
    .filter(({ name, bound }) => !bounds.has(`${name} ${bound}`))
    .map(({ name, bound }) => `partition "${name}" ${bound} is missing on the target`)
}
