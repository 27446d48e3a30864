// Writes what a database's meter has counted into the catalog every few seconds. What cannot be written, as while the
// home shard is down, is counted with what comes next.
import { openCatalogConnection } from '../catalog/connection.ts'
import { loadHalfLifeS, writeLoad } from '../catalog/load-store.ts'
import type { Clock, Timer } from '../core/clock.ts'
import type { Log } from '../core/log.ts'
import type { LoadMeter } from './load-meter.ts'

export type LoadReportsOptions = {
  readonly meter: LoadMeter
  /** The home shard's primary; read at every report, as a failover changes it. Its login is the role that ran init. */
  readonly url: () => string
  readonly log: Log
  readonly clock: Clock
  /** From 0 to below 1: proxies that were started together do not report together. */
  readonly random: () => number
  /** Mean time between two reports; absent: 10 s. */
  readonly intervalMs?: number | undefined
  readonly halfLifeS?: number
}

const queryTimeoutMs = 5_000
const reportIntervalMs = 10_000
/** A report comes up to this part of the interval sooner or later. */
const jitter = 0.2

/** Reports until closed, and once more then. */
export function startLoadReports(options: LoadReportsOptions): { close(): Promise<void> } {
  const { clock, random, intervalMs = reportIntervalMs } = options
  let timer: Timer | undefined
  let closed = false
  let running = Promise.resolve()
  let failing = false
  const round = async () => {
    failing = await report(options, failing)
    if (!closed) schedule()
  }
  const schedule = () => {
    const delayMs = intervalMs * (1 - jitter + 2 * jitter * random())
    timer = clock.after(delayMs, () => {
      running = round()
    })
  }
  schedule()
  return {
    close: async () => {
      closed = true
      timer?.cancel()
      await running
      if (!failing) await report(options, failing)
    },
  }
}

/** True when it could not be written; logged when that changes. */
async function report(options: LoadReportsOptions, wasFailing: boolean): Promise<boolean> {
  const { meter, url, log, halfLifeS = loadHalfLifeS } = options
  const counted = meter.take()
  if (counted.vnodes.length === 0) return wasFailing
  try {
    const { client, end } = await openCatalogConnection(url(), queryTimeoutMs)
    try {
      // Load that a crash loses is measured again.
      await client.query('SET search_path = pg_catalog; SET synchronous_commit = off')
      await writeLoad(client, counted, halfLifeS)
    } finally {
      await end()
    }
  } catch (error) {
    meter.giveBack(counted)
    const reason = error instanceof Error ? error.message : String(error)
    if (!wasFailing) log.warn({ reason }, 'measured load cannot be written to the catalog')
    return true
  }
  if (wasFailing) log.info('measured load is written to the catalog again')
  return false
}
