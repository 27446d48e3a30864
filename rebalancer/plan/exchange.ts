// Exchanges for shards that are still too full though nothing of theirs fits anywhere: something heavy goes to another
// shard, something lighter comes back. Each makes the fuller of the two less full, so that it comes to an end.
import type { Placement } from './placement.ts'

const exchangesMax = 200
/** Heaviest atoms of a shard that are tried. */
const candidatesMax = 64
/** An exchange that gains less of the fair share is not worth the bytes. */
const gainMin = 0.005

type Pair = {
  readonly out: number
  readonly back: number
  readonly to: number
  readonly gain: number
}

/** Exchanges atoms between pairs of shards until all are under their caps or nothing helps. */
export function exchange(placement: Placement, giants: ReadonlySet<number>): void {
  for (let times = 0; times < exchangesMax; times += 1) {
    const shard = fullest(placement)
    if (shard === undefined) return
    const pair = bestPair(placement, shard, giants)
    if (pair === undefined) return
    placement.place(pair.out, pair.to)
    placement.place(pair.back, shard)
  }
}

function fullest(placement: Placement): number | undefined {
  let worst: number | undefined
  for (const shard of placement.loads.keys()) {
    if (!placement.isOver(shard)) continue
    const over = (at: number) => placement.excess(at) / (placement.fair[at] ?? 1)
    if (worst === undefined || over(shard) > over(worst)) worst = shard
  }
  return worst
}

/** The pair that relieves `shard` most per byte; what is above the need does not count. */
function bestPair(
  placement: Placement,
  shard: number,
  giants: ReadonlySet<number>,
): Pair | undefined {
  const own = heaviestOn(placement, shard, giants)
  const need = placement.excess(shard)
  let best: Pair | undefined
  let bestRate = 0
  for (const to of placement.loads.keys()) {
    if (to === shard || !placement.stays(to) || placement.isOver(to)) continue
    const room = placement.room(to)
    const others = heaviestOn(placement, to, giants)
    for (const out of own) {
      // The lightest that makes enough room relieves most.
      const load = placement.atom(out).load
      const back = others.findLast((index) => load - placement.atom(index).load <= room)
      if (back === undefined) continue
      const gain = Math.min(need, load - placement.atom(back).load)
      if (gain < gainMin * (placement.fair[shard] ?? 0)) continue
      const rate = gain / (1 + placement.atom(out).cost + placement.atom(back).cost)
      if (rate <= bestRate) continue
      bestRate = rate
      best = { out, back, to, gain }
    }
  }
  return best
}

/** Atoms that stand on `shard` now and may go, heaviest first; the heaviest only. */
function heaviestOn(
  placement: Placement,
  shard: number,
  giants: ReadonlySet<number>,
): readonly number[] {
  const own: number[] = []
  for (const [index, at] of placement.at.entries()) {
    if (at === shard && placement.atom(index).movable && !giants.has(index)) own.push(index)
  }
  const load = (index: number) => placement.atom(index).load
  return own.sort((a, b) => load(b) - load(a) || a - b).slice(0, candidatesMax)
}
