// A client: one statement after the other through some proxy, held against the oracle as soon as it is answered.
import { PgError } from '../../core/errors.ts'
import type { Random } from '../support/random.ts'
import type { Cluster } from './cluster.ts'
import { ConnectionBroken, ServerRefusal } from './network.ts'
import type { Interval } from './oracle.ts'
import { holdMs, type SimulatedProxy } from './proxy.ts'
import { ProxySession } from './proxy-session.ts'
import { type Row, tables, type Value } from './rows.ts'

const thinkMsMax = 160
const idleMsMax = 14_000
/** Beside what a statement may be held: locks, servers, the network. */
const otherWaitMsMax = 25_000

export type ClientOptions = {
  readonly cluster: Cluster
  /** Those that run now. */
  readonly proxies: () => readonly SimulatedProxy[]
  readonly nextItem: () => number
  readonly untilMs: number
}

/** Runs until `untilMs`, whatever errors it gets. */
export async function runClient(options: ClientOptions): Promise<void> {
  const { cluster, proxies, untilMs } = options
  const { scheduler } = cluster.environment
  while (scheduler.nowMs < untilMs) {
    await pause(options, thinkMsMax)
    const running = proxies()
    const proxy = running[scheduler.random.below(Math.max(1, running.length))]
    if (proxy === undefined) continue
    const session = new ProxySession(cluster, proxy)
    const fate = new Promise<void>((resolve) => {
      proxy.onCrash.add(resolve)
    })
    // A client whose proxy dies goes to another one.
    await Promise.race([useSession(options, session), fate])
    session.close()
  }
}

async function useSession(options: ClientOptions, session: ProxySession): Promise<void> {
  const { scheduler } = options.cluster.environment
  for (let left = 1 + scheduler.random.below(6); left > 0; left -= 1) {
    await pause(options, thinkMsMax)
    try {
      await one(options, session)
    } catch (error) {
      if (session.isClosed) return
      session.abandon()
      mustBeExpected(options, error)
    }
  }
}

async function one(options: ClientOptions, session: ProxySession): Promise<void> {
  const { random } = options.cluster.environment.scheduler
  const choice = random.below(10)
  if (choice < 4) return await append(options, session, pick(random, options.cluster.rows))
  if (choice < 7) return await read(options, session, pick(random, options.cluster.rows))
  if (choice < 8) return await scatter(options, session)
  await transact(options, session)
}

async function append(options: ClientOptions, session: ProxySession, row: Row): Promise<void> {
  const { cluster, nextItem } = options
  const { random } = cluster.environment.scheduler
  const isRemoval = row.table === 'visits' && random.oneIn(4)
  const item = nextItem()
  const change = (before: Value): Value => (isRemoval ? null : [...(before ?? []), item])
  await timed(options, 'write', () => session.write(row, change))
}

async function read(options: ClientOptions, session: ProxySession, row: Row): Promise<void> {
  const knowsMore = session.hasWritten
  await timed(options, 'read', async (interval) => {
    const value = await session.read(row)
    if (!knowsMore) options.cluster.oracle.read(row, value, interval())
  })
}

async function scatter(options: ClientOptions, session: ProxySession): Promise<void> {
  const { cluster } = options
  const table = tables[cluster.environment.scheduler.random.below(tables.length)] ?? 'lists'
  await timed(options, 'scatter', async (interval) => {
    const parts = await session.scatter(table)
    const rows = cluster.rows.filter((row) => row.table === table)
    cluster.oracle.scattered(rows, parts, interval())
  })
}

/** Statements on one shard most of the time, with pauses, now and then a long one. */
async function transact(options: ClientOptions, session: ProxySession): Promise<void> {
  const { cluster } = options
  const { random } = cluster.environment.scheduler
  session.begin()
  const first = pick(random, cluster.rows)
  for (let left = 1 + random.below(3); left > 0; left -= 1) {
    const row = random.oneIn(3) ? pick(random, cluster.rows) : nearby(random, cluster.rows, first)
    if (random.oneIn(8) && !session.hasWritten) await scatter(options, session)
    else if (random.oneIn(2)) await append(options, session, row)
    else await read(options, session, row)
    await pause(options, random.oneIn(9) ? idleMsMax : thinkMsMax)
  }
  await timed(options, 'end', () => (random.oneIn(6) ? session.rollback() : session.commit()))
}

/** Sees that no statement takes longer than it may. */
async function timed(
  { cluster }: ClientOptions,
  what: string,
  run: (interval: () => Interval) => Promise<void>,
): Promise<void> {
  const { scheduler, violate } = cluster.environment
  const fromMs = scheduler.nowMs
  try {
    await run(() => ({ fromMs, toMs: scheduler.nowMs }))
  } finally {
    const tookMs = scheduler.nowMs - fromMs
    if (tookMs > holdMs + otherWaitMsMax) violate(`a ${what} took ${Math.round(tookMs)} ms`)
  }
}

const expected = new Set(['40001', '40P01', '57P03', '0A000', '25P02', 'ECONNRESET'])

function mustBeExpected({ cluster }: ClientOptions, error: unknown): void {
  const code = codeOf(error)
  if (!expected.has(code)) cluster.environment.violate(`a client got ${code} ${String(error)}`)
}

function codeOf(error: unknown): string {
  if (error instanceof PgError) return error.sqlstate
  return error instanceof ServerRefusal || error instanceof ConnectionBroken ? error.code : ''
}

function pause({ cluster }: ClientOptions, mostMs: number): Promise<void> {
  const { scheduler } = cluster.environment
  return new Promise((resolve) => {
    scheduler.after(scheduler.between(0, mostMs), resolve)
  })
}

function pick(random: Random, rows: readonly Row[]): Row {
  const row = rows[random.below(rows.length)]
  if (row === undefined) throw new Error('there are rows')
  return row
}

/** A row of the same virtual node. */
function nearby(random: Random, rows: readonly Row[], { vnode }: Row): Row {
  return pick(
    random,
    rows.filter((row) => row.vnode === vnode),
  )
}
