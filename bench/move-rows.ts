// The rows about moves, one after the other: each has servers and proxies of its own.
import type { MovingBench } from './moving.ts'
import { measureRebalance, type RebalanceResult } from './rebalance.ts'
import { measureSwitches, type SwitchResult } from './switch.ts'
import { measureThrottled, type ThrottledResult } from './throttled.ts'

/** Empty, or null, where a row was not wanted. */
export type MoveResults = {
  readonly switches: readonly SwitchResult[]
  readonly throttled: readonly ThrottledResult[]
  readonly rebalance: RebalanceResult | null
}

const names = ['switch', 'throttled', 'rebalance'] as const

/** Names of the rows that are wanted. */
export function wantedMoveRows(wants: (name: string) => boolean): ReadonlySet<string> {
  return new Set(names.filter(wants))
}

/** Runs them; a round of `switch` and `throttled` is a move there and one back. */
export async function measureMoves(
  bench: MovingBench,
  rows: ReadonlySet<string>,
  { rounds, say }: { readonly rounds: number; readonly say: (text: string) => void },
): Promise<MoveResults> {
  const run = async <T>(row: (typeof names)[number], measure: () => Promise<T>, none: T) => {
    bench.signal.throwIfAborted()
    if (!rows.has(row)) return none
    say(`${row}\n`)
    return await measure()
  }
  return {
    switches: await run('switch', () => measureSwitches(bench, 2 * rounds), []),
    throttled: await run('throttled', () => measureThrottled(bench, rounds), []),
    rebalance: await run<RebalanceResult | null>('rebalance', () => measureRebalance(bench), null),
  }
}
