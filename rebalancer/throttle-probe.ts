// Asks both shards, a few times a second while a move runs, how far their replicas are behind, and
// how long the source takes for a read that should cost nothing; the throttle decides what that
// means.
import type { Client } from 'pg'
import type { Clock } from '../core/clock.ts'
import { openShard } from './copy/connection.ts'
import type { Throttle } from './throttle.ts'
import { type ReplicaLag, smoothed } from './throttle-verdict.ts'

export type ProbeOptions = {
  readonly sourceUrl: string
  readonly targetUrl: string
  readonly throttle: Throttle
  readonly clock: Clock
  /** Ends the probe; the throttle is then as if nobody had asked. */
  readonly signal: AbortSignal
}

/** Asks until its end; `ended` never rejects. */
export type Probe = {
  /** Of the source's read before the move. */
  readonly baselineMs: number
  readonly ended: Promise<void>
}

const intervalMs = 200
const baselineReads = 25
/** One row by its index: that of pg_class itself, which every server has in memory. */
const read = { name: 'ringfence_probe', text: 'SELECT FROM pg_catalog.pg_class WHERE oid = 1259' }

/**
 * Measures what the source takes now, before rows are moved, and goes on asking in the background.
 * A lost connection is opened again; meanwhile the throttle notices the silence. @throws what pg
 * throws when a shard cannot be asked now.
 */
export async function startProbe(options: ProbeOptions): Promise<Probe> {
  const { sourceUrl, throttle, clock, signal } = options
  const baselineMs = await measureBaseline(sourceUrl, clock, signal)
  throttle.observe({ lags: [], latencyMs: baselineMs, baselineMs })
  const ask = async () => {
    while (!signal.aborted) {
      await askUntilLost(options, baselineMs).catch(() => undefined)
      await rest(clock, signal)
    }
    throttle.unobserve()
  }
  return { baselineMs, ended: ask() }
}

/** The median. */
async function measureBaseline(url: string, clock: Clock, signal: AbortSignal): Promise<number> {
  await using connection = await openShard(url, signal)
  const tookMs: number[] = []
  // The first read is planned and finds nothing in the session's caches.
  await timed(connection.client, clock)
  for (let done = 0; done < baselineReads; done += 1) {
    tookMs.push(await timed(connection.client, clock))
  }
  return tookMs.toSorted((one, other) => one - other)[baselineReads >> 1] ?? 0
}

async function askUntilLost(options: ProbeOptions, baselineMs: number): Promise<void> {
  const { sourceUrl, targetUrl, throttle, clock, signal } = options
  await using source = await openShard(sourceUrl, signal)
  await using target = await openShard(targetUrl, signal)
  await timed(source.client, clock)
  let latencyMs = baselineMs
  while (!signal.aborted) {
    latencyMs = smoothed(latencyMs, await timed(source.client, clock))
    const lags = [
      ...(await readLags(source.client, 'source')),
      ...(await readLags(target.client, 'target')),
    ]
    throttle.observe({ lags, latencyMs, baselineMs })
    await rest(clock, signal)
  }
}

async function timed(client: Client, clock: Clock): Promise<number> {
  const beginMs = clock.nowMs()
  await client.query(read)
  return clock.nowMs() - beginMs
}

type LagRow = { readonly replica: string; readonly bytes: string; readonly ms: string | null }

/**
 * Those that follow physically: logical ones, the mover's own among them, are behind for other
 * reasons.
 */
async function readLags(
  client: Client,
  shard: ReplicaLag['shard'],
): Promise<readonly ReplicaLag[]> {
  const { rows } = await client.query<LagRow>(`
    SELECT coalesce(nullif(r.application_name, ''), host(r.client_addr), 'local') AS replica,
      greatest(0, pg_wal_lsn_diff(pg_current_wal_lsn(), r.replay_lsn))::int8 AS bytes,
      extract(epoch FROM r.replay_lag) * 1000 AS ms
    FROM pg_stat_replication r
    WHERE r.replay_lsn IS NOT NULL AND r.state IN ('catchup', 'streaming')
      AND NOT EXISTS (SELECT FROM pg_replication_slots s
                      WHERE s.active_pid = r.pid AND s.slot_type = 'logical')`)
  return rows.map(({ replica, bytes, ms }) => {
    return { shard, replica, bytes: Number(bytes), ms: ms === null ? null : Number(ms) }
  })
}

function rest(clock: Clock, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      timer.cancel()
      signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = clock.after(intervalMs, end)
    signal.addEventListener('abort', end, { once: true })
    if (signal.aborted) end()
  })
}
