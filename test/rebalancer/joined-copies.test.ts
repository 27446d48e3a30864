// Several COPYs as one, whatever the chunks in which they come.
import { array, assert, asyncProperty, integer, uint8Array } from 'fast-check'
import { describe, expect, it } from 'vitest'
import { joinedCopies } from '../../rebalancer/copy/joined-copies.ts'

const header = Buffer.concat([Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), Buffer.alloc(8)])
const trailer = Buffer.from([0xff, 0xff])

async function* streamOf<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items
}

function chunksOf(bytes: Buffer, sizes: readonly number[]): readonly Buffer[] {
  const chunks: Buffer[] = []
  let at = 0
  for (const size of [...sizes, bytes.length]) {
    chunks.push(bytes.subarray(at, at + size))
    at += size
  }
  return chunks.filter((chunk) => chunk.length > 0)
}

async function joined(copies: readonly (readonly Buffer[])[], format: 'binary' | 'text') {
  const chunks: Buffer[] = []
  const streams = copies.map((copy) => streamOf(copy))
  for await (const chunk of joinedCopies(streamOf(streams), format)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

describe('several COPYs as one', () => {
  const parts = array(uint8Array({ maxLength: 60 }), { minLength: 1, maxLength: 5 })
  const cuts = array(integer({ min: 1, max: 25 }), { maxLength: 8 })

  it('have one header and one trailer in binary format', async () => {
    await assert(
      asyncProperty(parts, cuts, async (rows, sizes) => {
        const copies = rows.map((row) => chunksOf(Buffer.concat([header, row, trailer]), sizes))
        const expected = Buffer.concat([header, ...rows, trailer])
        expect(await joined(copies, 'binary')).toEqual(expected)
      }),
    )
  })

  it('follow each other in text format', async () => {
    await assert(
      asyncProperty(parts, cuts, async (rows, sizes) => {
        const copies = rows.map((row) => chunksOf(Buffer.from(row), sizes))
        expect(await joined(copies, 'text')).toEqual(Buffer.concat(rows))
      }),
    )
  })
})
