// CopyRowScanner against an encoder that knows what it wrote, at any chunking. What PostgreSQL itself
// makes of the same bytes is compared in copy.pg.test.ts.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type CopyLayout, CopyRowScanner } from '../../wire/copy.ts'
import type { CopyRow } from '../../wire/copy-row.ts'
import { chunkLengthsArbitrary, chunksOf, plain, sqlstateOf } from './arbitraries.ts'
import { binaryTuple, binaryHeader, csvLine, textLine } from './copy-encoder.ts'

const layout = (overrides: Partial<CopyLayout>): CopyLayout => ({
  format: 'text',
  delimiter: overrides.format === 'csv' ? ',' : '\t',
  nullString: overrides.format === 'csv' ? '' : '\\N',
  quote: '"',
  escape: '"',
  header: false,
  columnCount: 3,
  keyIndex: 1,
  ...overrides,
})

type Seen = Pick<CopyRow, 'kind' | 'key' | 'line'> & { readonly text: string }

/** All rows, taken as the proxy takes them; chunks are overwritten as soon as they are drained. */
const rowsOf = (options: CopyLayout, chunks: readonly Uint8Array[]): Seen[] => {
  const scanner = new CopyRowScanner(options)
  const rows: Seen[] = []
  const drain = () => {
    for (let row = scanner.next(); row !== undefined; row = scanner.next()) {
      const { kind, bytes, key, line } = row
      rows.push({ kind, key: plain(key), line, text: Buffer.from(bytes).toString('latin1') })
    }
  }
  for (const chunk of chunks) {
    scanner.push(chunk)
    drain()
    chunk.fill(0xee)
  }
  scanner.finish()
  drain()
  return rows
}

const bytes = (text: string) => new Uint8Array(Buffer.from(text, 'latin1'))
const keysOf = (options: CopyLayout, text: string) =>
  rowsOf(options, [bytes(text)])
    .filter(({ kind }) => kind === 'row')
    .map(({ key }) => (key === null ? null : Buffer.from(key).toString('latin1')))

/** The message, or the keys when there is none: for comparing one chunking with another. */
const outcome = (options: CopyLayout, chunks: readonly Uint8Array[]) => {
  try {
    return rowsOf(options, chunks)
  } catch (thrown) {
    return String(thrown)
  }
}

const valueArbitrary = fc.option(
  fc
    .array(fc.constantFrom(...'ab1\t\n\r\\,"\'.Nx0\u00e9 '.split('')), { maxLength: 6 })
    .map((c) => c.join('')),
)
const recordsArbitrary = fc.array(fc.tuple(valueArbitrary, valueArbitrary, valueArbitrary), {
  maxLength: 8,
})
const newlineArbitrary = fc.constantFrom('\n', '\r', '\r\n')
/** Which of several spellings a character gets. */
const spellingArbitrary = fc.infiniteStream(fc.nat(3))

