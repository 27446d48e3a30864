// Second thoughts: what was moved needlessly goes back, and what can be replaced by something with fewer bytes is.
import type { Placement } from './placement.ts'

/** The moves with the most bytes that a replacement is looked for. */
const replacedMax = 256

/** Takes back and replaces moves without breaking a bound or a newcomer's share. */
export function trim(
  placement: Placement,
  giants: ReadonlySet<number>,
  newcomers: readonly number[],
): void {
  const least = new Map(newcomers.map((shard) => [shard, placement.newcomerShare(shard)]))
  const costliest = placement.movedAtoms
    .filter((index) => placement.stays(placement.atom(index).from) && !giants.has(index))
    .sort((a, b) => placement.atom(b).cost - placement.atom(a).cost || a - b)
  const kept: number[] = []
  for (const index of costliest) {
    if (!takeBack(placement, index, least)) kept.push(index)
  }
  for (const index of kept.slice(0, replacedMax)) replace(placement, index, giants, least)
}

/** Load that the shard can lose. */
function spare(placement: Placement, shard: number, least: ReadonlyMap<number, number>): number {
  return (placement.loads[shard] ?? 0) - (least.get(shard) ?? 0)
}

function takeBack(
  placement: Placement,
  index: number,
  least: ReadonlyMap<number, number>,
): boolean {
  const { from, load } = placement.atom(index)
  const at = placement.at[index] ?? from
  if (load > -placement.excess(from) || load > spare(placement, at, least)) return false
  placement.place(index, from)
  return true
}

/** Sends the cheapest atom that does as well in place of `index`. */
function replace(
  placement: Placement,
  index: number,
  giants: ReadonlySet<number>,
  least: ReadonlyMap<number, number>,
): void {
  const { from, load, cost } = placement.atom(index)
  const to = placement.at[index] ?? from
  const loadMin = load - Math.min(-placement.excess(from), spare(placement, to, least))
  const loadMax = load + placement.room(to)
  let best: number | undefined
  for (const other of placement.densest[from] ?? []) {
    const atom = placement.atom(other)
    if (atom.load < loadMin || atom.load > loadMax || !atom.movable) continue
    if (placement.isMoved(other) || giants.has(other)) continue
    if (atom.cost < (best === undefined ? cost : placement.atom(best).cost)) best = other
  }
  if (best === undefined) return
  placement.place(index, from)
  placement.place(best, to)
}
