// `ringfence import`: one PostgreSQL that is there becomes the first shard of a cluster, with all
// virtual nodes. Nothing of its rows and tables changes but the step of sequences. A look at
// everything first, then the catalog, then the file.
import { randomBytes } from 'node:crypto'
import { access, rename, rm, writeFile } from 'node:fs/promises'
import { tlsOfUrl, tlsQuery, type UrlTls } from '../catalog/connect-by-url.ts'
import { readMigrations } from '../catalog/migrations.ts'
import type { Config } from '../config/config.ts'
import { loadConfig } from '../config/load.ts'
import { formatProblem } from '../config/problems.ts'
import type { KeyType } from '../router/schema.ts'
import type { Verdict } from './finding.ts'
import { readImportFacts } from './import-facts.ts'
import { importFile, type ImportedDatabase } from './import-file.ts'
import { importVerdicts } from './import-verdict.ts'
import { initialiseAll } from './init.ts'
import { CommandFailure } from './load-config.ts'
import { shardingRules } from './proxy-options.ts'
import { probeServer, type TableFacts } from './server-probe.ts'
import { failureVerdict } from './server-verdict.ts'
import { renderTable } from './table.ts'

export type ImportOptions = {
  readonly url: string
  readonly key: string
  /** Undefined: found out from the columns of that name. */
  readonly keyType?: KeyType
  readonly reference: readonly string[]
  readonly home: readonly string[]
  /** Tables with a key of their own. */
  readonly tableKey: ReadonlyMap<string, string>
  readonly output: string
  readonly force: boolean
  readonly init: boolean
  readonly json: boolean
}

const deadlineMs = 30_000

/** Exit code 0, or 1 when something is in the way: then nothing has been written or changed. */
export async function importCommand(
  options: ImportOptions,
  out: (text: string) => void,
): Promise<number> {
  await refuseToOverwrite(options)
  const address = addressOf(options.url)
  const login = { user: address.user, password: address.password }
  const catalog = { migrations: await readMigrations(), scopes: ['home', 'shard'] as const }
  const probed = await probeServer({
    address,
    login,
    tls: address.tls,
    catalog,
    schema: true,
    deadlineMs,
  })
  if (probed.kind !== 'answered') {
    return finishWith([failureVerdict(probed, login)], null, options, out)
  }
  const keyType = options.keyType ?? keyTypeOf(probed.tables, options)
  const text = importFile({ ...address, ...placementsOf(options), keyType })
  const config = configOf(text, options.output)
  const [database] = config.databases
  const sharding = database?.sharding ?? null
  if (database === undefined || sharding === null) {
    throw new CommandFailure('the file that was made has no sharded database')
  }
  const facts = await readImportFacts(urlOf(address), shardingRules(sharding), deadlineMs)
  const verdicts = importVerdicts(probed, facts, database, login)
  if (verdicts.some(({ severity }) => severity === 'error')) {
    return finishWith(verdicts, null, options, out)
  }
  const applied = await written(text, options.output, () => {
    return options.init ? initialiseAll(config) : Promise.resolve([])
  })
  const count = (placement: string) =>
    [...facts.schema.relations.values()].filter(
      (relation) => relation.placement === placement && /^[rp]$/.test(relation.kind),
    ).length
  const tables = {
    sharded: count('sharded'),
    reference: count('reference'),
    home: count('home'),
  }
  return finishWith(verdicts, { applied, tables, keyType }, options, out)
}

/** The file stands there only once `done` is; where it cannot be written nothing is done. */
async function written<T>(text: string, output: string, done: () => Promise<T>): Promise<T> {
  const fresh = `${output}.new`
  // Passwords stand in it.
  await writeFile(fresh, text, { mode: 0o600 }).catch((cause: unknown) => {
    throw new CommandFailure(`cannot write "${output}": ${String(cause)}`, { cause })
  })
  try {
    const result = await done()
    await rename(fresh, output)
    return result
  } finally {
    await rm(fresh, { force: true })
  }
}

type Done = {
  readonly applied: readonly string[]
  readonly tables: Readonly<Record<'sharded' | 'reference' | 'home', number>>
  readonly keyType: string
}