describe('COPY rows', () => {
  it.each(['text', 'csv'] as const)(
    '%s: every row, key and byte comes back at any chunking',
    (format) => {
      fc.assert(
        fc.property(
          recordsArbitrary,
          newlineArbitrary,
          spellingArbitrary,
          chunkLengthsArbitrary,
          fc.record({ header: fc.boolean(), lastNewline: fc.boolean(), marker: fc.boolean() }),
          (records, newline, spelling, lengths, { header, lastNewline, ...wish }) => {
            // Before any line, `\.\r` is a whole marker: what follows it is ignored, be it \n.
            const marker = wish.marker && records.length > 0
            const options = layout({ format, header, csvEndMarker: 'end' })
            const line = format === 'csv' ? csvLine : textLine
            const rows = records.map((record) => line(record, spelling))
            if (header) rows.unshift(line(['h', 'k', 'v'], spelling))
            const lines = rows.map((row) => row + newline)
            const end = `\\.${newline}`
            const cut = !marker && !lastNewline ? newline.length : 0
            const data = lines.join('') + (marker ? `${end}ignored\r\n\\.` : '')
            const sent = bytes(data.slice(0, data.length - (lines.length > 0 ? cut : 0)))

            const seen = rowsOf(options, chunksOf(sent, lengths))
            const expectedKinds = rows.map((_, i) => (header && i === 0 ? 'header' : 'row'))
            expect(seen.map(({ kind }) => kind)).toEqual([
              ...expectedKinds,
              ...(marker ? ['end'] : []),
            ])
            const body = seen.filter(({ kind }) => kind === 'row')
            expect(body.map(({ key }) => key)).toEqual(
              records.map(([, key]) => (key === null ? null : bytes(key))),
            )
            const all = Buffer.from(sent)
              .toString('latin1')
              .replace(/ignored[^]*$/, '')
            expect(seen.map(({ text }) => text).join('')).toBe(all)
          },
        ),
      )
    },
  )

  it('binary: header, tuples and trailer come back at any chunking', () => {
    fc.assert(
      fc.property(
        recordsArbitrary,
        chunkLengthsArbitrary,
        fc.boolean(),
        fc.uint8Array({ maxLength: 9 }),
        (records, lengths, trailer, extension) => {
          const header = binaryHeader(extension)
          const tuples = records.map((record) => binaryTuple(record))
          const end = trailer ? [bytes('\xff\xff')] : []
          const sent = new Uint8Array(Buffer.concat([header, ...tuples, ...end]))
          const seen = rowsOf(layout({ format: 'binary' }), chunksOf(sent, lengths))
          const texts = [header, ...tuples, ...end].map((part) =>
            Buffer.from(part).toString('latin1'),
          )
          expect(seen.map(({ text }) => text)).toEqual(texts)
          expect(seen.filter(({ kind }) => kind === 'row').map(({ key }) => key)).toEqual(
            records.map(([, key]) => (key === null ? null : bytes(key))),
          )
        },
      ),
    )
  })

  it.each(['text', 'csv', 'binary'] as const)(
    '%s: any bytes give the same rows or the same 22P04 at any chunking',
    (format) => {
      const part = fc.constantFrom(
        'a',
        '\t',
        ',',
        '\n',
        '\r',
        '\r\n',
        '\\',
        '\\.',
        '"',
        '""',
        '\\N',
      )
      const garbage = fc.array(part, { maxLength: 25 }).map((parts) => bytes(parts.join('')))
      const start = format === 'binary' ? binaryHeader(new Uint8Array()) : new Uint8Array()
      fc.assert(
        fc.property(garbage, chunkLengthsArbitrary, (data, lengths) => {
          const options = layout({ format, columnCount: 2, csvEndMarker: 'end' })
          const sent = new Uint8Array(Buffer.concat([start, data]))
          const atOnce = outcome(options, chunksOf(sent, [sent.length + 1]))
          // Of a row that is cut off, nothing is asked but that it is refused in the end.
          expect(outcome(options, chunksOf(sent, lengths))).toEqual(atOnce)
          const sqlstate = sqlstateOf(() => rowsOf(options, [new Uint8Array(sent)]))
          expect(['none', '22P04']).toContain(sqlstate)
        }),
        { numRuns: 1000 },
      )
    },
  )
})

describe('COPY text', () => {
  const one = layout({ columnCount: 1, keyIndex: 0 })

  it.each([
    ['a\\tb\\n\\v\\f\\b\\r\\\\\n', ['a\tb\n\v\f\b\r\\']],
    ['\\101\\60z\\x41\\x4z\\xg\\8\n', ['A0zA\x04zxg8']],
    ['\\N\n\\\\N\nN\n', [null, '\\N', 'N']],
    ['a\\\nb\n', ['a\nb']],
    ['\n\n', ['', '']],
    ['a\\\\.\n', ['a\\.']],
    ['a\\', ['a']],
  ])('%j is read as %j', (data, keys) => {
    expect(keysOf(one, data)).toEqual(keys)
  })

  it.each([
    ['a\nb\r\n', 'literal carriage return found in data', 2],
    ['a\r\nb\n', 'literal newline found in data', 2],
    ['a\\.\n', 'end-of-copy marker is not alone on its line', 1],
    ['a\n\\.b\n', 'end-of-copy marker is not alone on its line', 2],
    ['a\n\\.', 'end-of-copy marker is not alone on its line', 2],
    ['a\r\n\\.\n', 'end-of-copy marker does not match previous newline style', 2],
    ['a\nb\tc\n', 'extra data after last expected column', 2],
  ])('%j is refused: %s', (data, message, line) => {
    expect(() => keysOf(one, data)).toThrow(
      expect.objectContaining({ message, sqlstate: '22P04', detail: `COPY line ${line}.` }),
    )
  })

  it('a row without the shard key is refused', () => {
    expect(() => keysOf(layout({}), 'a\n')).toThrow('missing data for column number 2')
  })

  it('a row without a later column is left to the server, which knows the name', () => {
    expect(keysOf(layout({}), 'a\tk\n')).toEqual(['k'])
  })
})

