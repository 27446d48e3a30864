// `ringfence check`: everything that is wrong with the file, and when the file is sound, with the servers.
import { readFile } from 'node:fs/promises'
import { readMigrations, type Migration } from '../catalog/migrations.ts'
import type { UrlTls } from '../catalog/connect-by-url.ts'
import type { Config, DatabaseConfig } from '../config/config.ts'
import { loadConfig } from '../config/load.ts'
import type { Problem } from '../config/problems.ts'
import type { ServerAddress } from '../config/server-url.ts'
import { holds, type Path } from '../config/setting.ts'
import { ServerTls } from '../pool/server-tls.ts'
import { ClientTls } from '../proxy/client-tls.ts'
import { wrong, type Finding, type Verdict } from './finding.ts'
import { loginFindings } from './login-findings.ts'
import { driftFrom, unsuitable } from './schema-drift.ts'
import {
  probeLogin,
  probeServer,
  type CatalogNeeds,
  type Login,
  type Probed,
} from './server-probe.ts'
import {
  catalogVerdicts,
  failureVerdict,
  promotedVerdict,
  replicaVerdicts,
  serverVerdicts,
  twinVerdicts,
} from './server-verdict.ts'
import { renderTable } from './table.ts'

const deadlineMs = 3_000

/** Checks the file, then the servers it names. Exit code 0, or 1 when there is an error. */
export async function checkCommand(
  configFile: string,
  options: { readonly json: boolean },
  out: (text: string) => void,
): Promise<number> {
  const { findings, serverCount } = await checkFile(configFile)
  const errors = findings.filter(({ severity }) => severity === 'error').length
  const warnings = findings.length - errors
  if (options.json) {
    out(`${JSON.stringify({ ok: errors === 0, servers: serverCount, findings })}\n`)
    return errors === 0 ? 0 : 1
  }
  if (findings.length > 0) {
    const rows = findings.map(({ severity, where, subject, message, remedy }) => {
      const about = subject === '' ? message : `${subject}: ${message}`
      return [severity, where, remedy === null ? about : `${about}; ${remedy}`]
    })
    out(renderTable(['', 'where', 'what'], rows))
  }
  const seen = serverCount === 0 ? 'servers not asked' : `${serverCount} servers asked`
  out(`${errors} errors, ${warnings} warnings, ${seen}\n`)
  return errors === 0 ? 0 : 1
}

async function checkFile(file: string) {
  const text = await readFile(file, 'utf8').catch((error: unknown) => error)
  if (typeof text !== 'string') {
    const message = text instanceof Error ? text.message : 'cannot be read'
    const verdict = wrong(message, 'name the file with --config')
    return { findings: [{ where: file, subject: '', ...verdict }], serverCount: 0 }
  }
  const loaded = loadConfig(text, { file, env: process.env })
  const problems = loaded.ok
    ? loaded.warnings.map(problemFinding('warning'))
    : loaded.problems.map(problemFinding('error'))
  const rest = loaded.ok ? { ...loaded, wrongPaths: [] } : loaded.rest
  if (rest === null) return { findings: problems, serverCount: 0 }
  const locate = (path: Path) => {
    const { line, column } = rest.positionOf(path)
    return `${file}:${line}:${column}`
  }
  const { findings, serverCount } = await checkServers(rest.config, rest.wrongPaths, locate)
  const files = [...tlsFindings(rest.config, locate), ...loginFindings(rest.config, locate)]
  return { findings: [...problems, ...files, ...findings], serverCount }
}

/** Certificates that cannot be used. */
function tlsFindings({ tls }: Config, locate: (path: Path) => string): readonly Finding[] {
  const sides = {
    client: () => new ClientTls(tls.client, () => undefined),
    server: () => new ServerTls(tls.server),
  }
  return Object.entries(sides).flatMap(([side, open]): Finding[] => {
    try {
      open()
      return []
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      const [where, subject] = [locate(['tls', side]), `tls.${side}`]
      return [{ severity: 'error', where, subject, message, remedy: 'correct the file' }]
    }
  })
}

