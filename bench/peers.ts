// The programs that are compared. A peer is a place where pgbench can connect and, for a proxy, the
// process whose CPU time and memory count. Every proxy gets the same number of server connections,
// the same login (SCRAM on both sides, over TCP) and a directory in the cluster's run, where its
// process id stands: should we be killed, the run's watchdog stops it (demo/run.ts).
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { access, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stringify } from 'yaml'
import { programVersion } from '../cli/version.ts'
import type { Cluster } from '../demo/cluster.ts'
import { pidFile } from '../demo/leftovers.ts'
import { freePort } from '../demo/ports.ts'
import { waitUntil } from '../demo/process.ts'
import { demoRole } from '../demo/roles.ts'
import { giveToServers, makeServerDirectory, serverUser } from '../demo/server-user.ts'
import { withClient } from '../demo/sql.ts'
import { findProgram } from '../test/clients/find-program.ts'
import { databaseUrl, shardedDatabase, shardKey } from './servers.ts'

export type PeerName =
  | 'PostgreSQL'
  | 'PgBouncer'
  | 'Ringfence'
  | 'Ringfence, sharded'
  | 'Ringfence, strong'
  | 'Ringfence, eventual'
  | 'Ringfence, session'
  | 'Ringfence, session ids'

export type Peer = {
  readonly name: PeerName
  readonly version: string
  readonly port: number
  readonly database: string
  /** Null for PostgreSQL itself. */
  readonly proxyPid: number | null
  /** Why it cannot run clients' prepared statements; null when it can. */
  readonly notPrepared: string | null
  /** Of scripts: pgbench's --define. */
  readonly variables: Readonly<Record<string, string>>
  /** Reads so far that replicas could have served; null without replicas. */
  readonly readCounts: (() => Promise<ReadCounts>) | null
  stop(): Promise<void>
}

/** By who has served them. */
export type ReadCounts = { readonly replica: number; readonly primary: number }

/** Starts a peer anew: with no clients yet and nothing learnt. */
export type StartPeer = () => Promise<Peer>

/** What a peer without replicas says of them. */
const noReplicas = { variables: {}, readCounts: null } as const

const serverConnections = 20
const clientsMax = 2_000
const startDeadlineMs = 15_000
const stopDeadlineMs = 3_000

/** PostgreSQL without any proxy; it runs already. */
export function directPeer(cluster: Cluster, version: string): Peer {
  const [home] = cluster.shards
  const port = home?.primary.port ?? 0
  const direct = { proxyPid: null, notPrepared: null, stop: () => Promise.resolve() }
  const { database } = demoRole
  return { ...noReplicas, ...direct, name: 'PostgreSQL', version, port, database }
}

/** PgBouncer's program: PGBOUNCER, PATH, or where Debian puts it. Undefined when there is none. */
export async function findPgbouncer(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  const named = env['PGBOUNCER']
  if (named !== undefined && named !== '') return named
  // Not on the PATH of ordinary users.
  const debian = '/usr/sbin/pgbouncer'
  const there = await access(debian).then(
    () => true,
    () => false,
  )
  return findProgram('pgbouncer') ?? (there ? debian : undefined)
}

/** PgBouncer in transaction mode before the first server. */
export async function preparePgbouncer(cluster: Cluster, program: string): Promise<StartPeer> {
  const version = pgbouncerVersion(program)
  const { name, password, database } = demoRole
  const dir = join(cluster.dir, 'pgbouncer')
  await makeServerDirectory(dir)
  const file = (name: string) => join(dir, name)
  await writeForServers(file('users.txt'), `"${name}" "${password}"\n`)
  const settings = (port: number) => ({
    listen_addr: '127.0.0.1',
    listen_port: port,
    unix_socket_dir: '',
    auth_type: 'scram-sha-256',
    auth_file: file('users.txt'),
    pool_mode: 'transaction',
    default_pool_size: serverConnections,
    max_client_conn: clientsMax,
    log_connections: 0,
    log_disconnections: 0,
    ...(preparesStatements(version) ? { max_prepared_statements: 200 } : {}),
  })
  return async () => {
    const port = await freePort()
    const server = `host=127.0.0.1 port=${cluster.shards[0]?.primary.port ?? 0}`
    const lines = Object.entries(settings(port)).map(([key, value]) => `${key} = ${value}`)
    const ini = ['[databases]', `${database} = ${server}`, '[pgbouncer]', ...lines, '']
    await writeForServers(file('pgbouncer.ini'), ini.join('\n'))
    const proxy = { program, argv: [file('pgbouncer.ini')], dir, user: serverUser() }
    const process = await startProxy({ ...proxy, port, database })
    const notPrepared = preparesStatements(version)
      ? null
      : `PgBouncer ${version} keeps no prepared statements in transaction mode (1.21 does)`
    return { ...noReplicas, ...process, name: 'PgBouncer', version, notPrepared, port, database }
  }
}

/** Ringfence before the first server alone, without sharding. */
export async function prepareRingfence(cluster: Cluster): Promise<StartPeer> {
  const dir = await peerDirectory(cluster, 'ringfence')
  const databases = { [demoRole.database]: databaseSettings(cluster, 1, demoRole.database) }
  return () => startRingfence(dir, { name: 'Ringfence', database: demoRole.database, databases })
}

