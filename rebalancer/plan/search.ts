// The search for a placement under the bounds that moves few bytes (weighted moves as in Slicer, Adya et al., OSDI
// 2016): draining shards give all, overloaded ones the cheapest choice that brings them down, newcomers get their
// share; then exchanges where nothing fits as it is, and what turned out needless is taken back.
import type { Atom } from './atoms.ts'
import { byDensity, cheapestCover, CostCurve, type Offer, offersOf } from './cover.ts'
import { exchange } from './exchange.ts'
import { settleGiants } from './giants.ts'
import { lowerBound } from './lower-bound.ts'
import { Placement, type PlannedShard } from './placement.ts'
import { trim } from './trim.ts'

/** Searches that are made over with one more heavy atom left where it is: at most 16, and fewer for many atoms. */
const retriesOverAtoms = 100_000
const retriesMax = 16
/** A plan as near to the lower bound is good enough. */
const nearBound = 1.1

/** Every round finds a place for something, or rules something out; few are ever needed. */
const roundsMax = 500

export type Searched = {
  readonly placement: Placement
  /** See lower-bound.ts; 0 of a rough search. */
  readonly costMin: number
}

/**
 * Where the atoms should be; the same input gives the same answer. Which heavy atom gets the little room that there is
 * decides how much else has to go: while the bound says that there may be better, plans are tried that leave one more
 * of them where it is.
 */
export function search(
  atoms: readonly Atom[],
  shards: readonly PlannedShard[],
  epsilon: number,
  effort: 'full' | 'rough' = 'full',
): Searched {
  let kept = new Set<number>()
  let best = searchOnce(atoms, shards, epsilon, kept)
  if (effort === 'rough') return { placement: best, costMin: 0 }
  const costMin = lowerBound(best)
  let retries = Math.min(retriesMax, Math.floor(retriesOverAtoms / (atoms.length + 1)))
  const tried = new Set<number>()
  for (; retries > 0 && best.costMoved > nearBound * costMin; retries -= 1) {
    const moved = heaviestFirst(best, best.movedAtoms)
    const next = moved.find((index) => !tried.has(index) && isHeavy(best, index))
    if (next === undefined) break
    tried.add(next)
    const keptToo = new Set([...kept, next])
    const other = searchOnce(atoms, shards, epsilon, keptToo)
    if (!isBetter(other, best)) continue
    best = other
    kept = keptToo
  }
  return { placement: best, costMin }
}

/** Heavier than the room that some shard is sure to have. */
function isHeavy(placement: Placement, index: number): boolean {
  const { from, load } = placement.atom(index)
  return placement.stays(from) && load > placement.epsilon * (placement.fair[from] ?? 0)
}

function isBetter(one: Placement, other: Placement): boolean {
  const reached = (placement: Placement) => Math.max(placement.maxOverMean, 1 + one.epsilon)
  const difference = reached(one) - reached(other)
  if (Math.abs(difference) > 1e-6) return difference < 0
  return one.costMoved < other.costMoved
}

function searchOnce(
  atoms: readonly Atom[],
  shards: readonly PlannedShard[],
  epsilon: number,
  kept: ReadonlySet<number>,
): Placement {
  const placement = new Placement(atoms, shards, epsilon)
  const newcomers = placement.newcomers()
  const giants = new Set([...settleGiants(placement), ...kept])
  drain(placement)
  shed(placement, giants)
  for (const newcomer of newcomers) fill(placement, newcomer, giants)
  exchange(placement, giants)
  trim(placement, giants, newcomers)
  return placement
}

function drain(placement: Placement): void {
  const leaving = placement.shards.flatMap((_, shard) =>
    placement.stays(shard) ? [] : (placement.densest[shard] ?? []),
  )
  for (const index of heaviestFirst(placement, leaving)) {
    if (placement.isMoved(index)) continue
    const { load } = placement.atom(index)
    const target =
      load > placement.grain ? placement.emptiest(load, () => true) : leastBytes(placement)
    if (target !== undefined) placement.place(index, target)
  }
}

/** What nobody asks for is spread by size. */
function leastBytes(placement: Placement): number | undefined {
  let best: number | undefined
  let least = Number.POSITIVE_INFINITY
  for (const [shard, { weight }] of placement.shards.entries()) {
    if (!placement.stays(shard)) continue
    const relative = (placement.bytes[shard] ?? 0) / weight
    if (relative < least) {
      best = shard
      least = relative
    }
  }
  return best
}