async function refuseToOverwrite({ output, force }: ImportOptions): Promise<void> {
  if (force) return
  const exists = await access(output).then(
    () => true,
    () => false,
  )
  if (exists) throw new CommandFailure(`"${output}" is there already: --force replaces it`)
}

/**
 * What `importFile` needs of the URL; without a password in it PGPASSWORD is taken, as psql does.
 */
function addressOf(text: string) {
  const url = URL.canParse(text) ? new URL(text) : null
  if (url === null || !['postgres:', 'postgresql:'].includes(url.protocol)) {
    throw new CommandFailure('--url takes postgres://user:password@host:5432/database')
  }
  const user = decodeURIComponent(url.username)
  const database = decodeURIComponent(url.pathname.slice(1))
  if (user === '' || database === '' || url.hostname === '') {
    throw new CommandFailure('--url names a user, a host and a database')
  }
  const asked = url.searchParams.has('sslmode')
  const known = tlsOfUrl(url)
  const tls: UrlTls = asked ? known : { ...known, mode: 'prefer' }
  const given = decodeURIComponent(url.password) || (process.env['PGPASSWORD'] ?? '')
  return {
    host: decodeURIComponent(url.hostname).replace(/^\[(.*)\]$/, '$1'),
    tls,
    tlsMode: asked ? tls.mode : null,
    port: url.port === '' ? 5432 : Number(url.port),
    database,
    user,
    password: given === '' ? null : given,
    clientPassword: given === '' ? randomBytes(18).toString('base64url') : given,
  }
}

function urlOf(address: ReturnType<typeof addressOf>): string {
  const { host, port, database, user, password, tls } = address
  const secret = password === null ? '' : `:${encodeURIComponent(password)}`
  const place = `${host.includes(':') ? `[${host}]` : host}:${port}`
  const name = encodeURIComponent(user)
  return `postgres://${name}${secret}@${place}/${encodeURIComponent(database)}${tlsQuery(tls)}`
}

function placementsOf({
  key,
  reference,
  home,
  tableKey,
}: ImportOptions): Pick<ImportedDatabase, 'key' | 'tables'> {
  const tables = new Map<string, { key: string } | { placement: string }>()
  for (const [table, column] of tableKey) tables.set(table, { key: column })
  for (const table of reference) tables.set(table, { placement: 'reference' })
  for (const table of home) tables.set(table, { placement: 'home' })
  return { key, tables }
}

/**
 * The type that the key's columns have; where they differ, the verdicts name those that do not fit.
 */
function keyTypeOf(tables: readonly TableFacts[], { key }: ImportOptions): KeyType {
  const types = tables.flatMap(({ columns }) =>
    columns.filter(({ name }) => name === key).map(({ baseType }) => baseType),
  )
  if (types.includes('uuid')) return 'uuid'
  const textual = types.some((type) => type === 'text' || type === 'character varying')
  return textual ? 'text' : 'bigint'
}

function configOf(text: string, file: string): Config {
  const loaded = loadConfig(text, { file, env: {} })
  if (!loaded.ok) throw new CommandFailure(loaded.problems.map(formatProblem).join('\n'))
  return loaded.config
}

function finishWith(
  verdicts: readonly Verdict[],
  done: Done | null,
  { output, json, init }: ImportOptions,
  out: (text: string) => void,
): number {
  const code = done === null ? 1 : 0
  if (json) {
    const findings = verdicts
    out(`${JSON.stringify({ ok: done !== null, output, ...done, findings })}\n`)
    return code
  }
  if (verdicts.length > 0) {
    const rows = verdicts.map(({ severity, message, remedy }) => [
      severity,
      remedy === null ? message : `${message}: ${remedy}`,
    ])
    out(renderTable(['', 'what'], rows))
  }
  if (done === null) {
    out('nothing was written or changed\n')
    return code
  }
  const { sharded, reference, home } = done.tables
  out(`${sharded} sharded tables, ${reference} reference tables, ${home} home tables\n`)
  if (init) {
    out(
      'catalog created; s1 has all virtual nodes. Sequences of sharded tables step by 1,024 now\n',
    )
  }
  out(`wrote ${output}; go on with:\n`)
  if (!init) out(`  ringfence init --config ${output}\n`)
  out(`  ringfence serve --config ${output}\n`)
  return code
}
