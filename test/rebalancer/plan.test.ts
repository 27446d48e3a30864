// The planner on small clusters whose best plan is known, and what must hold of every plan.
import { describe, expect, it } from 'vitest'
import { shardId, vnode } from '../../core/ids.ts'
import type { PlanInput, Proposal } from '../../rebalancer/plan/plan-input.ts'
import { propose } from '../../rebalancer/plan/propose.ts'
import { zipfCluster } from '../simulation/zipf-cluster.ts'
import { createRandom } from '../support/random.ts'

type Small = {
  readonly shards: Readonly<Record<string, readonly (readonly [load: number, bytes: number])[]>>
  readonly weights?: Readonly<Record<string, number>>
  readonly draining?: readonly string[]
  readonly more?: Partial<PlanInput>
}

/** Virtual nodes are numbered from 0 in the order in which they are written. */
function cluster({ shards, weights = {}, draining = [], more = {} }: Small): PlanInput {
  const vnodes = Object.entries(shards).flatMap(([shard, entries]) =>
    entries.map(([load, bytes]) => ({ shard: shardId(shard), load, bytes })),
  )
  return {
    shards: Object.keys(shards).map((id) => ({
      id: shardId(id),
      weight: weights[id] ?? 1,
      draining: draining.includes(id),
    })),
    vnodes: vnodes.map((entry, at) => ({ ...entry, vnode: vnode(at) })),
    hotKeys: [],
    pins: [],
    epsilon: 0.1,
    bytesMax: null,
    ...more,
  }
}

function many(count: number, load: number, bytes = 1): readonly (readonly [number, number])[] {
  return Array.from({ length: count }, () => [load, bytes] as const)
}

function loadsOf({ after }: Proposal): Record<string, number> {
  return Object.fromEntries(after.shards.map(({ id, load }) => [id, load]))
}

function shuffled<T>(items: readonly T[], seed: number): readonly T[] {
  const random = createRandom(seed)
  const keyed = items.map((item) => ({ item, at: random.below(1_000_000_000) }))
  return keyed.sort((a, b) => a.at - b.at).map(({ item }) => item)
}

