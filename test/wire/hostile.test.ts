// Whatever bytes come, a decoder answers or throws 08P01: no other exception, no endless loop.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as backend from '../../wire/backend.ts'
import * as frontend from '../../wire/frontend.ts'
import { ScramClient, ScramServer } from '../../wire/scram.ts'
import { mockVerifier } from '../../wire/scram-keys.ts'
import { decodeStartupPacket } from '../../wire/startup.ts'
import { Writer } from '../../wire/writer.ts'
import { frameOf, sqlstateOf, written } from './arbitraries.ts'

type Decoder = (frame: Uint8Array) => unknown

const decoders: Record<string, Decoder> = {
  ...Object.fromEntries(
    Object.entries({ ...frontend, ...backend })
      .filter(([name]) => name.startsWith('decode'))
      .map(([name, decode]): [string, Decoder] => [name, (frame) => callDecoder(decode, frame)]),
  ),
  rewriteErrorSeverity: (frame) => backend.rewriteErrorSeverity(frame, 'ERROR'),
  writeRenamedParse: (frame) => frontend.writeRenamedParse(new Writer(), frame, 'x'),
  writeRenamedBind: (frame) => frontend.writeRenamedBind(new Writer(), frame, 'x'),
  writeRenamedDescribe: (frame) => frontend.writeRenamedDescribe(new Writer(), frame, 'x'),
}

/** Decoders take one frame; the appenders of the same modules are filtered out by name. */
function callDecoder(decode: unknown, frame: Uint8Array): unknown {
  if (typeof decode !== 'function') throw new Error('a decoder is a function')
  return Reflect.apply(decode, undefined, [frame])
}

/** Short runs of the bytes that mean something in counts, lengths and terminators. */
const tellingByte = fc.oneof(
  fc.constantFrom(0, 1, 2, 4, 0x7f, 0x80, 0xff, 0x53, 0x50, 0x49),
  fc.integer({ min: 0, max: 255 }),
)
const bodyArbitrary = fc
  .array(tellingByte, { maxLength: 60 })
  .map((bytes) => Uint8Array.from(bytes))

const bind = written((w) => {
  const params = [null, new Uint8Array([1, 2, 3])]
  frontend.writeBind(w, {
    portal: 'p',
    statement: 's',
    paramFormats: [1],
    params,
    resultFormats: [],
  })
})

describe('hostile bytes', () => {
  it('sees every decoder', () => {
    expect(Object.keys(decoders).length).toBe(25)
  })

  it.each(Object.entries(decoders))('%s answers or throws 08P01', (_, decode) => {
    const check = (bytes: Uint8Array) => {
      expect(['none', '08P01']).toContain(sqlstateOf(() => decode(bytes)))
    }
    fc.assert(fc.property(bodyArbitrary, (body) => check(frameOf(0x45, body))))
    fc.assert(fc.property(bodyArbitrary, check))
    fc.assert(
      fc.property(fc.nat(bind.length - 1), tellingByte, (at, byte) => {
        const mutated = new Uint8Array(bind)
        mutated[at] = byte
        check(mutated)
        check(bind.subarray(0, at))
      }),
    )
  })

  it.each([
    ['a negative value length', [0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe, 0, 0]],
    ['a value longer than the frame', [0, 0, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff, 0, 0]],
    ['more parameters than bytes', [0, 0, 0, 0, 0xff, 0xff]],
    ['bytes behind the last field', [0, 0, 0, 0, 0, 0, 0, 0, 0]],
    ['a name without terminator', [0x61, 0x61]],
  ])('Bind with %s is refused', (_, body) => {
    const frame = frameOf(0x42, Uint8Array.from(body))
    expect(sqlstateOf(() => frontend.decodeBind(frame))).toBe('08P01')
  })

  it('DataRow whose negative length points back to where the rest would fit is refused', () => {
    const body = new Uint8Array(4 + 0x2_ffff)
    body.set([0, 2, 0xff, 0xff, 0xff, 0xfa])
    expect(sqlstateOf(() => backend.decodeDataRow(frameOf(0x44, body)))).toBe('08P01')
  })

  it('Query whose SQL ends early is refused: what follows the NUL would be lost', () => {
    const frame = frameOf(0x51, Buffer.from('select 1\0; drop table t\0'))
    expect(sqlstateOf(() => frontend.decodeQuery(frame))).toBe('08P01')
  })

  it('a startup packet of any bytes is read or refused with 08P01', () => {
    const codes = [
      [0, 3, 0, 0],
      [4, 210, 22, 46],
      [4, 210, 22, 47],
      [4, 210, 22, 48],
      [0, 2, 0, 0],
    ]
    fc.assert(
      fc.property(fc.constantFrom(...codes), bodyArbitrary, (code, body) => {
        const bytes = Buffer.concat([Buffer.alloc(4), Buffer.from(code), body])
        bytes.writeInt32BE(bytes.length)
        expect(['none', '08P01']).toContain(sqlstateOf(() => decodeStartupPacket(bytes)))
        expect(['none', '08P01']).toContain(sqlstateOf(() => decodeStartupPacket(body)))
      }),
    )
  })

  it('SCRAM messages of any text are answered or refused with 08P01', () => {
    const part = fc.oneof(
      fc.constantFrom('n', 'y', 'p', ',', 'n=', 'r=', 'c=', 'p=', 'v=', 'e=', 's=', 'i=', 'biws'),
      fc.string({ maxLength: 4 }),
    )
    const text = fc.array(part, { maxLength: 12 }).map((parts) => parts.join(''))
    const verifier = mockVerifier('u', new Uint8Array(32))
    fc.assert(
      fc.property(text, text, (first, final) => {
        const fresh = new ScramServer(verifier, 'nonce')
        expect(['none', '08P01']).toContain(sqlstateOf(() => fresh.first(first)))
        const begun = new ScramServer(verifier, 'nonce')
        begun.first('n,,n=,r=abc')
        expect(['none', '08P01']).toContain(sqlstateOf(() => begun.final(final)))
        const client = new ScramClient('', 'p', 'abc')
        expect(['none', '08P01']).toContain(sqlstateOf(() => client.continue(first)))
        expect(['none', '08P01']).toContain(sqlstateOf(() => client.verify(final)))
      }),
    )
  })
})
