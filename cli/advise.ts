// `ringfence advise`: how the traffic of a database would route with a proposed shard key, before or after it is
// sharded. Nothing is run and nothing is changed.
import type { Client } from 'pg'
import { type Ask, loadSchema } from '../catalog/schema-loader.ts'
import { epoch, shardId } from '../core/ids.ts'
import { withServer } from '../catalog/connect-by-url.ts'
import { catalogUrl } from '../proxy/catalog-url.ts'
import { loadParser } from '../router/parser.ts'
import { Router, type RouterContext } from '../router/router.ts'
import type { KeyType, Schema, ShardingRules } from '../router/schema.ts'
import { restingTopology } from '../router/topology.ts'
import { type AdviceReport, printReport } from './advise/report.ts'
import { judge, routeClasses } from './advise/judge.ts'
import type { Observation, TrafficFormat } from './advise/observation.ts'
import { trafficOf } from './advise/source.ts'
import { statisticsOf } from './advise/statement-statistics.ts'
import { adviseTables, advisedRules, type Used } from './advise/table-advice.ts'
import { readFacts } from './advise/table-facts.ts'
import { tableUses } from './advise/table-uses.ts'
import { sumsOf, Tally, type Tallied } from './advise/tally.ts'
import { chooseDatabase } from './choose-database.ts'
import { CommandFailure, readConfig } from './load-config.ts'
import { databaseOptions } from './proxy-options.ts'

export type AdviseOptions = {
  readonly config: string
  readonly database?: string
  /** A database to read schema and statistics from, instead of the configuration's. */
  readonly url?: string
  readonly key?: string
  readonly keyType?: KeyType
  readonly reference: readonly string[]
  readonly format?: TrafficFormat
  /** Statements that are shown of each class. */
  readonly top: number
  readonly json: boolean
}

/** Where the schema is read, and how it is sharded as far as that is known. */
type Subject = { readonly url: string; readonly rules: ShardingRules | null }

// Not those of any cluster: enough of them that one shard and several are told apart.
const shardCount = 4
const vnodeCount = 4096
const cacheEntriesMax = 10_000

/** Prints the advice. `file` null: pg_stat_statements. Exit code 0, 1 when there is nothing to judge. */
export async function adviseCommand(
  file: string | null,
  options: AdviseOptions,
  out: (text: string) => void,
): Promise<number> {
  const subject = await subjectOf(options)
  await loadParser()
  const report = await withServer(subject.url, async (client) => {
    const { rows } = await client.query<{ name: string }>('SELECT current_database() AS name')
    const database = rows[0]?.name ?? ''
    const traffic =
      file === null
        ? await statisticsOf(client)
        : await trafficOf(file, options.format ?? null, database)
    return advise(client, traffic, subject, options)
  })
  if (report.statements.length === 0) {
    const logs = 'in a log they need log_min_duration_statement = 0 or log_statement = all'
    throw new CommandFailure(`no statements were found; ${logs}`)
  }
  if (options.json) out(`${JSON.stringify(report)}\n`)
  else printReport(report, options.top, out)
  return 0
}

async function subjectOf(options: AdviseOptions): Promise<Subject> {
  if (options.url !== undefined) return { url: options.url, rules: null }
  const config = await readConfig(options.config)
  const database = databaseOptions(chooseDatabase(config.databases, options.database), config)
  const [home] = database.shards
  if (home === undefined) throw new CommandFailure(`database "${database.name}" has no shards`)
  return { url: catalogUrl(home, database), rules: database.rules }
}

