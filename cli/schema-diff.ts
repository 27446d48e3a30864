// `ringfence schema diff`: everything in which the shards' schemas differ from the home shard's, and the statements
// that would make them alike.
import type { UrlTls } from '../catalog/connect-by-url.ts'
import type { Config, DatabaseConfig, ShardingConfig } from '../config/config.ts'
import type { ServerAddress } from '../config/server-url.ts'
import { chooseDatabase } from './choose-database.ts'
import { CommandFailure, readConfig } from './load-config.ts'
import { databaseOptions } from './proxy-options.ts'
import {
  type SchemaDifference,
  schemaDifferences,
  type ShardSchema,
  type TableDifference,
} from './schema-drift.ts'
import { makesSequence, repairSql } from './schema-repair.ts'
import { type Login, type Probed, probeServer } from './server-probe.ts'
import { renderTable } from './table.ts'

export type SchemaDiffOptions = {
  readonly config: string
  readonly database?: string
  readonly json: boolean
}

/** One difference as it is shown. */
type Row = {
  readonly shard: string
  readonly kind: string
  readonly table: string | null
  readonly name: string
  readonly what: 'missing' | 'extra' | 'differs'
  readonly expected: string | null
  readonly found: string | null
}

type ShardDifferences = {
  readonly shard: string
  readonly rows: readonly Row[]
  readonly ddl: readonly string[]
}

const deadlineMs = 10_000
const initAgain =
  '-- then run "ringfence init": it spreads the numbers of new sequences over the shards;'

/** Prints the differences. Exit code 0 when there are none, else 1. */
export async function schemaDiffCommand(
  options: SchemaDiffOptions,
  out: (text: string) => void,
): Promise<number> {
  const config = await readConfig(options.config)
  const database = chooseDatabase(config.databases, options.database)
  const { sharding } = database
  if (sharding === null) {
    throw new CommandFailure(`database "${database.name}" is not sharded: there is one schema`)
  }
  const [model, ...others] = await Promise.all(schemasOf(config, database))
  if (model === undefined) throw new CommandFailure(`database "${database.name}" has no shards`)
  const found = others.map((shard) => differencesOf(model, shard, sharding))
  const ok = found.every(({ rows }) => rows.length === 0)
  const rows = found.flatMap((each) => each.rows)
  if (options.json) {
    const ddl = Object.fromEntries(found.map((each) => [each.shard, each.ddl]))
    const shards = [model, ...others].map(({ id }) => id)
    out(`${JSON.stringify({ ok, model: model.id, shards, differences: rows, ddl })}\n`)
    return ok ? 0 : 1
  }
  if (ok) out(`${others.length + 1} shards have the same schema\n`)
  else out(renderTable(['shard', 'what', 'is', 'here', `on ${model.id}`], rows.map(cells)))
  for (const { shard, ddl } of found) {
    if (ddl.length === 0) continue
    out(`\n-- On shard ${shard} itself, not through the proxy; look at what is commented out.\n`)
    out(`${ddl.join('\n')}\n`)
  }
  return ok ? 0 : 1
}

function schemasOf(config: Config, database: DatabaseConfig): Promise<ShardSchema>[] {
  const { serverUser, catalogUser } = databaseOptions(database, config)
  const tls = config.tls.server
  return database.shards.map(async ({ id, primary, replicas }) => {
    const addresses = [primary, ...replicas.map(({ address }) => address)]
    const { name, password } = serverUser ?? catalogUser
    const asked = addresses.map((address) => askServer(address, { user: name, password }, tls))
    const answers = await Promise.all(asked)
    // After a failover the file may still name the old primary.
    const leader = answers.filter(isAnswered).find(({ facts }) => !facts.inRecovery)
    if (leader === undefined) throw new CommandFailure(`shard "${id}": ${reasonOf(answers[0])}`)
    return { id, tables: leader.tables, objects: leader.objects }
  })
}

function askServer(address: ServerAddress, common: Login, tls: UrlTls): Promise<Probed> {
  const { user, password } = address
  const login = user === null ? common : { user, password }
  return probeServer({ address, login, tls, catalog: null, schema: true, deadlineMs })
}

function isAnswered(probed: Probed): probed is Extract<Probed, { kind: 'answered' }> {
  return probed.kind === 'answered'
}

function reasonOf(probed: Probed | undefined): string {
  if (probed === undefined || probed.kind === 'unasked') return 'no login is known for it'
  return probed.kind === 'answered' ? 'no server of it is the primary' : probed.reason
}

function differencesOf(
  model: ShardSchema,
  shard: ShardSchema,
  rules: ShardingConfig,
): ShardDifferences {
  const differences = schemaDifferences(model, shard, rules)
  const rows = differences.flatMap((difference) => rowsOf(shard.id, difference))
  const ddl = differences.flatMap((difference) => repairSql(difference, model.objects))
  const last = ddl.some(makesSequence) ? [initAgain] : []
  return { shard: shard.id, rows, ddl: [...ddl, ...last] }
}

function rowsOf(shard: string, difference: SchemaDifference): readonly Row[] {
  const { what, expected, found } = difference
  if (what === 'table parts') {
    const table = difference.expected.name
    return difference.parts.map((part) => ({ shard, table, ...partRow(part) }))
  }
  const is = found === null ? 'missing' : expected === null ? 'extra' : 'differs'
  if (what === 'table') {
    const name = (expected ?? found)?.name ?? ''
    return [{ shard, kind: 'table', table: null, name, what: is, expected: null, found: null }]
  }
  const either = expected ?? found
  if (either === null) return []
  const { kind, table, name } = either
  const definitions = {
    expected: expected?.definition ?? null,
    found: found?.definition ?? null,
  }
  return [{ shard, kind, table, name, what: is, ...definitions }]
}

function partRow(part: TableDifference): Omit<Row, 'shard' | 'table'> {
  switch (part.kind) {
    case 'column missing':
    case 'column extra': {
      const { name, type } = part.column
      const here = part.kind === 'column extra'
      const what = here ? 'extra' : 'missing'
      return { kind: 'column', name, what, expected: here ? null : type, found: here ? type : null }
    }
    case 'column type':
    case 'column null':
    case 'column value': {
      const [expected, found] = [part.expected, part.found].map((column) => {
        if (part.kind === 'column type') return column.type
        if (part.kind === 'column null') return column.notNull ? 'NOT NULL' : 'NULL'
        return column.value === '' ? 'no default' : column.value
      })
      const sides = { expected: expected ?? null, found: found ?? null }
      return { kind: 'column', name: part.expected.name, what: 'differs', ...sides }
    }
    case 'column order':
    case 'partitioning': {
      const { kind, expected, found } = part
      return { kind, name: '', what: 'differs', expected, found }
    }
  }
}

function cells({ shard, kind, table, name, what, expected, found }: Row): string[] {
  const subject = [kind, name].filter((word) => word !== '').join(' ')
  const place = table === null ? subject : `${subject} of ${table}`
  return [shard, place, what, ...[found, expected].map((text) => shortened(text ?? ''))]
}

/** One line of a definition that may have many; JSON has all of it. */
function shortened(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ').trim()
  return line.length > 60 ? `${line.slice(0, 59)}…` : line
}
