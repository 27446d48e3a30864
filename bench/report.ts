// From samples to the table and the file: a figure is the median over the rounds, a ratio the
// median of the rounds' own ratios to the base, with the smallest and the largest beside it.
import { renderTable } from '../cli/table.ts'
import type { ApplyResult } from './apply.ts'
import type { CopyResult } from './copy.ts'
import { type IdleResult, kibibytesPerClient } from './idle-clients.ts'
import type { Sample } from './measure.ts'
import type { PromotionResult } from './promotion.ts'
import type { MeasuredBalance, RebalanceResult } from './rebalance.ts'
import type { SwitchResult } from './switch.ts'
import type { ThrottledResult } from './throttled.ts'

export type PeerResult = {
  /** A `PeerName`, or what an older file of results calls it. */
  readonly name: string
  /** One per round, in order. */
  readonly samples: readonly Sample[]
  /** Why there are no more of them; null when all rounds were run. */
  readonly failure: string | null
}

export type RowResult = {
  readonly name: string
  /** Null when no peer that could be one took part. */
  readonly base: string | null
  /** Offered transactions per second; null: as many as go. */
  readonly ratePerSecond: number | null
  readonly peers: readonly PeerResult[]
}

/** Of the rounds' ratios to the base. */
export type Spread = { readonly median: number; readonly min: number; readonly max: number }

/** One figure of one peer in one row. */
export type Figure = {
  readonly median: number | null
  /** Null for the base itself and where one of the two has no such figure. */
  readonly ratio: Spread | null
}

export type Metric = keyof Sample

type Column = {
  readonly metric: Metric
  readonly head: string
  readonly digits: number
  /** Has a column only where a row has such a figure. */
  readonly rare?: true
}

const columns: readonly Column[] = [
  { metric: 'tps', head: 'tps', digits: 0 },
  { metric: 'p50Ms', head: 'p50 ms', digits: 2 },
  { metric: 'p99Ms', head: 'p99 ms', digits: 2 },
  { metric: 'maxMs', head: 'max ms', digits: 1 },
  { metric: 'proxyMicros', head: 'proxy µs', digits: 1 },
  { metric: 'serverMicros', head: 'PG µs', digits: 1 },
  { metric: 'replicaShare', head: 'on replicas', digits: 3, rare: true },
]

/** The middle value, or the mean of the middle two. Null when there is none. */
export function median(values: readonly number[]): number | null {
  const sorted = values.toSorted((one, other) => one - other)
  const upper = sorted[sorted.length >> 1]
  const lower = sorted[(sorted.length - 1) >> 1]
  return upper === undefined || lower === undefined ? null : (upper + lower) / 2
}

/** Ratios of two peers' figures, round by round. Null when no round has both. */
export function spreadOfRatios(
  values: readonly (number | null)[],
  base: readonly (number | null)[],
): Spread | null {
  const ratios = values.flatMap((value, round) => {
    const against = base[round] ?? null
    return value === null || against === null || against === 0 ? [] : [value / against]
  })
  const middle = median(ratios)
  if (middle === null) return null
  return { median: middle, min: Math.min(...ratios), max: Math.max(...ratios) }
}

/** Every figure of one peer in a row. */
export function figuresOf(row: RowResult, peer: PeerResult): Readonly<Record<Metric, Figure>> {
  const base = row.peers.find(({ name }) => name === row.base && name !== peer.name)
  const figure = (metric: Metric): Figure => {
    const values = peer.samples.map((sample) => sample[metric])
    const against = base?.samples.map((sample) => sample[metric]) ?? []
    const known = values.filter((value) => value !== null)
    return { median: median(known), ratio: spreadOfRatios(values, against) }
  }
  return {
    tps: figure('tps'),
    p50Ms: figure('p50Ms'),
    p99Ms: figure('p99Ms'),
    maxMs: figure('maxMs'),
    proxyMicros: figure('proxyMicros'),
    serverMicros: figure('serverMicros'),
    replicaShare: figure('replicaShare'),
  }
}

