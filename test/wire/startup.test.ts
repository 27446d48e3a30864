// Startup, cancel and negotiation packets, and the startup parameter `options`.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as startup from '../../wire/startup.ts'
import { sqlstateOf, textArbitrary, written } from './arbitraries.ts'

const nameArbitrary = textArbitrary.filter((name) => name !== '')

const packet = (...words: number[]) => {
  const bytes = Buffer.alloc(4 + words.length * 4)
  bytes.writeInt32BE(bytes.length)
  for (const [i, word] of words.entries()) bytes.writeInt32BE(word, 4 + i * 4)
  return new Uint8Array(bytes)
}

describe('startup packets', () => {
  it('a startup packet reads back', () => {
    const parameters = fc.dictionary(nameArbitrary, textArbitrary)
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffff }), parameters, (minor, values) => {
        const wish = { minor, parameters: new Map(Object.entries(values)) }
        const bytes = written((w) => startup.writeStartup(w, wish))
        expect(startup.startupPacketLength(bytes.subarray(0, 4))).toBe(bytes.length)
        const expected = { kind: 'startup', major: 3, ...wish }
        expect(startup.decodeStartupPacket(bytes)).toEqual(expected)
      }),
    )
  })

  it('a cancel request reads back, with a short and with a long key', () => {
    for (const length of [4, 32, 256]) {
      const secret = new Uint8Array(length).fill(9)
      const bytes = written((w) => startup.writeCancelRequest(w, -7, secret))
      expect(startup.decodeStartupPacket(bytes)).toEqual({ kind: 'cancel', pid: -7, secret })
    }
  })

  it('SSLRequest and GSSENCRequest are told apart', () => {
    const ssl = written((w) => startup.writeSslRequest(w))
    expect(startup.decodeStartupPacket(ssl)).toEqual({ kind: 'ssl' })
    expect(startup.decodeStartupPacket(packet(80_877_104))).toEqual({ kind: 'gssenc' })
  })

  it('another major version is reported, not read', () => {
    const expected = { kind: 'startup', major: 2, minor: 0, parameters: new Map() }
    expect(startup.decodeStartupPacket(packet(0x2_0000, 1, 2, 3))).toEqual(expected)
  })

  it.each([
    ['a cancel request without key', packet(80_877_102, 1)],
    ['a cancel request with 260 bytes of key', packet(80_877_102, 1, ...Array<number>(65).fill(1))],
    ['an SSLRequest with more in it', packet(80_877_103, 0)],
    ['parameters without terminator', packet(0x3_0000, 0x6161_6161)],
    ['bytes behind the terminator', packet(0x3_0000, 0x0061_6161)],
    ['a length that is not that of the packet', packet(0x3_0000, 0).subarray(0, 9)],
  ])('refuses %s', (_, bytes) => {
    expect(sqlstateOf(() => startup.decodeStartupPacket(bytes))).toBe('08P01')
  })

  it.each([[-1], [0], [7], [10_005], [0x7fff_ffff]])('refuses length %i', (length) => {
    const header4 = Buffer.alloc(4)
    header4.writeInt32BE(length)
    expect(sqlstateOf(() => startup.startupPacketLength(header4))).toBe('08P01')
  })
})

describe('the startup parameter "options"', () => {
  it.each([
    ['', {}],
    ['-c a=b', { a: 'b' }],
    ['-ca=b --c-d=e  -c A=F', { a: 'F', c_d: 'e' }],
    ['-c search_path=a\\ b\\\\c,"d"', { search_path: 'a b\\c,"d"' }],
    ['--x=', { x: '' }],
    ['--x=a=b', { x: 'a=b' }],
    ['\t-c\n a=1\\', { a: '1' }],
  ])('%j gives %j', (text, expected) => {
    expect(Object.fromEntries(startup.parseOptions(text))).toEqual(expected)
  })

  it.each([['-c'], ['-c a'], ['--a'], ['-e'], ['a=b'], ['-c =1'], ['--']])('refuses %j', (text) => {
    expect(sqlstateOf(() => startup.parseOptions(text))).toBe('42601')
  })
})
