// What Ringfence must reach, as ratios to PgBouncer in the same run, and whether it does. A verdict
// stands on the median of the rounds' ratios; the smallest and the largest stand beside it, since
// a target that only some rounds reach is not proven either way.
import { type IdleResult, kibibytesPerClient } from './idle-clients.ts'
import type { PeerName } from './peers.ts'
import { betweenOf, type Metric, type RowResult, type Spread, spreadOfRatios } from './report.ts'

type Bound = { readonly kind: 'atLeast' | 'atMost'; readonly ratio: number }

type Target = {
  readonly name: string
  /** Of the rows that it is about. */
  readonly rows: RegExp
  readonly peer: PeerName
  /** Whom the peer is measured against. */
  readonly against: PeerName
  readonly metric: Metric
  readonly must: Bound
}

/** One target in one row. */
export type Verdict = {
  readonly target: string
  readonly row: string
  /** As `≥ 1.30 ×`. */
  readonly must: string
  /** The median and what it lies between; empty where nothing was measured. */
  readonly measured: string
  readonly between: string
  readonly verdict: 'met' | 'met, not in every round' | 'missed, not in every round' | 'missed'
}

/** A target about which nothing is known, and why. */
export type Unknown = {
  readonly target: string
  readonly row: string
  readonly must: string
  readonly why: string
}

const least = (ratio: number): Bound => ({ kind: 'atLeast', ratio })
const most = (ratio: number): Bound => ({ kind: 'atMost', ratio })
const ours = { peer: 'Ringfence', against: 'PgBouncer' } as const
const cpuRows = /^select (simple|prepared) (64|256|1000)$/

const targets: readonly Target[] = [
  {
    ...ours,
    name: 'throughput, simple',
    rows: /^select simple (64|256|1000)$/,
    metric: 'tps',
    must: least(1.3),
  },
  {
    ...ours,
    name: 'throughput, prepared',
    rows: /^select prepared (64|256|1000)$/,
    metric: 'tps',
    must: least(1.5),
  },
  {
    ...ours,
    name: 'p99 at an equal offered rate',
    rows: /^offered rate/,
    metric: 'p99Ms',
    must: most(1.25),
  },
  {
    ...ours,
    name: 'fast clients’ p99 beside slow ones',
    rows: /^32 fast beside 2 slow/,
    metric: 'p99Ms',
    must: most(1.25),
  },
  {
    ...ours,
    name: 'fast clients’ maximum beside slow ones',
    rows: /^32 fast beside 2 slow/,
    metric: 'maxMs',
    must: most(1.25),
  },
  { ...ours, name: 'CPU, fast lane', rows: cpuRows, metric: 'proxyMicros', must: most(0.9) },
  {
    name: 'CPU, plain',
    rows: cpuRows,
    peer: 'Ringfence, plain',
    against: 'PgBouncer',
    metric: 'proxyMicros',
    must: most(1.35),
  },
  { ...ours, name: 'throughput, tpcb-like', rows: /^tpcb-like/, metric: 'tps', must: least(0.95) },
  {
    ...ours,
    name: 'latency of one client',
    rows: /^select (simple|extended|prepared) 1$/,
    metric: 'p50Ms',
    must: most(1.2),
  },
  {
    name: 'CPU, sharded with a known key',
    rows: /^sharded key/,
    peer: 'Ringfence, sharded',
    against: 'Ringfence',
    metric: 'proxyMicros',
    must: most(1.1),
  },
]

const idleKibibytesMax = 15

/** A verdict for every target and row of it that was run; then for idle clients. */
export function judge(
  rows: readonly RowResult[],
  idle: readonly IdleResult[],
): readonly (Verdict | Unknown)[] {
  const ofRows = targets.flatMap((target) =>
    rows.filter(({ name }) => target.rows.test(name)).map((row) => judgeRow(target, row)),
  )
  return [...ofRows, ...idle.filter(({ peer }) => peer === 'Ringfence').flatMap(judgeIdle)]
}

/** The heads of columns, then one line per verdict. */
export function verdictCells(
  verdicts: readonly (Verdict | Unknown)[],
): readonly (readonly string[])[] {
  const lines = verdicts.map((each) => {
    const { target, row, must } = each
    if ('why' in each) return [target, row, must, '', '', `not measured: ${each.why}`]
    return [target, row, must, each.measured, each.between, each.verdict]
  })
  return [['target', 'row', 'must', 'measured', 'min–max', 'verdict'], ...lines]
}

function judgeRow(target: Target, row: RowResult): Verdict | Unknown {
  const { name, peer, against, metric, must } = target
  const sign = must.kind === 'atLeast' ? '≥' : '≤'
  const about = { target: name, row: row.name, must: `${sign} ${must.ratio.toFixed(2)} ×` }
  const [mine, theirs] = [peer, against].map((wanted) =>
    row.peers.find((each) => each.name === wanted),
  )
  for (const [wanted, each] of [
    [peer, mine],
    [against, theirs],
  ] as const) {
    if (each === undefined) return { ...about, why: `${wanted} was not there` }
    if (each.failure !== null) return { ...about, why: `${wanted}: ${each.failure}` }
  }
  const valuesOf = (each: typeof mine) => each?.samples.map((sample) => sample[metric]) ?? []
  const spread = spreadOfRatios(valuesOf(mine), valuesOf(theirs))
  if (spread === null) return { ...about, why: 'no round has both' }
  const between = betweenOf(spread)
  return { ...about, measured: spread.median.toFixed(2), between, verdict: say(must, spread) }
}

function say({ kind, ratio }: Bound, { median, min, max }: Spread): Verdict['verdict'] {
  const holds = (value: number) => (kind === 'atLeast' ? value >= ratio : value <= ratio)
  const every = holds(min) === holds(max)
  if (holds(median)) return every ? 'met' : 'met, not in every round'
  return every ? 'missed' : 'missed, not in every round'
}

function judgeIdle(idle: IdleResult): readonly Verdict[] {
  const kibibytes = kibibytesPerClient(idle)
  const count = idle.steps.at(-1)?.clients ?? 0
  if (kibibytes === null) return []
  return [
    {
      target: 'memory of an idle client',
      row: `${count} idle clients`,
      must: `≤ ${idleKibibytesMax} KiB`,
      measured: `${kibibytes.toFixed(1)} KiB`,
      between: '',
      verdict: kibibytes <= idleKibibytesMax ? 'met' : 'missed',
    },
  ]
}