/** One line per row and peer; a ratio stands behind its figure, the base's line says "base". */
export function renderRows(rows: readonly RowResult[]): string {
  if (rows.length === 0) return ''
  const [heads, ...lines] = rowCells(rows)
  return [renderTable(heads ?? [], lines), ...remarks(rows).map((line) => `${line}\n`)].join('')
}

/** The heads of columns, then one line per row and peer. */
export function rowCells(rows: readonly RowResult[]): readonly (readonly string[])[] {
  const samples = rows.flatMap(({ peers }) => peers.flatMap((peer) => peer.samples))
  const shown = columns.filter(({ metric, rare }) => {
    return rare !== true || samples.some((sample) => sample[metric] !== null)
  })
  const heads = shown.flatMap(({ head }) => [head, '×'])
  const lines = rows.flatMap((row) => row.peers.map((peer) => lineOf(row, peer, shown)))
  return [['row', 'peer', ...heads, 'tps × min–max'], ...lines]
}

/** Rates that were offered, and why a peer is missing. */
export function remarks(rows: readonly RowResult[]): readonly string[] {
  const failures = rows.flatMap((row) =>
    row.peers.flatMap(({ name, failure }) =>
      failure === null ? [] : [`${row.name}, ${name}: ${failure}`],
    ),
  )
  const rates = rows.flatMap(({ name, ratePerSecond }) =>
    ratePerSecond === null ? [] : [`${name}: ${ratePerSecond} transactions per second offered`],
  )
  return [...rates, ...failures]
}

/** One line per proxy. */
export function renderIdle(results: readonly IdleResult[]): string {
  if (results.length === 0) return ''
  const [heads, ...lines] = idleCells(results)
  return renderTable(heads ?? [], lines)
}

/** The heads of columns, then one line per proxy. */
export function idleCells(results: readonly IdleResult[]): readonly (readonly string[])[] {
  const counts = results[0]?.steps.map(({ clients }) => `at ${clients} idle clients`) ?? []
  const lines = results.map((result) => {
    const resident = result.steps.map(({ residentBytes }) => mebibytes(residentBytes))
    return [result.peer, ...resident, kibibytesPerClient(result)?.toFixed(1) ?? '–']
  })
  return [['RSS in MiB', ...counts, 'KiB per client'], ...lines]
}

/** One line per promotion. */
export function renderPromotions(results: readonly PromotionResult[]): string {
  const lines = results.map(({ acceptedMs, firstWriteMs, errors }, round) => {
    return [String(round + 1), acceptedMs.toFixed(0), firstWriteMs.toFixed(0), String(errors)]
  })
  const heads = ['promotion', 'accepted ms after the kill', 'through the proxy ms later', 'errors']
  return results.length === 0 ? '' : renderTable(heads, lines)
}

/** One line per round; the ratio is ours to PostgreSQL's. */
export function renderApply(results: readonly ApplyResult[]): string {
  const lines = results.map(({ changes, followerRate, subscriptionRate }, round) => {
    const rates = [followerRate.toFixed(0), subscriptionRate.toFixed(0)]
    const ratio = (followerRate / subscriptionRate).toFixed(2)
    return [String(round + 1), String(changes), ...rates, ratio]
  })
  const heads = ['apply', 'changes', 'follower per second', 'subscription per second', '×']
  return results.length === 0 ? '' : renderTable(heads, lines)
}

/** One line per round; the ratios are ours to PostgreSQL's. */
export function renderCopies(results: readonly CopyResult[]): string {
  const lines = results.map((result, round) => {
    const { rows, copyRate, subscriptionRate, binarySubscriptionRate, verifyRate } = result
    const others = [subscriptionRate, binarySubscriptionRate].flatMap((rate) => {
      return [rate.toFixed(0), (copyRate / rate).toFixed(2)]
    })
    return [String(round + 1), String(rows), copyRate.toFixed(0), ...others, verifyRate.toFixed(0)]
  })
  const others = ['subscription', '×', 'binary subscription', '×']
  const heads = ['copy', 'rows', 'ours per second', ...others, 'compared per second']
  return results.length === 0 ? '' : renderTable(heads, lines)
}

