// A follower between two real servers: what the source does to the moved rows happens on the
// target, and nothing else.
import { afterEach, describe, expect, it } from 'vitest'
import { moverServers } from '../support/mover-servers.ts'
import { lsn } from '../../core/lsn.ts'
import {
  currentLsn,
  type FixtureOptions,
  type FollowFixture,
  openFollowFixture,
} from './apply-fixture.ts'

const ddl = `CREATE TABLE t (tenant_id bigint NOT NULL, id int NOT NULL, v text,
  PRIMARY KEY (tenant_id, id))`
const tables = [{ name: 't', key: 'tenant_id', identity: ['tenant_id', 'id'] }]
const fullIdentity = 'ALTER TABLE t REPLICA IDENTITY FULL'
/** Two keys of the set that fixtures move, and two that stay. */
const inside = 'SELECT g FROM generate_series(1, 1000) g WHERE ringfence.vnode(g) % 2 = 0'
const outside = 'SELECT g FROM generate_series(1, 1000) g WHERE ringfence.vnode(g) % 2 = 1'

describe.each(moverServers().map((servers) => [servers.version, servers] as const))(
  'a follower on PostgreSQL %i',
  (_, servers) => {
    let fixture: FollowFixture | null = null
    afterEach(async () => {
      await fixture?.close()
      fixture = null
    })

    async function open(options: Partial<FixtureOptions> = {}): Promise<FollowFixture> {
      fixture = await openFollowFixture({ servers, ddl, tables, ...options })
      return fixture
    }

    /** Of what is there now. */
    async function differences(rowsMin: number, strangers = 0): Promise<readonly string[]> {
      return (await fixture?.differences('t', rowsMin, strangers)) ?? ['no fixture is open']
    }

    it('applies inserts, updates and deletes of the set only', async () => {
      const { source, follow, caughtUp } = await open()
      const follower = await follow()
      await source.query(`INSERT INTO t SELECT g, 1, 'a' || g FROM generate_series(1, 200) g`)
      await source.query(`UPDATE t SET v = 'b' WHERE tenant_id % 3 = 0`)
      await source.query(`DELETE FROM t WHERE tenant_id % 5 = 0`)
      await caughtUp(follower)
      expect(await differences(20)).toEqual([])
      expect(follower.progress.transactions).toBe(3)
      expect(follower.progress.appliedLsn).toBeLessThanOrEqual(follower.progress.serverLsn)
    })

    it('commits together what comes within a fifth of a second, unless somebody waits for it', async () => {
      const { source, follow, caughtUp, target } = await open()
      const follower = await follow()
      const begunMs = performance.now()
      for (let id = 0; id < 60; id += 1) {
        await source.query(`INSERT INTO t SELECT g, ${id} FROM (${inside} LIMIT 1) k (g)`)
      }
      const writtenMs = performance.now()
      await caughtUp(follower)
      const sql = 'SELECT count(*)::int AS rows, count(DISTINCT xmin::text)::int AS commits FROM t'
      const [found] = (await target.query<{ rows: number; commits: number }>(sql)).rows
      expect(found?.rows).toBe(60)
      expect(found?.commits).toBeLessThanOrEqual((writtenMs - begunMs) / 200 + 2)
    })

    it('follows pinned keys, and leaves out those that are pinned elsewhere', async () => {
      const set = { vnodes: [], keys: ['3', '7'], except: [] }
      const { source, follow, caughtUp, target } = await open({ set })
      const follower = await follow()
      await source.query('INSERT INTO t SELECT g, 1 FROM generate_series(1, 20) g')
      await caughtUp(follower)
      const { rows } = await target.query<{ tenant_id: string }>(
        'SELECT tenant_id FROM t ORDER BY 1',
      )
      expect(rows.map((row) => row.tenant_id)).toEqual(['3', '7'])
    })

    it.each([
      ['text', 'text', `md5(g::text)`],
      ['text', 'varchar(40)', `'ключ ' || g`],
      ['uuid', 'uuid', `md5(g::text)::uuid`],
      ['bigint', 'integer', 'g - 50'],
      ['bigint', 'smallint', 'g'],
    ] as const)('follows keys of kind %s in columns of type %s', async (keyType, type, key) => {
      const { source, follow, caughtUp } = await open({
        keyType,
        ddl: `CREATE TABLE t (tenant_id ${type} NOT NULL, id int NOT NULL, v text,
          PRIMARY KEY (tenant_id, id))`,
      })
      const follower = await follow()
      await source.query(`INSERT INTO t SELECT ${key}, g FROM generate_series(1, 100) g`)
      await source.query(`DELETE FROM t WHERE id < 20`)
      await caughtUp(follower)
      expect(await differences(10)).toEqual([])
    })

    it('keeps large values that an update leaves alone', async () => {
      const { source, follow, caughtUp } = await open({
        ddl: `CREATE TABLE t (tenant_id bigint NOT NULL, id int NOT NULL, v text, n int,
          PRIMARY KEY (tenant_id, id)); ALTER TABLE t ALTER v SET STORAGE EXTERNAL`,
      })
      const follower = await follow()
      await source.query(
        `INSERT INTO t SELECT g, 1, repeat(md5(g::text), 200), 0 FROM generate_series(1, 20) g`,
      )
      await caughtUp(follower)
      await source.query('UPDATE t SET n = n + 1')
      // Merged with the insert before it, and with the update behind it, in one batch.
      await source.query(
        `BEGIN;
         INSERT INTO t SELECT g, 2, repeat(md5(g::text), 300), 0 FROM generate_series(1, 20) g;
         UPDATE t SET n = n + 10; UPDATE t SET n = NULL WHERE id = 2; COMMIT`,
      )
      await source.query(`UPDATE t SET v = 'short' WHERE tenant_id < 10`)
      await caughtUp(follower)
      expect(await differences(10)).toEqual([])
    })

    it('moves rows in and out with their key, large values from the whole old row', async () => {
      const { source, follow, caughtUp } = await open({
        ddl: `${ddl}; ALTER TABLE t ALTER v SET STORAGE EXTERNAL; ${fullIdentity}`,
      })
      const follower = await follow()
      await source.query(
        `INSERT INTO t SELECT g, 1, repeat(md5(g::text), 200) FROM generate_series(1, 50) g`,
      )
      await source.query('UPDATE t SET tenant_id = tenant_id + 1000')
      await source.query(
        `UPDATE t SET tenant_id = tenant_id + 1000, v = 'x' WHERE tenant_id > 1020`,
      )
      await caughtUp(follower)
      expect(await differences(10)).toEqual([])
    })

    it('moves rows in and out with their key when they are small', async () => {
      const { source, follow, caughtUp } = await open()
      const follower = await follow()
      await source.query(`INSERT INTO t SELECT g, 1, 'v' FROM generate_series(1, 50) g`)
      await source.query('UPDATE t SET tenant_id = tenant_id + 100')
      await source.query('BEGIN; UPDATE t SET id = 2; UPDATE t SET id = 3, v = NULL; COMMIT')
      await caughtUp(follower)
      expect(await differences(10)).toEqual([])
    })

    it('ends when a row comes in without its large values', async () => {
      const { source, follow } = await open({
        ddl: `${ddl}; ALTER TABLE t ALTER v SET STORAGE EXTERNAL`,
      })
      const follower = await follow()
      await source.query(`INSERT INTO t SELECT min(g), 1, repeat('x', 9000) FROM (${outside}) o`)
      await source.query(`UPDATE t SET tenant_id = (SELECT min(g) FROM (${inside}) i)`)
      await expect(follower.ended).rejects.toMatchObject({ code: 'toastMissing' })
      await expect(follower.reached(lsn(1n))).rejects.toMatchObject({ code: 'toastMissing' })
    })

    it('removes the rows of the set on TRUNCATE, in order, and no others', async () => {
      const { source, target, follow, caughtUp } = await open()
      await target.query(`INSERT INTO t SELECT min(g), 1, 'own' FROM (${outside}) o`)
      const follower = await follow()
      await source.query(`INSERT INTO t SELECT g, 1, 'a' FROM generate_series(1, 100) g`)
      await source.query(
        `BEGIN; INSERT INTO t VALUES (5000, 1); TRUNCATE t CASCADE;
         INSERT INTO t SELECT g, 2, 'b' FROM generate_series(1, 50) g; COMMIT`,
      )
      await caughtUp(follower)
      expect(await differences(11, 1)).toEqual([])
    })

    it('follows a partitioned table, also rows that change their partition', async () => {
      const { source, follow, caughtUp } = await open({
        ddl: `CREATE TABLE t (tenant_id bigint NOT NULL, at date NOT NULL, v text,
            PRIMARY KEY (tenant_id, at)) PARTITION BY RANGE (at);
          CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
          CREATE TABLE t_2 (v text, tenant_id bigint NOT NULL, at date NOT NULL);
          ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')`,
        tables: [{ name: 't', key: 'tenant_id', identity: ['tenant_id', 'at'] }],
      })
      const follower = await follow()
      await source.query(
        `INSERT INTO t SELECT g, date '2024-06-01' + g, 'v' || g FROM generate_series(1, 400) g`,
      )
      await source.query(`UPDATE t SET v = v || '!' WHERE tenant_id < 200`)
      await source.query(`UPDATE t SET at = '2025-11-11' WHERE tenant_id < 100`)
      await source.query(`DELETE FROM t WHERE tenant_id % 7 = 0`)
      await caughtUp(follower)
      expect(await differences(100)).toEqual([])
    })

    it('lets values of another unique index change hands within a batch', async () => {
      const { source, follow, caughtUp } = await open({
        ddl: `CREATE TABLE t (tenant_id bigint NOT NULL, id int NOT NULL, v text,
          PRIMARY KEY (tenant_id, id), UNIQUE (tenant_id, v))`,
        set: { vnodes: [], keys: ['1'], except: [] },
      })
      const follower = await follow()
      await source.query(`INSERT INTO t VALUES (1, 1, 'a'), (1, 2, 'b'), (1, 3, 'c')`)
      await caughtUp(follower)
      await follower.pause()
      await source.query(
        `BEGIN; UPDATE t SET v = 'x' WHERE id = 1; UPDATE t SET v = 'a' WHERE id = 2;
         UPDATE t SET v = 'b' WHERE id = 1; DELETE FROM t WHERE id = 3;
         INSERT INTO t VALUES (1, 4, 'c'); COMMIT`,
      )
      follower.resume()
      await caughtUp(follower)
      expect(await differences(3)).toEqual([])
    })

    it.each([
      ['in binary', ''],
      ['as text', 'e mood[],'],
    ])(
      'takes values of 100 MB, %s',
      async (__, column) => {
        const { source, follow, caughtUp, target } = await open({
          ddl: `CREATE TYPE mood AS ENUM ('sad'); CREATE TABLE t (tenant_id bigint NOT NULL,
          id int NOT NULL, ${column} v text, PRIMARY KEY (tenant_id, id));
          ALTER TABLE t ALTER v SET STORAGE EXTERNAL`,
          set: { vnodes: [], keys: ['1'], except: [] },
        })
        const follower = await follow()
        await source.query(
          `INSERT INTO t (tenant_id, id, v) SELECT 1, g, repeat('0123456789', 10000000)
         FROM generate_series(1, 2) g`,
        )
        await source.query(`UPDATE t SET tenant_id = 1 WHERE id = 1`)
        await caughtUp(follower)
        const sums = async (side: typeof source) => {
          const sql = 'SELECT length(v) AS n, md5(v) AS sum FROM t ORDER BY id'
          return (await side.query<{ n: number; sum: string }>(sql)).rows
        }
        expect(await sums(target)).toEqual(await sums(source))
        expect((await sums(target)).map(({ n }) => n)).toEqual([100_000_000, 100_000_000])
      },
      120_000,
    )

    it('fires no triggers and checks no foreign keys on the target', async () => {
      const { source, target, follow, caughtUp } = await open({
        ddl: `CREATE TABLE p (tenant_id bigint PRIMARY KEY);
          CREATE TABLE t (tenant_id bigint NOT NULL, id int NOT NULL, v text,
            PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id) REFERENCES p ON DELETE CASCADE)`,
      })
      await target.query(
        `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'a trigger fired'; END $$;
         CREATE TRIGGER refuse BEFORE INSERT OR UPDATE OR DELETE ON t
           FOR EACH ROW EXECUTE FUNCTION refuse()`,
      )
      const follower = await follow()
      await source.query('INSERT INTO p SELECT generate_series(1, 50)')
      await source.query(`INSERT INTO t SELECT g, 1 FROM generate_series(1, 50) g`)
      await source.query(`DELETE FROM p WHERE tenant_id < 20`)
      await caughtUp(follower)
      expect(await differences(5)).toEqual([])
    })

    it('leaves out what the copy has: transactions before the table’s own position', async () => {
      const { source, sourceUrl, target, follow, caughtUp, options } = await open()
      await source.query(`INSERT INTO t SELECT g, 1, 'copied' FROM (${inside}) i`)
      const fromLsn = await currentLsn(sourceUrl)
      await source.query(`INSERT INTO t SELECT min(g), 2, 'streamed' FROM (${inside}) i`)
      const follower = await follow({
        tables: options.tables.map((table) => ({ ...table, fromLsn })),
      })
      await caughtUp(follower)
      const answer = await target.query<{ v: string }>('SELECT v FROM t')
      expect(answer.rows.map(({ v }) => v)).toEqual(['streamed'])
    })

    it('skips what its own move has written on the source, and nothing else', async () => {
      const { source, target, follow, caughtUp, options } = await open()
      const follower = await follow()
      const origins = [
        `ringfence_${options.moveId}_reverse`,
        `ringfence_${options.moveId}1_reverse`,
      ]
      for (const [index, origin] of origins.entries()) {
        await source.query(`SELECT pg_replication_origin_create($1)`, [origin])
        await source.query(`SELECT pg_replication_origin_session_setup($1)`, [origin])
        await source.query(`INSERT INTO t SELECT min(g), $1, $2 FROM (${inside}) i`, [
          index,
          origin,
        ])
        await source.query(`SELECT pg_replication_origin_session_reset()`)
      }
      await caughtUp(follower)
      for (const origin of origins) {
        await source.query(`SELECT pg_replication_origin_drop($1)`, [origin])
      }
      const { rows } = await target.query<{ v: string }>('SELECT v FROM t')
      expect(rows.map(({ v }) => v)).toEqual(origins.slice(1))
    })
  },
)
