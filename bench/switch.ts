// How long clients wait at the switch of a move: statements come at a fixed rate through two
// proxies, all of them for keys that are moved, while a quarter of the virtual nodes goes from one
// shard to the other and back. Latencies count from when a statement should have begun, by pgbench's
// own log.
import type { Move } from '../catalog/move-store.ts'
import { assert } from '../core/assert.ts'
import { shardId, vnode } from '../core/ids.ts'
import { withClient } from '../demo/sql.ts'
import { defaultMoveOptions } from '../rebalancer/run-move.ts'
import { percentile } from './measure.ts'
import {
  latenciesMs,
  type Moving,
  type MovingBench,
  moveNow,
  rest,
  spanOf,
  startMoving,
} from './moving.ts'
import { type Load, type LoggedTransaction, runPgbench } from './pgbench.ts'
import { shardedDatabase } from './servers.ts'

type Latencies = {
  readonly statements: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
}

/** Of one move. */
export type SwitchResult = {
  /** From the fence's publication to the new owner's, as the mover tells. */
  readonly heldMs: number
  /** How often the fence had to be tried. */
  readonly tries: number
  /** In flight or offered while the fence was up. */
  readonly window: Latencies
  /** In flight when the fence came up, or offered in the second from then on. */
  readonly second: Latencies
  /** Offered in the second before the move began. */
  readonly before: Latencies
  readonly failed: number
}

const ratePerSecond = 1_000
const tenants = 10_000
const rowsPerTenant = 5
/** Of those that have rows, so many are asked for. */
const askedTenants = 200
const movedVnodes = 1_024
const warmUpMs = 5_000
const quietMs = 2_000
const clientsPerProxy = 64

/** Moves so often, under one load. */
export async function measureSwitches(
  bench: MovingBench,
  moves: number,
): Promise<readonly SwitchResult[]> {
  const moving = await startMoving(bench, {
    shards: 2,
    owning: 1,
    proxies: 2,
    tenants,
    rowsPerTenant,
  })
  try {
    const load = loadOf(await movedTenants(moving))
    const [transactions, done] = await underLoad(bench, moving, {
      load,
      during: () => moveOften(bench, moving, moves),
    })
    return done.map((each) => resultOf(each, transactions))
  } finally {
    await moving.stop()
  }
}

type Done = { readonly move: Move; readonly beganMs: number }

async function moveOften(
  { signal }: MovingBench,
  moving: Moving,
  moves: number,
): Promise<readonly Done[]> {
  const [one, other] = [shardId('s1'), shardId('s2')]
  const vnodes = Array.from({ length: movedVnodes }, (_, number) => vnode(number))
  const done: Done[] = []
  await rest(warmUpMs, signal)
  while (done.length < moves) {
    await rest(quietMs, signal)
    const way = done.length % 2 === 0 ? { from: one, to: other } : { from: other, to: one }
    const wanted = { ...way, vnodes, keys: [], options: defaultMoveOptions }
    const beganMs = Date.now()
    done.push({ move: await moveNow(moving, wanted, signal), beganMs })
  }
  return done
}

/** Some tenants whose virtual nodes are moved. */
async function movedTenants({ cluster }: Moving): Promise<readonly string[]> {
  const [home] = cluster.shards
  assert(home !== undefined, 'there is a shard')
  const found = await withClient(home.primary.url(shardedDatabase), (client) =>
    client.query<{ tenant: string }>(
      `SELECT DISTINCT tenant_id AS tenant FROM item WHERE ringfence.vnode(tenant_id) < $1
       ORDER BY 1 LIMIT $2`,
      [movedVnodes, askedTenants],
    ),
  )
  return found.rows.map(({ tenant }) => tenant)
}

/** Half of the rate through each proxy. */
async function underLoad<T>(
  { pgbench: program, signal }: MovingBench,
  { cluster, proxyPorts }: Moving,
  { load, during }: { readonly load: Load; readonly during: () => Promise<T> },
): Promise<readonly [readonly LoggedTransaction[], T]> {
  const [one, other] = proxyPorts
  assert(one !== undefined && other !== undefined, 'there are two proxies')
  const run = {
    load,
    program,
    signal,
    database: shardedDatabase,
    dir: cluster.dir,
    variables: {},
    ratePerSecond: ratePerSecond / 2,
  }
  const [ofOne, [ofOther, done]] = await runPgbench({ ...run, port: one }, () =>
    runPgbench({ ...run, port: other }, during),
  )
  return [[...ofOne, ...ofOther], done]
}

function resultOf(
  { move, beganMs }: Done,
  transactions: readonly LoggedTransaction[],
): SwitchResult {
  const { fencedAt, heldMs, cutoverTries = 0 } = move.progress
  assert(fencedAt !== undefined && heldMs !== undefined, 'a move that is done was switched')
  const touching = (fromMs: number, toMs: number) =>
    transactions.filter((transaction) => {
      const { beginMs, endMs } = spanOf(transaction)
      return beginMs < toMs && endMs >= fromMs
    })
  const second = touching(fencedAt, fencedAt + 1_000)
  return {
    heldMs,
    tries: cutoverTries + 1,
    window: latenciesOf(touching(fencedAt, fencedAt + heldMs)),
    second: latenciesOf(second),
    before: latenciesOf(touching(beganMs - 1_000, beganMs)),
    failed: second.filter(({ latencyMicros }) => latencyMicros === null).length,
  }
}

function latenciesOf(transactions: readonly LoggedTransaction[]): Latencies {
  const sorted = latenciesMs(transactions)
  return {
    statements: sorted.length,
    p50Ms: percentile(sorted, 0.5),
    p99Ms: percentile(sorted, 0.99),
    maxMs: percentile(sorted, 1),
  }
}

/** pgbench has no lists: a CASE stands for one. */
function loadOf(keys: readonly string[]): Load {
  const branches = keys.map((key, at) => `WHEN :at = ${at + 1} THEN ${key}`)
  const text = `\\set dice random(1, 10)
\\set at random(1, ${keys.length})
\\set tenant CASE ${branches.join(' ')} END
\\set id random(1, ${rowsPerTenant})
\\if :dice <= 6
SELECT amount, note FROM item WHERE tenant_id = :tenant AND id = :id;
\\else
UPDATE item SET amount = amount + 1 WHERE tenant_id = :tenant AND id = :id;
\\endif
`
  const clients = { clients: clientsPerProxy, uncountedClients: 0, reconnects: false, tls: false }
  return { ...clients, protocol: 'simple', script: { text } }
}