/** One line per move. */
export function renderSwitches(results: readonly SwitchResult[]): string {
  const lines = results.map(({ heldMs, tries, window, second, before, failed }, move) => {
    const waits = [window, second].flatMap(({ statements, p50Ms, p99Ms, maxMs }) => {
      return [String(statements), ...[p50Ms, p99Ms, maxMs].map((ms) => ms.toFixed(1))]
    })
    const others = [before.p99Ms.toFixed(1), String(heldMs), String(tries), String(failed)]
    return [String(move + 1), ...waits, ...others]
  })
  const waits = ['p50 ms', 'p99 ms', 'max ms']
  const others = ['p99 ms before', 'fenced ms', 'tries', 'failed']
  const heads = ['switch', 'met the fence', ...waits, 'in that second', ...waits, ...others]
  return results.length === 0 ? '' : renderTable(heads, lines)
}

/** One line per move. */
export function renderThrottled(results: readonly ThrottledResult[]): string {
  const lines = results.map(({ throttled, seconds, p99BeforeMs, p99DuringMs, failed }, move) => {
    const kind = throttled ? 'throttled' : 'as fast as it goes'
    const latencies = [p99BeforeMs.toFixed(2), p99DuringMs.toFixed(2)]
    const ratio = (p99DuringMs / p99BeforeMs).toFixed(2)
    return [String(move + 1), kind, seconds.toFixed(1), ...latencies, ratio, String(failed)]
  })
  const latencies = ['p99 ms before', 'during', '×']
  const heads = ['throttled', 'move', 'seconds to the switch', ...latencies, 'failed']
  return results.length === 0 ? '' : renderTable(heads, lines)
}

/** What each shard had before and after, and what was done. */
export function renderRebalance(result: RebalanceResult | null): string {
  if (result === null) return ''
  const { before, after, planned, moves, movedBytes, lowerBoundBytes } = result
  const lines = (
    [
      ['before', before],
      ['after', after],
    ] as const
  ).map(([when, balance]) => {
    return [when, ...sharesOf(balance), balance.serverTime.toFixed(3), balance.cpuTime.toFixed(3)]
  })
  const ids = before.shards.map(({ id }) => id)
  const heads = ['rebalance', ...ids, 'max/mean server time', 'max/mean CPU time']
  const done = moves.map(({ from, to, what }) => `${from} → ${to}: ${what}\n`)
  return [
    renderTable(heads, lines),
    ...done,
    `planned: max/mean ${planned.toFixed(3)}; `,
    `moved ${kibibytes(movedBytes)} KiB (at least ${kibibytes(lowerBoundBytes)}) `,
    `in ${result.seconds.toFixed(1)} s; `,
    `${result.failed} of ${result.statements} statements failed\n`,
  ].join('')
}

function sharesOf({ shards }: MeasuredBalance): readonly string[] {
  return shards.map(({ share }) => `${(share * 100).toFixed(1)} %`)
}

function lineOf(row: RowResult, peer: PeerResult, columns: readonly Column[]): string[] {
  const figures = figuresOf(row, peer)
  const isBase = row.base === peer.name
  const cells = columns.flatMap(({ metric, digits }) => {
    const { median: value, ratio } = figures[metric]
    const shown = value === null ? '–' : value.toFixed(digits)
    if (isBase) return [shown, value === null ? '' : 'base']
    return [shown, ratio === null ? '' : ratio.median.toFixed(2)]
  })
  const { ratio } = figures.tps
  return [row.name, peer.name, ...cells, ratio === null ? '' : betweenOf(ratio)]
}

/** The smallest and the largest of the rounds' ratios. */
export function betweenOf({ min, max }: Spread): string {
  return `${min.toFixed(2)}–${max.toFixed(2)}`
}

const kibibytes = (bytes: number) => (bytes / 1024).toFixed(1)
const mebibytes = (bytes: number) => (bytes / 1024 / 1024).toFixed(1)
