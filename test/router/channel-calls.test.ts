// pg_listening_channels() inside of statements: what is written in its place, and where nothing can be.
import { beforeAll, expect, it } from 'vitest'
import { writeChannels } from '../../router/channel-calls.ts'
import { loadParser } from '../../router/parser.ts'

const call = 'pg_listening_channels()'
const rows = `pg_catalog.unnest(ARRAY['a', 'it''s']::pg_catalog.text[])`
const named = `${rows} AS pg_listening_channels`

beforeAll(loadParser)

it.each([
  [
    `SELECT * FROM ${call} WHERE pg_listening_channels = 'a'`,
    `SELECT * FROM ${named} WHERE pg_listening_channels = 'a'`,
  ],
  [`SELECT 1 FROM ${call} AS c(n)`, `SELECT 1 FROM ${rows} AS c(n)`],
  [`SELECT '日', ${call}, ${call} x`, `SELECT '日', ${named}, ${rows} x`],
  [`SELECT n FROM PG_Catalog . "pg_listening_channels" ( ) n`, `SELECT n FROM ${rows} n`],
  [`EXPLAIN SELECT 1 FROM ${call} c`, `EXPLAIN SELECT 1 FROM ${rows} c`],
  [`SELECT '${call}', other.${call}`, `SELECT '${call}', other.${call}`],
  [`CREATE VIEW v AS SELECT ${call}`, `CREATE VIEW v AS SELECT ${call}`],
])('%s', (sql, written) => {
  expect(writeChannels(sql, ['a', "it's"])?.sql).toBe(written)
})

it.each([
  `SELECT ${call}::text`,
  `SELECT * FROM ROWS FROM (${call}) c`,
  `SELECT * FROM ${call} WITH ORDINALITY`,
  'SELECT * FROM pg_listening_channels(/* of mine */) c',
])('nothing can be written into %s', (sql) => {
  expect(writeChannels(sql, ['a'])).toBeNull()
})

it('positions are those of the text as it came', () => {
  const sql = `SELECT '日', a, ${call}, b, ${call} x, c`
  const written = writeChannels(sql, ['a'])
  for (const name of [', a', ', b', ', c']) {
    const before = sql.indexOf(name) + 1
    expect(written?.positionBefore((written?.sql.indexOf(name) ?? 0) + 1)).toBe(before)
  }
  const inside = (written?.sql.indexOf('unnest') ?? 0) + 1
  expect(written?.positionBefore(inside)).toBe(sql.indexOf(call) + 1)
})

it('a channel reads the same whatever standard_conforming_strings says', () => {
  expect(writeChannels(`SELECT 1 FROM ${call} c`, ["a\\'b"])?.sql).toContain(`ARRAY[E'a\\\\''b']`)
})
