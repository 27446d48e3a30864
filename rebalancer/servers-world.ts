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
import { moverSession } from '../catalog/connection.ts'
import { dropFence, liftFence, placeFence } from '../catalog/fence.ts'
import { hasEnded } from '../catalog/move-state.ts'
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
import { copyRows, deleteMoved, type OnRows, type RowsContext, verifyRows } from './move-rows.ts'
import { MoveShards, shardOf, sideOf, sides } from './move-shards.ts'
import type { ShardAddress } from './shard-address.ts'
import {
  type MovedTable,
  readMovedTables,
  readTableNames,
  refuseOthers,
  tableName,
} from './tables.ts'
import type { Throttle } from './throttle.ts'
import type { Direction, Following, MoveWorld, Side, Verified } from './world.ts'

export type ServersWorldOptions = {
  readonly moveId: number
  /** The home shard's primary, with the move's lock. */
  readonly catalog: Client
  readonly home: ShardId
  readonly shards: ReadonlyMap<ShardId, ShardAddress>
  readonly rules: ShardingRules
  readonly throttle: Throttle
  readonly log: Log
  /** Ends whatever is kept open. */
  readonly signal: AbortSignal
  /** Rows and bytes copied or compared since the last call. */
  readonly onRows: OnRows
}

const liftTimeoutMs = 10_000
/** How long to wait for a session that was told to end. */
const sessionEndMs = 5_000

export class ServersWorld implements MoveWorld {
  readonly #options: ServersWorldOptions
  #follower: Follower | null = null
  readonly #shards: MoveShards

  constructor(options: ServersWorldOptions) {
    this.#options = options
    this.#shards = new MoveShards(options.shards, options.rules, options.signal)
  }

  /** Closes what was kept ready. */
  async close(): Promise<void> {
    await this.#shards.close()
  }

