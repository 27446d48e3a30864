// Array values: text and binary forms give the same elements; nonsense gives none.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { arrayElements } from '../../router/array-value.ts'

const text = (array: string) =>
  arrayElements(Buffer.from(array, 'utf8'), false)?.map(
    (element) => element && Buffer.from(element).toString('utf8'),
  )

function quoted(element: string | null): string {
  if (element === null) return 'NULL'
  return `"${element.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`
}

function binary(elements: readonly (string | null)[]): Buffer {
  const head = Buffer.alloc(20)
  head.writeInt32BE(1, 0)
  head.writeInt32BE(25, 8)
  head.writeInt32BE(elements.length, 12)
  head.writeInt32BE(1, 16)
  const parts = elements.flatMap((element) => {
    const bytes = Buffer.from(element ?? '', 'utf8')
    const length = Buffer.alloc(4)
    length.writeInt32BE(element === null ? -1 : bytes.length)
    return [length, bytes]
  })
  return Buffer.concat([head, ...parts])
}

const element = fc.option(fc.string({ unit: 'grapheme', maxLength: 8 }))

describe('array values', () => {
  it('are read alike from text and binary', () => {
    fc.assert(
      fc.property(fc.array(element, { maxLength: 6 }), (elements) => {
        expect(text(`{${elements.map(quoted).join(',')}}`)).toEqual(elements)
        const read = arrayElements(binary(elements), true)
        expect(read?.map((bytes) => bytes && Buffer.from(bytes).toString('utf8'))).toEqual(elements)
      }),
    )
  })

  it.each([
    ['{}', []],
    [' { 1 , 2 } ', ['1', '2']],
    ['{{1,2},{3,NULL}}', ['1', '2', '3', null]],
    ['[0:1]={1,2}', ['1', '2']],
    ['{null,"null",a\\"b,a b }', [null, 'null', 'a"b', 'a b']],
    // U+00A0 ends the bytes of à, and is no blank of PostgreSQL's.
    ['{à, à\u00a0 ,\\à}', ['à', 'à\u00a0', 'à']],
    ['{a\\ , b\\\\ ,\\ c}', ['a ', 'b\\', ' c']],
    [`{a${' '.repeat(300_000)},"b"${' '.repeat(300_000)}}`, ['a', 'b']],
  ])('%s', (array, elements) => {
    expect(text(array)).toEqual(elements)
  })

  it.each([
    ['blanks', `{a${' '.repeat(300_000)}"}`],
    ['blanks at the beginning', `{${' '.repeat(300_000)}x"}`],
    ['letters', `{${'a'.repeat(300_000)}"}`],
  ])('%s are not taken apart in all ways', (_, array) => {
    expect(text(array)).toBeUndefined()
  })

  it.each(['', '1', '{', '}', '{1', '{1}x', '{"a}', '{a"b"}', '{1}{2}'])('%s is none', (array) => {
    expect(text(array)).toBeUndefined()
  })

  it('takes any bytes without failing', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.boolean(), (bytes, isBinary) => {
        const elements = arrayElements(bytes, isBinary)
        expect(elements === undefined || Array.isArray(elements)).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })
})
