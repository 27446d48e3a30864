// `npm run bench`: pgbench against PostgreSQL, PgBouncer and Ringfence on this machine, side by
// side. What is measured and how: rows.ts, rounds.ts, measure.ts. Exit code 1 when Ringfence failed
// a row.
import { join } from 'node:path'
import { Command, InvalidArgumentError } from 'commander'
import { createLog } from '../core/log.ts'
import { findInstallation } from '../demo/installation.ts'
import { demoRole } from '../demo/roles.ts'
import { renderTable } from '../cli/table.ts'
import { type ApplyResult, measureApply } from './apply.ts'
import { type CopyResult, measureCopy } from './copy.ts'
import { describeMachine, renderMachine } from './machine.ts'
import { measureMoves, wantedMoveRows } from './move-rows.ts'
import { writePage } from './page.ts'
import { directPeer } from './peers.ts'
import { findPgbench, initializePgbench } from './pgbench.ts'
import { type Benched, benchPlain, scale, type Setting, versionsOf } from './plain.ts'
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
import { defaultFile, readResults, writeResults } from './results-file.ts'
import { runRows } from './rounds.ts'
import { allRows, replicaRows, type Row } from './rows.ts'
import { directClientsMax, startReplicated } from './servers.ts'
import { judge, verdictCells } from './targets.ts'

type Flags = {
  readonly quick: boolean
  readonly rows?: RegExp
  readonly rounds?: number
  readonly seconds?: number
  readonly json?: string
  readonly page?: readonly string[]
  readonly postgres: string
}

/** Of the tables that replicas have to copy. */
const replicatedScale = 2
const idleRow = 'idle clients'
const promotionRow = 'promotion'
const applyRow = 'apply'
const copyRow = 'copy'
const idleCounts = [1_000, 10_000]
const idleCountsQuick = [200]
const page = join(import.meta.dirname, '../docs/performance.md')
const nothing: Benched = { results: [], idle: [], versions: {} }

const program = new Command('bench')
  .description('pgbench against PostgreSQL, PgBouncer (PGBOUNCER= or PATH) and Ringfence')
  .option('--quick', 'few rows, 2 rounds of 1 s: less than two minutes', false)
  .option('--rows <pattern>', 'only rows whose name matches this regular expression', pattern)
  .option('--rounds <n>', 'rounds per row (5)', wholeNumber)
  .option('--seconds <n>', 'seconds measured per round and peer (3)', wholeNumber)
  .option('--json <file>', 'write the figures there, not to bench/results/<date>.json')
  .option('--page <files...>', 'run nothing: put these files of figures into docs/performance.md')
  .option('--postgres <bin>', '"embedded", or a directory with PostgreSQL programs', 'embedded')
  .parse()

const flags = program.opts<Flags>()
const stopping = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => stopping.abort(new Error(`stopped by ${signal}`)))
}
try {
  if (flags.page === undefined) process.exitCode = await bench(flags, stopping.signal)
  else await writePage(page, await Promise.all(flags.page.map(readResults)))
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
  const setting: Setting = { pgbench, installation, seconds, rounds, signal, say }
  const startedAt = new Date().toISOString()
  const machine = describeMachine([], pgbench)
  const counts = flags.quick ? idleCountsQuick : idleCounts
  const some = plan.plain.length > 0 || plan.idle
  const plain = some ? await benchPlain(setting, plan.plain, plan.idle ? counts : []) : nothing
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
  const { idle } = plain
  const [heads, ...verdicts] = verdictCells(judge(results, idle))
  if (verdicts.length > 0) tables.push(renderTable(heads ?? [], verdicts))
  process.stdout.write(tables.join(''))
  const figures = { rows: results.map(withFigures), idle, promotions, apply, copies, moves }
  const report = { startedAt, machine: shown, rounds, seconds, scale, replayDelayMs, ...figures }
  const file = flags.json ?? defaultFile(startedAt)
  await writeResults(file, report)
  say(`${file}\n`)
  return results.some(hasFailed) ? 1 : 0
}

/** Ringfence before a primary and replicas. */
async function benchReplicas(setting: Setting, rows: readonly Row[]): Promise<Benched> {
  const { pgbench, installation, signal } = setting
  await using resources = new AsyncDisposableStack()
  say(`starting a primary and replicas that are ${replayDelayMs} ms late\n`)
  const cluster = await startReplicated(installation, createLog('error'), replayDelayMs)
  resources.defer(() => cluster.stop())
  const { port } = directPeer(cluster, installation.release, directClientsMax)
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

function chosen(rows: readonly Row[], flags: Flags): readonly Row[] {
  return rows.filter(({ name, quick }) => wanted(flags, name) && (quick || !flags.quick))
}

function wanted({ rows }: Flags, name: string): boolean {
  return rows === undefined || rows.test(name)
}

function hasFailed({ peers }: RowResult): boolean {
  return peers.some(({ name, failure }) => name.startsWith('Ringfence') && failure !== null)
}

function withFigures(row: RowResult): RowResult {
  return {
    ...row,
    peers: row.peers.map((peer) => ({ ...peer, figures: figuresOf(row, peer) })),
  }
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
