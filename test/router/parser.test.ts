// The adapter's limits: what no statement of a client may do to the process.
import { beforeAll, describe, expect, it } from 'vitest'
import { PgError } from '../../core/errors.ts'
import { loadParser, parsedSqlBytesMax, parseSql } from '../../router/parser.ts'

beforeAll(loadParser)

function errorOf(sql: string): PgError {
  try {
    parseSql(sql)
  } catch (thrown) {
    if (thrown instanceof PgError) return thrown
    throw thrown
  }
  throw new Error('nothing was thrown')
}

const hostile: readonly (readonly [string, string])[] = [
  ['parentheses', `SELECT ${'('.repeat(50_000)}1${')'.repeat(50_000)}`],
  ['subqueries', `SELECT ${'(SELECT '.repeat(20_000)}1${')'.repeat(20_000)}`],
  ['operators', `SELECT ${'1+'.repeat(200_000)}1`],
  ['NOT', `SELECT ${'NOT '.repeat(20_000)}true`],
  ['CASE', `SELECT ${'CASE WHEN true THEN '.repeat(5_000)}1${' END'.repeat(5_000)}`],
  ['joins', `SELECT * FROM a ${'JOIN b ON true '.repeat(50_000)}`],
  ['set operations', `SELECT 1 ${'UNION SELECT 1 '.repeat(50_000)}`],
  ['casts', `SELECT 1${'::int'.repeat(100_000)}`],
]

describe('parser', () => {
  it.each(hostile)('survives %s nested without end', async (_what, sql) => {
    for (let round = 0; round < 3; round += 1) {
      expect(errorOf(sql).sqlstate).toBe('54001')
      // The spare instance comes with the event loop's next turns.
      await new Promise((resolve) => setTimeout(resolve, 50))
      expect(parseSql('SELECT 1')).toHaveLength(1)
    }
  })

  it('still parses when hostile statements come faster than spare instances', async () => {
    for (let round = 0; round < 10; round += 1) errorOf(hostile[2]?.[1] ?? '')
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(parseSql('SELECT 1')).toHaveLength(1)
  })

  it('refuses a statement over its limit unread', () => {
    expect(errorOf(`SELECT '${'x'.repeat(parsedSqlBytesMax)}'`).sqlstate).toBe('54000')
  })

  it("gives PostgreSQL's own message and the position in characters", () => {
    const error = errorOf("SELECT 'ü', 'ä' FRM x y")
    expect(error).toMatchObject({
      sqlstate: '42601',
      message: 'syntax error at or near "x"',
      position: 21,
    })
    expect(errorOf('SELECT (').message).toBe('syntax error at end of input')
    expect(errorOf("SELECT 'a").message).toBe('unterminated quoted string at or near "\'a"')
  })

  it('gives offsets in bytes and skips what is empty', () => {
    const statements = parseSql(" ; SELECT 'ü' ; ;\n-- x\nSELECT 2")
    expect(statements.map(({ start, end }) => [start, end])).toEqual([
      [3, 15],
      [24, 32],
    ])
    expect(parseSql('')).toEqual([])
    expect(parseSql(' ; /* x */ ;')).toEqual([])
  })

  it('holds no memory after many statements, right or wrong', () => {
    const round = (count: number) => {
      for (let at = 0; at < count; at += 1) {
        parseSql(`SELECT * FROM orders WHERE tenant_id = ${at} AND note = 'abc'`)
        if (at % 10 === 0) errorOf(`SELECT * FROM orders WHERE = ${at}`)
      }
    }
    round(5_000)
    const before = process.memoryUsage().rss
    round(25_000)
    const grownBytes = process.memoryUsage().rss - before
    expect(grownBytes).toBeLessThan(64 * 1024 * 1024)
  }, 60_000)
})
