// Finishes two-phase transactions that a crash of proxy, decider or participant left prepared. The
// gid names the decider, its commit record is the decision; a shard that cannot be asked means
// "leave it alone, try later". Order matters: records are read before the prepared transactions are
// listed for the last time. All participants prepare before the decider commits, so a record with
// no prepared transaction left behind it has done its work.
import { escapeLiteral, type Client } from 'pg'
import { systemClock, type Clock, type Timer } from '../core/clock.ts'
import type { ShardId } from '../core/ids.ts'
import type { Log } from '../core/log.ts'
import { decide, removeRecords, settledRecords, type Decision } from './commit-record.ts'
import {
  advisoryLocks,
  type CatalogConnection,
  openCatalogConnection,
  sqlstateOf,
} from './connection.ts'
import { gidPrefix, parseGid, type Gid } from './gid.ts'

export type RecoveryOptions = {
  /**
   * Home shard first, read at every round; those that the catalog does not have (yet) are left
   * alone. The logins are superusers or the roles that prepare.
   */
  readonly shards: readonly { readonly id: ShardId; readonly url: string }[]
  /** Younger transactions are left alone: their proxy is probably at work on them. */
  readonly ageMsMin: number
  readonly log: Log
}

export type RecoveryResult = {
  readonly committed: number
  readonly rolledBack: number
  readonly recordsRemoved: number
}

type Reached = Pick<CatalogConnection, 'client' | 'end'> & { readonly id: ShardId }
type Prepared = { readonly gid: string; readonly parsed: Gid; readonly ageMs: number }

const nothing: RecoveryResult = { committed: 0, rolledBack: 0, recordsRemoved: 0 }
const queryTimeoutMs = 15_000
const lockTimeoutMs = 1_000
/** Far longer than any decider can take from its first PREPARE to its COMMIT. */
const tombstoneAgeMs = 3_600_000
const undefinedObject = '42704'

/**
 * One round over all shards; rounds of other proxies at the same time do nothing. Nothing is thrown
 * for a shard that is down: what it holds or decides waits for a later round.
 */
export async function recoverPrepared(options: RecoveryOptions): Promise<RecoveryResult> {
  const reached: Reached[] = []
  const [home, ...others] = options.shards
  try {
    const first = home === undefined ? undefined : await reach(home, options.log)
    if (first === undefined) return nothing
    reached.push(first)
    if (!(await winsLock(first.client))) return nothing
    const registered = await registeredShards(first.client)
    for (const shard of others.filter(({ id }) => registered.has(id))) {
      const next = await reach(shard, options.log)
      if (next !== undefined) reached.push(next)
    }
    return await recoverReached(reached, options)
  } finally {
    await Promise.all(reached.map(({ end }) => end()))
  }
}

/** Recovers at once and then every `intervalMs`; `close` waits for the round under way. */
export function startRecovery(
  options: RecoveryOptions & { readonly intervalMs: number; readonly clock?: Clock },
): { close(): Promise<void> } {
  const clock = options.clock ?? systemClock
  let timer: Timer | undefined
  let closed = false
  const round = async () => {
    try {
      const result = await recoverPrepared(options)
      if (result.committed + result.rolledBack > 0) {
        options.log.info(result, 'prepared transactions recovered')
      }
    } catch (error) {
      options.log.error({ error }, 'recovery of prepared transactions failed; will retry')
    }
    if (closed) return
    timer = clock.after(options.intervalMs, () => {
      running = round()
    })
  }
  let running = round()
  return {
    close: async () => {
      closed = true
      timer?.cancel()
      await running
    },
  }
}

async function reach(
  { id, url }: { readonly id: ShardId; readonly url: string },
  log: Log,
): Promise<Reached | undefined> {
  try {
    const { client, end } = await openCatalogConnection(url, queryTimeoutMs)
    await client.query(`SET lock_timeout = ${lockTimeoutMs}`)
    return { id, client, end }
  } catch (error) {
    log.warn({ shard: id, reason: reasonOf(error) }, 'recovery cannot reach the shard')
    return undefined
  }
}

