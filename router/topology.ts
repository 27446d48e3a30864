// Which shard serves which virtual node at which epoch, what is on the move, and which keys live apart from their
// virtual node. Immutable; a change is a new Topology.
import { assert } from '../core/assert.ts'
import type { Epoch, ShardId, Vnode } from '../core/ids.ts'
import type { Position } from '../core/position.ts'
import { type KeyValue, vnodeOfKey } from './key-hash.ts'
import { keyText, type MovedSet } from './moved-set.ts'

/**
 * `moving`: `from` serves and `to` is being filled. `fenced`: nobody takes new statements for a moment. `switched`: `to`
 * serves and `from` still holds the rows.
 */
export type MovePhase = 'moving' | 'fenced' | 'switched'

/** A move as routing needs to know it. */
export type TopologyMove = {
  readonly id: number
  readonly from: ShardId
  readonly to: ShardId
  readonly phase: MovePhase
  /** Who serves it, or will go on to if a fence is lifted. */
  readonly serving: ShardId
  readonly set: MovedSet
  readonly contains: (key: KeyValue, vnode: Vnode) => boolean
}

export type Topology = {
  readonly epoch: Epoch
  /** Home shard first, in the order of the configuration; without those that are only about to join. */
  readonly shards: readonly ShardId[]
  /** Index into `shards` for every vnode; empty when the database is not sharded. */
  readonly owners: Uint16Array
  /** What is on the move; empty most of the time. */
  readonly moves: readonly TopologyMove[]
  /** Keys, as `keyText` writes them, that live apart from their virtual node. */
  readonly pins: ReadonlyMap<string, ShardId>
  /** Rows that a shard holds without owning them: what is not tied to a key must not see them. */
  readonly hidden: ReadonlyMap<ShardId, readonly MovedSet[]>
  /** Position that a shard's replica must have reached before anything is read there. */
  readonly floors: ReadonlyMap<ShardId, Position>
  /** A shard is about to join: statements that go to every shard wait. */
  readonly joining: boolean
}

/** A topology in which nothing is on the move. */
export function restingTopology(
  epoch: Epoch,
  shards: readonly ShardId[],
  owners: Uint16Array,
): Topology {
  return {
    epoch,
    shards,
    owners,
    moves: [],
    pins: new Map(),
    hidden: new Map(),
    floors: new Map(),
    joining: false,
  }
}

/** The first shard: it holds the catalog and every table that is not sharded. */
export function homeShard(topology: Topology): ShardId {
  const home = topology.shards[0]
  assert(home !== undefined, 'a topology has at least one shard')
  return home
}

/** Shard that serves `vnode` at `topology.epoch`, but for keys that are pinned: one typed-array load. */
export function ownerOf(topology: Topology, vnode: Vnode): ShardId {
  const shard = topology.shards[topology.owners[vnode] ?? -1]
  assert(shard !== undefined, `vnode ${vnode} has an owner`)
  return shard
}

/** Where a key is. */
export type KeyPlace = { readonly vnode: Vnode; readonly shard: ShardId; readonly pinned: boolean }

/** Virtual node and shard of a key at `topology.epoch`. */
export function placeOfKey(topology: Topology, key: KeyValue, vnodeBits: number): KeyPlace {
  const vnode = vnodeOfKey(key, vnodeBits)
  const pin = topology.pins.size === 0 ? undefined : topology.pins.get(keyText(key))
  return { vnode, shard: pin ?? ownerOf(topology, vnode), pinned: pin !== undefined }
}

/**
 * True when snapshots of the time of `then` show every row where statements look for it by `now`,
 * and nowhere else. What has begun to move since is no harm: its new rows are hidden, whether they
 * are in a snapshot or not.
 */
export function showsSame(then: Topology, now: Topology): boolean {
  if (then === now) return true
  const stillHidden = then.moves.every(({ id, serving }) =>
    now.moves.some((move) => move.id === id && move.serving === serving),
  )
  return stillHidden && hasSameOwners(then, now) && hasSamePins(then.pins, now.pins)
}

function hasSameOwners(one: Topology, other: Topology): boolean {
  if (one.owners.length !== other.owners.length) return false
  return one.owners.every((owner, vnode) => {
    return one.shards[owner] === other.shards[other.owners[vnode] ?? -1]
  })
}

function hasSamePins(one: Topology['pins'], other: Topology['pins']): boolean {
  if (one.size !== other.size) return false
  for (const [key, shard] of one) if (other.get(key) !== shard) return false
  return true
}

/** The move that a key is part of, if any; a key is part of one at most. */
export function moveOfKey(topology: Topology, key: KeyValue, vnode: Vnode): TopologyMove | null {
  for (const move of topology.moves) if (move.contains(key, vnode)) return move
  return null
}