function problemFinding(severity: Finding['severity']) {
  return ({ file, line, column, path, message, remedy }: Problem): Finding => {
    return { severity, where: `${file}:${line}:${column}`, subject: path, message, remedy }
  }
}

/** A server of the file, with what it answered. */
type Server = {
  readonly shardId: string
  readonly isHome: boolean
  readonly role: 'primary' | 'replica'
  readonly address: ServerAddress
  readonly path: Path
  readonly login: Login
  readonly probed: Probed
  /** Of the other users whose names are passed through: those who cannot log in there. */
  readonly refused: readonly Verdict[]
}
type AnsweredServer = Server & { readonly probed: Extract<Probed, { kind: 'answered' }> }

/**
 * Asks all servers at once, each with a deadline of 3 s; never throws for what a server can cause. What depends on
 * a setting at `wrongPaths` is not asked.
 */
async function checkServers(
  config: Config,
  wrongPaths: readonly Path[],
  locate: (path: Path) => string,
): Promise<{ readonly findings: readonly Finding[]; readonly serverCount: number }> {
  const migrations = await readMigrations()
  const isRight = (path: Path) => !wrongPaths.some((at) => holds(at, path) || holds(path, at))
  const checked = config.databases.map(async (written) => {
    const sound = isRight(['databases', written.name, 'sharding'])
    const database = sound ? written : { ...written, sharding: null }
    const asked = await Promise.all(serversOf(config, database, migrations, isRight))
    const findings = judge(database, asked).map(({ server, verdict }): Finding => {
      const { host, port, database: name } = server.address
      const subject = `${server.shardId} ${server.role} ${host}:${port}/${name}`
      const { severity, message, remedy } = verdict
      return { severity, where: locate(server.path), subject, message, remedy }
    })
    return { findings, serverCount: asked.length }
  })
  const all = await Promise.all(checked)
  return {
    findings: all.flatMap(({ findings }) => findings),
    serverCount: all.reduce((sum, { serverCount }) => sum + serverCount, 0),
  }
}

/** The proxy's own login, or those of all clients; admins may be there for the console alone. */
function loginsOf({ users, auth }: Config, { serverUser }: DatabaseConfig): readonly Login[] {
  if (serverUser !== null) return [{ user: serverUser.name, password: serverUser.password }]
  const known = users.flatMap(({ name, secret, admin }) =>
    secret.kind === 'password' ? [{ user: name, password: secret.password, admin }] : [],
  )
  const clients = known.filter(({ admin }) => !admin)
  if (known.length > 0) return clients.length > 0 ? clients : known
  const { query } = auth
  if (query === null || query.password === null) return []
  return [{ user: query.user, password: query.password }]
}

function serversOf(
  config: Config,
  database: DatabaseConfig,
  migrations: readonly Migration[],
  isRight: (path: Path) => boolean,
): Promise<Server>[] {
  const at = ['databases', database.name]
  const logins = loginsOf(config, database)
  const loginsRight =
    isRight([...at, 'server_user']) && (database.serverUser !== null || isRight(['users']))
  return database.shards.flatMap(({ id, primary, replicas }, index) => {
    const isHome = index === 0
    const scopes: readonly Migration['scope'][] = isHome ? ['home', 'shard'] : ['shard']
    const shard = [...at, 'shards', index]
    const ask = (role: Server['role'], address: ServerAddress, path: Path) => {
      const loginRight = address.user !== null || loginsRight
      if (!loginRight || !isRight([...shard, 'id']) || !isRight(path)) return []
      // Of a replica, too: a failover may have made it the primary.
      const catalog = database.sharding === null ? null : { migrations, scopes }
      const target = { shardId: id, isHome, role, address, path }
      return [askServer(target, logins, catalog, config.tls.server)]
    }
    return [
      ...ask('primary', primary, [...shard, 'primary']),
      ...replicas.flatMap(({ address }, place) =>
        ask('replica', address, [...shard, 'replicas', place, 'url']),
      ),
    ]
  })
}

