// `npm run bench`: pgbench against PostgreSQL, PgBouncer and Ringfence on this machine, side by
// side. What is measured and how: rows.ts, rounds.ts, measure.ts. Exit code 1 when Ringfence failed
// a row.
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { createLog } from '../core/log.ts'
import { findInstallation, type Installation } from '../demo/installation.ts'
import { demoRole } from '../demo/roles.ts'
import { type ApplyResult, measureApply } from './apply.ts'
import { type CopyResult, measureCopy } from './copy.ts'
import { type IdleResult, measureIdleClients } from './idle-clients.ts'
import { describeMachine, renderMachine } from './machine.ts'
import type { Bench } from './measure.ts'
import { measureMoves, wantedMoveRows } from './move-rows.ts'
import {
  directPeer,
  findPgbouncer,
  type Peer,
  preparePgbouncer,
  prepareRingfence,
  prepareSharded,
  type StartPeer,
} from './peers.ts'
import { findPgbench, initializePgbench } from './pgbench.ts'
import { measurePromotions, type PromotionResult } from './promotion.ts'
import { redisVersion, replayDelayMs, startReplicaPeers } from './replicas.ts'
import {
  figuresOf,
  renderApply,
  renderCopies,
  renderIdle,
  renderPromotions,
  renderRebalance,
  renderRows,
  renderSwitches,
  renderThrottled,
  type RowResult,
} from './report.ts'
import { runRow, warmUp } from './rounds.ts'
import { allRows, replicaRows, type Row } from './rows.ts'
import { createShardedDatabase, fillShards, startReplicated, startServers } from './servers.ts'

type Flags = {
  readonly quick: boolean
  readonly rows?: RegExp
  readonly rounds?: number
  readonly seconds?: number
  readonly json?: string
  readonly postgres: string
}

/** More than the most clients that update branches at once, or they would wait for each other. */
const scale = 20
/** Of the tables that replicas have to copy. */
const replicatedScale = 2
const idleRow = 'idle clients'
const promotionRow = 'promotion'
const applyRow = 'apply'
const copyRow = 'copy'
const idleClients = 1_000
const idleClientsQuick = 200
const nothing: Benched = { results: [], idle: [], versions: {} }

const program = new Command('bench')
  .description('pgbench against PostgreSQL, PgBouncer (PGBOUNCER= or PATH) and Ringfence')
  .option('--quick', 'few rows, 2 rounds of 1 s: less than two minutes', false)
  .option('--rows <pattern>', 'only rows whose name matches this regular expression', pattern)
  .option('--rounds <n>', 'rounds per row (5)', wholeNumber)
  .option('--seconds <n>', 'seconds measured per round and peer (3)', wholeNumber)
  .option('--json <file>', 'write the figures there, not to bench/results/<date>.json')
  .option('--postgres <bin>', '"embedded", or a directory with PostgreSQL programs', 'embedded')
  .parse()

const flags = program.opts<Flags>()
const stopping = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => stopping.abort(new Error(`stopped by ${signal}`)))
}
try {
  process.exitCode = await bench(flags, stopping.signal)
} catch (error) {
  const reason = stopping.signal.aborted ? stopping.signal.reason : error
  process.stderr.write(`bench: ${reason instanceof Error ? reason.message : String(reason)}\n`)
  process.exitCode = 1
}

