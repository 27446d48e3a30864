// The two shards of a move, as its acts reach them: each connection is made where the primary is now, but for those that
// are kept ready for the cutover, while clients wait.
import { assert } from '../core/assert.ts'
import { moverSession } from '../catalog/connection.ts'
import type { Move } from '../catalog/move-store.ts'
import type { MoveState } from '../catalog/move-state.ts'
import type { ShardId } from '../core/ids.ts'
import type { ShardingRules } from '../router/schema.ts'
import { openShard, type ShardConnection } from './copy/connection.ts'
import { primaryUrl, type ShardAddress } from './shard-address.ts'
import { type MovedTable, readMovedTables, refuseOthers, tableName } from './tables.ts'
import type { Direction, Side } from './world.ts'

/** A connection that is ready for the cutover, and what it will need to know. */
type Ready = { readonly connection: ShardConnection; readonly tables: readonly MovedTable[] }

export const sides = ['source', 'target'] as const

const actTimeoutMs = 60_000
/** After the copy; before, tables are still found as they come. */
const settledStates: readonly MoveState[] = ['catching_up', 'verifying', 'fencing']

export class MoveShards {
  readonly #addresses: ReadonlyMap<ShardId, ShardAddress>
  readonly #rules: ShardingRules
  readonly #signal: AbortSignal
  readonly #ready = new Map<Side, Ready>()

  /** `signal` ends whatever is kept open. */
  constructor(
    addresses: ReadonlyMap<ShardId, ShardAddress>,
    rules: ShardingRules,
    signal: AbortSignal,
  ) {
    this.#addresses = addresses
    this.#rules = rules
    this.#signal = signal
  }

  /** Closes what was kept ready. */
  async close(): Promise<void> {
    for (const side of sides) await this.#unready(side)
  }

  /** Clients wait while this is used: it was opened before, and is opened again only if it was lost. */
  async withReady<T>(move: Move, side: Side, use: (ready: Ready) => Promise<T>): Promise<T> {
    let ready = this.#ready.get(side)
    if (ready === undefined) {
      const connection = await this.open(move, side, this.#signal)
      const tables = await readMovedTables(connection.client, this.#rules)
      if (side === 'source' && settledStates.includes(move.state)) {
        const copied = Object.keys(move.progress.copied ?? {})
        refuseOthers(tables.map(tableName), copied)
      }
      ready = { connection, tables }
      this.#ready.set(side, ready)
      connection.client.on('end', () => {
        if (this.#ready.get(side) === ready) this.#ready.delete(side)
      })
    }
    try {
      return await use(ready)
    } catch (error) {
      await this.#unready(side)
      throw error
    }
  }

  async #unready(side: Side): Promise<void> {
    const ready = this.#ready.get(side)
    this.#ready.delete(side)
    await ready?.connection[Symbol.asyncDispose]()
  }

  /** Sharded tables of a side. */
  async tables(move: Move, side: Side, signal: AbortSignal): Promise<readonly MovedTable[]> {
    await using shard = await this.open(move, side, signal)
    return await readMovedTables(shard.client, this.#rules)
  }

  /** A connection to a side's primary, closed at the end of its block. */
  async open(move: Move, side: Side, signal = AbortSignal.timeout(actTimeoutMs)) {
    // Whoever has lost the move's lock does nothing more: another runner may be at it.
    const both = AbortSignal.any([this.#signal, signal])
    return await openShard(await this.url(move, side), both, moverSession(move))
  }

  /** Of a side's primary. @throws why there is none */
  async url(move: Move, side: Side): Promise<string> {
    const shard = shardOf(move, side)
    const address = this.#addresses.get(shard)
    assert(address !== undefined, `shard ${shard} is in the configuration`)
    return await primaryUrl(address)
  }
}

/** The shard that is on that side. */
export function shardOf(move: Move, side: Side): ShardId {
  return side === 'source' ? move.from : move.to
}

/** The side that a direction follows. */
export function sideOf(direction: Direction): Side {
  return direction === 'forward' ? 'source' : 'target'
}
