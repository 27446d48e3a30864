// The lexer must see the tokens that PostgreSQL's own scanner sees: checked against libpg-query on
// generated SQL.
import * as fc from 'fast-check'
import { scanSync } from 'libpg-query'
import { beforeAll, describe, expect, it } from 'vitest'
import { Lexer, literalKind } from '../../router/lexer.ts'
import { Literals, utf8Of } from '../../router/literals.ts'
import { loadParser, parseSql } from '../../router/parser.ts'

beforeAll(loadParser)

const lexer = new Lexer()
const scan = (sql: string) => lexer.scan(Buffer.from(sql, 'utf8'))

type Span = { readonly start: number; readonly end: number; readonly kind: number }

function spansOf(sql: string): Span[] {
  const { literals } = scan(sql)
  const spans: Span[] = []
  for (let at = 0; at < literals.length; at += 3) {
    const [start = 0, end = 0, kind = 0] = literals.slice(at, at + 3)
    spans.push({ start, end, kind })
  }
  return spans
}

/** By token number of the grammar: FCONST, SCONST, BCONST, XCONST, ICONST. */
const kinds: Readonly<Record<number, number>> = {
  260: literalKind.decimal,
  261: literalKind.string,
  263: literalKind.bits,
  264: literalKind.bits,
  266: literalKind.integer,
}

/** Literals as PostgreSQL's scanner gives them. */
function scannedSpans(sql: string): Span[] {
  return scanSync(sql).tokens.flatMap(({ start, end, tokenType }) => {
    const kind = kinds[tokenType]
    return kind === undefined ? [] : [{ start, end, kind }]
  })
}

const piece = fc.oneof(
  fc.constantFrom(
    'SELECT',
    'a',
    'b$1',
    '"q ""x"',
    '"é"',
    'é',
    '_x',
    'E',
    'x1',
    'select',
    '(',
    ')',
    ',',
    '.',
    '::',
    '=',
    '<>',
    '-',
    '+',
    '*',
    '/',
    '@',
    '||',
    '->>',
    '#>',
    '[',
    ']',
    ':',
    '$1',
    '$23',
    ';',
    '!',
    '~',
    '%',
    '?',
    '|/',
    "'a'",
    "''",
    "'it''s'",
    "'a\\'",
    "'é'",
    "E'a\\'b'",
    "e'\\\\'",
    "E'''\\n'",
    "B'101'",
    "x'FF'",
    "'--'",
    "'/*'",
    '$$a$$',
    "$x$ '$$ $x$",
    '$é$b$é$',
    '$$$$',
    '1',
    '42',
    '1_000',
    '0x1F',
    '0b11',
    '0o17',
    '1.5',
    '.5',
    '1.',
    '1e5',
    '1.5E-3',
    '123456789012345678901234567890',
    '1..2',
    '-- c\n',
    "-- it's\n",
    '/* c */',
    '/* /* n */ */',
    "/*'*/",
  ),
  fc.integer({ min: 0, max: 9_999_999 }).map(String),
  fc.string({ maxLength: 6 }).map((text) => `'${text.replaceAll("'", "''").replaceAll('\0', '')}'`),
)
const separator = fc.constantFrom(' ', '\n', '\t', '  ', ' \r\n')
const sqlText = fc
  .array(fc.tuple(piece, separator), { minLength: 1, maxLength: 25 })
  .map((pairs) => pairs.flat().join(''))

