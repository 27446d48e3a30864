// Plans for clusters under Zipf loads, many seeds: how even they get, and how many bytes that takes beside the least
// that any plan could do with. A failing case is named by exponent, shards and seed and can be played alone.
import { describe, expect, it } from 'vitest'
import { propose } from '../../rebalancer/plan/propose.ts'
import type { PlanInput, Proposal } from '../../rebalancer/plan/plan-input.ts'
import { heaviestAtom, zipfCluster, type ZipfOptions } from './zipf-cluster.ts'

type Case = {
  readonly name: string
  readonly input: PlanInput
  readonly proposal: Proposal
  /** Mean load of a shard of weight 1. */
  readonly mean: number
  /** Bytes moved ÷ lower bound. */
  readonly ratio: number
}

const exponents = [0.8, 0.9, 1, 1.1, 1.2]
const shardCounts = [3, 4, 5, 8, 16, 32, 64]
const seedsEach = 2
const target = 1.1
/** What may stay beside a key that fills a shard alone: see giants.ts. */
const besideGiant = 0.025

function casesOf(variant: NonNullable<ZipfOptions['variant']>): readonly Case[] {
  return exponents.flatMap((exponent) =>
    shardCounts.flatMap((shards) =>
      Array.from({ length: seedsEach }, (_, seed) =>
        solve(`zipf(${exponent}) over ${shards} shards, seed ${seed}`, seed * 77 + shards, {
          shards,
          exponent,
          variant,
        }),
      ),
    ),
  )
}

function solve(name: string, seed: number, options: ZipfOptions): Case {
  const input = zipfCluster(seed, options)
  const proposal = propose(input)
  const total = input.vnodes.reduce((sum, { load }) => sum + load, 0)
  const weights = input.shards.reduce((sum, shard) => sum + (shard.draining ? 0 : shard.weight), 0)
  const moved = proposal.moves.reduce((sum, { bytes }) => sum + bytes, 0)
  const ratio = moved === 0 ? 1 : moved / proposal.lowerBoundBytes
  return { name, input, proposal, mean: total / weights, ratio }
}

describe.each(['plain', 'add', 'drain', 'weights'] as const)('plans (%s)', (variant) => {
  const cases = casesOf(variant)

  it('bring max/mean to 1.1 wherever one key or virtual node allows it', () => {
    const uneven = cases.filter(({ input, proposal, mean }) => {
      const weightMax = Math.max(...input.shards.map(({ weight }) => weight))
      const heaviest = heaviestAtom(input) / mean
      const alone = heaviest <= target * weightMax ? 0 : heaviest * target
      return proposal.after.maxOverMean > Math.max(target, alone + besideGiant) + 1e-9
    })
    const told = uneven.map(({ name, proposal }) => `${name}: ${proposal.after.maxOverMean}`)
    expect(told).toEqual([])
  })

  it('move at most 1.3 × the least bytes unless one virtual node has a third of a mean load', () => {
    const isFine = ({ input, mean }: Case) => heaviestVnode(input) < mean / 3
    const wasteful = cases.filter((one) => isFine(one) && one.ratio > 1.3)
    expect(wasteful.map(({ name, ratio }) => `${name}: ${ratio}`)).toEqual([])
    expect(cases.filter(isFine).length).toBeGreaterThan(5)
  })

  it('move at most 1.3 × the least bytes in nine of ten cases whatever the loads', () => {
    const ratios = cases.map(({ ratio }) => ratio).sort((a, b) => a - b)
    expect(ratios[Math.floor(ratios.length * 0.9)]).toBeLessThanOrEqual(1.3)
    expect(ratios[Math.floor(ratios.length / 2)]).toBeLessThanOrEqual(1.05)
    expect(ratios.at(-1)).toBeLessThanOrEqual(4)
  })

  it('never move less than the lower bound says', () => {
    const impossible = cases.filter(({ proposal, mean, input, ratio }) => {
      const reached = proposal.after.maxOverMean <= target + 1e-9
      return reached && heaviestAtom(input) <= target * mean && ratio < 1 - 1e-9
    })
    expect(impossible.map(({ name, ratio }) => `${name}: ${ratio}`)).toEqual([])
  })
})

function heaviestVnode({ vnodes }: PlanInput): number {
  return vnodes.reduce((high, { load }) => Math.max(high, load), 0)
}
