// Where virtual nodes should live: a weighted consistent-hash ring with bounded loads (Mirrokni, Thorup,
// Zadimoghaddam 2016). From scratch, every vnode walks clockwise from its token to the first shard with room.
// From a placement in force, a fresh walk would cascade (one full shard pushes vnodes on to the next, which
// pushes on its own), so only what must move does: vnodes without a shard, what is above a bound, and a
// newcomer's fair share, which is the least that any scheme moves when a shard joins or leaves.
import { assert } from '../core/assert.ts'
import type { ShardId } from '../core/ids.ts'
import { buildRing, type Ring } from './ring-tokens.ts'

/** A shard and its declared capacity relative to the others; weight 0 gives all its vnodes away. */
export type WeightedShard = { readonly id: ShardId; readonly weight: number }

export type PlacementOptions = {
  /** A shard carries at most (1 + epsilon) × its fair share, rounded up to whole vnodes. */
  readonly epsilon: number
  /** Measured load per vnode; 1 each when absent. */
  readonly loads?: Float64Array | undefined
  /** Placement in force, as indexes into `shards`; an index outside it is a vnode without a shard. */
  readonly current?: Uint16Array | undefined
}

/** Working state of one placement; arrays by shard unless they say vnode. */
type Placing = {
  readonly ring: Ring
  readonly vnodeLoads: Float64Array
  readonly owners: Uint16Array
  readonly loads: Float64Array
  readonly fair: Float64Array
  readonly bounds: Float64Array
  /** What a newcomer is filled up to; 0 for every other shard. */
  readonly targets: Float64Array
}

const homeless = 0xffff
const shardsMax = 1024

/** Index into `shards` for every vnode; the same arguments give the same placement everywhere. */
export function placeVnodes(
  vnodeCount: number,
  shards: readonly WeightedShard[],
  options: PlacementOptions,
): Uint16Array {
  const placing = begin(vnodeCount, shards, options)
  settleHomeless(placing)
  if (options.current !== undefined) relieve(placing)
  return placing.owners
}

function begin(
  vnodeCount: number,
  shards: readonly WeightedShard[],
  { epsilon, loads, current }: PlacementOptions,
): Placing {
  const weightSum = shards.reduce((sum, shard) => sum + shard.weight, 0)
  assert(
    weightSum > 0 && shards.length <= shardsMax,
    'shards have weight, and there are not too many',
  )
  assert(current === undefined || current.length === vnodeCount, 'a placement names every vnode')
  const vnodeLoads = loads ?? new Float64Array(vnodeCount).fill(1)
  assert(vnodeLoads.length === vnodeCount, 'loads name every vnode')
  const loadSum = vnodeLoads.reduce((sum, load) => sum + load, 0)
  const fair = Float64Array.from(shards, (shard) => (loadSum * shard.weight) / weightSum)
  const bound = (share: number) => (1 + epsilon) * share
  const wholeBound = (share: number) => Math.ceil(bound(share) - 1e-9)
  const owners = (current ?? new Uint16Array(vnodeCount).fill(homeless)).map((owner) =>
    (shards[owner]?.weight ?? 0) > 0 ? owner : homeless,
  )
  const carried = new Float64Array(shards.length)
  owners.forEach((owner, vnode) => {
    if (owner !== homeless) carried[owner] = at(carried, owner) + at(vnodeLoads, vnode)
  })
  const isNewcomer = (shard: number) => current !== undefined && at(carried, shard) === 0
  return {
    ring: buildRing(vnodeCount, shards),
    vnodeLoads,
    owners,
    loads: carried,
    fair,
    bounds: fair.map(loads === undefined ? wholeBound : bound),
    targets: fair.map((share, shard) => {
      if (!isNewcomer(shard)) return 0
      return loads === undefined ? Math.floor(share + 1e-9) : share
    }),
  }
}

/** Gives every homeless vnode a shard: a newcomer below its target first, else any below its bound. */
function settleHomeless(placing: Placing): void {
  const { owners, vnodeLoads, ring } = placing
  const waiting = [...owners.keys()].filter((vnode) => owners[vnode] === homeless)
  // Heavy vnodes first, while there is room for them; then in the order of the ring.
  waiting.sort(
    (a, b) =>
      at(vnodeLoads, b) - at(vnodeLoads, a) ||
      at(ring.vnodeTokens, a) - at(ring.vnodeTokens, b) ||
      a - b,
  )
  for (const vnode of waiting) {
    const shard =
      firstWithRoom(placing, vnode, placing.targets) ??
      firstWithRoom(placing, vnode, placing.bounds)
    move(placing, vnode, shard ?? leastLoaded(placing))
  }
}

