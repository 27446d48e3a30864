// The key hash and the server's must agree for every key: 10,000 random keys of each type and the edges.
import { Client } from 'pg'
import { describe, expect, inject, it } from 'vitest'
import { vnodeOfInt, vnodeOfText, vnodeOfUuid } from '../../router/key-hash.ts'
import { createRandom, type Random } from '../support/random.ts'

const count = 10_000
const seed = 20_261_122

const integerEdges = [0n, 1n, 2n ** 15n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 63n]
  .flatMap((edge) => [-1n, 0n, 1n].flatMap((step) => [edge + step, -edge + step]))
  .filter((edge) => edge === BigInt.asIntN(64, edge))

/** Of every magnitude: 1 to 64 bits. */
function randomInteger(random: Random, index: number): bigint {
  return BigInt.asIntN(64, random.bytes(8).readBigUInt64LE()) >> BigInt(index % 64)
}

/** 0 to 80 characters of one to four bytes. */
function randomText(random: Random, index: number): string {
  const characters = ['a', 'Z', '0', ' ', '-', 'é', 'ß', '漢', '😀', '\u0001'] as const
  return Array.from({ length: index % 81 }, () => random.pick(characters)).join('')
}

describe.each(inject('servers'))('key hash on PostgreSQL $version', ({ shards }) => {
  /** Upper 16 bits of the server's hash of every key, in one query. */
  async function ask(expression: string, type: string, keys: readonly unknown[]) {
    const client = new Client({ connectionString: shards[0]?.url })
    await client.connect()
    try {
      const { rows } = await client.query<{ vnode: number }>(
        `SELECT ((${expression} >> 48) & 65535)::int AS vnode
         FROM unnest($1::${type}[]) WITH ORDINALITY AS k (key, number) ORDER BY number`,
        [keys],
      )
      return rows.map(({ vnode }) => vnode)
    } finally {
      await client.end()
    }
  }

  it(`agrees for integers (seed ${seed})`, async () => {
    const random = createRandom(seed)
    const keys = Array.from({ length: count }, (_, index) => randomInteger(random, index))
    keys.push(...integerEdges)
    const expected = await ask('hashint8extended(key, 0)', 'bigint', keys.map(String))
    expect(keys.map((key) => vnodeOfInt(key, 16))).toEqual(expected)
    expect(expected).toHaveLength(count + integerEdges.length)
  })

  it('agrees for smallint and integer columns, and for JavaScript numbers', async () => {
    const keys = [-32_768, -1, 0, 1, 7, 32_767]
    const expected = await ask('hashint2extended(key, 0)', 'smallint', keys)
    expect(keys.map((key) => vnodeOfInt(key, 16))).toEqual(expected)
    const wider = [-2_147_483_648, -65_536, 65_536, 2_147_483_647]
    const widerExpected = await ask('hashint4extended(key, 0)', 'integer', wider)
    expect(wider.map((key) => vnodeOfInt(key, 16))).toEqual(widerExpected)
  })

  it(`agrees for text (seed ${seed})`, async () => {
    const random = createRandom(seed)
    const keys = Array.from({ length: count }, (_, index) => randomText(random, index))
    const expected = await ask('hashtextextended(key, 0)', 'text', keys)
    expect(keys.map((key) => vnodeOfText(Buffer.from(key), 16))).toEqual(expected)
  })

  it(`agrees for uuids (seed ${seed})`, async () => {
    const random = createRandom(seed)
    const keys = Array.from({ length: count }, () => random.bytes(16))
    const expected = await ask(
      'uuid_hash_extended(key, 0)',
      'uuid',
      keys.map((key) => key.toString('hex')),
    )
    expect(keys.map((key) => vnodeOfUuid(key, 16))).toEqual(expected)
  })
})
