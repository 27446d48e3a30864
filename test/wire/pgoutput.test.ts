// The decoder of pgoutput, by bytes: every message, at every protocol version, and bytes that are
// none.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { lsn } from '../../core/lsn.ts'
import { decodePgoutput } from '../../wire/pgoutput.ts'
import { decodeReplicationFrame, replicationStatus } from '../../wire/pgoutput-frames.ts'
import { Writer } from '../../wire/writer.ts'
import { sqlstateOf } from './arbitraries.ts'

const at = { final: lsn(0x1_0000_0010n), end: lsn(0x1_0000_0040n) }

function bytes(write: (w: Writer) => void): Uint8Array {
  const w = new Writer()
  write(w)
  return w.take()
}

function u64(w: Writer, value: bigint): void {
  w.u32(Number(value >> 32n))
  w.u32(Number(value & 0xffffffffn))
}

function letter(w: Writer, text: string): void {
  w.u8(text.charCodeAt(0))
}

/** n, u, and text or binary values by their letter. */
function tuple(w: Writer, ...values: readonly string[]): void {
  w.i16(values.length)
  for (const value of values) {
    letter(w, value)
    if (value.length === 1 && (value === 'n' || value === 'u')) continue
    w.i32(value.length - 1)
    w.utf8(value.slice(1))
  }
}

const raw = (value: string) => Uint8Array.from(Buffer.from(value))
const text = (value: string) => ({ kind: 'text', bytes: raw(value) })