describe('a plan', () => {
  it('is empty for a cluster that is even enough', () => {
    const proposal = propose(cluster({ shards: { s1: many(10, 1), s2: many(11, 1) } }))
    expect(proposal).toMatchObject({ moves: [], lowerBoundBytes: 0, notes: [] })
  })

  it('takes what has the most load per byte', () => {
    const shards = {
      s1: [
        [2, 100],
        [2, 10],
        [4, 100],
        [4, 100],
      ],
      s2: [
        [4, 100],
        [4, 100],
      ],
    } as const
    const { moves, after } = propose(cluster({ shards, more: { epsilon: 0.01 } }))
    expect(moves).toEqual([{ from: 's1', to: 's2', vnodes: [1], keys: [], load: 2, bytes: 10 }])
    expect(after.maxOverMean).toBe(1)
  })

  it('exchanges virtual nodes where nothing fits as it is', () => {
    const shards = {
      s1: [
        [6, 10],
        [6, 10],
      ],
      s2: [
        [4, 10],
        [4, 10],
      ],
    } as const
    const proposal = propose(cluster({ shards, more: { epsilon: 0.05 } }))
    expect(loadsOf(proposal)).toEqual({ s1: 10, s2: 10 })
    expect(proposal.moves.map(({ from, to }) => `${from}>${to}`).sort()).toEqual(['s1>s2', 's2>s1'])
  })

  it('says what it starts from and what comes of it', () => {
    const { before, after } = propose(cluster({ shards: { s1: many(30, 1), s2: many(10, 1) } }))
    expect(before).toEqual({
      maxOverMean: 1.5,
      shards: [
        { id: 's1', load: 30, share: 0.75 },
        { id: 's2', load: 10, share: 0.25 },
      ],
    })
    expect(after.maxOverMean).toBeCloseTo(1.1)
  })

  it('is the same for the same input in any order', () => {
    for (const variant of ['plain', 'add', 'drain', 'weights'] as const) {
      const input = zipfCluster(5, { shards: 8, exponent: 1, vnodes: 512, variant })
      const mixed = {
        ...input,
        shards: shuffled(input.shards, 1),
        vnodes: shuffled(input.vnodes, 2),
        hotKeys: shuffled(input.hotKeys, 3),
      }
      expect(propose(mixed)).toEqual(propose(input))
    }
  })

  it('empties a shard that drains, pins and idle virtual nodes too', () => {
    const pins = [{ key: 'k', shard: shardId('s1'), load: 3, bytes: 5 }]
    const shards = { s1: [...many(9, 1), ...many(4, 0)], s2: many(10, 1), s3: many(10, 1) }
    const proposal = propose(cluster({ shards, draining: ['s1'], more: { pins } }))
    expect(loadsOf(proposal)['s1']).toBe(0)
    expect(proposal.moves.flatMap(({ vnodes }) => vnodes).length).toBe(13)
    expect(proposal.moves.flatMap(({ keys }) => keys)).toEqual(['k'])
    expect(proposal.lowerBoundBytes).toBe(18)
    expect(proposal.after.maxOverMean).toBeLessThanOrEqual(1.1)
  })

  it('treats weight 0 as draining', () => {
    const shards = { s1: many(4, 1), s2: many(4, 1) }
    const proposal = propose(cluster({ shards, weights: { s1: 0 } }))
    expect(loadsOf(proposal)).toEqual({ s1: 0, s2: 8 })
  })

  it('gives a new shard its share, also where nobody is overloaded', () => {
    const old = Array.from({ length: 30 }, (_, at) => [`s${at + 1}`, many(100, 1)] as const)
    const proposal = propose(cluster({ shards: { ...Object.fromEntries(old), s31: [] } }))
    const share = 3000 / 31
    expect(loadsOf(proposal)['s31']).toBeGreaterThanOrEqual(0.9 * share)
    expect(proposal.moves.every(({ to }) => to === 's31')).toBe(true)
    expect(proposal.moves.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThan(1.05 * share)
  })

  it('goes by weights', () => {
    const shards = { s1: many(90, 1), s2: many(30, 1) }
    const proposal = propose(cluster({ shards, weights: { s1: 1, s2: 3 } }))
    expect(loadsOf(proposal)['s1']).toBe(33)
    expect(loadsOf(proposal)['s2']).toBe(87)
  })

  it('stays within the budget and does with it what it can', () => {
    const shards = { s1: many(60, 1, 10), s2: many(20, 1, 10) }
    const whole = propose(cluster({ shards }))
    const half = propose(cluster({ shards, more: { bytesMax: 80 } }))
    expect(whole.moves[0]?.bytes).toBe(160)
    expect(half.moves[0]?.bytes).toBe(80)
    expect(half.after.maxOverMean).toBe(1.3)
    expect(half.notes).toEqual([
      'The budget of 80 bytes ends it at 1.30; the target takes 160 bytes.',
    ])
  })

  it('drains as much as the budget lets it', () => {
    const input = cluster({ shards: { s1: many(10, 1, 10), s2: many(10, 1) }, draining: ['s1'] })
    const { moves } = propose({ ...input, bytesMax: 45 })
    expect(moves.map(({ vnodes }) => vnodes.length)).toEqual([4])
  })

  it('proposes the moves with the most load where their number is limited', () => {
    const shards = { s1: many(40, 1), s2: many(10, 1), s3: many(10, 1) }
    const { moves, after, notes } = propose(cluster({ shards, more: { movesMax: 1 } }))
    expect(moves.length).toBe(1)
    expect(after.shards.reduce((sum, { load }) => sum + load, 0)).toBe(60)
    expect(notes).toEqual(['1 of 2 moves are left for later plans.'])
  })
})

describe('a virtual node that is too heavy for any shard', () => {
  const hot = (key: string, at: number, load: number) => ({ key, vnode: vnode(at), load, bytes: 7 })

  it('has its hot keys pinned to other shards', () => {
    const shards = { s1: [[14, 500]], s2: [[3, 50]], s3: [[4, 50]] } as const
    const hotKeys = [hot('a', 0, 6), hot('b', 0, 4), hot('c', 0, 0.5)]
    const { moves, after } = propose(cluster({ shards, more: { hotKeys, epsilon: 0.3 } }))
    expect(moves.flatMap(({ vnodes }) => vnodes)).toEqual([])
    expect(moves.flatMap(({ keys }) => keys)).toEqual(['a'])
    expect(moves[0]?.bytes).toBe(7)
    expect(after.maxOverMean).toBeLessThanOrEqual(1.3)
  })

  it('is left alone where one key is all of it, and everything else goes', () => {
    const shards = { s1: [[20, 10], ...many(4, 1)], s2: many(6, 1), s3: many(6, 1) } as const
    const hotKeys = [hot('a', 0, 19.9)]
    const { moves, notes } = propose(cluster({ shards, more: { hotKeys } }))
    expect(moves.every(({ from, keys }) => from === 's1' && keys.length === 0)).toBe(true)
    expect(moves.flatMap(({ vnodes }) => vnodes).sort((a, b) => a - b)).toEqual([1, 2, 3, 4])
    expect(notes).toEqual(["One key or virtual node alone has 1.66 of a shard's mean load."])
  })

  it('is not split while whole virtual nodes will do', () => {
    const shards = { s1: [[5, 10], ...many(25, 1)], s2: many(10, 1) } as const
    const { moves } = propose(cluster({ shards, more: { hotKeys: [hot('a', 0, 5)] } }))
    expect(moves.flatMap(({ keys }) => keys)).toEqual([])
  })
})

describe('a cluster of which little is known', () => {
  it('is planned by bytes where no load was measured', () => {
    const shards = { s1: many(8, 0, 100), s2: many(2, 0, 100) }
    const { moves, notes } = propose(cluster({ shards }))
    expect(moves[0]?.vnodes.length).toBe(3)
    expect(notes).toEqual(['No load was measured: bytes stand in for it.'])
  })

  it('is planned by count where sizes are not known either', () => {
    const { moves, notes } = propose(cluster({ shards: { s1: many(30, 0, 0), s2: [] } }))
    expect(moves[0]?.vnodes.length).toBe(14)
    expect(notes).toEqual(['Neither load nor size is known: every virtual node counts the same.'])
  })

  it('moves as few virtual nodes as it can where load is known and sizes are not', () => {
    const shards = { s1: [[6, 0], ...many(10, 1, 0)], s2: [[4, 0]] } as const
    const { moves, notes } = propose(cluster({ shards }))
    expect(moves.flatMap(({ vnodes }) => vnodes)).toEqual([0])
    expect(notes).toEqual(['No sizes are known: moves are counted instead.'])
  })
})
