// Giants: atoms heavier than any shard's bound, such as one key that is a third of all traffic. No plan brings their
// shard under the bound; the best there is is a shard for each, of which everything else goes away. Where that
// shard is is chosen by bytes: the giant stays and the rest goes, or the giant goes to where less is in its way.
import type { Placement } from './placement.ts'

/** Beside a giant this part of the fair share may stay, times epsilon: not every last byte has to go. */
const besideGiant = 0.25

/** Gives every giant its shard and raises the caps of those; gives the giants' indexes. */
export function settleGiants(placement: Placement): ReadonlySet<number> {
  const { atoms, bounds } = placement
  const bound = bounds.reduce((highest, one) => Math.max(highest, one), 0)
  const giants = [...atoms.keys()]
    .filter((index) => placement.atom(index).load > bound + placement.grain)
    .sort((a, b) => placement.atom(b).load - placement.atom(a).load || a - b)
  const taken = new Set<number>()
  const isGiant = new Set(giants)
  for (const giant of giants) {
    const home = homeOf(placement, giant, taken, isGiant)
    placement.place(giant, home)
    taken.add(home)
  }
  raiseCaps(placement, isGiant)
  return isGiant
}

/** Cheapest shard for the giant, in bytes of what moves; its own where all are taken. */
function homeOf(
  placement: Placement,
  giant: number,
  taken: ReadonlySet<number>,
  isGiant: ReadonlySet<number>,
): number {
  const { from, cost, movable } = placement.atom(giant)
  if (!movable) return from
  const costOf = (index: number) => {
    const atom = placement.atom(index)
    return atom.load > 0 ? atom.cost : 0
  }
  let best = from
  let least = Number.POSITIVE_INFINITY
  for (const shard of placement.loads.keys()) {
    if (!placement.stays(shard) || taken.has(shard)) continue
    const rest = (placement.densest[shard] ?? []).filter((index) => !isGiant.has(index))
    const price = rest.reduce((sum, index) => sum + costOf(index), shard === from ? 0 : cost)
    // A shard of less weight is worse off with the same giant: bytes do not make up for that.
    const heavier = placement.fair.reduce((high, fair) => Math.max(high, fair), 0)
    const worse = heavier / (placement.fair[shard] ?? 0)
    const weighed = (price + 1) * worse
    if (weighed < least || (weighed === least && shard === from)) {
      best = shard
      least = weighed
    }
  }
  return best
}

function raiseCaps(placement: Placement, isGiant: ReadonlySet<number>): void {
  const { caps, fair, epsilon } = placement
  const fixed = new Float64Array(caps.length)
  const withGiant = new Set<number>()
  for (const [index, { load, movable }] of placement.atoms.entries()) {
    const shard = placement.at[index] ?? 0
    if (isGiant.has(index)) withGiant.add(shard)
    if (isGiant.has(index) || !movable) fixed[shard] = (fixed[shard] ?? 0) + load
  }
  for (const shard of withGiant) {
    const least = (fixed[shard] ?? 0) + besideGiant * epsilon * (fair[shard] ?? 0)
    caps[shard] = Math.max(caps[shard] ?? 0, least)
  }
}
