// Branded identifiers: a shard's name, a virtual node's number and a topology's epoch cannot be mixed up.

/** Name of a shard in the configuration, such as `s1`. */
export type ShardId = string & { readonly __brand: 'ShardId' }
/** Number of a virtual node, 0 to the cluster's number of vnodes − 1. */
export type Vnode = number & { readonly __brand: 'Vnode' }
/** Version of the topology; grows by one with every published change. */
export type Epoch = number & { readonly __brand: 'Epoch' }

/** Brands a shard's configured name. */
export const shardId = (name: string): ShardId => name as ShardId
/** Brands a virtual node's number; the caller has checked its range. */
export const vnode = (number: number): Vnode => number as Vnode
/** Brands a topology version. */
export const epoch = (number: number): Epoch => number as Epoch