describe('lexer', () => {
  it('finds the literals that PostgreSQL finds, whatever stands around them', () => {
    fc.assert(
      fc.property(sqlText, (sql) => {
        if (scan(sql).template === null) return
        expect(spansOf(sql)).toEqual(scannedSpans(sql))
      }),
      { numRuns: 3000 },
    )
  })

  it('sees the same tokens when nothing separates them', () => {
    fc.assert(
      fc.property(fc.array(piece, { minLength: 1, maxLength: 8 }), (pieces) => {
        const sql = pieces.join('')
        if (scan(sql).template === null) return
        let expected: Span[]
        try {
          expected = scannedSpans(sql)
        } catch {
          return
        }
        expect(spansOf(sql)).toEqual(expected)
      }),
      { numRuns: 5000 },
    )
  })

  it('gives one template to texts that differ in values and comments alone', () => {
    const one = scan("SELECT 1, 'a', 2.5 /* x */ FROM t -- y\nWHERE a = E'\\n'")
    const other = scan("SELECT 77, $$b'c$$, 1e9 /* 'z' */ FROM t --\nWHERE a = 'q'")
    expect(one.template).not.toBeNull()
    expect(one.template).toBe(other.template)
  })

  it.each([
    ['an integer and a decimal', 'SELECT 1', 'SELECT 1.0'],
    ['a number and a string', 'SELECT 1', "SELECT '1'"],
    ['a string and bits', "SELECT '1'", "SELECT B'1'"],
    ['a parameter and a number', 'SELECT $1', 'SELECT 1'],
    ['two parameters', 'SELECT $1', 'SELECT $2'],
    ['a string and an identifier', "SELECT 'a'", 'SELECT "a"'],
    ['an identifier glued to a string', "SELECT type 'a'", "SELECT typee 'a'"],
    ['a negative and a positive number', 'SELECT -1', 'SELECT 1'],
    ['NULL and a number', 'SELECT NULL', 'SELECT 1'],
  ])('tells %s apart', (_what, one, other) => {
    expect(scan(one).template).not.toBe(scan(other).template)
  })

  it.each([
    ['a string that goes on in the next line', "SELECT 'a'\n'b'"],
    ['a string that goes on after a comment', "SELECT 'a' -- x\n 'b'"],
    ['a Unicode string', "SELECT U&'a'"],
    ['a Unicode identifier', 'SELECT U&"a"'],
    ['a national string', "SELECT N'a'"],
    ['an unterminated string', "SELECT 'a"],
    ['an unterminated dollar quote', 'SELECT $a$ $'],
    ['an unterminated comment', 'SELECT 1 /* /* */'],
    ['a number glued to a word', 'SELECT 1abc'],
    ['a control character', 'SELECT \u0001'],
    ['a control character in an identifier', 'SELECT "a\u0003"'],
  ])('leaves %s to the exact text', (_what, sql) => {
    expect(scan(sql).template).toBeNull()
  })

  it('reads every string as the parser does', () => {
    const body = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 12 }).map((text) => text.replaceAll('\0', '')),
      fc
        .array(
          fc.constantFrom(
            '\\n',
            '\\\\',
            "\\'",
            "''",
            '\\x41',
            '\\101',
            '\\u00e9',
            '\\U0001F600',
            '\\q',
            'é',
            'a',
          ),
        )
        .map((parts) => parts.join('')),
    )
    const literal = fc.oneof(
      body.map((text) => `'${text.replaceAll("'", "''")}'`),
      body
        .filter(
          (text) =>
            /^(?:\\[^]|''|[^'\\])*$/.test(text) &&
            !/\\[uUx0-9]/.test(text.replaceAll(/\\(?:x41|101|u00e9|U0001F600)/g, '')),
        )
        .map((text) => `E'${text}'`),
      body.filter((text) => !text.includes('$')).map((text) => `$t$${text}$t$`),
    )
    fc.assert(
      fc.property(literal, (text) => {
        const sql = `SELECT ${text}`
        const [statement] = parseSql(sql)
        const parsed = /"sval":\{(?:"sval":("(?:[^"\\]|\\.)*"))?\}/.exec(
          JSON.stringify(statement?.node),
        )
        const expected: unknown = JSON.parse(parsed?.[1] ?? '""')
        expect(utf8Of(new Literals(scan(sql)).at(0).raw)).toBe(expected)
      }),
      { numRuns: 2000 },
    )
  })

  it('knows where statements end, also behind characters of several bytes', () => {
    const { semicolons, ascii } = scan('SELECT \'é;\'; SELECT ";" /* ; */; -- ;\nSELECT $$;$$')
    expect(semicolons).toEqual([12, 32])
    expect(ascii).toBe(false)
  })
})
