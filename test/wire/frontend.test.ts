// Messages of the client side: what is written reads back the same; rewriters change one name only.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as frontend from '../../wire/frontend.ts'
import { Writer } from '../../wire/writer.ts'
import {
  bytesArbitrary,
  int16Arbitrary,
  int32Arbitrary,
  oidArbitrary,
  textArbitrary,
  written,
} from './arbitraries.ts'

const sqlArbitrary = bytesArbitrary.map((bytes) => bytes.map((byte) => (byte === 0 ? 1 : byte)))
const targetArbitrary = fc.constantFrom<frontend.Target>('S', 'P')
const parseArbitrary = fc.record({
  name: textArbitrary,
  sql: sqlArbitrary,
  paramTypes: fc.array(oidArbitrary, { maxLength: 5 }),
})
const bindArbitrary = fc.record({
  portal: textArbitrary,
  statement: textArbitrary,
  paramFormats: fc.array(int16Arbitrary, { maxLength: 5 }),
  params: fc.array(fc.option(bytesArbitrary), { maxLength: 5 }),
  resultFormats: fc.array(int16Arbitrary, { maxLength: 5 }),
})
const parseFrame = (m: frontend.ParseMessage) =>
  written((w) => frontend.writeParse(w, m.name, m.sql, m.paramTypes))
const bindFrame = (m: frontend.BindMessage) => written((w) => frontend.writeBind(w, m))

describe('messages of the client side', () => {
  it('Query reads back', () => {
    fc.assert(
      fc.property(sqlArbitrary, (sql) => {
        expect(frontend.decodeQuery(written((w) => frontend.writeQuery(w, sql)))).toEqual(sql)
      }),
    )
    const ofText = written((w) => frontend.writeQuery(w, "select 'ü'"))
    expect(Buffer.from(frontend.decodeQuery(ofText)).toString()).toBe("select 'ü'")
  })

  it('SQL with a NUL is never sent: it would end the statement early', () => {
    expect(() => frontend.writeQuery(new Writer(), 'select 1\0')).toThrow('broken invariant')
    expect(() => frontend.writeParse(new Writer(), '', new Uint8Array([1, 0]), [])).toThrow(
      'broken invariant',
    )
  })

  it('Parse reads back', () => {
    fc.assert(
      fc.property(parseArbitrary, (message) => {
        expect(frontend.decodeParse(parseFrame(message))).toEqual(message)
      }),
    )
  })

  it('Bind reads back, its names also by themselves', () => {
    fc.assert(
      fc.property(bindArbitrary, (message) => {
        const frame = bindFrame(message)
        const { portal, statement } = message
        expect(frontend.decodeBind(frame)).toEqual(message)
        expect(frontend.decodeBindNames(frame)).toEqual({ portal, statement })
      }),
    )
  })

  it('Bind carries 65535 parameters, the most that PostgreSQL takes', () => {
    const params = Array.from({ length: 65_535 }, () => null)
    const frame = bindFrame({
      portal: '',
      statement: '',
      paramFormats: [],
      params,
      resultFormats: [],
    })
    expect(frontend.decodeBind(frame).params).toHaveLength(65_535)
  })

  it('Describe, Close and Execute read back', () => {
    fc.assert(
      fc.property(targetArbitrary, textArbitrary, int32Arbitrary, (what, name, maxRows) => {
        const describe = written((w) => frontend.writeDescribe(w, what, name))
        const close = written((w) => frontend.writeClose(w, what, name))
        const execute = written((w) => frontend.writeExecute(w, name, maxRows))
        expect(frontend.decodeDescribe(describe)).toEqual({ what, name })
        expect(frontend.decodeClose(close)).toEqual({ what, name })
        expect(frontend.decodeExecute(execute)).toEqual({ portal: name, maxRows })
      }),
    )
  })

  it('password, SASL and CopyFail messages read back', () => {
    fc.assert(
      fc.property(textArbitrary, fc.option(bytesArbitrary), (text, data) => {
        const password = written((w) => frontend.writePassword(w, text))
        const initial = written((w) => frontend.writeSaslInitial(w, text, data))
        const response = written((w) => frontend.writeSaslResponse(w, data ?? text))
        const fail = written((w) => frontend.writeCopyFail(w, text))
        expect(frontend.decodePassword(password)).toBe(text)
        expect(frontend.decodeSaslInitial(initial)).toEqual({ mechanism: text, data })
        const sent = data ?? new Uint8Array(Buffer.from(text))
        expect(frontend.decodeSaslResponse(response)).toEqual(sent)
        expect(frontend.decodeCopyFail(fail)).toBe(text)
      }),
    )
  })

  it('messages without fields and CopyData are what the manual says', () => {
    const frames = written((w) => {
      frontend.writeSync(w)
      frontend.writeFlush(w)
      frontend.writeTerminate(w)
      frontend.writeCopyDone(w)
      frontend.writeCopyData(w, new Uint8Array([7, 8]))
    })
    const expected = 'S\0\0\0\x04H\0\0\0\x04X\0\0\0\x04c\0\0\0\x04d\0\0\0\x06\x07\x08'
    expect(Buffer.from(frames).toString('latin1')).toBe(expected)
  })

  it('renaming gives the frame that the new name would have given', () => {
    fc.assert(
      fc.property(parseArbitrary, bindArbitrary, textArbitrary, (parse, bind, name) => {
        const describe = written((w) => frontend.writeDescribe(w, 'S', bind.statement))
        const renamed = written((w) => {
          frontend.writeRenamedParse(w, parseFrame(parse), name)
          frontend.writeRenamedBind(w, bindFrame(bind), name)
          frontend.writeRenamedDescribe(w, describe, name)
        })
        const expected = Buffer.concat([
          parseFrame({ ...parse, name }),
          bindFrame({ ...bind, statement: name }),
          written((w) => frontend.writeDescribe(w, 'S', name)),
        ])
        expect(renamed).toEqual(new Uint8Array(expected))
      }),
    )
  })

  it('names that are not UTF-8 are refused, so that no two of them are taken for one', () => {
    const frame = written((w) => frontend.writeDescribe(w, 'S', 'x'))
    frame[6] = 0xff
    expect(() => frontend.decodeDescribe(frame)).toThrow('invalid byte sequence')
  })
})

describe('Writer', () => {
  it('ends a string at its first NUL, so that no field can be forged', () => {
    expect(written((w) => w.cstring('a\0b'))).toEqual(new Uint8Array([0x61, 0]))
  })

  it('writes from a view of itself also when it has to grow', () => {
    const w = new Writer(4)
    w.raw(new Uint8Array([1, 2, 3]))
    w.raw(w.bytes())
    w.raw(w.bytes())
    expect(w.take()).toEqual(new Uint8Array([1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3]))
  })

  it('refuses to hand out bytes or open a frame while one is open', () => {
    const w = new Writer()
    w.begin(1)
    expect(() => w.bytes()).toThrow('broken invariant')
    expect(() => w.begin(2)).toThrow('broken invariant')
    w.reset()
    expect(w.bytes()).toHaveLength(0)
  })
})