describe('COPY csv', () => {
  const one = layout({ format: 'csv', columnCount: 1, keyIndex: 0 })

  it.each([
    ['"a""b"\nx"y"z\n', ['a"b', 'xyz']],
    ['""\n\n', ['', null]],
    ['"a\nb\r\nc"\n', ['a\nb\r\nc']],
    ['"\\."\n', ['\\.']],
    ['\\.a\n\\.', ['\\.a', '\\.']],
  ])('%j is read as %j', (data, keys) => {
    expect(keysOf(one, data)).toEqual(keys)
  })

  it('an escape of its own counts before quote and escape only', () => {
    const escaped = layout({ format: 'csv', escape: '\\', columnCount: 1, keyIndex: 0 })
    expect(keysOf(escaped, '"a\\"b\\\\c\\d"\n')).toEqual(['a"b\\c\\d'])
    expect(keysOf(escaped, '"x\\y"\nz\n')).toEqual(['x\\y', 'z'])
  })

  it('newlines in quotes count as lines, as PostgreSQL counts them', () => {
    const rows = rowsOf(one, [bytes('a\n"b\n\nc"\nd\n')])
    expect(rows.map(({ line }) => line)).toEqual([1, 4, 5])
  })

  it('"\\." alone on a line is a row, the end, or refused, as told', () => {
    expect(keysOf({ ...one, csvEndMarker: 'row' }, 'a\n\\.\nb\n')).toEqual(['a', '\\.', 'b'])
    expect(keysOf({ ...one, csvEndMarker: 'end' }, 'a\n\\.\nb\n')).toEqual(['a'])
    expect(() => keysOf(one, 'a\n\\.\nb\n')).toThrow('ambiguous')
  })

  it('a quote that never closes is refused', () => {
    expect(() => keysOf(one, 'a\n"b\n')).toThrow('unterminated CSV quoted field')
  })
})

describe('COPY binary', () => {
  const binary = layout({ format: 'binary', columnCount: 1, keyIndex: 0 })
  const header = Buffer.from(binaryHeader(new Uint8Array())).toString('latin1')

  it.each([
    ['', 'COPY file signature not recognized'],
    ['PGCOPX', 'COPY file signature not recognized'],
    [header.slice(0, 12), 'COPY file signature not recognized'],
    [`${header.slice(0, 11)}\0\x01\0\0${header.slice(15)}`, 'invalid COPY file header (WITH OIDS)'],
    [
      `${header.slice(0, 11)}\x80\0\0\0${header.slice(15)}`,
      'unrecognized critical flags in COPY file header',
    ],
    [`${header}\0\x02`, 'row field count is 2, expected 1'],
    [`${header}\0\x01\xff\xff\xff\xfe`, 'invalid field size'],
    [`${header}\0\x01\0\0\0\x05abc`, 'unexpected EOF in COPY data'],
    [`${header}\xff\xffx`, 'received copy data after EOF marker'],
  ])('%j is refused: %s', (data, message) => {
    expect(() => rowsOf(binary, [bytes(data)])).toThrow(message)
  })
})

describe('long rows', () => {
  it.each([
    ['text', 'aaaaaaaaaaaaaaaaaaaa'],
    ['csv', '"aaaaaaaaaaaaaaaaaaaa'],
    ['binary', `${Buffer.from(binaryHeader(new Uint8Array())).toString('latin1')}\0\x01\x7f\0\0\0`],
  ] as const)('%s: a row above the bound is refused before its end has come', (format, data) => {
    const scanner = new CopyRowScanner(
      layout({ format, columnCount: 1, keyIndex: 0, rowBytesMax: 19 }),
    )
    scanner.push(bytes(data))
    const drain = () => {
      while (scanner.next() !== undefined);
    }
    expect(drain).toThrow('row is longer than 19 bytes')
  })
})
