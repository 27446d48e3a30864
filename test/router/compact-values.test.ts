// An INSERT of many rows is read by its first row.
import * as fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { compactValues } from '../../router/compact-values.ts'
import { Lexer } from '../../router/lexer.ts'
import { loadParser, parseSql } from '../../router/parser.ts'

beforeAll(loadParser)

const compact = (sql: string) => compactValues(new Lexer().scan(Buffer.from(sql)))
const rows = (row: string, count = 1_000) => Array.from({ length: count }, () => row).join(', ')

describe('an INSERT of many rows', () => {
  it('keeps the first of them and what stands around', () => {
    const sql = (values: string) =>
      `INSERT INTO t (a, b) VALUES ${values} ON CONFLICT (a) DO UPDATE SET b = excluded.b RETURNING a;`
    expect(compact(sql(rows("(1, 'x')")))).toBe(sql("(1, 'x')"))
  })

  it.each([
    ['signs and numbers', '(-1, +2.5, 1e10, 0x1F)'],
    ['words', '(NULL, true, FALSE, default)'],
    ['strings of all kinds', `('it''s', E'a\\'b', $$x$$, $tag$),($tag$, B'101')`],
    ['strings with rows in them', `('), (1, f(2)', '--', '/*')`],
    ['blanks', '(\n\t1 ,  2\r\n)'],
  ])('may have %s', (_, row) => {
    expect(compact(`INSERT INTO t VALUES ${rows(row)}`)).toBe(`INSERT INTO t VALUES ${row}`)
  })

  it.each([
    ['a call', `${rows('(1, 2)')}, (f(1), 2)`],
    ['a cast', rows("('1'::int)")],
    ['a parameter', rows('($1, $2)')],
    ['a query', `${rows('(1)')}, ((SELECT 1))`],
    ['a comment', `${rows('(1)')}, -- more\n (2)`],
    ['a column', rows('(a)')],
    ['a word that only begins like one', rows('(nullable)')],
    ['no end', `${rows('(1)')}, (2`],
  ])('with %s is left as it is, or keeps that', (_, values) => {
    const sql = `INSERT INTO t VALUES ${values}`
    expect(compact(sql) ?? 'more').toMatch(/f\(1\)|SELECT 1|more/)
  })

  it.each([
    ['a short one', `INSERT INTO t VALUES ${rows('(1)', 5)}`],
    ['another statement', `SELECT * FROM (VALUES ${rows('(1)')}) v`],
    ['a query', `INSERT INTO t SELECT * FROM (VALUES ${rows('(1)')}) v -- `],
    ['a quoted name', `INSERT INTO "values (1), (2)" VALUES ${rows('(1)')}`],
    ['a comment ahead', `INSERT INTO t /* values (1) */ VALUES ${rows('(1)')}`],
    ['few rows', `INSERT INTO t VALUES ('${'x'.repeat(5_000)}'), (2)`],
  ])('%s is left as it is, or parses to the same but for its rows', (_, sql) => {
    expect(withoutRows(compact(sql) ?? sql)).toEqual(withoutRows(sql))
  })

  it('has the same tree but for its rows', () => {
    const cell = fc.oneof(
      fc.integer().map(String),
      fc.string({ maxLength: 12 }).map((text) => `'${text.replaceAll("'", "''")}'`),
      fc.constantFrom('NULL', 'true', 'DEFAULT', '-1.5', "E'\\n'", '$$a$$', 'now()', "'1'::int"),
    )
    const row = fc
      .array(cell, { minLength: 2, maxLength: 2 })
      .map((cells) => `(${cells.join(', ')})`)
    const many = fc.array(row, { minLength: 3, maxLength: 200 })
    fc.assert(
      fc.property(
        many,
        fc.constantFrom('', ' RETURNING *', ' ON CONFLICT DO NOTHING;'),
        (each, tail) => {
          const sql = `INSERT INTO s.t (a, b)\nVALUES ${each.join(',')}${tail}${' '.repeat(4_096)}`
          const left = compact(sql)
          if (left === null) return
          expect(left.length).toBeLessThan(sql.length)
          expect(withoutRows(left)).toEqual(withoutRows(sql))
        },
      ),
      { numRuns: 300 },
    )
  })
})

/** The statement's tree without its rows and places. */
function withoutRows(sql: string): unknown {
  return parseSql(sql).map(({ node }) =>
    JSON.parse(
      JSON.stringify(node, (key, value: unknown) =>
        key === 'valuesLists' || key === 'location' ? undefined : value,
      ),
    ),
  )
}
