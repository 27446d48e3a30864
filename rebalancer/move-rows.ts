// The acts of a move that take long: rows are copied, compared, deleted. All of them rest when the throttle says so.
import type { Move, MoveProgress } from '../catalog/move-store.ts'
import type { Client } from 'pg'
import { systemClock } from '../core/clock.ts'
import type { ShardId } from '../core/ids.ts'
import type { Lsn } from '../core/lsn.ts'
import type { ShardingRules } from '../router/schema.ts'
import type { Follower } from './apply/follower.ts'
import { openShard } from './copy/connection.ts'
import { copyTable } from './copy/copy-table.ts'
import { deleteRows } from './copy/delete-rows.ts'
import { openSnapshot } from './copy/snapshot.ts'
import { claimTarget } from './copy/target-claim.ts'
import { type MoveShards, sideOf } from './move-shards.ts'
import { holdReferenceWrites } from './reference-hold.ts'
import { tableName } from './tables.ts'
import type { Throttle } from './throttle.ts'
import { verify } from './verify/verify.ts'
import type { Direction, Side, Verified } from './world.ts'

/** Told of rows and bytes since the last call. */
export type OnRows = (what: 'copied' | 'verified' | 'deleted', rows: number, bytes: number) => void

export type RowsContext = {
  readonly shards: MoveShards
  readonly rules: ShardingRules
  readonly throttle: Throttle
  readonly onRows: OnRows
  /** The home shard and a connection to it. */
  readonly home: ShardId
  readonly catalog: Client
  readonly signal: AbortSignal
}

const noteEveryMs = 1_000
const deleteBatchRows = 2_000
const snapshotTimeoutMs = 15_000

/** Tables that are not in `move.progress.copied` yet, out of one snapshot; `note` keeps figures for whoever watches. */
export async function copyRows(
  { shards, rules, throttle, onRows, signal }: RowsContext,
  move: Move,
  {
    done,
    note,
  }: {
    readonly done: (table: string, lsn: Lsn) => Promise<void>
    readonly note: (progress: MoveProgress) => void
  },
): Promise<void> {
  const sourceUrl = await shards.url(move, 'source')
  const targetUrl = await shards.url(move, 'target')
  const tables = await shards.tables(move, 'source', signal)
  const left = tables.filter((table) => move.progress.copied?.[tableName(table)] === undefined)
  if (left.length === 0) return
  const tally = tallyOf(move, note)
  const snapshot = await openSnapshot(sourceUrl, signal)
  try {
    for (const table of left) {
      await copyTable({
        sourceUrl,
        targetUrl,
        snapshot: snapshot.name,
        table,
        set: move.set,
        rules,
        workers: workersOf(move),
        throttle,
        onProgress: (rows, bytes) => {
          onRows('copied', rows, bytes)
          tally(rows, bytes)
        },
        signal,
      })
      await done(tableName(table), snapshot.lsn)
    }
  } finally {
    await snapshot.close()
  }
}

/** Under a bound on bytes pieces come one by one: more workers would be connections that wait. */
function workersOf({ options }: Move): number {
  return options.bytesPerSecond === null ? options.workers : 1
}

/** Keeps the figures of a long copy in the catalog, once a second at most. */
function tallyOf(
  move: Move,
  note: (progress: MoveProgress) => void,
): (rows: number, bytes: number) => void {
  let rowsCopied = move.progress.rowsCopied ?? 0
  let bytesCopied = move.progress.bytesCopied ?? 0
  let notedMs = systemClock.nowMs()
  return (rows, bytes) => {
    rowsCopied += rows
    bytesCopied += bytes
    if (systemClock.nowMs() - notedMs < noteEveryMs) return
    notedMs = systemClock.nowMs()
    note({ rowsCopied, bytesCopied })
  }
}

/** What is followed against where it is applied, over snapshots of the same moment. */
export async function verifyRows(
  { shards, rules, throttle, onRows, home, catalog, signal }: RowsContext,
  move: Move,
  follower: Follower,
  direction: Direction,
): Promise<Verified> {
  const followed = sideOf(direction)
  const sourceUrl = await shards.url(move, followed)
  const targetUrl = await shards.url(move, followed === 'source' ? 'target' : 'source')
  const tables = await shards.tables(move, followed, signal)
  // At rest before the snapshot is taken: what comes after it must not have been applied.
  await follower.pause(signal)
  const hold = await holdReferenceWrites({ shards, move, home, catalog, tables, signal })
  // Writers of reference tables wait no longer than that for a transaction that somebody has left open.
  const patience = AbortSignal.any([signal, AbortSignal.timeout(snapshotTimeoutMs)])
  const source = await openSnapshot(sourceUrl, patience).catch(async (error: unknown) => {
    follower.resume()
    await hold[Symbol.asyncDispose]()
    throw error
  })
  try {
    await using target = await openShard(targetUrl, signal)
    let snapshot = ''
    try {
      await follower.pauseAt(source.lsn, signal)
      await target.client.query('BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY')
      const { rows } = await target.client.query<{ name: string }>(
        'SELECT pg_export_snapshot() AS name',
      )
      snapshot = rows[0]?.name ?? ''
    } finally {
      await hold[Symbol.asyncDispose]()
    }
    follower.resume()
    const seen = new Map<string, number>()
    return await verify({
      sourceUrl,
      sourceSnapshot: source.name,
      targetUrl,
      targetSnapshot: snapshot,
      tables,
      set: move.set,
      rules,
      workers: workersOf(move),
      throttle,
      onProgress: ({ table, rows: done }) => {
        onRows('verified', done - (seen.get(table) ?? 0), 0)
        seen.set(table, done)
      },
      signal,
    })
  } finally {
    follower.resume()
    await source.close()
  }
}

/** Deletes the set on a side that does not serve it; gives the number of rows. */
export async function deleteMoved(
  { shards, rules, throttle, onRows, signal }: RowsContext,
  move: Move,
  side: Side,
): Promise<number> {
  const url = await shards.url(move, side)
  const tables = (await shards.tables(move, side, signal)).filter((table) => {
    // A table that came after the copy has not been moved: its rows are nowhere else.
    return side === 'target' || move.progress.copied?.[tableName(table)] !== undefined
  })
  await endAppliers(shards, move, side, signal)
  let total = 0
  for (const table of tables) {
    const rows = { table, set: move.set, rules }
    // A copy that was killed may have a part on its way.
    await using _claim = await claimTarget({ ...rows, targetUrl: url, signal })
    total += await deleteRows({
      ...rows,
      url,
      batchRows: deleteBatchRows,
      throttle,
      onProgress: (deleted) => onRows('deleted', deleted, 0),
      signal,
    })
  }
  return total
}

/** A transaction that a killed runner was applying ends before this does; no other can be recorded after it. */
async function endAppliers(
  shards: MoveShards,
  move: Move,
  side: Side,
  signal: AbortSignal,
): Promise<void> {
  const direction = side === 'target' ? 'forward' : 'reverse'
  await using shard = await shards.open(move, side, signal)
  await shard.client.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
     WHERE application_name = $1 AND datname = current_database()`,
    [`ringfence move ${move.id} ${direction} target`],
  )
  await shard.client.query(
    'DELETE FROM ringfence.move_progress WHERE move_id = $1 AND direction = $2',
    [move.id, direction],
  )
}
