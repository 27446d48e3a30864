// The order of a row's runs: A B C, C B A, A B C … so that what changes on the machine meanwhile
// (a clock that slows down, a neighbour) meets every peer alike. A peer is only ever compared with
// the base of the same round.
import { type Bench, measure, type Sample } from './measure.ts'
import type { Peer } from './peers.ts'
import type { PeerResult, RowResult } from './report.ts'
import type { Row } from './rows.ts'

/** Runs the rows one after the other. */
export async function runRows(
  bench: Bench & { readonly rounds: number; readonly say: (text: string) => void },
  rows: readonly Row[],
  peers: readonly Peer[],
): Promise<readonly RowResult[]> {
  const { rounds, say } = bench
  const results: RowResult[] = []
  await warmUp({ ...bench, seconds: 1 }, rows, peers)
  for (const [index, row] of rows.entries()) {
    say(`${index + 1}/${rows.length} ${row.name}\n`)
    results.push(await runRow(bench, row, { peers, rounds }))
  }
  return results
}

/** Runs one row. Never throws for a peer that fails: its result says why. */
async function runRow(
  bench: Bench,
  row: Row,
  options: { readonly peers: readonly Peer[]; readonly rounds: number },
): Promise<RowResult> {
  const runs = options.peers.filter(({ name }) => row.peers.includes(name)).map(startRun)
  for (const run of runs) run.failure = run.peer.cannot(row.load)
  const ratePerSecond = await findRate(bench, row, runs)
  for (let round = 0; round < options.rounds; round += 1) {
    const order = round % 2 === 0 ? runs : runs.toReversed()
    for (const run of order) await runOnce(bench, run, { load: row.load, ratePerSecond })
  }
  const base = baseOf(row, runs)?.peer.name ?? null
  return { name: row.name, base, ratePerSecond, peers: runs.map(resultOf) }
}

/**
 * Runs every proxy under loads that it will meet, one for each protocol, and forgets the figures:
 * one that has just started is still compiling itself, which would be charged to its first rows.
 */
async function warmUp(bench: Bench, rows: readonly Row[], peers: readonly Peer[]): Promise<void> {
  for (const peer of peers.filter(({ proxyPid }) => proxyPid !== null)) {
    const loads = rows.flatMap((row) => {
      return row.peers.includes(peer.name) && peer.cannot(row.load) === null ? [row.load] : []
    })
    const firsts = loads.filter(({ protocol }, at) => {
      return loads.findIndex((load) => load.protocol === protocol) === at
    })
    for (const load of firsts) await runOnce(bench, startRun(peer), { load, ratePerSecond: null })
  }
}

type Run = { readonly peer: Peer; readonly samples: Sample[]; failure: string | null }

const startRun = (peer: Peer): Run => ({ peer, samples: [], failure: null })

const resultOf = ({ peer, samples, failure }: Run): PeerResult => {
  return { name: peer.name, samples, failure }
}

/** The first peer of the row's list that takes part and has not failed. */
function baseOf(row: Row, runs: readonly Run[]): Run | undefined {
  const able = runs.filter(({ failure }) => failure === null)
  return row.base.map((name) => able.find(({ peer }) => peer.name === name)).find(Boolean)
}

/** The row's share of what the base does at its fastest; null when the row offers no rate. */
async function findRate(bench: Bench, row: Row, runs: readonly Run[]): Promise<number | null> {
  if (row.rateShare === null) return null
  const base = baseOf(row, runs)
  if (base === undefined) return null
  await runOnce(bench, base, { load: row.load, ratePerSecond: null })
  const fastest = base.samples.pop()?.tps
  return fastest === undefined ? null : Math.max(1, Math.round(fastest * row.rateShare))
}

async function runOnce(bench: Bench, run: Run, what: Parameters<typeof measure>[2]): Promise<void> {
  if (run.failure !== null) return
  try {
    run.samples.push(await measure(bench, run.peer, what))
  } catch (error) {
    bench.signal.throwIfAborted()
    run.failure = error instanceof Error ? error.message : String(error)
  }
}
