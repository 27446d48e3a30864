// The ring's two promises, over many clusters: nobody above the bound, and hardly more moves than the minimum.
// The minimum: when a shard leaves, the vnodes it owned; when one joins, its fair share (the least that makes
// it carry its weight), or what the others hold above their new bounds if that is more.
import { describe, expect, it } from 'vitest'
import { shardId } from '../../core/ids.ts'
import { placeVnodes, type WeightedShard } from '../../router/ring.ts'
import { createRandom, seedOf } from '../support/random.ts'

const vnodeCount = 4096
const epsilon = 0.05
const runSeed = 7

/** Shards of a seed's names and weights: all 1 for even seeds, 0.5 to 8 for odd ones. */
function shardsOf(count: number, seed: number): WeightedShard[] {
  const random = createRandom(seedOf(runSeed, seed))
  const weight = () => (seed % 2 === 0 ? 1 : random.pick([0.5, 1, 1, 2, 3, 8]))
  return Array.from({ length: count }, (_, index) => ({
    id: shardId(`shard-${seed}-${index}`),
    weight: weight(),
  }))
}

function loadsOf(owners: Uint16Array, shards: readonly WeightedShard[], loads?: Float64Array) {
  const sums = shards.map(() => 0)
  owners.forEach((owner, vnode) => {
    sums[owner] = (sums[owner] ?? Number.NaN) + (loads?.[vnode] ?? 1)
  })
  return sums
}

function fairShares(shards: readonly WeightedShard[], total = vnodeCount) {
  const weightSum = shards.reduce((sum, { weight }) => sum + weight, 0)
  return shards.map(({ weight }) => (total * weight) / weightSum)
}

const boundsOf = (shards: readonly WeightedShard[]) =>
  fairShares(shards).map((share) => Math.ceil((1 + epsilon) * share - 1e-9))

/** Loads above their bound; NaN when a vnode has no owner. */
function aboveBounds(owners: Uint16Array, shards: readonly WeightedShard[]) {
  const loads = loadsOf(owners, shards)
  const bounds = boundsOf(shards)
  const placed = loads.reduce((sum, load) => sum + load, 0)
  const above = loads.filter((load, shard) => load > (bounds[shard] ?? 0))
  return placed === vnodeCount ? above : [Number.NaN]
}

const movedBetween = (before: Uint16Array, after: Uint16Array) =>
  after.filter((owner, vnode) => owner !== before[vnode]).length

const without = (owners: Uint16Array, gone: number) =>
  owners.map((owner) => (owner === gone ? 0xffff : owner > gone ? owner - 1 : owner))

const cases = [1, 2, 3, 4, 5, 7, 10, 16, 31, 48, 63].flatMap((count) =>
  [0, 1, 2, 3].map((seed) => ({ count, seed })),
)

