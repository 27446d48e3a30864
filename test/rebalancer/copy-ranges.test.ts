// A table in parts: whatever its size, every page is in one part, and the last part has no end.
import { assert, integer, nat, property } from 'fast-check'
import { describe, expect, it } from 'vitest'
import { pageRanges, piecesOf } from '../../rebalancer/copy/page-ranges.ts'

const leaf = { schema: 's', name: 't', keyIndexed: false, rowBytes: 100 }

describe('parts of a table', () => {
  it('cover every page once, in order, and what is added later', () => {
    assert(
      property(
        nat(5_000),
        nat(2 ** 31),
        integer({ min: 1, max: 2 ** 31 }),
        (pages, bytes, rangeBytes) => {
          const ranges = pageRanges({ ...leaf, pages, bytes }, rangeBytes)
          let next = 0
          for (const { from, to } of ranges) {
            expect(from).toBe(next)
            next = to ?? Number.POSITIVE_INFINITY
            expect(next).toBeGreaterThan(from)
          }
          expect(next).toBe(Number.POSITIVE_INFINITY)
          const sum = ranges.reduce((total, range) => total + range.bytes, 0)
          expect(sum).toBeGreaterThanOrEqual(bytes)
          expect(sum).toBeLessThanOrEqual(bytes + ranges.length)
        },
      ),
    )
  })

  it('are as large as asked where pages are alike, and one when the table is small', () => {
    const mib = 1024 * 1024
    const large = pageRanges({ ...leaf, pages: 12_800, bytes: 100 * mib }, 10 * mib)
    expect(large.map(({ bytes }) => bytes)).toEqual(Array.from({ length: 10 }, () => 10 * mib))
    expect(pageRanges({ ...leaf, pages: 0, bytes: 0 }, mib)).toMatchObject([{ from: 0, to: null }])
  })

  it('have pieces that cover the same pages, but for what an index finds', () => {
    assert(
      property(
        integer({ min: 1, max: 5_000 }),
        nat(2 ** 31),
        nat(2 ** 20),
        (pages, bytes, piece) => {
          for (const range of pageRanges({ ...leaf, pages, bytes }, 2 ** 24)) {
            const pieces = [...piecesOf(range, piece + 1)]
            expect(pieces[0]?.from).toBe(range.from)
            expect(pieces.at(-1)?.to).toBe(range.to)
            const ends = pieces.slice(0, -1).map(({ to }) => to)
            expect(pieces.slice(1).map(({ from }) => from)).toEqual(ends)
            expect([...piecesOf({ ...range, byKey: true }, 1)]).toEqual([{ ...range, byKey: true }])
          }
        },
      ),
      { numRuns: 20 },
    )
  })

  it('have few pages where values are long, at least one', () => {
    const heavy = pageRanges({ ...leaf, pages: 4, bytes: 1e12 }, 1e6)
    expect(heavy.map(({ from, to }) => [from, to])).toEqual([
      [0, 1],
      [1, 2],
      [2, 3],
      [3, null],
    ])
  })
})
