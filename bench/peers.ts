// The programs that are compared. A peer is a place where pgbench can connect and, for a proxy, the
// process whose CPU time and memory count. Every proxy gets the same number of server connections,
// the same login (SCRAM on both sides, over TCP) and a directory in the cluster's run, where its
// process id stands: should we be killed, the run's watchdog stops it (demo/run.ts).
import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Cluster } from '../demo/cluster.ts'
import { pidFile } from '../demo/leftovers.ts'
import { waitUntil } from '../demo/process.ts'
import { demoRole } from '../demo/roles.ts'
import { giveToServers, makeServerDirectory } from '../demo/server-user.ts'
import { withClient } from '../demo/sql.ts'
import type { Load } from './pgbench.ts'
import { databaseUrl } from './servers.ts'

/** Poolers beside PgBouncer that take part where they are on PATH. */
export type OtherPooler = 'pgpool' | 'PgDog' | 'Odyssey' | 'PgCat'

/** Ringfence before one server; "plain" has no fast lane. */
export type RingfenceName =
  | 'Ringfence'
  | 'Ringfence, plain'
  | 'Ringfence, auto-prepare'
  | 'Ringfence, 2 workers'

export type PeerName =
  | 'PostgreSQL'
  | 'PgBouncer'
  | OtherPooler
  | RingfenceName
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
  /** Why it takes no such load; null when it does. */
  readonly cannot: (load: Load) => string | null
  /** Of scripts: pgbench's --define. */
  readonly variables: Readonly<Record<string, string>>
  /** Reads so far that replicas could have served; null without replicas. */
  readonly readCounts: (() => Promise<ReadCounts>) | null
  stop(): Promise<void>
}

/** By who has served them. */
export type ReadCounts = { readonly replica: number; readonly primary: number }

/** Starts a peer anew: with no clients yet and nothing learnt. */
type StartPeer = () => Promise<Peer>

/** A proxy that is ready to be started. */
export type Starter = { readonly name: PeerName; readonly start: StartPeer }

/** What a peer without replicas says of them. */
export const noReplicas = { variables: {}, readCounts: null } as const

/** Of each proxy, to each server. */
export const serverConnections = 20
/** More than the largest row and the most idle clients. */
export const clientsMax = 12_000
const startDeadlineMs = 30_000
const stopDeadlineMs = 3_000

/** PostgreSQL without any proxy; it runs already. */
export function directPeer(cluster: Cluster, version: string, connectionsMax: number): Peer {
  const [home] = cluster.shards
  const port = home?.primary.port ?? 0
  const direct = { proxyPid: null, cannot: moreThan(connectionsMax), stop: () => Promise.resolve() }
  const { database } = demoRole
  return { ...noReplicas, ...direct, name: 'PostgreSQL', version, port, database }
}

/** What a peer says that takes every load. */
export const takesAll = (): null => null

/** Says no to loads of more clients. */
export function moreThan(connectionsMax: number): Peer['cannot'] {
  return ({ clients }) => {
    return clients > connectionsMax ? `it takes ${connectionsMax} clients at most` : null
  }
}

/** Its directory in the run. */
export async function peerDirectory(cluster: Cluster, name: string): Promise<string> {
  const dir = join(cluster.dir, name)
  await makeServerDirectory(dir)
  return dir
}

/** Writes a file of a program that runs as the servers do. */
export async function writeForServers(file: string, text: string): Promise<void> {
  await writeFile(file, text, { mode: 0o600 })
  await giveToServers(file)
}

export type ProxyProcess = {
  readonly program: string
  readonly argv: readonly string[]
  readonly dir: string
  /** As whom; empty for ourselves. */
  readonly user: { readonly uid?: number; readonly gid?: number }
  readonly port: number
  readonly database: string
}

/** Resolves once a client has been served. Throws with what the program wrote when it ended instead. */
export async function startProxy(
  what: ProxyProcess,
): Promise<{ readonly proxyPid: number } & Pick<Peer, 'stop'>> {
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
