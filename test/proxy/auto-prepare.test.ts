// Simple queries that run as prepared statements: the client is told, message for message, what PostgreSQL would tell it.
import { isDeepStrictEqual } from 'node:util'
import * as fc from 'fast-check'
import { afterEach, describe, expect, inject, it } from 'vitest'
import {
  present,
  rawClient,
  type RawClient,
  untilReady,
  value,
  withClient,
} from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import type { ServerMessage } from '../support/raw-connection.ts'
import { type Stack, type StackOptions, startStack } from '../support/stack.ts'

const [newest] = inject('servers')
const setupSql = `
  CREATE DOMAIN word AS text CHECK (VALUE <> 'bad');
  CREATE TABLE owners (id int PRIMARY KEY);
  CREATE TABLE odd (id int PRIMARY KEY, minutes interval minute, span interval day to second(0), word word, text text,
    owner int REFERENCES owners DEFERRABLE INITIALLY DEFERRED);
  INSERT INTO odd (id) SELECT generate_series(1, 5);
  CREATE TABLE items (id bigint PRIMARY KEY, small int2, name varchar(10), code char(4), price numeric(8, 2),
    born date, at timestamptz, tags jsonb, note text, kind oid);
  INSERT INTO items SELECT g, g % 7, 'item ' || g, 'c' || g % 10, g * 1.5, date '2020-01-01' + g,
    timestamptz '2020-01-01 00:00:00+00' + g * interval '1 hour', '{}', 'note ' || g, g
    FROM generate_series(1, 50) g`

let stack: Stack | undefined
afterEach(async () => {
  await stack?.close()
  stack = undefined
})

async function start(options: Partial<StackOptions> = {}, servers = newest): Promise<Stack> {
  stack = await startStack(present(servers), {
    shards: 1,
    setupSql,
    ...options,
    database: { autoPrepare: true, ...options.database },
    pool: { size: 4, ...options.pool },
  })
  return stack
}

async function answer({ connection }: RawClient, sql: string): Promise<unknown[]> {
  connection.send(textBytes('Q', sql))
  return (await untilReady(connection)).map(comparable)
}

/** Tables have other numbers in the other database. */
function comparable({ code, bytes }: ServerMessage): unknown {
  const body = bytes.subarray(5)
  if (code !== 'T') return [code, body.toString('latin1')]
  const fields: unknown[] = []
  let at = 2
  while (at < body.length) {
    const end = body.indexOf(0, at)
    fields.push(body.toString('latin1', at, end), body.toString('hex', end + 5, end + 19))
    at = end + 19
  }
  return [code, fields]
}

/** What is answered otherwise than by PostgreSQL, each statement run a few times. */
async function differences({ proxy, direct }: Stack): Promise<unknown[]> {
  const [theirs, ours] = await Promise.all([rawClient(direct), rawClient(proxy)])
  const found: unknown[] = []
  for (const sql of statements) {
    for (let run = 0; run < 3; run += 1) {
      const expected = await answer(theirs, sql)
      const got = await answer(ours, sql)
      if (!isDeepStrictEqual(got, expected)) found.push({ sql, expected, got })
    }
  }
  theirs.connection.destroy()
  ours.connection.destroy()
  return found
}