/** One round at a time over all proxies; held until the session ends. */
async function winsLock(home: Client): Promise<boolean> {
  const { rows } = await home.query<{ won: boolean }>(
    `SELECT pg_try_advisory_lock(${advisoryLocks.recover}) AS won`,
  )
  return rows[0]?.won === true
}

async function registeredShards(home: Client): Promise<ReadonlySet<string>> {
  const { rows } = await home.query<{ id: string }>('SELECT id FROM ringfence.shard')
  return new Set(rows.map(({ id }) => id))
}

async function recoverReached(
  reached: readonly Reached[],
  { ageMsMin, log }: RecoveryOptions,
): Promise<RecoveryResult> {
  const deciders = new Map(reached.map(({ id, client }) => [id, client]))
  const settled = new Map<Reached, readonly string[]>()
  for (const shard of reached) {
    settled.set(shard, await settledRecords(shard.client, ageMsMin, tombstoneAgeMs))
  }
  let committed = 0
  let rolledBack = 0
  for (const shard of reached) {
    for (const prepared of await listPrepared(shard.client)) {
      if (prepared.ageMs < ageMsMin) continue
      const outcome = await finish(shard, prepared, deciders, log)
      if (outcome === 'commit') committed += 1
      if (outcome === 'abort') rolledBack += 1
    }
  }
  const recordsRemoved = (await isComplete(reached)) ? await removeSettled(reached, settled) : 0
  return { committed, rolledBack, recordsRemoved }
}

/** Ends one prepared transaction as its decider says; `undecided` when it has to wait. */
async function finish(
  { id, client }: Reached,
  { gid, parsed }: Prepared,
  deciders: ReadonlyMap<ShardId, Client>,
  log: Log,
): Promise<Decision> {
  const decider = deciders.get(parsed.decider)
  if (decider === undefined) {
    log.warn({ shard: id, gid, decider: parsed.decider }, 'in doubt: its decider cannot be asked')
    return 'undecided'
  }
  try {
    const decision = await decide(decider, parsed.id)
    if (decision === 'undecided') return decision
    const verb = decision === 'commit' ? 'COMMIT' : 'ROLLBACK'
    await client.query(`${verb} PREPARED ${escapeLiteral(gid)}`)
    return decision
  } catch (error) {
    // Its proxy was quicker.
    if (sqlstateOf(error) === undefinedObject) return 'undecided'
    log.error({ shard: id, gid, reason: reasonOf(error) }, 'prepared transaction not finished')
    return 'undecided'
  }
}

async function listPrepared(client: Client): Promise<readonly Prepared[]> {
  const { rows } = await client.query<{ gid: string; age_ms: number }>(
    `SELECT gid, (extract(epoch FROM clock_timestamp() - prepared) * 1000)::float8 AS age_ms
     FROM pg_prepared_xacts
     WHERE database = current_database() AND starts_with(gid, $1) ORDER BY prepared`,
    [gidPrefix],
  )
  return rows.flatMap(({ gid, age_ms: ageMs }) => {
    const parsed = parseGid(gid)
    return parsed === null ? [] : [{ gid, parsed, ageMs }]
  })
}

/**
 * A record may go only when no shard has its transaction. Asked after the records were read: a
 * shard that has joined since has no part in what they decided.
 */
async function isComplete(reached: readonly Reached[]): Promise<boolean> {
  const [home] = reached
  if (home === undefined) return false
  const ids = new Set<string>(reached.map(({ id }) => id))
  return [...(await registeredShards(home.client))].every((id) => ids.has(id))
}

async function removeSettled(
  reached: readonly Reached[],
  settled: ReadonlyMap<Reached, readonly string[]>,
): Promise<number> {
  const pending = new Set<string>()
  for (const { client } of reached) {
    for (const { parsed } of await listPrepared(client)) pending.add(parsed.id)
  }
  let removed = 0
  for (const [{ client }, ids] of settled) {
    removed += await removeRecords(
      client,
      ids.filter((id) => !pending.has(id)),
    )
  }
  return removed
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
