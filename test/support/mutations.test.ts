// The fuzz test can be replayed only if a seed decides everything.
import { describe, expect, it } from 'vitest'
import { mutatedMessages, mutatedPassword, mutatedStartup } from './mutations.ts'
import { createRandom, seedOf } from './random.ts'

const seeds = [
  [Buffer.from('Q\0\0\0\x0dSELECT 1\0', 'latin1'), Buffer.from('S\0\0\0\x04')],
] as const
const indexes = Array.from({ length: 500 }, (_, index) => index)

describe.each([
  { what: 'messages', make: (seed: number) => mutatedMessages(createRandom(seed), seeds) },
  { what: 'startup packets', make: (seed: number) => mutatedStartup(createRandom(seed), 'u', 'd') },
  { what: 'passwords', make: (seed: number) => mutatedPassword(createRandom(seed)) },
])('mutated $what', ({ make }) => {
  it('are the same for the same seed', () => {
    for (const index of indexes) expect(make(seedOf(7, index))).toEqual(make(seedOf(7, index)))
  })

  it('are of many kinds', () => {
    const kinds = new Set(
      indexes.map((index) => Buffer.concat(make(seedOf(7, index))).toString('hex')),
    )
    expect(kinds.size).toBeGreaterThan(indexes.length / 4)
  })

  it('leave the seeds as they were', () => {
    const before = JSON.stringify(seeds)
    for (const index of indexes) make(seedOf(9, index))
    expect(JSON.stringify(seeds)).toBe(before)
  })
})
