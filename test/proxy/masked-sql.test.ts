// What logs and traces show of a statement: its words, never its values.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { maskedBytesMax, maskedSql } from '../../proxy/masked-sql.ts'

const plain = { escapes: false, encoding: 'UTF8' }
const masked = (sql: string, reading = plain) => maskedSql(Buffer.from(sql), reading)

describe('a masked statement', () => {
  it.each([
    ["SELECT * FROM t WHERE a = 'x''y' AND b=12.5e3", 'SELECT * FROM t WHERE a = $1 AND b=$2'],
    ['SELECT  1\n -- secret\n , 2 /* a /* b */ c */ + .5', 'SELECT $1 , $2 + $3'],
    ["SELECT $2, E'a\\'b', 'c'", 'SELECT $2, $3, $4'],
    ['SELECT $$ a $ b $$, $x$ $$ $x$, $1', 'SELECT $2, $3, $1'],
    [
      "SELECT \"Col 1\", t1.c2, U&'\\0041', b'01', X'ff', N'n'",
      'SELECT "Col 1", t1.c2, $1, $2, $3, $4',
    ],
    ['SELECT 0xff, 1_000, 12abc, -5, a[1]', 'SELECT $1, $2, $3, -$4, a[$5]'],
    ["INSERT INTO t VALUES ('open", 'INSERT INTO t VALUES ($1'],
    ['SELECT $a$ open $b$', 'SELECT $1'],
    ["SELECT E'a'\n'b\\'secret', 'c'", 'SELECT $1, $2'],
    ["SELECT E'a' -- x\n  -- y\n 'b\\'secret', 'c'", 'SELECT $1, $2'],
    ["SELECT E'a' 'b\\', secret", 'SELECT $1 $2, secret'],
    ['SET app.token = secret', 'SET app.token = (not shown)'],
    [
      'SET LOCAL app."to ken" TO "secret", more; SELECT b',
      'SET LOCAL app."to ken" TO (not shown); SELECT b',
    ],
    ['ALTER ROLE r SET app.key=secret', 'ALTER ROLE r SET app.key=(not shown)'],
    ["SET app.token = 'secret'", 'SET app.token = $1'],
    ['SET search_path = a, b', 'SET search_path = a, b'],
    ["ALTER ROLE r PASSWORD 'p'", 'ALTER ROLE r PASSWORD $1'],
    ['', ''],
  ])('of %s is %s', (sql, shown) => {
    expect(masked(sql)).toBe(shown)
  })

  it('reads strings as the session does', () => {
    const sql = "SELECT 'a\\' secret', 'b'"
    expect(masked(sql, { ...plain, escapes: true })).toBe('SELECT $1, $2')
  })

  it('shows nothing where a byte of a character may look like a backslash', () => {
    const sql = Buffer.from([...Buffer.from("SELECT E'"), 0x83, 0x5c, ...Buffer.from("', 'x'")])
    expect(maskedSql(sql, { ...plain, encoding: 'SJIS' })).toBe('(not shown)')
    expect(masked("SELECT 'x'", { ...plain, encoding: 'SJIS' })).toBe('SELECT $1')
  })

  it('has a longest length, and says that it was cut', () => {
    const shown = masked(`SELECT ${'a, '.repeat(maskedBytesMax)}'secret'`)
    expect(shown.length).toBeLessThan(2_100)
    expect(shown.endsWith('…')).toBe(true)
  })

  const mark = 'Zq7'
  const secret = fc
    .string({ maxLength: 20, unit: 'grapheme' })
    .map((text) => `${mark}${text}${mark}`)
  const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`
  const escaped = (text: string) => `E'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
  const dollars = (text: string) => `$t$${text.replaceAll('$', '')}$t$`
  const comment = (text: string) => `/* ${text.replaceAll(/[*/]/g, '')} */ `
  const literal = fc.oneof(
    secret.map(quoted),
    secret.map((text) => quoted(text).replaceAll('\\', '')),
    secret.map(escaped),
    secret.map(dollars),
    secret.map((text) => `${comment(text)}1`),
    fc.integer().map((number) => `739${Math.abs(number)}`),
    fc.double({ noNaN: true, noDefaultInfinity: true, min: 0 }).map((number) => `739${number}`),
  )
  const between = fc.constantFrom(
    ' = ',
    ', ',
    ' || ',
    ' AND x IN (',
    ') OR "a b" = ',
    '\n',
    '::text, ',
  )

  it('never has a literal in it, whatever stands around', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(between, literal), { maxLength: 8 }), (parts) => {
        const sql = `SELECT a${parts.map(([sign, value]) => sign + value).join('')} FROM t`
        const shown = masked(sql)
        expect(shown).not.toContain(mark)
        expect(shown).not.toContain('739')
        expect(shown.startsWith('SELECT a')).toBe(true)
        expect(shown.endsWith(' FROM t')).toBe(true)
      }),
      { numRuns: 500 },
    )
  })

  it('never has one in it when the text is cut anywhere', () => {
    fc.assert(
      fc.property(literal, fc.nat(60), (value, length) => {
        const bytes = Buffer.from(`SELECT a = ${value}`).subarray(0, 11 + length)
        const shown = maskedSql(bytes, plain)
        expect(shown).not.toContain(mark)
        expect(shown).not.toMatch(/739/)
      }),
      { numRuns: 500 },
    )
  })

  it('is made of any bytes without an error', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, escapes) => {
        expect(typeof maskedSql(bytes, { ...plain, escapes })).toBe('string')
      }),
    )
  })
})
