// The rows before servers without replicas: which servers, which proxies, and idle clients last.
import { readFileSync } from 'node:fs'
import { createLog } from '../core/log.ts'
import type { Cluster } from '../demo/cluster.ts'
import type { Installation } from '../demo/installation.ts'
import { demoRole } from '../demo/roles.ts'
import { type IdleResult, measureIdleClients } from './idle-clients.ts'
import type { Bench } from './measure.ts'
import { otherPoolers, prepareOther } from './other-poolers.ts'
import { directPeer, type Peer, type PeerName, type Starter } from './peers.ts'
import { initializePgbench } from './pgbench.ts'
import { findPgbouncer, preparePgbouncer } from './pgbouncer.ts'
import type { RowResult } from './report.ts'
import { prepareRingfence, prepareSharded } from './ringfence-peers.ts'
import { runRows } from './rounds.ts'
import type { Row } from './rows.ts'
import {
  createReferenceTable,
  createShardedDatabase,
  databaseUrl,
  directClientsMax,
  fillShards,
  startServers,
} from './servers.ts'

/** What every part of the benchmark is told. */
export type Setting = Pick<Bench, 'pgbench' | 'seconds' | 'signal'> & {
  readonly installation: Installation
  readonly rounds: number
  /** For people. */
  readonly say: (text: string) => void
}

export type Benched = {
  readonly results: readonly RowResult[]
  readonly idle: readonly IdleResult[]
  readonly versions: Readonly<Record<string, string>>
}

/** More than the most clients that update branches at once, or they would wait for each other. */
export const scale = 20
const ringfences = [
  'Ringfence',
  'Ringfence, plain',
  'Ringfence, auto-prepare',
  'Ringfence, 2 workers',
] as const
/** Whose idle clients are counted. */
const idlePeers: ReadonlySet<PeerName> = new Set(['PgBouncer', 'Ringfence'])
/** Descriptors that a process has beside its clients. */
const otherFiles = 200

/** PostgreSQL and the proxies that the rows name; idle clients up to each of these counts. */
export async function benchPlain(
  setting: Setting,
  rows: readonly Row[],
  idleCounts: readonly number[],
): Promise<Benched> {
  const { signal, say } = setting
  await using resources = new AsyncDisposableStack()
  const needed = new Set(rows.flatMap(({ peers }) => peers))
  const isNeeded = (name: PeerName) => needed.has(name) || idleCounts.length > 0
  const { cluster, direct, starters } = await prepare(setting, resources, isNeeded)
  const peers = [direct]
  for (const starter of starters.filter(({ name }) => needed.has(name))) {
    const peer = await startOrLeaveOut(starter, say)
    if (peer === null) continue
    resources.defer(() => peer.stop())
    peers.push(peer)
    signal.throwIfAborted()
  }
  const results = await runRows({ ...setting, cluster }, rows, peers)
  for (const peer of peers) await peer.stop()
  const idle: IdleResult[] = []
  const counts = idleCounts.filter((count) => count + otherFiles <= openFilesMax())
  if (counts.length < idleCounts.length) say(`only ${openFilesMax()} open files are allowed\n`)
  for (const starter of starters.filter(({ name }) => idlePeers.has(name))) {
    if (counts.length === 0) break
    say(`idle clients of ${starter.name}\n`)
    idle.push(await measureIdleClients(starter, counts, signal))
  }
  const versions = Object.fromEntries(idle.map(({ peer, version }) => [peer, version]))
  return { results, idle, versions: { ...versionsOf(peers), ...versions } }
}

/** By name. */
export function versionsOf(peers: readonly Peer[]): Readonly<Record<string, string>> {
  return Object.fromEntries(peers.map(({ name, version }) => [name, version]))
}

/** Servers with their tables, and every proxy that there is and that is needed. */
async function prepare(
  setting: Setting,
  resources: AsyncDisposableStack,
  isNeeded: (name: PeerName) => boolean,
) {
  const { pgbench, installation, signal, say } = setting
  const log = createLog('error')
  say('starting servers and filling tables\n')
  const cluster = await startServers(installation, log)
  resources.defer(() => cluster.stop())
  const direct = directPeer(cluster, installation.release, directClientsMax)
  const { database } = demoRole
  await initializePgbench({ program: pgbench, port: direct.port, database, signal }, scale)
  await createReferenceTable(databaseUrl(direct, database))
  signal.throwIfAborted()
  const starters = await preparePoolers(cluster, say)
  for (const name of ringfences) starters.push(await prepareRingfence(cluster, name))
  if (isNeeded('Ringfence, sharded')) {
    await createShardedDatabase(cluster)
    const sharded = await prepareSharded(cluster)
    await fillShards(cluster, { configFile: sharded.configFile, scale, log })
    starters.push(sharded)
  }
  return { cluster, direct, starters: starters.filter(({ name }) => isNeeded(name)) }
}

async function preparePoolers(cluster: Cluster, say: Setting['say']): Promise<Starter[]> {
  const starters: Starter[] = []
  const pgbouncer = await findPgbouncer(process.env)
  if (pgbouncer === undefined) say('PgBouncer was not found: install it or name it by PGBOUNCER=\n')
  else starters.push(await preparePgbouncer(cluster, pgbouncer))
  for (const name of otherPoolers) {
    const starter = await prepareOther(cluster, name)
    if (starter !== undefined) starters.push(starter)
  }
  return starters
}

/** Null for another pooler that does not start: our row is no place to mend its configuration. */
async function startOrLeaveOut(starter: Starter, say: Setting['say']): Promise<Peer | null> {
  try {
    return await starter.start()
  } catch (error) {
    if (!otherPoolers.some((name) => name === starter.name)) throw error
    say(`${starter.name} is left out: ${error instanceof Error ? error.message : String(error)}\n`)
    return null
  }
}

/** Of this process and of those that it starts. */
function openFilesMax(): number {
  const limits = readFileSync('/proc/self/limits', 'utf8')
  const soft = /^Max open files\s+(\d+|unlimited)/m.exec(limits)?.[1] ?? '0'
  return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft)
}
