// Shard key values: what PostgreSQL's input functions accept, and nothing else.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as values from '../../wire/values.ts'

const bytes = (text: string) => new Uint8Array(Buffer.from(text))
const uuid = 'a0eebc999c0b4ef8bb6d6bb9bd380a11'

describe('integers', () => {
  it.each([
    ['0', 0n],
    [' \t\n\v\f\r-42 ', -42n],
    ['+7', 7n],
    ['007', 7n],
    ['9223372036854775807', 9_223_372_036_854_775_807n],
    ['-9223372036854775808', -9_223_372_036_854_775_808n],
    ['0x1F', 31n],
    ['-0o17', -15n],
    ['0B11', 3n],
    ['0x_1f', 31n],
    ['1_000', 1000n],
  ])('%j is %s', (text, expected) => {
    expect(values.int8FromText(bytes(text))).toBe(expected)
  })

  it.each([
    [''],
    [' '],
    ['-'],
    ['- 1'],
    ['1 2'],
    ['1.0'],
    ['1e3'],
    ['0x'],
    ['0x1G'],
    ['0b2'],
    ['1_'],
    ['_1'],
    ['1__0'],
    ['9223372036854775808'],
    ['-9223372036854775809'],
    ['1\u00a0'],
  ])('%j is no bigint', (text) => {
    expect(values.int8FromText(bytes(text))).toBeUndefined()
  })

  it('a number of a megabyte is refused at once', () => {
    expect(values.int8FromText(new Uint8Array(1_000_000).fill(0x39))).toBeUndefined()
    expect(values.int8FromText(new Uint8Array(1_000_000).fill(0x30))).toBe(0n)
  })

  it('any bigint reads back from its text and from 8, 4 and 2 bytes', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
        expect(values.int8FromText(bytes(String(value)))).toBe(value)
        const binary = Buffer.alloc(8)
        binary.writeBigInt64BE(value)
        expect(values.intFromBinary(binary)).toBe(value)
        expect(values.intFromBinary(binary.subarray(4))).toBe(BigInt(binary.readInt32BE(4)))
        expect(values.intFromBinary(binary.subarray(6))).toBe(BigInt(binary.readInt16BE(6)))
      }),
    )
    expect(values.intFromBinary(new Uint8Array(3))).toBeUndefined()
  })
})

describe('uuid', () => {
  it.each([
    [uuid],
    [uuid.toUpperCase()],
    ['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'],
    ['{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'],
    ['a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11'],
    [`{${uuid}}`],
  ])('%j is accepted', (text) => {
    const expected = new Uint8Array(Buffer.from(uuid, 'hex'))
    expect(values.uuidFromText(bytes(text))).toEqual(expected)
  })

  it.each([
    [''],
    ['{}'],
    [`{${uuid}`],
    [`${uuid}}`],
    [`${uuid}0`],
    [uuid.slice(1)],
    [` ${uuid}`],
    [`${uuid}-`],
    ['a0-eebc999c0b4ef8bb6d6bb9bd380a11'],
    [uuid.replace('a', 'g')],
  ])('%j is refused', (text) => {
    expect(values.uuidFromText(bytes(text))).toBeUndefined()
  })

  it('in binary it has 16 bytes', () => {
    expect(values.uuidFromBinary(new Uint8Array(16))).toHaveLength(16)
    expect(values.uuidFromBinary(new Uint8Array(15))).toBeUndefined()
  })
})

describe('text', () => {
  it('reads UTF-8 and shows what is none', () => {
    expect(values.textOf(bytes('ü'))).toBe('ü')
    expect(values.textOf(new Uint8Array([0x61, 0xff]))).toBe('a\ufffd')
  })
})