async function askServer(
  target: Omit<Server, 'login' | 'probed' | 'refused'>,
  logins: readonly Login[],
  catalog: CatalogNeeds | null,
  tls: UrlTls,
): Promise<Server> {
  const { address } = target
  const { user, password } = address
  const [login, ...others] = user === null ? logins : [{ user, password }]
  if (login === undefined) {
    const probed = { kind: 'unasked' } as const
    return { ...target, login: { user: '', password: null }, probed, refused: [] }
  }
  const probed = await probeServer({
    address,
    login,
    tls,
    catalog,
    schema: catalog !== null,
    deadlineMs,
  })
  const refused: Verdict[] = []
  for (const other of probed.kind === 'answered' ? others : []) {
    const failed = await probeLogin({ address, login: other, tls, deadlineMs })
    if (failed !== null) refused.push(failureVerdict(failed, other))
  }
  return { ...target, login, probed, refused }
}

type Judged = { readonly server: Server; readonly verdict: Verdict }

function judge(database: DatabaseConfig, written: readonly Server[]): Judged[] {
  const servers = written.map((server) => inItsRole(server, written))
  const primaries = servers.filter(isAnswered).filter(({ role }) => role === 'primary')
  return servers.flatMap((server, at) => {
    const promoted = server.role === 'primary' && written[at]?.role === 'replica'
    const verdicts = [...server.refused, ...verdictsOn(server, primaries, database)]
    if (promoted) verdicts.unshift(promotedVerdict)
    return verdicts.map((verdict) => ({ server, verdict }))
  })
}

/**
 * After a failover the file still names the old primary. The proxy follows the new one, and so does the check: the
 * one replica that is none, if the written primary is down or a replica of the same cluster.
 */
function inItsRole(server: Server, servers: readonly Server[]): Server {
  const ofShard = servers.filter(({ shardId }) => shardId === server.shardId)
  const written = ofShard.find(({ role }) => role === 'primary')
  const leaders = ofShard.filter(isAnswered).filter(({ probed }) => !probed.facts.inRecovery)
  const [leader] = leaders
  if (written === undefined || leader === undefined || leaders.length > 1) return server
  if (leader === written || !mayFollow(written, leader)) return server
  if (server === leader) return { ...server, role: 'primary' }
  return server === written ? { ...server, role: 'replica' } : server
}

function mayFollow(written: Server, leader: AnsweredServer): boolean {
  if (!isAnswered(written)) return true
  return written.probed.facts.systemIdentifier === leader.probed.facts.systemIdentifier
}

function verdictsOn(
  server: Server,
  primaries: readonly AnsweredServer[],
  database: DatabaseConfig,
): Verdict[] {
  const { role, login, shardId, isHome, probed } = server
  if (probed.kind !== 'answered') return [failureVerdict(probed, login)]
  const { facts, catalog, tables, objects } = probed
  const found = serverVerdicts(facts, role, login, database)
  if (role === 'replica') {
    const primary = primaries.find((other) => other.shardId === shardId)
    return primary === undefined
      ? found
      : [...found, ...replicaVerdicts(facts, primary.probed.facts)]
  }
  const earlier = primaries.slice(
    0,
    primaries.findIndex((other) => other.shardId === shardId),
  )
  found.push(...twinVerdicts(earlier.map(idAndFacts), facts))
  if (catalog === null || database.sharding === null) return found
  const shard = { id: shardId, isHome }
  found.push(...catalogVerdicts(catalog, facts, login, shard, database))
  const [model] = primaries.filter((other) => other.probed.catalog !== null)
  if (model === undefined || model.shardId === shardId) {
    return [...found, ...unsuitable(tables, database.sharding)]
  }
  const modelSchema = { id: model.shardId, ...model.probed }
  return [...found, ...driftFrom(modelSchema, { id: shardId, tables, objects }, database.sharding)]
}

function isAnswered(server: Server): server is AnsweredServer {
  return server.probed.kind === 'answered'
}

function idAndFacts({ shardId, probed }: AnsweredServer) {
  return { id: shardId, facts: probed.facts }
}