/** Everything from the first server to the last line; stops what it started. */
async function bench(flags: Flags, signal: AbortSignal): Promise<number> {
  const plan = {
    plain: chosen(allRows(scale), flags),
    idle: wanted(flags, idleRow),
    replicated: chosen(replicaRows(replicatedScale), flags),
    promotion: wanted(flags, promotionRow),
    apply: wanted(flags, applyRow),
    copy: wanted(flags, copyRow),
    // They take minutes.
    moves: wantedMoveRows(
      (name) => wanted(flags, name) && (!flags.quick || flags.rows !== undefined),
    ),
  }
  const count = plan.plain.length + plan.replicated.length
  const others = plan.idle || plan.promotion || plan.apply || plan.copy || plan.moves.size > 0
  if (count === 0 && !others) throw new Error('no row has such a name')
  const seconds = flags.seconds ?? (flags.quick ? 1 : 3)
  const rounds = flags.rounds ?? (flags.quick ? 2 : 5)
  const pgbench = findPgbench()
  const installation = await findInstallation(flags.postgres)
  const setting: Setting = { flags, pgbench, installation, seconds, rounds, signal }
  const machine = describeMachine([], pgbench)
  const some = plan.plain.length > 0 || plan.idle
  const plain = some ? await benchPlain(setting, plan.plain, plan.idle) : nothing
  const late = plan.replicated.length > 0 ? await benchReplicas(setting, plan.replicated) : nothing
  const promotions = plan.promotion ? await benchPromotions(setting) : []
  const apply = plan.apply ? await benchApply(setting) : []
  const copies = plan.copy ? await benchCopy(setting) : []
  const moves = await measureMoves(setting, plan.moves, { rounds, say })
  const results = [...plain.results, ...late.results]
  const shown = { ...machine, peers: { ...plain.versions, ...late.versions } }
  say(renderMachine(shown))
  const tables = [renderRows(results), renderIdle(plain.idle), renderPromotions(promotions)]
  const { switches, throttled, rebalance } = moves
  tables.push(renderApply(apply), renderCopies(copies), renderSwitches(switches))
  tables.push(renderThrottled(throttled), renderRebalance(rebalance))
  process.stdout.write(tables.join(''))
  const { idle } = plain
  const figures = { rows: results.map(withFigures), idle, promotions, apply, copies, moves }
  const report = { machine: shown, rounds, seconds, scale, replayDelayMs, ...figures }
  await writeReport(flags.json ?? defaultFile(), report)
  return results.some(hasFailed) ? 1 : 0
}

type Setting = Pick<Bench, 'pgbench' | 'seconds' | 'signal'> & {
  readonly flags: Flags
  readonly installation: Installation
  readonly rounds: number
}

type Benched = {
  readonly results: readonly RowResult[]
  readonly idle: readonly IdleResult[]
  readonly versions: Readonly<Record<string, string>>
}

/** PostgreSQL, PgBouncer and Ringfence before servers without replicas. */
async function benchPlain(
  setting: Setting,
  rows: readonly Row[],
  wantsIdle: boolean,
): Promise<Benched> {
  const { flags, signal } = setting
  await using resources = new AsyncDisposableStack()
  const { cluster, direct, proxies } = await prepare(setting, resources)
  const peers = [direct]
  for (const start of proxies) {
    const peer = await start()
    resources.defer(() => peer.stop())
    peers.push(peer)
    signal.throwIfAborted()
  }
  const results = await runRows({ ...setting, cluster }, rows, peers)
  const count = flags.quick ? idleClientsQuick : idleClients
  const idle = wantsIdle ? await measureIdle(peers, proxies, { count, signal }) : []
  return { results, idle, versions: versionsOf(peers) }
}

/** Ringfence before a primary and replicas. */
async function benchReplicas(setting: Setting, rows: readonly Row[]): Promise<Benched> {
  const { pgbench, installation, signal } = setting
  await using resources = new AsyncDisposableStack()
  say(`starting a primary and replicas that are ${replayDelayMs} ms late\n`)
  const cluster = await startReplicated(installation, createLog('error'), replayDelayMs)
  resources.defer(() => cluster.stop())
  const { port } = directPeer(cluster, installation.release)
  const place = { program: pgbench, port, database: demoRole.database, signal }
  await initializePgbench(place, replicatedScale)
  const peers = await startReplicaPeers(cluster)
  resources.defer(async () => peers[0]?.stop())
  const versions = { ...versionsOf(peers), Redis: await redisVersion(cluster) }
  return { results: await runRows({ ...setting, cluster }, rows, peers), idle: [], versions }
}

async function benchPromotions(setting: Setting): Promise<readonly PromotionResult[]> {
  const { installation, rounds, signal } = setting
  say(`${promotionRow}\n`)
  return measurePromotions(installation, rounds, signal)
}

async function benchApply(setting: Setting): Promise<readonly ApplyResult[]> {
  const { installation, rounds, signal } = setting
  say(`${applyRow}\n`)
  return measureApply(installation, rounds, signal)
}