/**
 * Brings every shard down to its cap. What fits nowhere as it is may still go, at the price of what its new shard then
 * has to give away in turn. Nothing moves twice, so there is an end.
 */
function shed(placement: Placement, giants: ReadonlySet<number>): void {
  for (let round = 0; round < roundsMax; round += 1) {
    const plain = placement.shards.map((_, shard) => freeOffers(placement, shard, giants))
    // What goes to make room needs room itself: its price is known once all have been looked at.
    const first = pricedOffers(placement, plain, plain)
    const offers = pricedOffers(placement, plain, first)
    const curves = first.map((own) => new CostCurve(own))
    const chosen: number[] = []
    for (const [shard, own] of offers.entries()) {
      if (!placement.isOver(shard)) continue
      const { chosen: cover } = cheapestCover(own, placement.excess(shard))
      for (const { index } of cover) chosen.push(index)
    }
    let moved = false
    for (const index of heaviestFirst(placement, chosen)) {
      const { load, from } = placement.atom(index)
      const fits = (shard: number) =>
        shard !== from && !placement.isOver(shard) && load <= placement.room(shard)
      // One that needs others to go waits for them to be counted, unless it is the first of its round.
      const target =
        placement.emptiest(load, fits) ??
        (moved ? undefined : arrival(placement, curves, { index, load, cost: 0 }).shard)
      if (target === undefined) continue
      moved = true
      placement.place(index, target)
    }
    if (!moved) return
  }
}

/** What stands on its first shard still and may go. */
function freeOffers(
  placement: Placement,
  shard: number,
  giants: ReadonlySet<number>,
): readonly Offer[] {
  if (!placement.stays(shard)) return []
  const free = (placement.densest[shard] ?? []).filter((index) => {
    const { load, movable } = placement.atom(index)
    return movable && load > 0 && placement.at[index] === shard && !giants.has(index)
  })
  return offersOf(placement.atoms, free)
}

/** The offers at their own cost and what must make room for them, where room is made as `making` says. */
function pricedOffers(
  placement: Placement,
  offers: readonly (readonly Offer[])[],
  making: readonly (readonly Offer[])[],
): readonly (readonly Offer[])[] {
  const curves = making.map((own) => new CostCurve(own))
  const widest = placement.widestRoom
  return offers.map((own) =>
    own
      .map((offer) => {
        const price = offer.load <= widest ? 0 : arrival(placement, curves, offer).price
        return { ...offer, cost: offer.cost + price }
      })
      .filter(({ cost }) => cost < Number.POSITIVE_INFINITY)
      .sort(byDensity),
  )
}

/** Where the atom costs least in what has to make room for it, and that price. */
function arrival(
  placement: Placement,
  curves: readonly CostCurve[],
  { index, load }: Offer,
): { readonly shard: number | undefined; readonly price: number } {
  let best: number | undefined
  let least = Number.POSITIVE_INFINITY
  for (const [shard, curve] of curves.entries()) {
    if (shard === placement.at[index] || !placement.stays(shard)) continue
    if (load > (placement.bounds[shard] ?? 0)) continue
    const now = Math.max(0, -placement.room(shard))
    const price = curve.at(now + load + Math.min(0, -placement.room(shard))) - curve.at(now)
    if (price < least) {
      best = shard
      least = price
    }
    if (price === 0) break
  }
  return { shard: best, price: least }
}

/** Gives a newcomer its share from shards that are above theirs, the most load per byte first. */
function fill(placement: Placement, newcomer: number, giants: ReadonlySet<number>): void {
  const share = placement.newcomerShare(newcomer)
  const offered: number[] = []
  for (const [shard, indexes] of placement.densest.entries()) {
    if (shard === newcomer || !placement.stays(shard)) continue
    for (const index of indexes) {
      const { movable, load } = placement.atom(index)
      if (movable && load > 0 && !giants.has(index) && !placement.isMoved(index))
        offered.push(index)
    }
  }
  for (const { index, load } of offersOf(placement.atoms, offered)) {
    const missing = share - (placement.loads[newcomer] ?? 0)
    if (missing <= placement.grain) return
    const { from } = placement.atom(index)
    const left = (placement.loads[from] ?? 0) - load
    const enough = left >= (1 - placement.epsilon) * (placement.fair[from] ?? 0)
    if (enough && load <= placement.room(newcomer)) placement.place(index, newcomer)
  }
}

function heaviestFirst(placement: Placement, indexes: readonly number[]): readonly number[] {
  return [...indexes].sort((a, b) => placement.atom(b).load - placement.atom(a).load || a - b)
}
