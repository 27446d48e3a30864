// What a plan is made from and what comes of it: plain data, filled by rebalancer/load, printed by the command line.
import type { ShardId, Vnode } from '../../core/ids.ts'

/** A virtual node, without the keys in it that are pinned. `load`: ms of server time per second, or any one unit. */
type VnodeLoad = {
  readonly vnode: Vnode
  readonly shard: ShardId
  readonly load: number
  readonly bytes: number
}

/** A key that is hot but has no pin: its load and bytes are a part of its virtual node's. */
export type KeyLoad = {
  readonly key: string
  readonly vnode: Vnode
  readonly load: number
  readonly bytes: number
}

/** A key that has a pin; its virtual node's figures are without it. */
type PinLoad = {
  readonly key: string
  readonly shard: ShardId
  readonly load: number
  readonly bytes: number
}

export type PlanInput = {
  /** A shard that drains, or of weight 0, gives everything away and is given nothing. */
  readonly shards: readonly {
    readonly id: ShardId
    readonly weight: number
    readonly draining: boolean
  }[]
  readonly vnodes: readonly VnodeLoad[]
  readonly hotKeys: readonly KeyLoad[]
  readonly pins: readonly PinLoad[]
  /** Target: no shard carries more than (1 + epsilon) × its fair share by weight. */
  readonly epsilon: number
  /** Budget of bytes moved; null: none. */
  readonly bytesMax: number | null
  /** Moves proposed at most, those with the most load first. */
  readonly movesMax?: number
}

/** Keys and virtual nodes that go from one shard to another together. */
export type ProposedMove = {
  readonly from: ShardId
  readonly to: ShardId
  readonly vnodes: readonly Vnode[]
  readonly keys: readonly string[]
  readonly load: number
  readonly bytes: number
}

export type Balance = {
  /**
   * Highest load relative to the fair share by weight, of the shards that stay; 1 is even. The fair share counts what
   * is still on draining shards.
   */
  readonly maxOverMean: number
  readonly shards: readonly {
    readonly id: ShardId
    readonly load: number
    readonly share: number
  }[]
}

export type Proposal = {
  /** In the order in which they are best run. */
  readonly moves: readonly ProposedMove[]
  readonly before: Balance
  readonly after: Balance
  /** Bytes that no plan with the same target can do without; see rebalancer/plan/lower-bound.ts. */
  readonly lowerBoundBytes: number
  /** Sentences for the operator: what stood in for load, what could not be reached, and why. */
  readonly notes: readonly string[]
}