describe('ring', () => {
  it.each(cases)(
    'keeps every one of $count shards under its bound (seed $seed)',
    ({ count, seed }) => {
      const shards = shardsOf(count, seed)
      expect(aboveBounds(placeVnodes(vnodeCount, shards, { epsilon }), shards)).toEqual([])
    },
  )

  it.each(cases)(
    'moves at most 1.2 × the minimum when one joins $count (seed $seed)',
    ({ count, seed }) => {
      const after = shardsOf(count + 1, seed)
      const before = after.slice(0, count)
      const current = placeVnodes(vnodeCount, before, { epsilon })
      const placed = placeVnodes(vnodeCount, after, { epsilon, current })
      expect(aboveBounds(placed, after)).toEqual([])
      const bounds = boundsOf(after)
      const excess = loadsOf(current, before)
        .map((load, shard) => Math.max(0, load - (bounds[shard] ?? 0)))
        .reduce((sum, above) => sum + above, 0)
      const fair = fairShares(after)[count] ?? 0
      const moved = movedBetween(current, placed)
      expect(moved).toBeLessThanOrEqual(1.2 * Math.max(fair, excess))
      expect(moved).toBeGreaterThanOrEqual(Math.floor(fair))
      // All that moves, moves to the newcomer.
      expect(loadsOf(placed, after)[count]).toBe(moved)
    },
  )

  it.each(cases.filter(({ count }) => count > 1))(
    'moves only what the leaving one of $count shards owned (seed $seed)',
    ({ count, seed }) => {
      const before = shardsOf(count, seed)
      const gone = createRandom(seed).below(count)
      const owners = placeVnodes(vnodeCount, before, { epsilon })
      const after = before.filter((_, shard) => shard !== gone)
      const current = without(owners, gone)
      const placed = placeVnodes(vnodeCount, after, { epsilon, current })
      expect(aboveBounds(placed, after)).toEqual([])
      expect(movedBetween(current, placed)).toBe(owners.filter((owner) => owner === gone).length)
    },
  )

  it('stays within both promises while shards come and go', () => {
    const all = shardsOf(24, 5)
    let shards = all.slice(0, 3)
    let owners = placeVnodes(vnodeCount, shards, { epsilon })
    const random = createRandom(runSeed)
    for (let step = 0; step < 40; step++) {
      const absent = all.filter(({ id }) => !shards.some((shard) => shard.id === id))
      const leaves = absent.length === 0 || (shards.length > 2 && random.oneIn(3))
      let current = owners
      if (leaves) {
        const gone = random.below(shards.length)
        current = without(owners, gone)
        shards = shards.filter((_, shard) => shard !== gone)
      } else shards = [...shards, ...absent.slice(0, 1)]
      const homeless = current.filter((owner) => owner === 0xffff).length
      const minimum = leaves ? homeless : (fairShares(shards).at(-1) ?? 0)
      owners = placeVnodes(vnodeCount, shards, { epsilon, current })
      expect(aboveBounds(owners, shards)).toEqual([])
      expect(movedBetween(current, owners)).toBeLessThanOrEqual(1.2 * minimum)
    }
  })

  it('gives the newcomer the leaving shard’s vnodes when one takes the place of another', () => {
    const [first, second, third, fourth] = shardsOf(4, 2)
    if (!first || !second || !third || !fourth) throw new Error('four shards')
    const owners = placeVnodes(vnodeCount, [first, second, third], { epsilon })
    const current = without(owners, 2)
    const after = [first, second, fourth]
    const placed = placeVnodes(vnodeCount, after, { epsilon, current })
    expect(aboveBounds(placed, after)).toEqual([])
    const leaving = owners.filter((owner) => owner === 2).length
    expect(movedBetween(current, placed)).toBeLessThanOrEqual(
      1.2 * Math.max(leaving, vnodeCount / 3),
    )
  })

  it('empties a shard of weight 0', () => {
    const shards = shardsOf(4, 0)
    const current = placeVnodes(vnodeCount, shards, { epsilon })
    const drained = shards.map((shard, index) => (index === 1 ? { ...shard, weight: 0 } : shard))
    const placed = placeVnodes(vnodeCount, drained, { epsilon, current })
    expect(placed.includes(1)).toBe(false)
    expect(movedBetween(current, placed)).toBe(current.filter((owner) => owner === 1).length)
  })

  it('moves nothing when nothing has changed', () => {
    const shards = shardsOf(9, 3)
    const current = placeVnodes(vnodeCount, shards, { epsilon })
    expect(placeVnodes(vnodeCount, shards, { epsilon, current })).toEqual(current)
  })

  it('places by the names of the shards, whatever their order', () => {
    const shards = shardsOf(5, 0)
    const names = (list: readonly WeightedShard[]) =>
      [...placeVnodes(vnodeCount, list, { epsilon })].map((owner) => list[owner]?.id)
    expect(names(shards.toReversed())).toEqual(names(shards))
  })

  it('bounds measured loads too, when no single vnode is heavier than the slack', () => {
    const random = createRandom(runSeed)
    const loads = Float64Array.from({ length: vnodeCount }, () => 1 + random.below(20))
    const total = loads.reduce((sum, load) => sum + load, 0)
    const before = shardsOf(6, 1)
    const after = [...before, { id: shardId('newcomer'), weight: 2 }]
    const current = placeVnodes(vnodeCount, before, { epsilon, loads })
    const placed = placeVnodes(vnodeCount, after, { epsilon, loads, current })
    for (const [owners, shards] of [
      [current, before],
      [placed, after],
    ] as const) {
      const fair = fairShares(shards, total)
      loadsOf(owners, shards, loads).forEach((load, shard) => {
        expect(load).toBeLessThanOrEqual((1 + epsilon) * (fair[shard] ?? 0) + 1e-6)
      })
    }
    const movedLoad = placed.reduce(
      (sum, owner, vnode) => sum + (owner === current[vnode] ? 0 : (loads[vnode] ?? 0)),
      0,
    )
    expect(movedLoad).toBeLessThanOrEqual(1.2 * (fairShares(after, total).at(-1) ?? 0))
  })

  it('still places a vnode that is heavier than any shard’s bound', () => {
    const loads = new Float64Array(8).fill(1)
    loads[3] = 100
    const shards = shardsOf(3, 0)
    const owners = placeVnodes(8, shards, { epsilon, loads })
    expect([...owners].every((owner) => owner < 3)).toBe(true)
    const alone = loadsOf(owners, shards, loads).filter((load) => load > 50)
    expect(alone).toEqual([100])
  })
})
