// Messages of the server side: what is written reads back the same.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PgError } from '../../core/errors.ts'
import * as backend from '../../wire/backend.ts'
import {
  bytesArbitrary,
  frameOf,
  int16Arbitrary,
  int32Arbitrary,
  oidArbitrary,
  textArbitrary,
  written,
} from './arbitraries.ts'

const secretArbitrary = fc.uint8Array({ minLength: 4, maxLength: 256 })
const errorArbitrary = fc.record({
  message: textArbitrary,
  sqlstate: fc.constantFrom('0A000', '08P01'),
  severity: fc.constantFrom('ERROR' as const, 'FATAL' as const),
  detail: fc.option(textArbitrary, { nil: undefined }),
  hint: fc.option(textArbitrary, { nil: undefined }),
  position: fc.option(fc.nat(), { nil: undefined }),
})

describe('messages of the server side', () => {
  it('ErrorResponse reads back, absent fields absent', () => {
    fc.assert(
      fc.property(errorArbitrary, (error) => {
        const frame = written((w) => {
          backend.writeErrorResponse(w, new PgError(error.message, error))
        })
        const expected = new Map([
          ['S', error.severity],
          ['V', error.severity],
          ['C', error.sqlstate],
          ['M', error.message],
          ...(error.detail === undefined ? [] : [['D', error.detail] as const]),
          ...(error.hint === undefined ? [] : [['H', error.hint] as const]),
          ...(error.position === undefined ? [] : [['P', String(error.position)] as const]),
        ])
        expect(backend.decodeErrorFields(frame)).toEqual(expected)
      }),
    )
  })

  it('a rewritten severity changes S and V and no other byte', () => {
    const body = (severity: string) =>
      Buffer.from(`S${severity}\0V${severity}\0C57P01\0Mbye \xff\0Fpostgres.c\0L1\0\0`, 'latin1')
    const fatal = frameOf(0x45, body('FATAL'))
    expect(backend.rewriteErrorSeverity(fatal, 'ERROR')).toEqual(frameOf(0x45, body('ERROR')))
  })

  it('NoticeResponse reads back', () => {
    const notice = { severity: 'WARNING', sqlstate: '01000', message: 'm', hint: 'h' } as const
    const frame = written((w) => backend.writeNotice(w, notice))
    expect(frame[0]).toBe(0x4e)
    expect(Object.fromEntries(backend.decodeErrorFields(frame))).toEqual({
      S: 'WARNING',
      V: 'WARNING',
      C: '01000',
      M: 'm',
      H: 'h',
    })
  })

  it('ReadyForQuery reads back and refuses any other status', () => {
    for (const status of ['I', 'T', 'E'] as const) {
      const frame = written((w) => backend.writeReadyForQuery(w, status))
      expect(backend.decodeReadyForQuery(frame)).toBe(status)
    }
    expect(() => backend.decodeReadyForQuery(frameOf(0x5a, Buffer.from('X')))).toThrow('status')
  })

  it('CommandComplete, ParameterStatus and BackendKeyData read back', () => {
    fc.assert(
      fc.property(textArbitrary, int32Arbitrary, secretArbitrary, (text, pid, secret) => {
        const complete = written((w) => backend.writeCommandComplete(w, text))
        const status = written((w) => backend.writeParameterStatus(w, text, `${text}!`))
        const key = written((w) => backend.writeBackendKeyData(w, pid, secret))
        expect(backend.decodeCommandComplete(complete)).toBe(text)
        expect(backend.decodeParameterStatus(status)).toEqual({ name: text, value: `${text}!` })
        expect(backend.decodeBackendKeyData(key)).toEqual({ pid, secret })
      }),
    )
  })

  it('every authentication request reads back', () => {
    const data = new Uint8Array([1, 2, 3, 4])
    const frames = [
      written((w) => backend.writeAuthenticationOk(w)),
      written((w) => backend.writeAuthenticationCleartextPassword(w)),
      written((w) => backend.writeAuthenticationMd5Password(w, data)),
      written((w) => backend.writeAuthenticationSasl(w, ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256'])),
      written((w) => backend.writeAuthenticationSaslContinue(w, data)),
      written((w) => backend.writeAuthenticationSaslFinal(w, 'v=1')),
      frameOf(0x52, new Uint8Array([0, 0, 0, 7])),
    ]
    expect(frames.map((frame) => backend.decodeAuthentication(frame))).toEqual([
      { kind: 'ok' },
      { kind: 'cleartext' },
      { kind: 'md5', salt: data },
      { kind: 'sasl', mechanisms: ['SCRAM-SHA-256-PLUS', 'SCRAM-SHA-256'] },
      { kind: 'saslContinue', data },
      { kind: 'saslFinal', data: new Uint8Array(Buffer.from('v=1')) },
      { kind: 'unsupported', type: 7 },
    ])
  })

  it('NegotiateProtocolVersion reads back, and also when a server sends the bare minor', () => {
    const options = ['_pq_.a', '_pq_.b']
    const frame = written((w) => backend.writeNegotiateProtocolVersion(w, 2, options))
    expect([...frame.subarray(5, 9)]).toEqual([0, 3, 0, 2])
    const expected = { newestMinor: 2, unknownOptions: options }
    expect(backend.decodeNegotiateProtocolVersion(frame)).toEqual(expected)
    frame[6] = 0
    expect(backend.decodeNegotiateProtocolVersion(frame)).toEqual(expected)
  })

  it('RowDescription and DataRow read back', () => {
    const field = fc.record({
      name: textArbitrary,
      tableOid: oidArbitrary,
      column: int16Arbitrary,
      typeOid: oidArbitrary,
      typeSize: int16Arbitrary,
      typeModifier: int32Arbitrary,
      format: fc.constantFrom(0, 1),
    })
    const values = fc.array(fc.option(bytesArbitrary), { maxLength: 6 })
    fc.assert(
      fc.property(fc.array(field, { maxLength: 6 }), values, (fields, row) => {
        const description = written((w) => backend.writeRowDescription(w, fields))
        expect(backend.decodeRowDescription(description)).toEqual(fields)
        const frame = written((w) => backend.writeDataRow(w, row))
        expect(backend.decodeDataRow(frame)).toEqual(row)
      }),
    )
    const ofText = written((w) => backend.writeDataRow(w, ['ü', null]))
    expect(backend.decodeDataRow(ofText)).toEqual([new Uint8Array([0xc3, 0xbc]), null])
  })

  it('messages without fields and CopyInResponse are what the manual says', () => {
    const frames = written((w) => {
      backend.writeParseComplete(w)
      backend.writeBindComplete(w)
      backend.writeCloseComplete(w)
      backend.writeNoData(w)
      backend.writeEmptyQueryResponse(w)
      backend.writePortalSuspended(w)
      backend.writeCopyInResponse(w, 1, [1, 1])
    })
    const bare = '123nIs'
      .split('')
      .map((code) => `${code}\0\0\0\x04`)
      .join('')
    expect(Buffer.from(frames).toString('latin1')).toBe(`${bare}G\0\0\0\x0b\x01\0\x02\0\x01\0\x01`)
  })
})