/** Ringfence before all servers; its configuration file is there at once, for `fillShards`. */
export async function prepareSharded(
  cluster: Cluster,
): Promise<{ readonly configFile: string; readonly start: StartPeer }> {
  const dir = await peerDirectory(cluster, 'ringfence-sharded')
  const settings = databaseSettings(cluster, cluster.shards.length, shardedDatabase)
  const databases = { [shardedDatabase]: { ...settings, sharding: { key: shardKey } } }
  const what = { name: 'Ringfence, sharded', database: shardedDatabase, databases } as const
  const configFile = await writeRingfenceConfig(dir, { port: 0, httpPort: 0 }, { databases })
  return { configFile, start: () => startRingfence(dir, what) }
}

/** Protocol-level prepared statements in transaction mode came with PgBouncer 1.21. */
export function preparesStatements(pgbouncerVersion: string): boolean {
  const [major = 0, minor = 0] = pgbouncerVersion.split('.').map(Number)
  return major > 1 || (major === 1 && minor >= 21)
}

function pgbouncerVersion(program: string): string {
  const { stdout, error } = spawnSync(program, ['--version'], { encoding: 'utf8' })
  const version = /PgBouncer (\d+\.\d+(?:\.\d+)?)/.exec(stdout ?? '')?.[1]
  if (version !== undefined) return version
  throw new Error(`"${program}" is no PgBouncer: ${error?.message ?? stdout}`)
}

/** Its directory in the run. */
export async function peerDirectory(cluster: Cluster, name: string): Promise<string> {
  const dir = join(cluster.dir, name)
  await makeServerDirectory(dir)
  return dir
}

function databaseSettings(cluster: Cluster, shards: number, database: string) {
  const { name, password } = demoRole
  return {
    pool: { size: serverConnections, max_client_conn: clientsMax },
    server_user: { name, password },
    shards: cluster.shards.slice(0, shards).map(({ id, primary }) => ({
      id,
      primary: `postgres://127.0.0.1:${primary.port}/${database}`,
    })),
  }
}

type Ports = { readonly port: number; readonly httpPort: number }

async function writeRingfenceConfig(dir: string, ports: Ports, settings: object): Promise<string> {
  const file = join(dir, 'ringfence.yaml')
  const { name, password } = demoRole
  const host = '127.0.0.1'
  const places = { listen: { host, port: ports.port }, http: { host, port: ports.httpPort } }
  const users = [{ name, password }]
  await writeFile(file, stringify({ ...places, users, log: { level: 'warn' }, ...settings }))
  return file
}

async function startRingfence(
  dir: string,
  what: { readonly name: PeerName; readonly database: string; readonly databases: object },
): Promise<Peer> {
  const { name, database, databases } = what
  const process = await serveRingfence(dir, { databases }, database)
  return { ...noReplicas, ...process, name, version: programVersion(), notPrepared: null, database }
}

/** A Ringfence with these settings beside its ports, users and log, once it serves `database`. */
export async function serveRingfence(
  dir: string,
  settings: object,
  database: string,
): Promise<Ports & { readonly proxyPid: number } & Pick<Peer, 'stop'>> {
  const ports = { port: await freePort(), httpPort: await freePort() }
  const config = await writeRingfenceConfig(dir, ports, settings)
  const program = fileURLToPath(new URL('../bin/ringfence', import.meta.url))
  const argv = ['serve', '--config', config]
  const process = await startProxy({
    program,
    argv,
    dir,
    user: {},
    port: ports.port,
    database,
  })
  return { ...process, ...ports }
}

async function writeForServers(file: string, text: string): Promise<void> {
  await writeFile(file, text, { mode: 0o600 })
  await giveToServers(file)
}

type ProxyProcess = {
  readonly program: string
  readonly argv: readonly string[]
  readonly dir: string
  /** As whom; empty for ourselves. */
  readonly user: { readonly uid?: number; readonly gid?: number }
  readonly port: number
  readonly database: string
}

/** Resolves once a client has been served. Throws with what the program wrote when it ended instead. */
async function startProxy(what: ProxyProcess): Promise<{ proxyPid: number } & Pick<Peer, 'stop'>> {
  const { program, argv, dir, user, port, database } = what
  const log = join(dir, 'log')
  const output = openSync(log, 'w', 0o600)
  const child = spawn(program, argv, { ...user, cwd: '/', stdio: ['ignore', output, output] })
  closeSync(output)
  let running = true
  const ended = () => (running = false)
  child.once('exit', ended)
  child.once('error', ended)
  const stop = () => stopProcess(child, () => !running)
  const proxyPid = child.pid
  if (proxyPid !== undefined) await writeFile(join(dir, pidFile), String(proxyPid))
  const url = databaseUrl({ port }, database)
  const settled = async () => !running || (await answers(url))
  const inTime = await waitUntil(settled, startDeadlineMs)
  if (proxyPid !== undefined && running && inTime) return { proxyPid, stop }
  await stop()
  throw new Error(`"${program}" did not start:\n${(await readFile(log, 'utf8')).trim()}`)
}

function answers(url: string): Promise<boolean> {
  return withClient(url, (client) => client.query('SELECT 1')).then(
    () => true,
    () => false,
  )
}

async function stopProcess(child: ChildProcess, gone: () => boolean): Promise<void> {
  child.kill('SIGTERM')
  if (await waitUntil(gone, stopDeadlineMs)) return
  child.kill('SIGKILL')
  await waitUntil(gone, stopDeadlineMs)
}
