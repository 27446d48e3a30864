// The world of a move over simulated shards: the same acts as rebalancer/servers-world.ts, made of requests that can be lost,
// late, or half done when their runner dies.
import type { ShardId } from '../../core/ids.ts'
import { type Lsn, lsn } from '../../core/lsn.ts'
import type { Position } from '../../core/position.ts'
import { assert } from '../../core/assert.ts'
import type { Move, MoveProgress, Transition } from '../../catalog/move-store.ts'
import type { Direction, Following, MoveWorld, Side, Verified } from '../../rebalancer/world.ts'
import { Act, type Actor } from './act.ts'
import type { Catalog } from './catalog.ts'
import { shardOf } from './cluster.ts'
import { SimulatedFollower } from './follower.ts'
import { ConnectionBroken, ServerRefusal } from './network.ts'
import { type Row, type Table, tables, type Value } from './rows.ts'
import type { Scheduler } from './scheduler.ts'
import { rowsOf, type Shard } from './shard.ts'
import type { Work } from './mover-sessions.ts'

type Snapshot = {
  readonly lsn: number
  readonly life: number
  readonly rows: ReadonlyMap<Row, Value>
}

const lookMs = 10
const liftTimeoutMs = 10_000
const rowsPerBatch = 2
const rowsMsMax = 60
const longOneIn = 10
const longMsMax = 4_000
const pauseMsMax = 300

export class SimulatedWorld implements MoveWorld {
  readonly #actor: Actor
  readonly #lockLost: () => void
  #follower: SimulatedFollower | null = null

  /** `lockLost`: the session on the catalog has broken, and the lock of the move with it. */
  constructor(actor: Actor, lockLost: () => void) {
    this.#actor = actor
    this.#lockLost = lockLost
  }

  nowMs(): number {
    return this.#actor.process.clock.nowMs()
  }

  wallMs(): number {
    return this.#actor.cluster.environment.scheduler.nowMs
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return this.#actor.process.sleep(ms, signal)
  }

  // ---- catalog

  readMove(): Promise<Move> {
    return this.#ask((catalog) => catalog.read(this.#actor.moveId))
  }

  advance(move: Move, transition: Transition): Promise<Move | undefined> {
    return this.#ask((catalog) => catalog.advance(move, transition))
  }

  note(move: Move, progress: MoveProgress, error?: Transition['error']): Promise<Move | undefined> {
    return this.#ask((catalog) => catalog.note(move, progress, error))
  }

  epoch() {
    return this.#ask((catalog) => catalog.epoch)
  }

