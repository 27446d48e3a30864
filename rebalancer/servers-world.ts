// The world of a move as it is: the catalog on the home shard, the two shards' primaries. Each act connects anew where the
// primary is now, so that a failover between two acts is nothing special.
import type { Client } from 'pg'
import {
  advanceMove,
  type Move,
  type MoveProgress,
  noteProgress,
  readMove,
  type Transition,
} from '../catalog/move-store.ts'
import { liftFence, placeFence } from '../catalog/fence.ts'
import { listProxies, silentMs } from '../catalog/proxy-registry.ts'
import { readEpoch } from '../catalog/topology-query.ts'
import { assert } from '../core/assert.ts'
import { systemClock } from '../core/clock.ts'
import type { ShardId } from '../core/ids.ts'
import type { Log } from '../core/log.ts'
import { type Lsn, lsn, parseLsn } from '../core/lsn.ts'
import type { Position } from '../core/position.ts'
import { vnodeBitsOf } from '../router/key-hash.ts'
import type { ShardingRules } from '../router/schema.ts'
import { Follower } from './apply/follower.ts'
import { openShard } from './copy/connection.ts'
import { copyTable } from './copy/copy-table.ts'
import { deleteRows } from './copy/delete-rows.ts'
import { openSnapshot } from './copy/snapshot.ts'
import { claimTarget } from './copy/target-claim.ts'
import { handOver } from './identities.ts'
import {
  createStream,
  dropStream,
  forgetMove,
  narrowIdentities,
  setIdentity,
  streamName,
} from './move-objects.ts'
import { findProblems, slotState } from './readiness.ts'
import { primaryUrl, type ShardAddress } from './shard-address.ts'
import { type MovedTable, readMovedTables, tableName } from './tables.ts'
import type { Throttle } from './throttle.ts'
import { verify } from './verify/verify.ts'
import type { Direction, Following, MoveWorld, Side, Verified } from './world.ts'

export type ServersWorldOptions = {
  readonly moveId: number
  /** The home shard's primary, with the move's lock. */
  readonly catalog: Client
  readonly shards: ReadonlyMap<ShardId, ShardAddress>
  readonly rules: ShardingRules
  readonly throttle: Throttle
  readonly log: Log
  /** Rows and bytes copied or compared since the last call. */
  readonly onRows: (what: 'copied' | 'verified' | 'deleted', rows: number, bytes: number) => void
}

const noteEveryMs = 1_000
const deleteBatchRows = 2_000
const liftTimeoutMs = 10_000
const actTimeoutMs = 60_000

export class ServersWorld implements MoveWorld {
  readonly #options: ServersWorldOptions
  #follower: Follower | null = null

  constructor(options: ServersWorldOptions) {
    this.#options = options
  }

  nowMs(): number {
    return systemClock.nowMs()
  }

