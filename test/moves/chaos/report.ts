// What a run has shown, for people and as JSON.
import Table from 'cli-table3'
import type { Faults } from './faults.ts'
import type { HeldStatements } from './held.ts'
import type { Ledger } from './ledger.ts'
import type { MoverLoop } from './mover-loop.ts'
import type { Tally, Unexplained } from './tally.ts'

export type RunReport = {
  readonly seed: number
  readonly seconds: number
  readonly operations: number
  readonly writes: number
  /** Acknowledged or not, that were compared at the end. */
  readonly rows: number
  readonly moves: Readonly<Record<string, number>>
  /** Waits at switches, milliseconds: the median and the longest. */
  readonly heldMs: { readonly median: number; readonly max: number }
  /** By proxies, for moves; and for how long on the average. */
  readonly heldStatements: { readonly count: number; readonly meanMs: number }
  readonly longestMs: number
  readonly faults: Readonly<Record<string, number>>
  /** By SQLSTATE and what explains them. */
  readonly errors: Readonly<Record<string, number>>
  readonly messages: Readonly<Record<string, string>>
  readonly unexplained: {
    readonly count: number
    readonly share: number
    readonly forbidden: number
  }
  readonly examples: readonly Unexplained[]
  /** Why moves were aborted, and movers gave up. */
  readonly reasons: Readonly<Record<string, number>>
  readonly violationCount: number
  readonly violations: readonly string[]
  readonly ok: boolean
}

/** Errors that no fault explains, of all operations, at most. */
const unexplainedShareMax = 0.001

export function reportOf(run: {
  readonly seed: number
  readonly seconds: number
  readonly ledger: Ledger
  readonly tally: Tally
  readonly faults: Faults
  readonly movers: readonly MoverLoop[]
  readonly held: HeldStatements
  readonly rows: number
}): RunReport {
  const { seed, seconds, ledger, tally, faults, movers, held, rows } = run
  const waits = movers.flatMap(({ heldMs }) => heldMs).sort((a, b) => a - b)
  const { unexplainedCount: count, unexplainedShare: share, forbidden } = tally
  const moves = summed(movers.map(({ ends }) => ends))
  return {
    seed,
    seconds: Math.round(seconds),
    operations: tally.operations,
    writes: ledger.writes,
    rows,
    moves,
    heldMs: { median: waits[Math.floor(waits.length / 2)] ?? 0, max: waits.at(-1) ?? 0 },
    heldStatements: {
      count: held.statements,
      meanMs: Math.round((held.seconds * 1_000) / Math.max(1, held.statements)),
    },
    longestMs: Math.round(tally.longestMs),
    faults: summed([faults.counts()]),
    errors: summed([tally.errors]),
    messages: Object.fromEntries(tally.messages),
    unexplained: { count, share, forbidden },
    examples: tally.unexplained,
    reasons: summed(movers.map(({ reasons }) => reasons)),
    violationCount: ledger.violationCount,
    violations: ledger.violations,
    ok:
      ledger.violationCount === 0 &&
      forbidden === 0 &&
      share <= unexplainedShareMax &&
      (moves['done'] ?? 0) + (moves['rolled back'] ?? 0) > 0,
  }
}

function summed(maps: readonly ReadonlyMap<string, number>[]): Record<string, number> {
  const sums: Record<string, number> = {}
  for (const [what, count] of maps.flatMap((map) => [...map])) {
    sums[what] = (sums[what] ?? 0) + count
  }
  return sums
}

/** For people. */
export function textOf(report: RunReport): string {
  const table = new Table({ style: { head: [], border: [] }, wordWrap: true, colWidths: [16, 100] })
  const counts = (record: Readonly<Record<string, number>>) =>
    Object.entries(record)
      .map(([what, count]) => `${count} × ${what}`)
      .join('\n') || 'none'
  const { unexplained, heldMs, heldStatements } = report
  const share = `${(unexplained.share * 100).toFixed(4)} %`
  table.push(
    ['seed', report.seed],
    ['time', `${report.seconds} s`],
    ['operations', `${report.operations}, ${report.writes} writes acknowledged`],
    ['rows compared', report.rows],
    ['moves', counts(report.moves)],
    ['switch', `median ${heldMs.median} ms, longest ${heldMs.max} ms`],
    ['held', `${heldStatements.count} statements, ${heldStatements.meanMs} ms on the average`],
    ['longest answer', `${report.longestMs} ms`],
    ['faults', counts(report.faults)],
    ['errors', counts(report.errors)],
    [
      'such as',
      Object.entries(report.messages)
        .map(([key, text]) => `${key}: ${text}`)
        .join('\n'),
    ],
    ['unexplained', `${unexplained.count} (${share}), not retryable: ${unexplained.forbidden}`],
    ['', report.examples.map((each) => JSON.stringify(each)).join('\n')],
    ['movers said', counts(report.reasons)],
    ['violations', [String(report.violationCount), ...report.violations].join('\n')],
    ['', report.ok ? 'ok' : 'FAILED'],
  )
  return table.toString()
}
