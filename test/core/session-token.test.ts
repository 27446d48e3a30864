// The portable text of a session's positions: what goes in comes out, and nothing else gets in.
import { createHmac } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PgError } from '../../core/errors.ts'
import { shardId } from '../../core/ids.ts'
import { lsn } from '../../core/lsn.ts'
import type { Positions } from '../../core/position.ts'
import { decodeToken, encodeToken } from '../../core/session-token.ts'

const key = Buffer.from('a key that only the proxies know')
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })
const place = fc.record({
  systemId: u64.map(String),
  timeline: fc.integer({ min: 0, max: 0xffffffff }),
  lsn: u64.map(lsn),
})
const shardName = fc.oneof(
  fc.stringMatching(/^[A-Za-z][\w-]{0,31}$/),
  fc.string({ unit: 'binary', maxLength: 60 }),
)
const somePositions = fc
  .array(fc.tuple(shardName.map(shardId), place), { maxLength: 20 })
  .map((entries): Positions => new Map(entries))

const three: Positions = new Map(
  [3, 1, 2].map((n) => [
    shardId(`s${n}`),
    { systemId: `735000000000000000${n}`, timeline: n, lsn: lsn(0x16b374d848n + BigInt(n)) },
  ]),
)

/** What a client is told of a token that is refused; one that is accepted is a failed test. */
function refusal(text: string, scope = 'shop', by: Uint8Array = key): PgError {
  try {
    decodeToken(text, by, scope)
  } catch (thrown) {
    if (thrown instanceof PgError) return thrown
    throw thrown
  }
  throw new Error(`accepted: ${text}`)
}

/** Text that is signed as ours are, whatever its body. */
function signed(body: Uint8Array): string {
  const mac = createHmac('sha256', key).update('ringfence session token 4:shop').update(body)
  return `rf1.${Buffer.concat([body, mac.digest().subarray(0, 16)]).toString('base64url')}`
}

describe('a session token', () => {
  it('gives back the positions it was made of', () => {
    fc.assert(
      fc.property(somePositions, fc.string(), fc.uint8Array(), (positions, scope, anyKey) => {
        const text = encodeToken(positions, anyKey, scope)
        expect(text).toMatch(/^rf1\.[\w-]+$/)
        expect(decodeToken(text, anyKey, scope)).toEqual(positions)
      }),
    )
  })

  it('is one text for one set of positions, whatever the order in which they were noted', () => {
    fc.assert(
      fc.property(somePositions, (positions) => {
        const reversed = new Map([...positions].reverse())
        expect(encodeToken(reversed, key, 'shop')).toBe(encodeToken(positions, key, 'shop'))
      }),
    )
  })

  it('keeps its format: tokens outlive proxies', () => {
    const text = encodeToken(three, Buffer.from('frozen'), 'shop')
    expect(text).toBe(
      'rf1.AQADAnMxZgByDtsfAAEAAAABAAAAFrN02EkCczJmAHIO2x8AAgAAAAIAAAAWs3TYSgJzM2YAcg7bHwADAAAA' +
        'AwAAABazdNhL6o0aV8ZaAnboHM-tqvrtVg',
    )
    expect(decodeToken(text, Buffer.from('frozen'), 'shop')).toEqual(three)
  })

  it('is refused with any one character changed, added or removed', () => {
    const text = encodeToken(three, key, 'shop')
    const characters = Array.from('AZaz09-_.=+/ é\0')
    for (let at = 0; at <= text.length; at += 1) {
      for (const character of characters) {
        const added = text.slice(0, at) + character + text.slice(at)
        expect(refusal(added).sqlstate).toBe('22023')
        if (text[at] === character || at === text.length) continue
        expect(refusal(text.slice(0, at) + character + text.slice(at + 1)).sqlstate).toBe('22023')
      }
      if (at === text.length) continue
      expect(refusal(text.slice(0, at) + text.slice(at + 1)).sqlstate).toBe('22023')
    }
  })

  it('is refused with any bit of it flipped', () => {
    fc.assert(
      fc.property(somePositions, fc.nat(), (positions, choice) => {
        const text = encodeToken(positions, key, 'shop')
        const bytes = Buffer.from(text.slice(4), 'base64url')
        const bit = choice % (bytes.length * 8)
        bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7))
        expect(refusal(`rf1.${bytes.toString('base64url')}`).sqlstate).toBe('22023')
      }),
    )
  })

  it('is refused for another database and under another key', () => {
    const text = encodeToken(three, key, 'shop')
    expect(refusal(text, 'shop2').detail).toContain('signature')
    expect(refusal(text, '').detail).toContain('signature')
    expect(refusal(text, 'shop', Buffer.from('another key')).detail).toContain('signature')
  })

  it.each([
    ['nothing', '', 'does not start with'],
    ['nonsense', 'hello', 'does not start with'],
    ['another format', 'rf2.AAAA', 'does not start with'],
    ['the prefix alone', 'rf1.', 'too short'],
    ['padding', 'rf1.AAA=', 'not base64url'],
    ['bits behind the last byte', 'rf1.AB', 'not base64url'],
    ['what is shorter than a signature', 'rf1.AAAA', 'too short'],
    ['more than 64 KiB', `rf1.${'A'.repeat(87_400)}`, 'longer than'],
    ['another version, signed', signed(Uint8Array.of(2, 0, 0)), 'another version'],
    ['1,025 shards, signed', signed(Uint8Array.of(1, 4, 1)), 'more than 1024 shards'],
    ['fewer shards than it says, signed', signed(Uint8Array.of(1, 0, 1)), 'cut off'],
    ['half a shard, signed', signed(Uint8Array.of(1, 0, 1, 200, 1, 2, 3)), 'cut off'],
    ['bytes behind the last shard, signed', signed(Uint8Array.of(1, 0, 0, 0)), 'not well-formed'],
  ])('refuses %s', (_name, text, detail) => {
    const error = refusal(text)
    expect(error).toMatchObject({ sqlstate: '22023', severity: 'ERROR' })
    expect(error.message).toBe('invalid value for parameter "ringfence.session_token"')
    expect(error.detail).toContain(detail)
    expect(error.hint).toContain('SHOW ringfence.session_token')
  })

  it('refuses any other text without ever failing in another way', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.base64String()), (text) => {
        expect(refusal(`rf1.${text}`).sqlstate).toBe('22023')
        expect(refusal(text).sqlstate).toBe('22023')
      }),
    )
  })

  it('reads what was signed under the key without ever failing in another way', () => {
    const outcome = (text: string): string => {
      try {
        return `${decodeToken(text, key, 'shop').size} shards`
      } catch (thrown) {
        return thrown instanceof PgError ? thrown.sqlstate : String(thrown)
      }
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(3), (bytes, count) => {
        const text = signed(Uint8Array.of(1, 0, count, ...bytes))
        expect(['22023', `${count} shards`]).toContain(outcome(text))
      }),
    )
  })

  it('holds 1,024 shards with names as long as the configuration allows, and not one more', () => {
    const many = (count: number): Positions =>
      new Map(
        Array.from({ length: count }, (_, n) => [
          shardId(`s${n}`.padEnd(32, 'x')),
          { systemId: String(2n ** 64n - 1n), timeline: 0xffffffff, lsn: lsn(2n ** 64n - 1n) },
        ]),
      )
    const text = encodeToken(many(1024), key, 'shop')
    expect(decodeToken(text, key, 'shop')).toEqual(many(1024))
    expect(() => encodeToken(many(1025), key, 'shop')).toThrow('up to 1024 shards')
  })
})