async function advise(
  client: Client,
  traffic: Iterable<Observation> | AsyncIterable<Observation>,
  subject: Subject,
  options: AdviseOptions,
): Promise<AdviceReport> {
  const ask = remembered(client)
  const user = (await ask('SELECT current_user'))[0]?.[0] ?? ''
  const rules = await rulesOf(options, subject, await loadSchema(ask, null, user))
  const schema = await loadSchema(ask, rules, user)
  const context = contextOf(schema, rules)
  const router = new Router({ cacheEntriesMax })
  const tally = new Tally()
  for await (const observation of traffic) {
    tally.add(observation, judge(observation.sql, router, context))
  }
  const used = tally.entries.map((entry): Used => {
    const uses = tableUses(entry.sample, schema, schema.defaultSearchPath)
    if (!uses.catalogOnly) return { entry, uses }
    const judgement = { ...entry.judgement, class: 'catalogs' as const, reason: null, hint: null }
    return { entry: { ...entry, judgement }, uses }
  })
  const entries = used.map(({ entry }) => entry)
  const tables = adviseTables(schema, rules, used, await readFacts(client))
  const better = advisedRules(rules, tables)
  const advised =
    better === null ? null : retold(entries, contextOf(await loadSchema(ask, better, user), better))
  const advisedSums = advised === null ? null : sumsOf(advised, routeClasses)
  return {
    key: rules.key,
    keyType: rules.keyType,
    sharded: [...schema.relations.values()].filter(({ placement }) => placement === 'sharded')
      .length,
    ...sumsOf(entries, routeClasses),
    tables,
    advised:
      advisedSums === null
        ? null
        : { classes: advisedSums.classes, onOneShard: advisedSums.onOneShard },
    statements: entries.map(({ text, judgement, calls, timeMs }, at) => ({
      sql: text,
      ...judgement,
      advisedClass: (advised?.[at]?.judgement ?? judgement).class,
      calls,
      timeMs,
    })),
  }
}

/** The same statements under other rules, in the same order. */
function retold(entries: readonly Tallied[], context: RouterContext): readonly Tallied[] {
  const router = new Router({ cacheEntriesMax })
  return entries.map((entry) => {
    const left = entry.sample === '' || entry.judgement.class === 'catalogs'
    const [judged] = left ? [] : judge(entry.sample, router, context)
    return { ...entry, judgement: judged?.judgement ?? entry.judgement }
  })
}

/** The arguments' key and tables over those of the configuration. */
async function rulesOf(
  { key, keyType, reference }: AdviseOptions,
  { rules }: Subject,
  schema: Schema,
): Promise<ShardingRules> {
  const column = key ?? rules?.key
  if (column === undefined) throw new CommandFailure('name the proposed shard key with --key')
  const listed = reference.map((name) => [name, { placement: 'reference' as const }] as const)
  const tables = new Map([...(key === undefined ? (rules?.tables ?? []) : []), ...listed])
  const configured = key === undefined ? rules?.keyType : undefined
  const type = keyType ?? configured ?? commonType(schema, column)
  return { key: column, keyType: type, vnodeCount, tables }
}

/** Type of most columns of that name. */
function commonType({ relations }: Schema, key: string): KeyType {
  const counts: Record<KeyType, number> = { bigint: 0, text: 0, uuid: 0 }
  for (const { columns } of relations.values()) {
    const oid = columns.find(({ name }) => name === key)?.typeOid
    if (oid === 20 || oid === 21 || oid === 23) counts.bigint += 1
    else if (oid === 25 || oid === 1043) counts.text += 1
    else if (oid === 2950) counts.uuid += 1
  }
  if (counts.bigint + counts.text + counts.uuid === 0) {
    throw new CommandFailure(`no table has a column "${key}" of an integer, text or uuid type`)
  }
  if (counts.bigint >= counts.text && counts.bigint >= counts.uuid) return 'bigint'
  return counts.uuid > counts.text ? 'uuid' : 'text'
}

function contextOf(schema: Schema, rules: ShardingRules): RouterContext {
  const ids = Array.from({ length: shardCount }, (_, at) => shardId(`s${at + 1}`))
  const owners = Uint16Array.from({ length: rules.vnodeCount }, (_, at) => at % shardCount)
  const topology = restingTopology(epoch(1), ids, owners)
  return { topology, schema, rules, searchPath: schema.defaultSearchPath }
}

/** The catalogs are read once, for every set of rules. */
function remembered(client: Client): Ask {
  const answers = new Map<string, Awaited<ReturnType<Ask>>>()
  return async (sql) => {
    const known = answers.get(sql)
    if (known !== undefined) return known
    const query = { text: sql, rowMode: 'array' as const, types: asText }
    const { rows } = await client.query<(string | null)[]>(query)
    answers.set(sql, rows)
    return rows
  }
}

const asText = { getTypeParser: () => (value: string | Buffer) => String(value) }
