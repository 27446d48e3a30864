// Which shard serves which virtual node at which epoch. Immutable; a change is a new Topology.
import { assert } from '../core/assert.ts'
import type { Epoch, ShardId, Vnode } from '../core/ids.ts'

export type Topology = {
  readonly epoch: Epoch
  /** Home shard first, in the order of the configuration. */
  readonly shards: readonly ShardId[]
  /** Index into `shards` for every vnode; empty when the database is not sharded. */
  readonly owners: Uint16Array
}

/** The first shard: it holds the catalog and every table that is not sharded. */
export function homeShard(topology: Topology): ShardId {
  const home = topology.shards[0]
  assert(home !== undefined, 'a topology has at least one shard')
  return home
}

/** Shard that serves `vnode` at `topology.epoch`: one typed-array load. */
export function ownerOf(topology: Topology, vnode: Vnode): ShardId {
  const shard = topology.shards[topology.owners[vnode] ?? -1]
  assert(shard !== undefined, `vnode ${vnode} has an owner`)
  return shard
}
