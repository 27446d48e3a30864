// The working state of one search: where every atom stands, what each shard carries and may carry. Only `place`
// changes it, so that loads and positions cannot disagree.
import { assert } from '../../core/assert.ts'
import type { ShardId } from '../../core/ids.ts'
import type { Atom } from './atoms.ts'
import { offersOf } from './cover.ts'

/** A shard as a plan sees it; weight 0: it gives everything away. */
export type PlannedShard = {
  readonly id: ShardId
  readonly weight: number
  readonly draining: boolean
}

/** Loads closer than this part of the mean count as equal. */
const tolerance = 1e-9

export class Placement {
  readonly atoms: readonly Atom[]
  readonly shards: readonly PlannedShard[]
  /** Index of the shard of each atom now. */
  readonly at: Int32Array
  readonly loads: Float64Array
  readonly bytes: Float64Array
  /** Fair share of the load by weight; 0 of a draining shard. */
  readonly fair: Float64Array
  /** What a shard may be filled up to: (1 + epsilon) × fair. */
  readonly bounds: Float64Array
  /** What a shard must come down to: its bound, or the giant on it, which nobody could take. */
  readonly caps: Float64Array
  readonly epsilon: number
  /** Smallest difference of load that means anything. */
  readonly grain: number
  /** Atoms by the shard they come from, most load per byte first. */
  readonly densest: readonly (readonly number[])[]

  constructor(atoms: readonly Atom[], shards: readonly PlannedShard[], epsilon: number) {
    this.atoms = atoms
    this.shards = shards
    this.epsilon = epsilon
    this.at = Int32Array.from(atoms, ({ from }) => from)
    this.loads = new Float64Array(shards.length)
    this.bytes = new Float64Array(shards.length)
    const own: number[][] = shards.map(() => [])
    let total = 0
    for (const [index, { from, load, bytes }] of atoms.entries()) {
      assert(own[from] !== undefined, 'everything is on a shard that the plan was told of')
      own[from].push(index)
      this.loads[from] = (this.loads[from] ?? 0) + load
      this.bytes[from] = (this.bytes[from] ?? 0) + bytes
      total += load
    }
    this.densest = own.map((indexes) => offersOf(atoms, indexes).map(({ index }) => index))
    const weights = shards.map(({ weight, draining }) => (draining ? 0 : weight))
    const weightSum = weights.reduce((sum, weight) => sum + weight, 0)
    assert(weightSum > 0, 'a shard stays that has weight')
    this.fair = Float64Array.from(weights, (weight) => (total * weight) / weightSum)
    this.bounds = this.fair.map((share) => (1 + epsilon) * share)
    this.caps = this.bounds.slice()
    this.grain = (tolerance * total) / shards.length
  }

  place(index: number, shard: number): void {
    const atom = this.atom(index)
    const from = this.at[index] ?? 0
    this.loads[from] = (this.loads[from] ?? 0) - atom.load
    this.bytes[from] = (this.bytes[from] ?? 0) - atom.bytes
    this.loads[shard] = (this.loads[shard] ?? 0) + atom.load
    this.bytes[shard] = (this.bytes[shard] ?? 0) + atom.bytes
    this.at[index] = shard
  }

  atom(index: number): Atom {
    const atom = this.atoms[index]
    assert(atom !== undefined, 'an atom has an index of its own')
    return atom
  }

  stays(shard: number): boolean {
    return (this.fair[shard] ?? 0) > 0
  }

  isMoved(index: number): boolean {
    return this.at[index] !== this.atoms[index]?.from
  }

  /** Load above what the shard must come down to; negative: below. */
  excess(shard: number): number {
    return (this.loads[shard] ?? 0) - (this.caps[shard] ?? 0)
  }

  /** Load that the shard may still be given. */
  room(shard: number): number {
    return (this.bounds[shard] ?? 0) - (this.loads[shard] ?? 0)
  }

  isOver(shard: number): boolean {
    return this.stays(shard) && this.excess(shard) > this.grain
  }

  /** The most room that any shard has. */
  get widestRoom(): number {
    let widest = 0
    for (const shard of this.shards.keys()) {
      if (this.stays(shard)) widest = Math.max(widest, this.room(shard))
    }
    return widest
  }

  /** Shards above what they must come down to. */
  get overloaded(): readonly number[] {
    return [...this.shards.keys()].filter((shard) => this.isOver(shard))
  }

  /** Load of `shard` relative to its fair share, with `more` on it. */
  relative(shard: number, more = 0): number {
    return ((this.loads[shard] ?? 0) + more) / (this.fair[shard] ?? 0)
  }

  /** The shard that would be the least loaded with `load` more on it, of those that may take it. */
  emptiest(load: number, mayTake: (shard: number) => boolean): number | undefined {
    let best: number | undefined
    let least = Number.POSITIVE_INFINITY
    for (const shard of this.loads.keys()) {
      if (!this.stays(shard) || !mayTake(shard)) continue
      const relative = this.relative(shard, load)
      if (relative < least) {
        best = shard
        least = relative
      }
    }
    return best
  }

  /** Highest load relative to the fair share. */
  get maxOverMean(): number {
    let highest = 0
    for (const shard of this.loads.keys()) {
      if (this.stays(shard)) highest = Math.max(highest, this.relative(shard))
    }
    return highest
  }

  get costMoved(): number {
    return this.movedAtoms.reduce((sum, index) => sum + this.atom(index).cost, 0)
  }

  get bytesMoved(): number {
    return this.movedAtoms.reduce((sum, index) => sum + this.atom(index).bytes, 0)
  }

  /** Shards that had nothing before the plan, though they should have. */
  newcomers(): readonly number[] {
    return [...this.shards.keys()].filter(
      (shard) => this.stays(shard) && this.densest[shard]?.length === 0,
    )
  }

  /** What a newcomer is given at least. */
  newcomerShare(shard: number): number {
    return Math.max(0, 1 - this.epsilon) * (this.fair[shard] ?? 0)
  }

  get movedAtoms(): readonly number[] {
    return [...this.atoms.keys()].filter((index) => this.isMoved(index))
  }
}
