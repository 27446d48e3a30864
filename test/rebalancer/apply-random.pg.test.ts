// Random histories of several tables: after each of them the target has the set's rows as the
// source has them, whatever the order, the batches and the size of what is streamed.
import * as fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { moverServers } from '../support/mover-servers.ts'
import { type FollowFixture, openFollowFixture } from './apply-fixture.ts'

/** Plain, with another unique index, with the whole old rows, and partitioned. */
const ddl = `
  CREATE TABLE plain (k bigint, id int, v text, n int, PRIMARY KEY (k, id));
  ALTER TABLE plain ALTER v SET STORAGE EXTERNAL;
  CREATE TABLE uniq (k bigint, id int, v text, n int, PRIMARY KEY (k, id), UNIQUE (k, n));
  CREATE TABLE whole (k bigint, id int PRIMARY KEY, v text, n int);
  ALTER TABLE whole REPLICA IDENTITY FULL; ALTER TABLE whole ALTER v SET STORAGE EXTERNAL;
  CREATE TABLE part (k bigint, id int, v text, n int, PRIMARY KEY (k, id)) PARTITION BY HASH (id);
  CREATE TABLE part_0 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 0);
  CREATE TABLE part_1 PARTITION OF part FOR VALUES WITH (MODULUS 2, REMAINDER 1)`
const names = ['plain', 'uniq', 'whole', 'part'] as const
const tables = names.map((name) => ({
  name,
  key: 'k',
  identity: name === 'whole' ? ['id'] : ['k', 'id'],
}))

const large = `repeat(md5(random()::text), 80)`
const key = fc.nat(12)
const id = fc.nat(4)
const table = fc.constantFrom(...names)

/** Statements that fail (a unique index, a row that is there) roll their savepoint back. */
const statementArbitrary = fc.oneof(
  fc.tuple(table, key, id, fc.nat(5)).map(([t, k, i, n]) => {
    return `INSERT INTO ${t} VALUES (${k}, ${i}, 'v${n}', ${n})`
  }),
  fc
    .tuple(table, key, id)
    .map(([t, k, i]) => `INSERT INTO ${t} VALUES (${k}, ${i}, ${large}, NULL)`),
  fc.tuple(table, fc.nat(5)).map(([t, n]) => `UPDATE ${t} SET n = ${n} - coalesce(n, 0)`),
  fc.tuple(table, key, id, fc.nat(5)).map(([t, k, i, n]) => {
    return `UPDATE ${t} SET n = ${n}, v = v || '+' WHERE k = ${k} OR id = ${i}`
  }),
  fc.tuple(table, key).map(([t, k]) => `UPDATE ${t} SET v = ${large} WHERE k = ${k}`),
  fc.tuple(table, id, id).map(([t, i, to]) => `UPDATE ${t} SET id = ${to} WHERE id = ${i}`),
  // Only where the whole old row is known may a row with large values come into the set.
  fc.tuple(key, key).map(([k, to]) => `UPDATE whole SET k = ${to} WHERE k = ${k}`),
  fc.tuple(table, key).map(([t, k]) => `DELETE FROM ${t} WHERE k = ${k}`),
  fc.tuple(table, id).map(([t, i]) => `DELETE FROM ${t} WHERE id = ${i}`),
  table.map((t) => `TRUNCATE ${t}`),
  table.map(
    (t) => `INSERT INTO ${t} SELECT g, 100 + g, 'many', g FROM generate_series(100, 900) g`,
  ),
  table.map((t) => `DELETE FROM ${t} WHERE id > 100`),
)

const transactionArbitrary = fc.record({
  statements: fc.array(statementArbitrary, { minLength: 1, maxLength: 8 }),
  commits: fc.integer({ min: 0, max: 5 }).map((dice) => dice > 0),
  waits: fc.integer({ min: 0, max: 3 }).map((dice) => dice === 0),
})

describe.each(moverServers().map((servers) => [servers.version, servers] as const))(
  'random histories on PostgreSQL %i',
  (_, servers) => {
    let fixture: FollowFixture | null = null
    afterEach(async () => {
      await fixture?.close()
      fixture = null
    })

    it('end in the same rows', async () => {
      const f = await openFollowFixture({ servers, ddl, tables })
      fixture = f
      await f.source.query(`ALTER DATABASE "${f.name}" SET logical_decoding_work_mem = '64kB'`)
      const follower = await f.follow()
      await fc.assert(
        fc.asyncProperty(
          fc.array(transactionArbitrary, { minLength: 1, maxLength: 8 }),
          async (transactions) => {
            for (const { statements, commits, waits } of transactions) {
              await f.source.query('BEGIN')
              for (const statement of statements) await attempt(f, statement)
              await f.source.query(commits ? 'COMMIT' : 'ROLLBACK')
              if (waits) await f.caughtUp(follower)
            }
            await f.caughtUp(follower)
            for (const name of names) expect(await f.differences(name, 0)).toEqual([])
          },
        ),
        { numRuns: 25 },
      )
    }, 120_000)
  },
)

async function attempt({ source }: FollowFixture, statement: string): Promise<void> {
  await source.query('SAVEPOINT s')
  try {
    await source.query(statement)
  } catch {
    await source.query('ROLLBACK TO SAVEPOINT s')
  }
}
