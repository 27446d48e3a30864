// A look at home shard, new shard and proxies before anything changes: what will be done, and
// everything that is in the way.
import type { Client } from 'pg'
import { openCatalogConnection } from '../../catalog/connection.ts'
import { missingMigrations, readMigrations } from '../../catalog/migrations.ts'
import {
  listShards,
  type LocalShard,
  lockShards,
  readCluster,
  readLocalShard,
} from '../../catalog/shards.ts'
import type { ShardId } from '../../core/ids.ts'
import type { ShardingRules } from '../../router/schema.ts'
import { openShard } from '../copy/connection.ts'
import { primaryUrl, type ShardAddress } from '../shard-address.ts'
import { forgetProxies, silentProxies } from './acknowledge.ts'
import { readReferenceTables } from './reference-rows.ts'
import { planSchema, readSchema } from './schema-ddl.ts'

/** Holds the lock on changes of the set of shards for as long as it is open. */
export type JoinPlan = {
  /** To the home shard's catalog; nobody's signal closes it. */
  readonly home: Client
  readonly cluster: string
  /** What the new database is registered as, when it has been this shard before. */
  readonly local: LocalShard
  /** It joined earlier: there is nothing to do. */
  readonly hasJoined: boolean
  readonly problems: readonly string[]
  /** One line each, in order. */
  readonly steps: readonly string[]
  [Symbol.asyncDispose](): Promise<void>
}

type PlanOptions = {
  readonly id: ShardId
  readonly home: ShardAddress
  readonly shard: ShardAddress
  readonly rules: ShardingRules
  readonly forget: readonly string[]
}

const queryTimeoutMs = 15_000

/**
 * @throws CatalogError when there is no catalog, or another command changes the shards; else what
 * pg throws
 */
export async function planJoin(options: PlanOptions): Promise<JoinPlan> {
  const url = await primaryUrl(options.home)
  const { client: home, end } = await openCatalogConnection(url, queryTimeoutMs)
  try {
    await home.query('SET search_path = pg_catalog')
    await lockShards(home)
    return { home, ...(await planOver(home, options)), [Symbol.asyncDispose]: end }
  } catch (thrown) {
    await end()
    throw thrown
  }
}

async function planOver(
  home: Client,
  options: PlanOptions,
): Promise<Omit<JoinPlan, 'home' | typeof Symbol.asyncDispose>> {
  const { id, shard, forget } = options
  const cluster = await readCluster(home)
  const found = (await listShards(home)).find((each) => each.id === id)
  const hasJoined = found !== undefined && found.state !== 'joining'
  const never = new AbortController().signal
  await using source = await openShard(await primaryUrl(options.home), never)
  await using target = await openShard(await primaryUrl(shard), never)
  // A look only: whoever changes a table meanwhile is not waited for.
  for (const { client } of [source, target]) await client.query(`SET lock_timeout = '10s'`)
  const local = await readLocalShard(target.client)
  const plan = { cluster, local, hasJoined, problems: [], steps: [] }
  if (hasJoined) return plan
  const stranger = identityProblem(local, { id, cluster })
  if (stranger !== null) return { ...plan, problems: [stranger] }
  const before = [
    ...(await forgetProxies(home, forget)),
    ...(await silentProxies(home)),
    ...(await databaseProblems(source.client, target.client, id)),
  ]
  const { steps, problems } = await planCopy(source.client, target.client, options, local !== null)
  return { ...plan, problems: [...before, ...problems], steps }
}

function identityProblem(
  local: LocalShard,
  { id, cluster }: { readonly id: ShardId; readonly cluster: string },
): string | null {
  if (local === null || (local.id === id && local.cluster === cluster)) return null
  return local.cluster === cluster
    ? `the database of shard "${id}" is shard "${local.id}" of this cluster: correct its URL`
    : `the database of shard "${id}" belongs to another cluster: correct its URL`
}

type DatabaseFacts = {
  readonly encoding: string
  readonly collation: string
  readonly type: string
}

const databaseSql = `SELECT pg_encoding_to_char(encoding) AS encoding,
    format('%s %s', datcollate, datctype) AS collation
  FROM pg_database WHERE datname = current_database()`

/** Text has to sort and compare alike. */
async function databaseProblems(home: Client, shard: Client, id: ShardId): Promise<string[]> {
  const [one, other] = await Promise.all([
    home.query<DatabaseFacts>(databaseSql),
    shard.query<DatabaseFacts>(databaseSql),
  ])
  const [wanted, found] = [one.rows[0], other.rows[0]]
  const problems: string[] = []
  if (wanted?.encoding !== found?.encoding) {
    problems.push(
      `the database of shard "${id}" is encoded in ${found?.encoding}, the home shard's in ` +
        `${wanted?.encoding}: create it anew with the same ENCODING`,
    )
  }
  if (wanted?.collation !== found?.collation) {
    problems.push(
      `the database of shard "${id}" has the locale ${found?.collation}, the home shard's ` +
        `${wanted?.collation}: create it anew with the same LC_COLLATE and LC_CTYPE`,
    )
  }
  return problems
}

/** `returning`: what is in reference tables there are copies of an earlier time. */
async function planCopy(
  home: Client,
  shard: Client,
  { id, rules }: PlanOptions,
  returning: boolean,
): Promise<{ readonly steps: readonly string[]; readonly problems: readonly string[] }> {
  const wanted = await readSchema(home)
  const present = await readSchema(shard)
  const plan = planSchema(wanted, present, id)
  const references = await readReferenceTables(home, rules)
  const problems = [...plan.problems]
  const replaced = new Set(returning ? references.map(({ name }) => name) : [])
  const tables = present.before.filter(({ kind }) => kind === 'table')
  for (const { name } of tables) {
    if (replaced.has(name)) continue
    const { rows } = await shard.query<{ used: boolean }>(
      `SELECT EXISTS (SELECT FROM ${name}) AS used`,
    )
    if (rows[0]?.used !== true) continue
    problems.push(`table ${name} on "${id}" has rows: empty it, or name another database`)
  }
  const migrations = await missingMigrations(shard, id, await readMigrations())
  const missing = migrations.filter(({ scope }) => scope === 'shard')
  const made = plan.before.length + plan.after.length
  const there = wanted.before.length + wanted.after.length - made
  const steps = [
    `on ${id}: migrations ${missing.map(({ name }) => name).join(', ') || '(none missing)'}`,
    `register "${id}" as joining: proxies hold DDL and writes to reference tables, and say so`,
    `on ${id}: make ${made} parts of the schema (${there} are there)`,
    ...(await Promise.all(references.map(async ({ name }) => copyStep(home, name)))),
    `on ${id}: sequences of sharded tables step from its ordinal`,
    `register "${id}" as active: proxies go on`,
    ...wanted.homeOnly.map((name) => `left out: ${name} stays on the home shard`),
  ]
  return { steps, problems }
}

async function copyStep(home: Client, name: string): Promise<string> {
  const { rows } = await home.query<{ rows: number; bytes: string }>(
    `SELECT greatest(0, (SELECT sum(greatest(c.reltuples, 0)) FROM pg_partition_tree($1::regclass) t
        JOIN pg_class c ON c.oid = t.relid AND t.isleaf))::float8 AS rows,
      pg_size_pretty(coalesce((SELECT sum(pg_table_size(t.relid))
        FROM pg_partition_tree($1::regclass) t), pg_table_size($1::regclass))) AS bytes`,
    [name],
  )
  const { rows: about = 0, bytes = '' } = rows[0] ?? {}
  return `copy reference table ${name}: about ${about} rows, ${bytes}`
}