  proxies() {
    const { mutation } = this.#actor.cluster.environment
    return this.#ask((catalog) => {
      const { state } = catalog.read(this.#actor.moveId)
      const ending = state === 'completing' || state === 'aborting'
      if (mutation === 'acknowledgementSkipped' && !ending) return []
      if (mutation === 'deletedUnacknowledged' && ending) return []
      return catalog.proxies.list()
    })
  }

  async #ask<T>(question: (catalog: Catalog) => T): Promise<T> {
    const { cluster, process, moveId, runner } = this.#actor
    const { catalog, network } = cluster
    try {
      return await network.call(process, catalog, () => {
        if (!catalog.hasLock(moveId, runner)) throw new ConnectionBroken(catalog.name)
        return question(catalog)
      })
    } catch (error) {
      if (error instanceof ConnectionBroken) this.#lockLost()
      throw error
    }
  }

  // ---- before and after

  async findProblems(): Promise<readonly string[]> {
    return []
  }

  async narrowIdentities(move: Move): Promise<Readonly<Record<string, string>>> {
    return move.progress.identities === undefined ? { all: 'default' } : {}
  }

  async widenIdentities(move: Move): Promise<void> {
    for (const side of sides) {
      await this.#act(move, side, 'other').call((shard) => shard.widened.add(move.id))
    }
  }

  async restoreIdentities(move: Move): Promise<void> {
    for (const side of sides) {
      await this.#act(move, side, 'other').call((shard) => shard.widened.delete(move.id))
    }
  }

  async forget(move: Move): Promise<void> {
    for (const side of sides) {
      await this.#act(move, side, 'other').call((shard) => {
        shard.progress.delete(`${move.id}/forward`)
        shard.progress.delete(`${move.id}/reverse`)
      })
    }
  }

  // ---- streams

  async openStream(move: Move, direction: Direction, signal: AbortSignal) {
    const act = this.#act(move, sideOf(direction), 'streams')
    const slot = slotName(move, direction)
    await act.call((shard) => shard.slots.delete(slot))
    signal.throwIfAborted()
    const position = await act.call(async (shard, session) => {
      await shard.consistentPoint()
      shard.movers.check(session)
      shard.slots.set(slot, { confirmed: shard.endLsn, holder: null })
      return shard.endLsn
    })
    signal.throwIfAborted()
    return { slot, lsn: toLsn(position) }
  }

  async closeStream(move: Move, direction: Direction): Promise<void> {
    const slot = slotName(move, direction)
    await this.#act(move, sideOf(direction), 'streams').call((shard) => shard.slots.delete(slot))
  }

  retained(move: Move, direction: Direction): Promise<number | null> {
    const { cluster, process } = this.#actor
    const shard = this.#shard(move, sideOf(direction))
    return cluster.network.call(process, shard, () => {
      const slot = shard.slots.get(slotName(move, direction))
      return slot === undefined ? null : shard.endLsn - slot.confirmed
    })
  }

  async follow(move: Move, direction: Direction): Promise<Following> {
    const { slotLsn, reverseLsn, copied = {} } = move.progress
    this.#follower = await SimulatedFollower.start({
      actor: this.#actor,
      move,
      direction,
      slot: slotName(move, direction),
      startLsn: Number((direction === 'forward' ? slotLsn : reverseLsn) ?? 0),
      copied,
    })
    return this.#follower
  }

  // ---- rows

  async copy(
    move: Move,
    done: (table: string, lsn: Lsn) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    const left = tables.filter((table) => move.progress.copied?.[table] === undefined)
    if (left.length === 0) return
    const snapshot = await this.#snapshot(move)
    for (const table of left) {
      const act = this.#act(move, 'target', 'rows')
      await this.#deleteFrom(move, table, act)
      for (const rows of batches(ofTable(snapshot, move, table))) {
        signal.throwIfAborted()
        await this.#mustLive(move, snapshot)
        await this.#takeTime()
        await act.write((put, shard) => {
          for (const [row, value] of rows) {
            if (shard.rows.has(row)) this.#violate(`${row.name} is copied to where it is`)
            put(row, value)
          }
        })
      }
      await done(table, toLsn(snapshot.lsn))
    }
  }

  async verify(move: Move, _following: Following, signal: AbortSignal): Promise<Verified> {
    const follower = this.#follower
    assert(follower !== null, 'a move is verified while its changes are followed')
    await follower.pauseAt(0, signal)
    try {
      const source = await this.#snapshot(move)
      await follower.pauseAt(source.lsn, signal)
      const target = await this.#read(move, 'target', (shard) => new Map(shard.rows))
      follower.resume()
      const contains = rowsOf(move.set)
      const names = [...new Set([...source.rows.keys(), ...target.keys()])].filter(contains)
      const differences = names.filter((row) => source.rows.get(row) !== target.get(row))
      const found = differences.map(({ name }) => name)
      if (found.length > 0) {
        this.#violate(`verifying move ${move.id} found ${found.join(', ')}`)
      }
      return { rows: names.length, differing: differences.length, differences: found }
    } finally {
      follower.resume()
    }
  }

  async deleteRows(move: Move, side: Side, signal: AbortSignal): Promise<number> {
    const { environment } = this.#actor.cluster
    if (environment.mutation === 'kept') return 0
    const direction = side === 'target' ? 'forward' : 'reverse'
    // As servers-world does: who applies there is ended, and cannot record a position any more.
    await this.#act(move, side, 'apply').call((shard) => {
      shard.progress.delete(`${move.id}/${direction}`)
    })
    let deleted = 0
    const act = this.#act(move, side, 'rows')
    for (const table of tables) {
      signal.throwIfAborted()
      deleted += await this.#deleteFrom(move, table, act)
    }
    return deleted
  }

  async #deleteFrom(move: Move, table: Table, act: Act): Promise<number> {
    const contains = rowsOf(move.set)
    for (let total = 0; ; ) {
      await this.#takeTime()
      let deleted = 0
      await act.write((put, shard) => {
        const found = [...shard.rows.keys()].filter((row) => row.table === table && contains(row))
        for (const row of found.slice(0, rowsPerBatch)) put(row, null)
        deleted = Math.min(found.length, rowsPerBatch)
      })
      if (deleted === 0) return total
      total += deleted
    }
  }

  #violate(what: string): void {
    this.#actor.cluster.environment.violate(what)
  }

  /** Rows take their time, now and then a long one. */
  async #takeTime(): Promise<void> {
    const { process, cluster } = this.#actor
    const { scheduler } = cluster.environment
    const isLong = scheduler.random.oneIn(longOneIn)
    await process.sleep(scheduler.between(0, isLong ? longMsMax : rowsMsMax))
  }

  /** Valid as long as the shard does not restart. */
  #snapshot(move: Move): Promise<Snapshot> {
    const { mutation, scheduler } = this.#actor.cluster.environment
    return this.#read(move, 'source', async (shard) => {
      await pause(scheduler)
      await shard.consistentPoint()
      const { life, endLsn } = shard
      const rows = new Map(shard.rows)
      if (mutation !== 'snapshotOlder') return { lsn: endLsn, life, rows }
      await pause(scheduler)
      return { lsn: shard.endLsn, life, rows }
    })
  }

  #mustLive(move: Move, { life }: Snapshot): Promise<void> {
    return this.#read(move, 'source', (shard) => {
      if (shard.life !== life) throw new ConnectionBroken(shard.name)
    })
  }

  // ---- cutover

  async fence(move: Move, side: Side, timeoutMs: number): Promise<Lsn> {
    const untilMs = this.nowMs() + timeoutMs
    const act = this.#act(move, side, 'fence')
    for (;;) {
      const end = await act.call((shard) => shard.tryFence(move.id, rowsOf(move.set)))
      if (end !== null) return toLsn(end)
      if (this.nowMs() >= untilMs) throw lockTimeout()
      await this.#actor.process.sleep(lookMs)
    }
  }

  async liftFence(move: Move, side: Side): Promise<void> {
    const untilMs = this.nowMs() + liftTimeoutMs
    const act = this.#act(move, side, 'fence')
    while (!(await act.call((shard) => shard.tryLift(move.id)))) {
      if (this.nowMs() >= untilMs) throw lockTimeout()
      await this.#actor.process.sleep(lookMs)
    }
  }

  /** Nothing of it is left here once it is lifted. */
  dropFence(move: Move, side: Side): Promise<void> {
    return this.liftFence(move, side)
  }

  async position(move: Move, side: Side): Promise<Position> {
    const position = await this.#read(move, side, (shard) => shard.endLsn)
    return { systemId: '1', timeline: 1, lsn: toLsn(position) }
  }

  #read<T>(move: Move, side: Side, question: (shard: Shard) => T | Promise<T>): Promise<T> {
    const { cluster, process } = this.#actor
    const shard = this.#shard(move, side)
    return cluster.network.call(process, shard, () => question(shard))
  }

  #act(move: Move, side: Side, work: Work): Act {
    return new Act(this.#actor, this.#shard(move, side), work)
  }

  #shard(move: Move, side: Side): Shard {
    const id: ShardId = side === 'source' ? move.from : move.to
    return shardOf(this.#actor.cluster, id)
  }
}

const sides = ['source', 'target'] as const

function sideOf(direction: Direction): Side {
  return direction === 'forward' ? 'source' : 'target'
}

function slotName({ id }: Move, direction: Direction): string {
  return `ringfence_move_${id}_${direction}`
}

function toLsn(position: number): Lsn {
  return lsn(BigInt(position))
}

function pause(scheduler: Scheduler): Promise<void> {
  return new Promise((resolve) => {
    scheduler.after(scheduler.between(0, pauseMsMax), resolve)
  })
}

function lockTimeout(): ServerRefusal {
  return new ServerRefusal('55P03', 'canceling statement due to lock timeout')
}

function ofTable({ rows }: Snapshot, move: Move, table: Table): readonly (readonly [Row, Value])[] {
  const contains = rowsOf(move.set)
  return [...rows].filter(([row]) => row.table === table && contains(row))
}

function batches<T>(all: readonly T[]): readonly (readonly T[])[] {
  const found: (readonly T[])[] = []
  for (let at = 0; at < all.length; at += rowsPerBatch) found.push(all.slice(at, at + rowsPerBatch))
  return found
}
