// What the fast lanes of several pools have done, together.
import type { LaneCounts } from '../pool/lane.ts'
import type { Pool } from '../pool/pool.ts'

/** All of them; zero for pools without a lane. */
export function laneCountsOf(pools: readonly Pool[]): LaneCounts {
  const sum = { rides: 0, rescues: 0, full: 0 }
  for (const { lane } of pools) {
    sum.rides += lane.counts.rides
    sum.rescues += lane.counts.rescues
    sum.full += lane.counts.full
  }
  return sum
}
