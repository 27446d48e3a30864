// Frozen answers: a change of any of these would send existing rows to another shard.
import { describe, expect, it } from 'vitest'
import {
  vnodeBitsOf,
  vnodeOfInt,
  vnodeOfKey,
  vnodeOfText,
  vnodeOfUuid,
} from '../../router/key-hash.ts'

const utf8 = (text: string) => new TextEncoder().encode(text)

describe('key hash', () => {
  it.each([
    [0n, 14760],
    [1n, 52495],
    [-1n, 58827],
    [42n, 28458],
    [1_234_567_890_123n, 43377],
    [9_223_372_036_854_775_807n, 7024],
    [-9_223_372_036_854_775_808n, 33173],
  ])('gives integer %s its frozen vnode', (key, expected) => {
    expect(vnodeOfInt(key, 16)).toBe(expected)
    expect(vnodeOfKey({ kind: 'bigint', value: key }, 16)).toBe(expected)
  })

  it.each([
    [-1, 58827],
    [42, 28458],
    [1_234_567_890_123, 43377],
  ])('gives the JavaScript number %s the same vnode as the integer', (key, expected) => {
    expect(vnodeOfInt(key, 16)).toBe(expected)
  })

  it.each([
    ['', 40881],
    ['a', 12761],
    ['abc', 41563],
    ['tenant-42', 8201],
    ['exactly12byt', 59826],
    ['thirteen byte', 61459],
    ['äöü 😀', 41141],
    ['x'.repeat(100), 40926],
  ])('gives text "%s" its frozen vnode', (key, expected) => {
    expect(vnodeOfText(utf8(key), 16)).toBe(expected)
    expect(vnodeOfKey({ kind: 'text', bytes: utf8(key) }, 16)).toBe(expected)
  })

  it.each([
    ['00000000000000000000000000000000', 41167],
    ['ffffffffffffffffffffffffffffffff', 1042],
    ['0123456789abcdef0123456789abcdef', 13030],
  ])('gives uuid %s its frozen vnode', (key, expected) => {
    const bytes = Buffer.from(key, 'hex')
    expect(vnodeOfUuid(bytes, 16)).toBe(expected)
    expect(vnodeOfKey({ kind: 'uuid', bytes }, 16)).toBe(expected)
  })

  it('takes the upper bits, so that fewer vnodes are prefixes of more', () => {
    for (let bits = 0; bits <= 16; bits++) expect(vnodeOfInt(42, bits)).toBe(28458 >>> (16 - bits))
  })

  it('hashes a view in the middle of a buffer like a copy of it', () => {
    const buffer = utf8('before tenant-42 after')
    expect(vnodeOfText(buffer.subarray(7, 16), 16)).toBe(8201)
  })

  it('knows powers of two up to 65,536 as numbers of vnodes and nothing else', () => {
    expect([1, 2, 4096, 65_536].map(vnodeBitsOf)).toEqual([0, 1, 12, 16])
    for (const wrong of [0, 3, 4095, 131_072, -4, 1.5])
      expect(() => vnodeBitsOf(wrong)).toThrow('power of two')
  })
})
