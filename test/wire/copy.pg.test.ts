// What CopyRowScanner makes of COPY data against what PostgreSQL makes of the same bytes: the same keys,
// or the same error at the same line.
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { PgError } from '../../core/errors.ts'
import { type CopyLayout, CopyRowScanner } from '../../wire/copy.ts'
import { textOf } from '../../wire/values.ts'
import { chunksOf } from './arbitraries.ts'
import { binaryHeader, binaryTuple } from './copy-encoder.ts'
import { type Answer, Dialogue } from './dialogue.ts'

type Outcome =
  | { readonly keys: readonly (string | null)[] }
  | { readonly message: string; readonly line: string | undefined }

type Variant = { readonly options: string; readonly layout: Partial<CopyLayout> }

const variants: Record<'text' | 'csv', readonly Variant[]> = {
  text: [
    { options: 'FORMAT text', layout: {} },
    {
      options: "FORMAT text, HEADER, NULL 'a', DELIMITER ','",
      layout: { header: true, nullString: 'a', delimiter: ',' },
    },
  ],
  csv: [
    { options: 'FORMAT csv', layout: {} },
    { options: "FORMAT csv, ESCAPE '\\'", layout: { escape: '\\' } },
    {
      options: "FORMAT csv, HEADER, QUOTE '''', ESCAPE '\"', NULL 'a'",
      layout: { header: true, quote: "'", escape: '"', nullString: 'a' },
    },
  ],
}

const parts = {
  text: [
    'a',
    'b',
    'N',
    '\t',
    '\t',
    ',',
    '\n',
    '\n',
    '\r',
    '\r\n',
    '\\',
    '\\\\',
    '\\.',
    '\\N',
    '\\n',
    '\\101',
    '\\x4',
    '"',
  ],
  csv: ['a', 'b', ',', ',', '\n', '\n', '\r', '\r\n', '"', '"', '""', "'", "'", '\\', '\\.', '\\"'],
}