/** Views compare by their bytes. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, each: unknown) => {
      if (typeof each === 'bigint') return each.toString()
      return each instanceof Uint8Array ? Buffer.from(each).toString() : each
    }),
  )
}

type Case = readonly [name: string, write: (w: Writer) => void, expected: unknown]

const outside: readonly Case[] = [
  [
    'Begin',
    (w) => {
      letter(w, 'B')
      u64(w, at.final)
      u64(w, 7n)
      w.u32(99)
    },
    { kind: 'begin', finalLsn: at.final, timeMicros: 7n, xid: 99 },
  ],
  [
    'Commit',
    (w) => {
      letter(w, 'C')
      w.u8(0)
      u64(w, at.final)
      u64(w, at.end)
      u64(w, 7n)
    },
    { kind: 'commit', finalLsn: at.final, endLsn: at.end, timeMicros: 7n },
  ],
  [
    'Origin',
    (w) => {
      letter(w, 'O')
      u64(w, 5n)
      w.cstring('elsewhere')
    },
    { kind: 'origin', lsn: 5n, name: 'elsewhere' },
  ],
  [
    'Relation',
    (w) => {
      letter(w, 'R')
      w.u32(16385)
      w.cstring('public')
      w.cstring('täble')
      letter(w, 'd')
      w.i16(1)
      w.u8(1)
      w.cstring('id')
      w.u32(20)
      w.i32(-1)
    },
    {
      kind: 'relation',
      xid: 0,
      relation: 16385,
      schema: 'public',
      name: 'täble',
      identity: 'd',
      columns: [{ key: true, name: 'id', typeOid: 20, typmod: -1 }],
    },
  ],
  [
    'Type',
    (w) => {
      letter(w, 'Y')
      w.u32(4_000_000_000)
      w.cstring('')
      w.cstring('mood')
    },
    { kind: 'type', xid: 0, oid: 4_000_000_000, schema: '', name: 'mood' },
  ],
  [
    'Insert',
    (w) => {
      letter(w, 'I')
      w.u32(1)
      letter(w, 'N')
      tuple(w, 'tone', 'n', 'bxy')
    },
    {
      kind: 'insert',
      xid: 0,
      relation: 1,
      tuple: [text('one'), { kind: 'null' }, { kind: 'binary', bytes: raw('xy') }],
    },
  ],
  [
    'Update without an old row',
    (w) => {
      letter(w, 'U')
      w.u32(1)
      letter(w, 'N')
      tuple(w, 'tone', 'u')
    },
    {
      kind: 'update',
      xid: 0,
      relation: 1,
      old: null,
      tuple: [text('one'), { kind: 'unchanged' }],
    },
  ],
  [
    'Update with an old key',
    (w) => {
      letter(w, 'U')
      w.u32(1)
      letter(w, 'K')
      tuple(w, 'told')
      letter(w, 'N')
      tuple(w, 'tnew')
    },
    {
      kind: 'update',
      xid: 0,
      relation: 1,
      old: { kind: 'key', tuple: [text('old')] },
      tuple: [text('new')],
    },
  ],
  [
    'Delete with the whole old row',
    (w) => {
      letter(w, 'D')
      w.u32(1)
      letter(w, 'O')
      tuple(w, 'told', 't')
    },
    {
      kind: 'delete',
      xid: 0,
      relation: 1,
      old: { kind: 'full', tuple: [text('old'), text('')] },
    },
  ],
  [
    'Truncate',
    (w) => {
      letter(w, 'T')
      w.u32(2)
      w.u8(3)
      w.u32(11)
      w.u32(12)
    },
    { kind: 'truncate', xid: 0, relations: [11, 12], cascade: true, restartIdentity: true },
  ],
  [
    'Message',
    (w) => {
      letter(w, 'M')
      w.u8(0)
      u64(w, 9n)
      w.cstring('ringfence')
      w.i32(2)
      w.utf8('hi')
    },
    {
      kind: 'message',
      xid: 0,
      transactional: false,
      lsn: 9n,
      prefix: 'ringfence',
      content: raw('hi'),
    },
  ],
  [
    'Stream Start',
    (w) => {
      letter(w, 'S')
      w.u32(77)
      w.u8(1)
    },
    { kind: 'streamStart', xid: 77, first: true },
  ],
  [
    'Stream Commit',
    (w) => {
      letter(w, 'c')
      w.u32(77)
      w.u8(0)
      u64(w, at.final)
      u64(w, at.end)
      u64(w, 7n)
    },
    { kind: 'streamCommit', xid: 77, finalLsn: at.final, endLsn: at.end, timeMicros: 7n },
  ],
  [
    'Stream Abort',
    (w) => {
      letter(w, 'A')
      w.u32(77)
      w.u32(78)
    },
    { kind: 'streamAbort', xid: 77, subxid: 78, abortLsn: null },
  ],
  [
    'Stream Abort of protocol 4, which tells its place',
    (w) => {
      letter(w, 'A')
      w.u32(77)
      w.u32(77)
      u64(w, at.end)
      u64(w, 7n)
    },
    { kind: 'streamAbort', xid: 77, subxid: 77, abortLsn: at.end },
  ],
]

const inChunk: readonly Case[] = [
  [
    'Insert',
    (w) => {
      letter(w, 'I')
      w.u32(78)
      w.u32(1)
      letter(w, 'N')
      tuple(w, 'tone')
    },
    { kind: 'insert', xid: 78, relation: 1, tuple: [text('one')] },
  ],
  [
    'Truncate',
    (w) => {
      letter(w, 'T')
      w.u32(78)
      w.u32(1)
      w.u8(0)
      w.u32(11)
    },
    { kind: 'truncate', xid: 78, relations: [11], cascade: false, restartIdentity: false },
  ],
  ['Stream Stop', (w) => letter(w, 'E'), { kind: 'streamStop' }],
]

describe('the decoder of pgoutput', () => {
  it.each(outside)('reads %s', (_, write, expected) => {
    expect(plain(decodePgoutput(bytes(write), false))).toEqual(plain(expected))
  })

  it.each(inChunk)('reads %s in a chunk of a streamed transaction', (_, write, expected) => {
    expect(plain(decodePgoutput(bytes(write), true))).toEqual(plain(expected))
  })

  it.each(['b', 'P', 'K', 'r', 'p'])('refuses the two-phase message %s', (code) => {
    expect(() => decodePgoutput(Buffer.from(code), false)).toThrow(/two-phase/)
  })

  it('refuses a chunk inside of a chunk, and an end without a start', () => {
    const start = bytes((w) => {
      letter(w, 'S')
      w.u32(1)
      w.u8(1)
    })
    expect(sqlstateOf(() => decodePgoutput(start, true))).toBe('08P01')
    expect(sqlstateOf(() => decodePgoutput(Buffer.from('E'), false))).toBe('08P01')
  })

  it.each([
    [
      'a value longer than the message',
      [0x49, 0, 0, 0, 1, 0x4e, 0, 1, 0x74, 0x7f, 0xff, 0xff, 0xff],
    ],
    ['a negative length', [0x49, 0, 0, 0, 1, 0x4e, 0, 1, 0x74, 0xff, 0xff, 0xff, 0xfe]],
    ['more columns than a table has', [0x49, 0, 0, 0, 1, 0x4e, 0xff, 0xff]],
    ['more truncated tables than bytes', [0x54, 0xff, 0xff, 0xff, 0xff, 0]],
    ['bytes behind its end', [...Buffer.from('E'), 0]],
    ['no bytes', []],
  ])('refuses a message with %s', (_, message) => {
    for (const chunk of [false, true]) {
      expect(sqlstateOf(() => decodePgoutput(Uint8Array.from(message), chunk))).toBe('08P01')
    }
  })

  it('answers or throws 08P01 whatever bytes come', () => {
    const whole = [...outside, ...inChunk].map(([, write]) => bytes(write))
    const check = (message: Uint8Array) => {
      for (const chunk of [false, true]) {
        expect(['none', '08P01']).toContain(sqlstateOf(() => decodePgoutput(message, chunk)))
      }
      expect(['none', '08P01']).toContain(sqlstateOf(() => decodeReplicationFrame(message)))
    }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), check))
    const mutation = fc.record({
      message: fc.constantFrom(...whole),
      place: fc.nat(60),
      byte: fc.constantFrom(0, 1, 2, 0x4b, 0x4e, 0x4f, 0x7f, 0x80, 0xff),
    })
    fc.assert(
      fc.property(mutation, ({ message, place, byte }) => {
        const mutated = new Uint8Array(message)
        mutated[place % mutated.length] = byte
        check(mutated)
        check(message.subarray(0, place % message.length))
      }),
      { numRuns: 1_000 },
    )
  })
})

describe('frames of the replication protocol', () => {
  it('carry data and keepalives', () => {
    const data = bytes((w) => {
      letter(w, 'w')
      u64(w, 1n)
      u64(w, 2n)
      u64(w, 3n)
      w.utf8('rest')
    })
    expect(plain(decodeReplicationFrame(data))).toEqual({
      kind: 'data',
      walStart: '1',
      walEnd: '2',
      payload: 'rest',
    })
    const keepalive = bytes((w) => {
      letter(w, 'k')
      u64(w, 2n ** 64n - 1n)
      u64(w, 3n)
      w.u8(1)
    })
    expect(decodeReplicationFrame(keepalive)).toEqual({
      kind: 'keepalive',
      walEnd: 2n ** 64n - 1n,
      replyRequested: true,
    })
  })

  it('a status tells what was received and what is durable, in microseconds since 2000', () => {
    const status = { received: lsn(10n), flushed: lsn(9n), replyRequested: true }
    const frame = Buffer.from(replicationStatus(status, 946_684_801_000))
    expect(frame.length).toBe(39)
    expect([frame.toString('latin1', 0, 1), frame.readUInt32BE(1)]).toEqual(['d', 38])
    expect(frame.toString('latin1', 5, 6)).toBe('r')
    expect(frame.readBigUInt64BE(6)).toBe(10n)
    expect(frame.readBigUInt64BE(14)).toBe(9n)
    expect(frame.readBigUInt64BE(22)).toBe(9n)
    expect(frame.readBigInt64BE(30)).toBe(1_000_000n)
    expect(frame.readUInt8(38)).toBe(1)
  })
})
