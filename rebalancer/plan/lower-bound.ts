// Bytes that must move whatever the plan: what a plan's own bytes are measured against.
//
// Everything on draining shards. From every other shard the load above its cap ((1 + epsilon) × its fair share) has to
// go: a knapsack of its own atoms says at how few bytes that can be had, solved to about a hundredth, and as if atoms
// could be cut where that takes too long. An atom for which no shard has room costs, besides its own bytes, what
// its new shard must give away for it: the least over all shards, as if atoms could be cut. Such curves are
// convex, so arrivals at one shard cost at least the sum of each alone. A newcomer needs its share, out of the
// densest of all atoms; overload that goes away anyway may serve that, so the larger of the two counts. Giants
// (heavier than any bound) are taken to be where the plan has put them: that is not a matter of bytes alone.
import { byDensity, cheapestCover, CostCurve, type Offer, offersOf } from './cover.ts'
import type { Placement } from './placement.ts'

/** What one shard has before the plan. */
type Start = {
  /** Load above the cap; negative: room. */
  readonly excess: number
  readonly offers: readonly Offer[]
  readonly curve: CostCurve
  /** What bringing it down for its own sake costs at most. */
  readonly ownMax: number
}

/** Lower bound, in bytes (in atoms where no sizes are known), for the target of `placement`. */
export function lowerBound(placement: Placement): number {
  const giants = giantsOf(placement)
  const starts = startsOf(placement, giants)
  let fixed = 0
  for (const [index, { from, cost }] of placement.atoms.entries()) {
    const leaves = giants.has(index) ? placement.isMoved(index) : !placement.stays(from)
    if (leaves) fixed += cost
  }
  let overload = 0
  for (const [shard, start] of starts.entries()) {
    if (placement.stays(shard) && start.excess > 0) overload += leastCost(placement, starts, shard)
  }
  const share = placement
    .newcomers()
    .reduce((sum, shard) => sum + placement.newcomerShare(shard), 0)
  const all = starts.flatMap(({ offers }) => offers).sort(byDensity)
  return fixed + Math.max(overload, finite(new CostCurve(all).at(share)))
}

function giantsOf(placement: Placement): ReadonlySet<number> {
  const highest = placement.bounds.reduce((high, bound) => Math.max(high, bound), 0)
  const giants = [...placement.atoms.keys()].filter(
    (index) => placement.atom(index).load > highest + placement.grain,
  )
  return new Set(giants)
}

function startsOf(placement: Placement, giants: ReadonlySet<number>): readonly Start[] {
  const starts = placement.shards.map((_, shard) => startOf(placement, shard, giants))
  const widest = starts.reduce(
    (high, { excess }, shard) => (placement.stays(shard) ? Math.max(high, -excess) : high),
    0,
  )
  return starts.map((start) => {
    const light = start.offers.filter(({ load }) => load <= widest)
    return { ...start, ownMax: cheapestCover(light, start.excess).cost }
  })
}

/** With the giants where the plan has put them. */
function startOf(
  placement: Placement,
  shard: number,
  giants: ReadonlySet<number>,
): Omit<Start, 'ownMax'> {
  let load = 0
  const free: number[] = []
  for (const index of placement.densest[shard] ?? []) {
    if (giants.has(index)) continue
    const atom = placement.atom(index)
    load += atom.load
    if (atom.movable && atom.load > 0) free.push(index)
  }
  for (const giant of giants) {
    if (placement.at[giant] === shard) load += placement.atom(giant).load
  }
  const offers = placement.stays(shard) ? offersOf(placement.atoms, free) : []
  return { excess: load - (placement.caps[shard] ?? 0), offers, curve: new CostCurve(offers) }
}

/** Of bringing an overloaded shard down. */
function leastCost(placement: Placement, starts: readonly Start[], shard: number): number {
  const start = starts[shard]
  if (start === undefined) return 0
  const { offers, excess, curve } = start
  const priced = offers.map((offer) => ({
    ...offer,
    cost: offer.cost + arrivalCost(placement, starts, shard, offer.load),
  }))
  const { costMin } = cheapestCover(priced.sort(byDensity), excess)
  return Number.isFinite(costMin) ? costMin : finite(curve.at(excess))
}

/** What has to make room, at least, for `load` more on some other shard. */
function arrivalCost(
  placement: Placement,
  starts: readonly Start[],
  from: number,
  load: number,
): number {
  let least = Number.POSITIVE_INFINITY
  for (const [shard, { excess, curve, ownMax }] of starts.entries()) {
    if (shard === from || !placement.stays(shard)) continue
    // What goes from there for its own sake is counted there.
    const more = Number.isFinite(ownMax) ? curve.at(excess + load) - ownMax : 0
    least = Math.min(least, Math.max(0, more))
    if (least === 0) return 0
  }
  return least
}

/** A target that cannot be reached asks for nothing. */
function finite(cost: number): number {
  return Number.isFinite(cost) ? cost : 0
}