describe.each(inject('servers'))('PostgreSQL $version', ({ version, shards }) => {
  const table = `wire_copy_${process.pid}`
  let server: Dialogue

  beforeAll(async () => {
    server = (await Dialogue.open(shards[0]?.url ?? '', 0)).dialogue
    await server.query(`CREATE UNLOGGED TABLE ${table} (a text, b text)`)
  })
  afterAll(async () => {
    await server.query(`DROP TABLE ${table}`)
    server.close()
  })

  /** Two columns, the key last: a row without key is then one that the server refuses too. */
  const layoutOf = (format: CopyLayout['format'], layout: Partial<CopyLayout>): CopyLayout => ({
    format,
    delimiter: format === 'csv' ? ',' : '\t',
    nullString: format === 'csv' ? '' : '\\N',
    quote: '"',
    escape: '"',
    header: false,
    columnCount: 2,
    keyIndex: 1,
    csvEndMarker: version >= 18 ? 'row' : 'end',
    ...layout,
  })

  const serverOutcome = async (options: string, data: Uint8Array): Promise<Outcome> => {
    await server.query('BEGIN')
    const copied = await server.copyIn(`COPY ${table} FROM STDIN (${options})`, data)
    const stored = await server.query(`SELECT b FROM ${table} ORDER BY ctid`)
    await server.query('ROLLBACK')
    return copied.error === undefined
      ? { keys: stored.rows.map(([key = null]) => key) }
      : { message: normalized(copied.error.get('M') ?? ''), line: lineOf(copied) }
  }

  const lineOf = ({ error }: Answer) => /line (\d+)/.exec(error?.get('W') ?? '')?.[1]

  const ourOutcome = (
    layout: CopyLayout,
    data: Uint8Array,
    lengths: readonly number[],
  ): Outcome => {
    const scanner = new CopyRowScanner(layout)
    const keys: (string | null)[] = []
    const drain = () => {
      for (let row = scanner.next(); row !== undefined; row = scanner.next()) {
        if (row.kind === 'row') keys.push(row.key === null ? null : textOf(row.key))
      }
    }
    try {
      for (const chunk of chunksOf(data, lengths)) {
        scanner.push(chunk)
        drain()
      }
      scanner.finish()
      drain()
    } catch (thrown) {
      if (!(thrown instanceof PgError) || thrown.sqlstate !== '22P04') throw thrown
      const line = /line (\d+)/.exec(thrown.detail ?? '')?.[1]
      return { message: normalized(thrown.message), line }
    }
    return { keys }
  }

  /** The server names the column and, before 18, has another word for a marker that is not alone. */
  const normalized = (message: string) =>
    message
      .replace(/^missing data for column .*/, 'missing data')
      .replace('end-of-copy marker corrupt', 'end-of-copy marker is not alone on its line')

  /** In binary the server has more words for refusing, and counts otherwise. */
  const kept = (outcome: Outcome) => ('keys' in outcome ? outcome.keys : 'refused')

  /** Before 18 the server takes `row\.` for a row and the end; we refuse it, as 18 does. */
  const isStricter = (ours: Outcome) =>
    version < 18 && 'message' in ours && ours.message.startsWith('end-of-copy marker')

  it.each(['text', 'csv'] as const)('COPY %s is split as the server splits it', async (format) => {
    const row = fc.constantFrom('a\tb\n', 'a,b\n', '\\N\t\\N\n', ',a\n')
    const piece = fc.constantFrom(...parts[format])
    const garbage = fc.array(piece, { maxLength: 16 })
    const rows = fc.tuple(
      fc.constantFrom('a\tb', 'a,b'),
      fc.array(fc.oneof(row, piece), { maxLength: 8 }),
    )
    const data = fc.oneof(
      garbage,
      rows.map(([first, others]) => [first, '\n', ...others]),
    )
    const variant = fc.constantFrom(...variants[format])
    const lengths = fc.constantFrom([1], [2, 3], [1000])
    let same = 0
    await fc.assert(
      fc.asyncProperty(data, variant, lengths, async (pieces, { options, layout }, cuts) => {
        const sent = new Uint8Array(Buffer.from(pieces.join('')))
        const ours = ourOutcome(layoutOf(format, layout), sent, cuts)
        if (isStricter(ours)) return
        expect(ours).toEqual(await serverOutcome(options, sent))
        if ('keys' in ours && ours.keys.length > 0) same++
      }),
      { numRuns: 1000 },
    )
    // Far below what comes out (about 80), so that chance does not fail the test.
    expect(same).toBeGreaterThan(20)
  })

  it('COPY binary is split as the server splits it', async () => {
    const record = fc.tuple(
      fc.option(fc.constantFrom('', 'x')),
      fc.option(fc.constantFrom('k', '')),
    )
    const mutation = fc.option(fc.tuple(fc.nat(60), fc.constantFrom(0x61, 0x62)))
    const ending = fc.constantFrom(
      '',
      '\xff\xff',
      '\xff\xffx',
      '\0\x02',
      '\0\x01',
      '\0\x02\xff\xff\xff\xfe',
    )
    await fc.assert(
      fc.asyncProperty(
        fc.array(record, { maxLength: 4 }),
        mutation,
        ending,
        async (records, change, end) => {
          const tuples = records.map((values) => binaryTuple(values))
          const tail = Buffer.from(end, 'latin1')
          const whole = Buffer.concat([binaryHeader(new Uint8Array(3)), ...tuples, tail])
          if (change !== null && change[0] < whole.length) whole[change[0]] = change[1]
          const sent = new Uint8Array(whole)
          const ours = ourOutcome(layoutOf('binary', {}), sent, [1000])
          const theirs = await serverOutcome('FORMAT binary', sent)
          expect(kept(ours)).toEqual(kept(theirs))
        },
      ),
      { numRuns: 300 },
    )
  })
})