  wallMs(): number {
    return Date.now()
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const stop = () => {
        clearTimeout(timer)
        reject(signal.reason)
      }
      const timer = setTimeout(() => {
        signal.removeEventListener('abort', stop)
        resolve()
      }, ms)
      if (signal.aborted) stop()
      else signal.addEventListener('abort', stop, { once: true })
    })
  }

  // ---- catalog

  readMove(): Promise<Move> {
    return readMove(this.#options.catalog, this.#options.moveId)
  }

  advance(move: Move, transition: Transition): Promise<Move | undefined> {
    return advanceMove(this.#options.catalog, move, transition)
  }

  note(move: Move, progress: MoveProgress, error?: Transition['error']): Promise<Move | undefined> {
    return noteProgress(this.#options.catalog, move, progress, error)
  }

  epoch() {
    return readEpoch(this.#options.catalog)
  }

  proxies() {
    return listProxies(this.#options.catalog)
  }

  // ---- before and after

  async findProblems(move: Move, signal: AbortSignal): Promise<readonly string[]> {
    const { rules } = this.#options
    const silent = (await this.proxies()).filter((proxy) => proxy.silentMs > silentMs)
    const problems = silent.map(
      ({ id, silentMs: ms }) =>
        `proxy "${id}" has been silent for ${Math.round(ms / 1_000)} s; if it is gone for good: ringfence rebalance doctor --forget-proxy '${id}'`,
    )
    await using source = await this.#open(move, 'source', signal)
    await using target = await this.#open(move, 'target', signal)
    const tables = await readMovedTables(source.client, rules)
    const bytes = await this.#estimate(move, tables)
    const found = await findProblems({
      source: source.client,
      target: target.client,
      rules,
      tables,
      bytes,
    })
    for (const { problem, remedy } of found.problems) problems.push(`${problem}: ${remedy}`)
    await this.note(move, { bytesTotal: bytes })
    return problems
  }

  /** Of whole tables, the share that the virtual nodes have of their shard's. */
  async #estimate(move: Move, tables: readonly MovedTable[]): Promise<number> {
    const { rows } = await this.#options.catalog.query<{ vnodes: number }>(
      'SELECT count(*)::int AS vnodes FROM ringfence.vnode WHERE shard = $1',
      [move.from],
    )
    const all = tables.flatMap(({ leaves }) => leaves).reduce((sum, { bytes }) => sum + bytes, 0)
    return Math.round((all * move.set.vnodes.length) / Math.max(1, rows[0]?.vnodes ?? 1))
  }

  async narrowIdentities(move: Move): Promise<Readonly<Record<string, string>>> {
    const found: Record<string, string> = {}
    for (const side of sides) {
      await using shard = await this.#open(move, side)
      const tables = await readMovedTables(shard.client, this.#options.rules)
      for (const [table, identity] of Object.entries(
        await narrowIdentities(shard.client, tables),
      )) {
        const name = `${shardOf(move, side)} ${table}`
        if (move.progress.identities?.[name] === undefined) found[name] = identity
      }
    }
    return found
  }

  async widenIdentities(move: Move): Promise<void> {
    await this.#setIdentities(move, move.progress.identities ?? {}, () => 'full')
  }

  /** What another move of the shard still needs is left for that one to restore. */
  async restoreIdentities(move: Move): Promise<void> {
    await handOver(this.#options.catalog, move, (left) =>
      this.#setIdentities(move, left, (identity) => identity),
    )
  }

  async #setIdentities(
    move: Move,
    identities: Readonly<Record<string, string>>,
    wanted: (identity: string) => string,
  ): Promise<void> {
    for (const side of sides) {
      const prefix = `${shardOf(move, side)} `
      const tables = Object.entries(identities).filter(([name]) => name.startsWith(prefix))
      if (tables.length === 0) continue
      await using shard = await this.#open(move, side)
      for (const [name, identity] of tables) {
        await setIdentity(shard.client, name.slice(prefix.length), wanted(identity))
      }
    }
  }

  async forget(move: Move): Promise<void> {
    for (const side of sides) {
      await using shard = await this.#open(move, side)
      await forgetMove(shard.client, move.id)
    }
  }

  // ---- streams

  async openStream(move: Move, direction: Direction, signal: AbortSignal) {
    const name = streamName(move.id, direction)
    await using shard = await this.#open(move, sideOf(direction), signal)
    await dropStream(shard.client, name)
    const tables = await readMovedTables(shard.client, this.#options.rules)
    return { slot: name, lsn: await createStream(shard.client, name, tables) }
  }

  async closeStream(move: Move, direction: Direction): Promise<void> {
    await using shard = await this.#open(move, sideOf(direction))
    await dropStream(shard.client, streamName(move.id, direction))
  }

  async retained(move: Move, direction: Direction): Promise<number | null> {
    await using shard = await this.#open(move, sideOf(direction))
    const state = await slotState(shard.client, streamName(move.id, direction))
    return state.kind === 'missing' ? null : state.retainedBytes
  }

  async follow(move: Move, direction: Direction, signal: AbortSignal): Promise<Following> {
    const { rules, log } = this.#options
    const from = sideOf(direction)
    await using shard = await this.#open(move, from, signal)
    const tables = await readMovedTables(shard.client, rules)
    const { slotLsn, reverseLsn, copied } = move.progress
    const start = lsn(BigInt((direction === 'forward' ? slotLsn : reverseLsn) ?? '0'))
    const name = streamName(move.id, direction)
    this.#follower = await Follower.start({
      sourceUrl: await this.#url(move, from),
      targetUrl: await this.#url(move, from === 'source' ? 'target' : 'source'),
      slot: name,
      publication: name,
      moveId: move.id,
      direction,
      set: move.set,
      keyType: rules.keyType,
      vnodeBits: vnodeBitsOf(rules.vnodeCount),
      tables: tables.map((table) => ({
        schema: table.schema,
        name: table.name,
        key: table.key,
        identity: table.primaryKey,
        fromLsn: direction === 'reverse' ? start : lsn(BigInt(copied?.[tableName(table)] ?? start)),
      })),
      startLsn: start,
      log,
    })
    return this.#follower
  }

  // ---- rows

  async copy(
    move: Move,
    done: (table: string, lsn: Lsn) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    const { rules, throttle, onRows } = this.#options
    const sourceUrl = await this.#url(move, 'source')
    const targetUrl = await this.#url(move, 'target')
    const tables = await this.#tables(move, 'source', signal)
    const left = tables.filter((table) => move.progress.copied?.[tableName(table)] === undefined)
    if (left.length === 0) return
    const tally = this.#tally(move)
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
          workers: move.options.workers,
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

  /** Keeps the figures of a long copy in the catalog, once a second at most. */
  #tally(move: Move): (rows: number, bytes: number) => void {
    let rowsCopied = move.progress.rowsCopied ?? 0
    let bytesCopied = move.progress.bytesCopied ?? 0
    let notedMs = this.nowMs()
    return (rows, bytes) => {
      rowsCopied += rows
      bytesCopied += bytes
      if (this.nowMs() - notedMs < noteEveryMs) return
      notedMs = this.nowMs()
      this.note(move, { rowsCopied, bytesCopied }).catch(() => undefined)
    }
  }

  async verify(
    move: Move,
    _following: Following,
    signal: AbortSignal,
    direction: Direction = 'forward',
  ): Promise<Verified> {
    const { rules, throttle, onRows } = this.#options
    const follower = this.#follower
    assert(follower !== null, 'a move is verified while its changes are followed')
    const followed = sideOf(direction)
    const sourceUrl = await this.#url(move, followed)
    const targetUrl = await this.#url(move, followed === 'source' ? 'target' : 'source')
    const tables = await this.#tables(move, followed, signal)
    // At rest before the snapshot is taken: what comes after it must not have been applied.
    await follower.pause(signal)
    const source = await openSnapshot(sourceUrl, signal)
    try {
      await follower.pauseAt(source.lsn, signal)
      await using target = await openShard(targetUrl, signal)
      await target.client.query('BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY')
      const { rows } = await target.client.query<{ name: string }>(
        'SELECT pg_export_snapshot() AS name',
      )
      follower.resume()
      const seen = new Map<string, number>()
      return await verify({
        sourceUrl,
        sourceSnapshot: source.name,
        targetUrl,
        targetSnapshot: rows[0]?.name ?? '',
        tables,
        set: move.set,
        rules,
        workers: move.options.workers,
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

  async deleteRows(move: Move, side: Side, signal: AbortSignal): Promise<number> {
    const { rules, throttle, onRows } = this.#options
    const url = await this.#url(move, side)
    const tables = await this.#tables(move, side, signal)
    await this.#endAppliers(move, side, signal)
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
  async #endAppliers(move: Move, side: Side, signal: AbortSignal): Promise<void> {
    const direction = side === 'target' ? 'forward' : 'reverse'
    await using shard = await this.#open(move, side, signal)
    await shard.client.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE application_name = $1 AND datname = current_database()`,
      [`ringfence move ${move.id} ${direction}`],
    )
    await shard.client.query(
      'DELETE FROM ringfence.move_progress WHERE move_id = $1 AND direction = $2',
      [move.id, direction],
    )
  }

  // ---- cutover

  async fence(move: Move, side: Side, timeoutMs: number): Promise<Lsn> {
    const { rules } = this.#options
    await using shard = await this.#open(move, side)
    const tables = await readMovedTables(shard.client, rules)
    return await placeFence(shard.client, {
      moveId: move.id,
      tables,
      set: move.set,
      keyType: rules.keyType,
      timeoutMs,
      now: () => this.nowMs(),
    })
  }

  async liftFence(move: Move, side: Side): Promise<void> {
    await using shard = await this.#open(move, side)
    await liftFence(shard.client, {
      moveId: move.id,
      timeoutMs: liftTimeoutMs,
      now: () => this.nowMs(),
    })
  }

  async position(move: Move, side: Side): Promise<Position> {
    await using shard = await this.#open(move, side)
    const { rows } = await shard.client.query<{ system_id: string; timeline: string; lsn: string }>(
      `SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system_id,
              left(pg_walfile_name(pg_current_wal_flush_lsn()), 8) AS timeline,
              pg_current_wal_flush_lsn() AS lsn`,
    )
    const row = rows[0]
    const at = parseLsn(row?.lsn ?? '')
    assert(row !== undefined && at !== undefined, 'a primary says where its log ends')
    return { systemId: row.system_id, timeline: Number.parseInt(row.timeline, 16), lsn: at }
  }

  async #tables(move: Move, side: Side, signal: AbortSignal): Promise<readonly MovedTable[]> {
    await using shard = await this.#open(move, side, signal)
    return await readMovedTables(shard.client, this.#options.rules)
  }

  async #open(move: Move, side: Side, signal = AbortSignal.timeout(actTimeoutMs)) {
    return await openShard(await this.#url(move, side), signal)
  }

  async #url(move: Move, side: Side): Promise<string> {
    const shard = shardOf(move, side)
    const address = this.#options.shards.get(shard)
    assert(address !== undefined, `shard ${shard} is in the configuration`)
    return await primaryUrl(address)
  }
}

const sides = ['source', 'target'] as const

function shardOf(move: Move, side: Side): ShardId {
  return side === 'source' ? move.from : move.to
}

/** The side that a direction follows. */
function sideOf(direction: Direction): Side {
  return direction === 'forward' ? 'source' : 'target'
}
