// A slice of the simulation: `npm run test:simulation` runs thousands of seeds. A seed that fails here is played again by
// `node test/simulation/run.ts --from <seed> --seeds 1 --trace`.
import { describe, expect, it } from 'vitest'
import { isMutation, type Mutation, mutations } from './mutation.ts'
import { simulate } from './simulate.ts'

const seeds = 60
/** Seeds that a planted fault may take to be found. */
const seedsMax = 3_000
const timeoutMs = 240_000

/** Where to begin: a little before the seed that found it last, so that it is found soon. */
const found: Readonly<Record<Mutation, number>> = {
  acknowledgementSkipped: 3,
  deletedUnacknowledged: 138,
  fenceDropped: 351,
  fromLsnIgnored: 162,
  leaseIgnored: 3,
  leaseRenewedEarly: 3,
  leaseCheckedEarly: 1_130,
  seenTooSoon: 271,
  hiddenShown: 2,
  notHeld: 39,
  notDrained: 124,
  snapshotOlder: 4,
  positionApart: 181,
  positionForgotten: 36,
  planKept: 3,
  runnersNotNumbered: 139,
  sessionsNotEnded: 678,
  kept: 2,
}

describe('moves over shards, proxies and networks that fail', () => {
  it(
    'lose, double and misplace no row, show no stale read, and end',
    async () => {
      const totals = { done: 0, aborted: 0, rolledBack: 0, scatters: 0 }
      for (let seed = 1; seed <= seeds; seed += 1) {
        const { violation, counts } = await simulate({ seed })
        expect({ seed, violation }).toEqual({ seed, violation: null })
        totals.done += counts.done
        totals.aborted += counts.aborted
        totals.rolledBack += counts.rolledBack
        totals.scatters += counts.scatters
      }
      // Every end of a move was among them.
      expect(Math.min(totals.done, totals.aborted, totals.rolledBack)).toBeGreaterThan(0)
      expect(totals.scatters).toBeGreaterThan(seeds)
    },
    timeoutMs,
  )

  it('are the same whenever they run by the same seed', async () => {
    const runs = [
      await simulate({ seed: 7, tracing: true }),
      await simulate({ seed: 7, tracing: true }),
    ]
    expect(runs[0]?.trace.length).toBeGreaterThan(100)
    expect(runs[1]).toEqual(runs[0])
  })
})

describe('a planted fault is found', () => {
  const planted = Object.keys(mutations).filter(isMutation)
  it.each(planted)('%s', { timeout: timeoutMs }, async (mutation) => {
    const from = found[mutation]
    let violation: string | null = null
    for (let seed = from; seed < from + seedsMax && violation === null; seed += 1) {
      violation = (await simulate({ seed, mutation })).violation
    }
    expect(violation).not.toBeNull()
  })
})
