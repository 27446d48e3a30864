// A fourth shard is added to three, under traffic of which few tenants have most (Zipf): what the
// proxy has measured, the plan made of it, its moves, and what is measured afterwards, from nothing.
// Beside it what the kernel says of the servers' CPU time, which nobody here has a hand in.
import { assert } from '../core/assert.ts'
import { createMove } from '../catalog/move-store.ts'
import { createLog } from '../core/log.ts'
import { readPlanInput } from '../rebalancer/load/read-plan-input.ts'
import type { Balance, Proposal } from '../rebalancer/plan/plan-input.ts'
import { propose } from '../rebalancer/plan/propose.ts'
import { defaultMoveOptions } from '../rebalancer/run-move.ts'
import { runMoves } from '../rebalancer/run-moves.ts'
import { cpuMicrosOf } from './cpu.ts'
import { type Moving, type MovingBench, rest, startMoving, withCatalog } from './moving.ts'
import { type Load, runPgbench } from './pgbench.ts'
import { shardedDatabase } from './servers.ts'

/** What was measured over some seconds of traffic. */
export type MeasuredBalance = {
  /** Highest over mean of the shards: server time, by the proxy, and CPU time, by the kernel. */
  readonly serverTime: number
  readonly cpuTime: number
  readonly shards: Balance['shards']
}

/** Of one run. */
export type RebalanceResult = {
  readonly before: MeasuredBalance
  readonly planned: number
  readonly moves: readonly { readonly from: string; readonly to: string; readonly what: string }[]
  readonly movedBytes: number
  readonly lowerBoundBytes: number
  /** Of all moves together. */
  readonly seconds: number
  readonly after: MeasuredBalance
  readonly statements: number
  readonly failed: number
}

const tenants = 2_000
const rowsPerTenant = 20
const ratePerSecond = 800
/** The least exponent that pgbench takes. */
const zipf = 1.001
const warmUpMs = 5_000
const measuredMs = 30_000
/** A proxy reports every 10 s, give or take 2. */
const reportMs = 12_500
const epsilon = 0.05

const load: Load = {
  protocol: 'simple',
  clients: 16,
  uncountedClients: 0,
  reconnects: false,
  tls: false,
  script: {
    text: `\\set dice random(1, 10)
\\set tenant random_zipfian(1, ${tenants}, ${zipf})
\\set id random(1, ${rowsPerTenant})
\\if :dice <= 7
SELECT sum(amount), max(note) FROM item WHERE tenant_id = :tenant;
\\else
UPDATE item SET amount = amount + 1 WHERE tenant_id = :tenant AND id = :id;
\\endif
`,
  },
}

/** Measures, plans, moves and measures again, once. @throws when a client is told any error */
export async function measureRebalance(bench: MovingBench): Promise<RebalanceResult> {
  const { pgbench: program, signal } = bench
  const size = { tenants, rowsPerTenant }
  const moving = await startMoving(bench, { shards: 4, owning: 3, proxies: 1, ...size })
  try {
    const [port] = moving.proxyPorts
    assert(port !== undefined, 'there is a proxy')
    const place = { program, port, signal, database: shardedDatabase, dir: moving.cluster.dir }
    const [transactions, done] = await runPgbench(
      { ...place, load, ratePerSecond, variables: {} },
      () => rebalance(moving, signal),
    )
    const failed = transactions.filter(({ latencyMicros }) => latencyMicros === null).length
    return { ...done, statements: transactions.length, failed }
  } finally {
    await moving.stop()
  }
}

async function rebalance(
  moving: Moving,
  signal: AbortSignal,
): Promise<Omit<RebalanceResult, 'statements' | 'failed'>> {
  await rest(warmUpMs, signal)
  const before = await measured(moving, signal)
  const proposal = await planned(moving, signal)
  const beganMs = performance.now()
  await runAll(moving, proposal, signal)
  const seconds = (performance.now() - beganMs) / 1000
  const after = await measured(moving, signal)
  return {
    before,
    planned: proposal.after.maxOverMean,
    moves: proposal.moves.map(({ from, to, vnodes, keys }) => {
      return { from, to, what: `${vnodes.length} virtual nodes, ${keys.length} keys` }
    }),
    movedBytes: proposal.moves.reduce((sum, { bytes }) => sum + bytes, 0),
    lowerBoundBytes: proposal.lowerBoundBytes,
    seconds,
    after,
  }
}

/** Forgets what was measured before. */
async function measured(moving: Moving, signal: AbortSignal): Promise<MeasuredBalance> {
  // What the proxy has counted and not reported yet is of before.
  await rest(reportMs, signal)
  await withCatalog(moving.database, (catalog) =>
    catalog.query('TRUNCATE ringfence.vnode_load, ringfence.key_load'),
  )
  const cpuBefore = cpuMicros(moving)
  await rest(measuredMs, signal)
  const cpu = cpuMicros(moving).map((micros, shard) => micros - (cpuBefore[shard] ?? 0))
  const { before } = await planned(moving, signal)
  return {
    serverTime: before.maxOverMean,
    cpuTime: maxOverMean(cpu),
    shards: before.shards,
  }
}

async function planned({ database }: Moving, signal: AbortSignal): Promise<Proposal> {
  return propose(await readPlanInput(database, { epsilon, bytesMax: null }, signal))
}

async function runAll(moving: Moving, { moves }: Proposal, signal: AbortSignal): Promise<void> {
  const made = await withCatalog(moving.database, async (catalog) => {
    const ids = []
    for (const { from, to, vnodes, keys } of moves) {
      const wanted = { from, to, vnodes, keys, options: defaultMoveOptions }
      ids.push(await createMove(catalog, wanted))
    }
    return ids
  })
  const { database } = moving
  const log = createLog('error')
  const results = await runMoves(made, { database, log, signal, parallel: 2 })
  for (const { move, error } of results) {
    if (error !== null) throw error
    assert(move.state === 'done', `move ${move.id} is done, not ${move.state}`)
  }
}

function cpuMicros({ cluster }: Moving): readonly number[] {
  return cluster.shards.map(({ primary: { pid } }) => (pid === null ? 0 : cpuMicrosOf(pid)))
}

function maxOverMean(values: readonly number[]): number {
  const sum = values.reduce((total, value) => total + value, 0)
  return (Math.max(...values) * values.length) / sum
}
