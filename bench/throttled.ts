// What a move costs the clients of its source: a light load by key goes through a proxy, for a while
// alone and then while two million rows are copied and compared, up to the switch. Once held back by
// the throttle, once as fast as it goes; rows go there and back again.
import type { Move, MoveOptions } from '../catalog/move-store.ts'
import { assert } from '../core/assert.ts'
import { shardId } from '../core/ids.ts'
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
  wholeShard,
} from './moving.ts'
import { type Load, type LoggedTransaction, runPgbench } from './pgbench.ts'
import { shardedDatabase } from './servers.ts'

/** Of one move; latencies of the source's statements. */
export type ThrottledResult = {
  readonly throttled: boolean
  /** From the start of the move to its switch. */
  readonly seconds: number
  readonly p99BeforeMs: number
  readonly p99DuringMs: number
  readonly failed: number
}

const tenants = 10_000
const rowsPerTenant = 200
/** A p99 of fewer statements changes by a half from one time to the next. */
const beforeMs = 80_000
const warmUpMs = 5_000
const ratePerSecond = 200

const limits: MoveOptions = {
  ...defaultMoveOptions,
  bytesPerSecond: 4_000_000,
  maxLatencyFactor: 1.2,
}

const load: Load = {
  protocol: 'simple',
  clients: 8,
  uncountedClients: 0,
  reconnects: false,
  tls: false,
  script: {
    text: `\\set dice random(1, 10)
\\set tenant random(1, ${tenants})
\\set id random(1, ${rowsPerTenant})
\\if :dice <= 8
SELECT amount, note FROM item WHERE tenant_id = :tenant AND id = :id;
\\else
UPDATE item SET amount = amount + 1 WHERE tenant_id = :tenant AND id = :id;
\\endif
`,
  },
}

type Done = {
  readonly throttled: boolean
  readonly beganMs: number
  readonly fencedMs: number
}

/** One throttled move and one that is not, so often; the order changes from round to round. */
export async function measureThrottled(
  bench: MovingBench,
  rounds: number,
): Promise<readonly ThrottledResult[]> {
  const { pgbench: program, signal } = bench
  const size = { tenants, rowsPerTenant }
  const moving = await startMoving(bench, { shards: 2, owning: 1, proxies: 1, ...size })
  try {
    const [port] = moving.proxyPorts
    assert(port !== undefined, 'there is a proxy')
    const place = { program, port, signal, database: shardedDatabase, dir: moving.cluster.dir }
    const [transactions, done] = await runPgbench(
      { ...place, load, ratePerSecond, variables: {} },
      () => moveOften(moving, rounds, signal),
    )
    return done.map((each) => resultOf(each, transactions))
  } finally {
    await moving.stop()
  }
}

async function moveOften(
  moving: Moving,
  rounds: number,
  signal: AbortSignal,
): Promise<readonly Done[]> {
  const done: Done[] = []
  await rest(warmUpMs, signal)
  for (let round = 0; round < rounds; round += 1) {
    for (const throttled of round % 2 === 0 ? [true, false] : [false, true]) {
      await rest(beforeMs, signal)
      const [from, to] = done.length % 2 === 0 ? ['s1', 's2'] : ['s2', 's1']
      assert(from !== undefined && to !== undefined, 'there are two shards')
      const way = { from: shardId(from), to: shardId(to) }
      const options = throttled ? limits : defaultMoveOptions
      const wanted = await wholeShard(moving, way, options)
      const beganMs = Date.now()
      const move = await moveNow(moving, wanted, signal)
      done.push({ throttled, beganMs, fencedMs: fencedAt(move) })
    }
  }
  return done
}

function fencedAt({ progress }: Move): number {
  assert(progress.fencedAt !== undefined, 'a move that is done was fenced')
  return progress.fencedAt
}

function resultOf(
  { throttled, beganMs, fencedMs }: Done,
  transactions: readonly LoggedTransaction[],
): ThrottledResult {
  const between = (fromMs: number, toMs: number) =>
    transactions.filter((transaction) => {
      const { beginMs, endMs } = spanOf(transaction)
      return beginMs >= fromMs && endMs < toMs
    })
  const during = between(beganMs, fencedMs)
  return {
    throttled,
    seconds: (fencedMs - beganMs) / 1000,
    p99BeforeMs: percentile(latenciesMs(between(beganMs - beforeMs, beganMs)), 0.99),
    p99DuringMs: percentile(latenciesMs(during), 0.99),
    failed: during.filter(({ latencyMicros }) => latencyMicros === null).length,
  }
}