/**
 * Fills the newcomers and brings every shard under its bound. The shard that is fullest against its bound
 * gives first, so that filling a newcomer and relieving the overloaded are the same moves.
 */
function relieve(placing: Placing): void {
  const queues = [...placing.bounds.keys()].map((shard) => offersOf(placing, shard).values())
  const spent = new Set<number>()
  for (;;) {
    const donor = fullest(placing, spent)
    if (donor === undefined) return
    const next = queues[donor]?.next()
    if (next === undefined || next.done === true) {
      spent.add(donor)
      continue
    }
    const overloaded = at(placing.loads, donor) > at(placing.bounds, donor)
    const receiver =
      firstWithRoom(placing, next.value, placing.targets) ??
      (overloaded ? firstWithRoom(placing, next.value, placing.bounds) : undefined)
    if (receiver !== undefined && receiver !== donor) move(placing, next.value, receiver)
  }
}

/** The donor with the highest load against its bound; undefined when nothing needs to move any more. */
function fullest(placing: Placing, spent: ReadonlySet<number>): number | undefined {
  const { loads, bounds, fair, targets } = placing
  const filling = targets.some((target, shard) => at(loads, shard) + 1e-9 < target)
  let best: number | undefined
  for (const shard of loads.keys()) {
    // A newcomer never gives, and nobody falls below the fair share for a newcomer's sake.
    if (spent.has(shard) || at(targets, shard) > 0 || at(bounds, shard) === 0) continue
    const gives = at(loads, shard) > (filling ? at(fair, shard) : at(bounds, shard))
    if (gives && (best === undefined || ratio(placing, shard) > ratio(placing, best))) best = shard
  }
  return best
}

/** A donor's vnodes, those first that the ring wants at a newcomer, or else least where they are. */
function offersOf(placing: Placing, shard: number): readonly number[] {
  const { ring, owners, targets } = placing
  const joining = targets.some((target) => target > 0)
  const wanted = (owner: number) => (joining ? at(targets, owner) > 0 : owner === shard)
  const own = [...owners.keys()].filter((vnode) => owners[vnode] === shard)
  const distances = new Map(own.map((vnode) => [vnode, ring.distance(vnode, wanted)]))
  const sign = joining ? 1 : -1
  return own.sort((a, b) => sign * ((distances.get(a) ?? 0) - (distances.get(b) ?? 0)) || a - b)
}

/** First shard clockwise from the vnode whose load would stay at or under its limit. */
function firstWithRoom(placing: Placing, vnode: number, limits: Float64Array): number | undefined {
  const load = at(placing.vnodeLoads, vnode)
  const fits = (shard: number) => at(placing.loads, shard) + load <= at(limits, shard) + 1e-9
  // Without this a walk over thousands of tokens would find out that nobody has room.
  if (!limits.some((limit, shard) => limit > 0 && fits(shard))) return undefined
  return placing.ring.firstClockwise(vnode, (shard) => at(limits, shard) > 0 && fits(shard))
}

/** Where a vnode does least harm that is heavier than the room left anywhere. */
function leastLoaded(placing: Placing): number {
  let best = -1
  for (const shard of placing.loads.keys()) {
    if (at(placing.bounds, shard) === 0) continue
    if (best < 0 || ratio(placing, shard) < ratio(placing, best)) best = shard
  }
  return best
}

function ratio({ loads, bounds }: Placing, shard: number): number {
  return at(loads, shard) / at(bounds, shard)
}

function move({ owners, loads, vnodeLoads }: Placing, vnode: number, shard: number): void {
  const from = at(owners, vnode)
  const load = at(vnodeLoads, vnode)
  if (from !== homeless) loads[from] = at(loads, from) - load
  loads[shard] = at(loads, shard) + load
  owners[vnode] = shard
}

function at(array: ArrayLike<number>, index: number): number {
  return array[index] ?? 0
}