  /** Whatever an earlier runner has begun on the shards of a move that is under way ends or is undone. */
  async endEarlierSessions(move: Move): Promise<void> {
    if (move.state === 'planned' || hasEnded(move.state)) return
    for (const side of sides) {
      await using shard = await this.#shards.open(move, side)
      await shard.client.query(
        `SELECT pg_terminate_backend(pid, $2) FROM pg_stat_activity
         WHERE application_name = $1 AND datname = current_database() AND pid <> pg_backend_pid()`,
        [moverSession(move), sessionEndMs],
      )
    }
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
    await using source = await this.#shards.open(move, 'source', signal)
    await using target = await this.#shards.open(move, 'target', signal)
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
      await using shard = await this.#shards.open(move, side)
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
      await using shard = await this.#shards.open(move, side)
      for (const [name, identity] of tables) {
        await setIdentity(shard.client, name.slice(prefix.length), wanted(identity))
      }
    }
  }

  async forget(move: Move): Promise<void> {
    for (const side of sides) {
      await using shard = await this.#shards.open(move, side)
      await forgetMove(shard.client, move)
    }
  }

  // ---- streams

  async openStream(move: Move, direction: Direction, signal: AbortSignal) {
    const name = streamName(move, direction)
    await using shard = await this.#shards.open(move, sideOf(direction), signal)
    await dropStream(shard.client, name)
    const tables = await readMovedTables(shard.client, this.#options.rules)
    return { slot: name, lsn: await createStream(shard.client, name, tables) }
  }

  async closeStream(move: Move, direction: Direction): Promise<void> {
    await using shard = await this.#shards.open(move, sideOf(direction))
    await dropStream(shard.client, streamName(move, direction))
  }

  async retained(move: Move, direction: Direction): Promise<number | null> {
    await using shard = await this.#shards.open(move, sideOf(direction))
    const state = await slotState(shard.client, streamName(move, direction))
    return state.kind === 'missing' ? null : state.retainedBytes
  }

  async follow(move: Move, direction: Direction, signal: AbortSignal): Promise<Following> {
    const { rules, log } = this.#options
    const from = sideOf(direction)
    await using shard = await this.#shards.open(move, from, signal)
    const tables = await readMovedTables(shard.client, rules)
    const { slotLsn, reverseLsn, copied } = move.progress
    const start = lsn(BigInt((direction === 'forward' ? slotLsn : reverseLsn) ?? '0'))
    const name = streamName(move, direction)
    this.#follower = await Follower.start({
      sourceUrl: await this.#shards.url(move, from),
      targetUrl: await this.#shards.url(move, from === 'source' ? 'target' : 'source'),
      slot: name,
      publication: name,
      origin: name,
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

  copy(
    move: Move,
    done: (table: string, lsn: Lsn) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    return copyRows(this.#rows(signal), move, {
      done,
      note: (progress) => void this.note(move, progress).catch(() => undefined),
    })
  }

  async verify(
    move: Move,
    _following: Following,
    signal: AbortSignal,
    direction: Direction = 'forward',
  ): Promise<Verified> {
    const follower = this.#follower
    assert(follower !== null, 'a move is verified while its changes are followed')
    return await verifyRows(this.#rows(signal), move, follower, direction)
  }

  async deleteRows(move: Move, side: Side, signal: AbortSignal): Promise<number> {
    await this.#endSilentSessions(move, side)
    return await deleteMoved(this.#rows(signal), move, side)
  }

  /**
   * What a proxy that is cut off has sent may be stuck on its way for minutes and arrive when the fence has gone: its
   * sessions have been idle for as long as it has been silent. Proxies open others when they need some.
   */
  async #endSilentSessions(move: Move, side: Side): Promise<void> {
    if (!(await this.proxies()).some((proxy) => proxy.silentMs > silentMs)) return
    await using shard = await this.#shards.open(move, side)
    await shard.client.query(
      `SELECT pg_terminate_backend(pid, $2) FROM pg_stat_activity
       WHERE backend_type = 'client backend' AND datname = current_database()
         AND pid <> pg_backend_pid() AND application_name NOT LIKE 'ringfence %'
         AND state LIKE 'idle%' AND state_change < clock_timestamp() - $1 * interval '1 ms'
         AND EXISTS (SELECT FROM pg_roles me, pg_roles other
                     WHERE me.rolname = current_user AND other.oid = usesysid
                       AND (me.rolsuper OR NOT other.rolsuper AND
                            (pg_has_role(usesysid, 'MEMBER')
                             OR pg_has_role('pg_signal_backend', 'MEMBER'))))`,
      [silentMs, sessionEndMs],
    )
  }

  #rows(signal: AbortSignal): RowsContext {
    const { rules, throttle, onRows, home, catalog } = this.#options
    return { shards: this.#shards, rules, throttle, onRows, home, catalog, signal }
  }

  // ---- cutover

  async fence(move: Move, side: Side, timeoutMs: number): Promise<Lsn> {
    const { rules } = this.#options
    return await this.#shards.withReady(move, side, async ({ connection: { client }, tables }) => {
      const fenced = await placeFence(client, {
        moveId: move.id,
        tables,
        set: move.set,
        keyType: rules.keyType,
        timeoutMs,
        now: () => this.nowMs(),
      })
      refuseOthers(await readTableNames(client, rules), tables.map(tableName))
      return fenced
    })
  }

  async liftFence(move: Move, side: Side): Promise<void> {
    await using shard = await this.#shards.open(move, side)
    await liftFence(shard.client, this.#lifting(move))
  }

  async dropFence(move: Move, side: Side): Promise<void> {
    await using shard = await this.#shards.open(move, side)
    await dropFence(shard.client, this.#lifting(move))
  }

  #lifting({ id: moveId }: Move) {
    return { moveId, timeoutMs: liftTimeoutMs, now: () => this.nowMs() }
  }

  async position(move: Move, side: Side): Promise<Position> {
    return await this.#shards.withReady(move, side, ({ connection }) =>
      positionOf(connection.client),
    )
  }
}

async function positionOf(client: Client): Promise<Position> {
  const { rows } = await client.query<{ system_id: string; timeline: string; lsn: string }>(
    `SELECT (SELECT system_identifier::text FROM pg_control_system()) AS system_id,
            left(pg_walfile_name(pg_current_wal_flush_lsn()), 8) AS timeline,
            pg_current_wal_flush_lsn() AS lsn`,
  )
  const row = rows[0]
  const at = parseLsn(row?.lsn ?? '')
  assert(row !== undefined && at !== undefined, 'a primary says where its log ends')
  return { systemId: row.system_id, timeline: Number.parseInt(row.timeline, 16), lsn: at }
}