const statements = [
  'SELECT id, name FROM items WHERE id = 7',
  'SELECT id, name FROM items WHERE id = 8;',
  "SELECT * FROM items WHERE name = 'item 3'",
  "SELECT id FROM items WHERE code = 'c3' ORDER BY 1 LIMIT 2",
  'SELECT id FROM items WHERE small = 3 ORDER BY id LIMIT 2 OFFSET 1',
  'SELECT id FROM items WHERE id IN (1, 2, 99) ORDER BY id',
  "SELECT id FROM items WHERE name IN ('item 1', 'item 2') ORDER BY id",
  'SELECT id FROM items WHERE id BETWEEN 3 AND 5 ORDER BY id',
  "SELECT id FROM items WHERE born > '2020-02-01' AND born < '2020-02-04' ORDER BY id",
  "SELECT id FROM items WHERE at = '2020-01-01 05:00:00+00'",
  'SELECT id FROM items WHERE id = -1',
  'SELECT id FROM items WHERE id <> 1 AND id < 4',
  'SELECT id FROM items WHERE id = 99999999999',
  'SELECT id FROM items WHERE price = 1.5',
  'SELECT id FROM items WHERE price > 70 ORDER BY id',
  "SELECT id FROM items WHERE note = E'a\\'b' OR note = $$note 4$$",
  "SELECT id, 'x' FROM items WHERE id = 1",
  'SELECT 1, 2',
  'SELECT id FROM items WHERE id = 1 /* a comment */ -- another',
  "INSERT INTO items (id, name, price, born, tags, small) VALUES (1000, 'n', 12.345, '2021-01-01', '{\"a\": 1}', 5) ON CONFLICT DO NOTHING",
  "INSERT INTO items (id, note) VALUES (2000, 'a'), (2001, 'b') ON CONFLICT DO NOTHING",
  'INSERT INTO items (id, note) VALUES (3000, 7) ON CONFLICT DO NOTHING RETURNING id, note',
  "UPDATE items SET note = 'changed', small = small + 1, price = 3 WHERE id = 5 RETURNING *",
  'DELETE FROM items WHERE id = 1000',
  'DELETE FROM items WHERE id = 2000 RETURNING id',
  // A constant's units may be its column's.
  "UPDATE odd SET minutes = '5', span = '1 2' WHERE id = 1 RETURNING minutes, span",
  "UPDATE odd SET minutes = '1 day 7', span = '4:05' WHERE id = 1 RETURNING minutes, span",
  "UPDATE odd SET span = 'day 3' WHERE id = 1 RETURNING span",
  "INSERT INTO odd (id, minutes) VALUES (6, '-7') ON CONFLICT (id) DO UPDATE SET minutes = '8' RETURNING minutes",
  "SELECT id FROM odd WHERE minutes = '5' ORDER BY id",
  // Bytes by number are bytes of the database, whatever the client's encoding is.
  "SET client_encoding = 'LATIN1'",
  "UPDATE odd SET text = 'caf\u00e9' WHERE id = 2 RETURNING text",
  "UPDATE odd SET text = E'\\u00e9 \\xc3\\xa9 \\303\\251' WHERE id = 2 RETURNING id, text",
  "SET client_encoding = 'UTF8'",
  "UPDATE odd SET text = E'a\\tb\\'c\\\\x' WHERE id = 2 RETURNING id, text",
  // A failure of the commit is told instead of the end of the statement.
  'UPDATE odd SET owner = 77 WHERE id = 3',
  'INSERT INTO odd (id, owner) VALUES (12, 78) RETURNING id',
  // What does not work out is told in the words of the query.
  "UPDATE odd SET word = 'bad' WHERE id = 4",
  "INSERT INTO odd (id, word) VALUES (13, 'bad')",
  "SELECT id FROM items WHERE id = 'seven'",
  "SELECT id FROM items WHERE born = 'no date'",
  'SELECT id FROM items WHERE name = 7',
  'SELECT nothing FROM items WHERE id = 1',
  'SELECT id FROM nowhere WHERE id = 1',
  'SELECT id FROM items WHERE id = 1 LIMIT -1',
  'SELECT 10 / (id - 7) FROM items WHERE id = 7',
  'INSERT INTO items (id) VALUES (1)',
  "INSERT INTO items (id, name) VALUES (4000, 'much too long for it')",
  'UPDATE items SET small = 99999 WHERE id = 5',
  'SELECT id FROM items WHERE id = 5 GROUP BY id, id = 5 HAVING id = 5',
  'SELECT id = 5 FROM items GROUP BY id = 5',
  'SELECT FROM WHERE id = 1',
  'BEGIN',
  'SELECT id FROM items WHERE id = 9',
  "SELECT id FROM items WHERE id = 'nine'",
  'ROLLBACK',
]

describe.each(inject('servers'))(
  'a simple query run prepared on PostgreSQL $version',
  (servers) => {
    it('is answered as PostgreSQL answers it', async () => {
      expect(await differences(await start({}, servers))).toEqual([])
    })

    it('is answered so on the fast lane, too', async () => {
      expect(await differences(await start({ pool: { laneServersMax: 2 } }, servers))).toEqual([])
    })
  },
)

describe('queries that differ in constants alone', () => {
  it('are prepared once', async () => {
    const { proxy, shardUrls } = await start({ pool: { size: 1 } })
    await withClient(proxy, async (client) => {
      for (let id = 1; id < 20; id += 1) {
        expect(await value(client, `SELECT id FROM items WHERE id = ${id}`)).toBe(String(id))
      }
      const sql = `SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%FROM items%'`
      expect(await value(client, sql)).toBe('1')
    })
    expect(shardUrls).toHaveLength(1)
  })

  it('give the same rows as they are', async () => {
    const running = await start()
    const [theirs, ours] = await Promise.all([rawClient(running.direct), rawClient(running.proxy)])
    const text = fc.oneof(
      fc.string({ maxLength: 8, unit: 'grapheme' }),
      fc.constantFrom('item 7', "it's", 'back\\slash', '%', '', 'c1  '),
    )
    const literal = fc.oneof(
      fc.integer({ min: -100, max: 100 }).map(String),
      fc.integer().map(String),
      fc.bigInt({ min: -(2n ** 65n), max: 2n ** 65n }).map(String),
      text.filter((each) => !each.includes('\0')).map((each) => `'${each.replaceAll("'", "''")}'`),
      fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
    )
    const column = fc.constantFrom('id', 'small', 'name', 'code', 'price', 'note', 'born', 'kind')
    const operator = fc.constantFrom('=', '<>', '<', '>=')
    const condition = fc
      .tuple(column, operator, literal)
      .map(([name, sign, constant]) => `${name} ${sign} ${constant}`)
    await fc.assert(
      fc.asyncProperty(condition, condition, async (one, other) => {
        const sql = `SELECT id, name FROM items WHERE ${one} OR ${other} ORDER BY id LIMIT 5`
        expect([sql, await answer(ours, sql)]).toEqual([sql, await answer(theirs, sql)])
      }),
      { numRuns: 300 },
    )
    theirs.connection.destroy()
    ours.connection.destroy()
  })

  it('are planned anew after a change of the table', async () => {
    const { proxy } = await start()
    await withClient(proxy, async (client) => {
      const keys = async (id: number) => {
        const { fields } = await client.query(`SELECT * FROM items WHERE id = ${id}`)
        return fields.length
      }
      for (let id = 1; id < 5; id += 1) expect(await keys(id)).toBe(10)
      await client.query('ALTER TABLE items ADD COLUMN more int')
      for (let id = 1; id < 5; id += 1) expect(await keys(id)).toBe(11)
    })
  })
})