async function benchCopy(setting: Setting): Promise<readonly CopyResult[]> {
  const { installation, rounds, signal } = setting
  say(`${copyRow}\n`)
  return measureCopy(installation, rounds, signal)
}

/** Runs the rows one after the other. */
async function runRows(
  setting: Bench & { readonly rounds: number },
  rows: readonly Row[],
  peers: readonly Peer[],
): Promise<readonly RowResult[]> {
  const { rounds } = setting
  const results: RowResult[] = []
  await warmUp({ ...setting, seconds: 1 }, rows, peers)
  for (const [index, row] of rows.entries()) {
    say(`${index + 1}/${rows.length} ${row.name}\n`)
    results.push(await runRow(setting, row, { peers, rounds }))
  }
  return results
}

function versionsOf(peers: readonly Peer[]): Readonly<Record<string, string>> {
  return Object.fromEntries(peers.map(({ name, version }) => [name, version]))
}

/** Servers with their tables, and how to start every proxy that there is. */
async function prepare(setting: Setting, resources: AsyncDisposableStack) {
  const { pgbench, installation, signal } = setting
  const log = createLog('error')
  const pgbouncer = await findPgbouncer(process.env)
  if (pgbouncer === undefined) {
    say('PgBouncer was not found: install it or name it by PGBOUNCER=\n')
  }
  say('starting servers and filling tables\n')
  const cluster = await startServers(installation, log)
  resources.defer(() => cluster.stop())
  const direct = directPeer(cluster, installation.release)
  const place = { program: pgbench, port: direct.port, database: demoRole.database, signal }
  await initializePgbench(place, scale)
  signal.throwIfAborted()
  await createShardedDatabase(cluster)
  const sharded = await prepareSharded(cluster)
  await fillShards(cluster, { configFile: sharded.configFile, scale, log })
  const proxies: StartPeer[] = [await prepareRingfence(cluster), sharded.start]
  if (pgbouncer !== undefined) proxies.unshift(await preparePgbouncer(cluster, pgbouncer))
  return { cluster, direct, proxies }
}

/** The proxies that served the rows are stopped first: each is measured as it starts. */
async function measureIdle(
  peers: readonly Peer[],
  proxies: readonly StartPeer[],
  { count, signal }: { readonly count: number; readonly signal: AbortSignal },
): Promise<readonly IdleResult[]> {
  say(`${idleRow}\n`)
  for (const peer of peers) await peer.stop()
  const results: IdleResult[] = []
  for (const start of proxies) results.push(await measureIdleClients(start, count, signal))
  return results
}

function chosen(rows: readonly Row[], flags: Flags): readonly Row[] {
  return rows.filter(({ name, quick }) => wanted(flags, name) && (quick || !flags.quick))
}

function wanted({ rows }: Flags, name: string): boolean {
  return rows === undefined || rows.test(name)
}

function hasFailed({ peers }: RowResult): boolean {
  return peers.some(({ name, failure }) => name.startsWith('Ringfence') && failure !== null)
}

function withFigures(row: RowResult): object {
  return {
    ...row,
    peers: row.peers.map((peer) => ({ ...peer, figures: figuresOf(row, peer) })),
  }
}

function defaultFile(): string {
  const instant = new Date().toISOString().slice(0, 19).replaceAll(':', '-')
  return join(import.meta.dirname, 'results', `${instant}.json`)
}

async function writeReport(file: string, report: object): Promise<void> {
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, `${JSON.stringify(report, null, 2)}\n`)
  say(`${file}\n`)
}

/** Progress goes to stderr: stdout is for the table. */
function say(text: string): void {
  process.stderr.write(text)
}

function wholeNumber(text: string): number {
  const number = Number(text)
  if (Number.isInteger(number) && number >= 1 && number <= 3600) return number
  throw new InvalidArgumentError('It takes a whole number from 1 to 3600.')
}

function pattern(text: string): RegExp {
  try {
    return new RegExp(text, 'i')
  } catch {
    throw new InvalidArgumentError('It is no regular expression.')
  }
}
