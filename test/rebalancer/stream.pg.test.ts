// The stream itself: large transactions that come before they have ended, what of them was rolled
// back, back-pressure, positions without changes, pauses, and ends.
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { moverServers } from '../support/mover-servers.ts'
import { lsn } from '../../core/lsn.ts'
import {
  connect,
  currentLsn,
  type FixtureOptions,
  type FollowFixture,
  openFollowFixture,
} from './apply-fixture.ts'

const ddl = `CREATE TABLE t (tenant_id bigint NOT NULL, id int NOT NULL, v text,
  PRIMARY KEY (tenant_id, id))`
const pollOptions = { timeout: 10_000 }
const tables = [{ name: 't', key: 'tenant_id', identity: ['tenant_id', 'id'] }]

describe.each(moverServers().map((servers) => [servers.version, servers] as const))(
  'the stream of PostgreSQL %i',
  (_, servers) => {
    let fixture: FollowFixture | null = null
    afterEach(async () => {
      await fixture?.close()
      fixture = null
    })

    /** Transactions above 64 kB are streamed before they end. */
    async function open(options: Partial<FixtureOptions> = {}): Promise<FollowFixture> {
      fixture = await openFollowFixture({ servers, ddl, tables, ...options })
      const { source, name } = fixture
      await source.query(`ALTER DATABASE "${name}" SET logical_decoding_work_mem = '64kB'`)
      return fixture
    }

    async function streamedCount({ source, options }: FollowFixture): Promise<number> {
      const { rows } = await source.query<{ n: number }>(
        'SELECT stream_txns::int AS n FROM pg_stat_replication_slots WHERE slot_name = $1',
        [options.slot],
      )
      return rows[0]?.n ?? 0
    }

    it('hands on a transaction of 200,000 rows at its commit, beside small ones', async () => {
      const f = await open()
      const follower = await f.follow()
      const other = await connect(f.sourceUrl)
      await f.source.query('BEGIN')
      await f.source.query(
        `INSERT INTO t SELECT g, 1, 'large ' || g FROM generate_series(1, 200000) g`,
      )
      await other.query(`INSERT INTO t SELECT g, 2, 'small' FROM generate_series(1, 100) g`)
      await f.caughtUp(follower)
      const { rows } = await f.target.query<{ n: number }>(
        'SELECT count(*)::int AS n FROM t WHERE id = 1',
      )
      expect(rows[0]?.n).toBe(0)
      await f.source.query('COMMIT')
      await other.end()
      await f.caughtUp(follower)
      expect(await f.differences('t', 90_000)).toEqual([])
      expect(await streamedCount(f)).toBeGreaterThan(0)
    })

    it('drops what was rolled back: subtransactions and whole transactions', async () => {
      const f = await open()
      const follower = await f.follow()
      const insert = (id: number) =>
        `INSERT INTO t SELECT g, ${id}, repeat('x', 50) FROM generate_series(1, 3000) g`
      // The table is described in what is rolled back later, and only there.
      await f.source.query(`BEGIN; SAVEPOINT a; ${insert(1)}`)
      const other = await connect(f.sourceUrl)
      await expect
        .poll(() => streamedCount({ ...f, source: other }), pollOptions)
        .toBeGreaterThan(0)
      await other.end()
      await f.source.query(
        `SAVEPOINT b; ${insert(2)}; RELEASE b; ROLLBACK TO a;
         ${insert(3)}; SAVEPOINT c; ${insert(4)}; ROLLBACK TO c; UPDATE t SET v = 'kept'; COMMIT`,
      )
      await f.source.query(`BEGIN; ${insert(5)}; ROLLBACK`)
      await f.source.query(`BEGIN; ${insert(6)}; COMMIT`)
      await f.caughtUp(follower)
      expect(await f.differences('t', 2_000)).toEqual([])
      expect(await streamedCount(f)).toBeGreaterThan(0)
    })

    it('a table that is changed in what is rolled back stops nothing', async () => {
      const f = await open()
      const follower = await f.follow()
      await f.source.query(
        `BEGIN; SAVEPOINT a; ALTER TABLE t ADD COLUMN extra int;
         INSERT INTO t SELECT g, 1, repeat('x', 50), 7 FROM generate_series(1, 3000) g;
         ROLLBACK TO a;
         INSERT INTO t SELECT g, 2, repeat('y', 50) FROM generate_series(1, 3000) g; COMMIT`,
      )
      await f.caughtUp(follower)
      expect(await f.differences('t', 1_000)).toEqual([])
    })

    it('a transaction that a loss interrupts is sent and applied again as a whole', async () => {
      const f = await open()
      const follower = await f.follow()
      await f.source.query('BEGIN')
      await f.source.query(`INSERT INTO t SELECT g, 1, 'a' FROM generate_series(1, 20000) g`)
      await f.source.query(
        `SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1`,
        [f.options.slot],
      )
      await f.source.query(`INSERT INTO t SELECT g, 2, 'b' FROM generate_series(1, 20000) g`)
      await f.source.query('COMMIT')
      await f.caughtUp(follower)
      expect(await f.differences('t', 10_000)).toEqual([])
    })

    it('tells an idle source how far it is, and survives its timeout while it rests', async () => {
      const f = await open()
      await f.source.query(`ALTER DATABASE "${f.name}" SET wal_sender_timeout = '2s'`)
      const follower = await f.follow()
      await follower.pause()
      await f.source.query(
        `INSERT INTO t SELECT g, 1, repeat('x', 90) FROM generate_series(1, 200000) g`,
      )
      const holder = await holderOf(f)
      await delay(3_500)
      expect(await holderOf(f)).toBe(holder)
      follower.resume()
      await f.caughtUp(follower)
      expect(await f.differences('t', 90_000)).toEqual([])
      const position = await currentLsn(f.sourceUrl)
      await f.source.query('CREATE TABLE elsewhere AS SELECT generate_series(1, 1000)')
      await follower.reached(position, AbortSignal.timeout(10_000))
      // What was never acknowledged would be kept for ever.
      const sql = `SELECT confirmed_flush_lsn >= $2::pg_lsn AS done FROM pg_replication_slots
                   WHERE slot_name = $1`
      await expect
        .poll(
          async () => {
            const values = [f.options.slot, `0/${position.toString(16)}`]
            return (await f.source.query<{ done: boolean }>(sql, values)).rows[0]?.done
          },
          { timeout: 15_000 },
        )
        .toBe(true)
    })

    it('rests exactly at a position, and goes on behind it', async () => {
      const f = await open()
      const follower = await f.follow()
      await f.source.query(`INSERT INTO t SELECT g, 1 FROM generate_series(1, 100) g`)
      await f.caughtUp(follower)
      await follower.pause()
      await f.source.query(`INSERT INTO t SELECT g, 2 FROM generate_series(1, 100) g`)
      // Where another slot's snapshot would stand.
      const { rows } = await f.source.query<{ at: string }>(
        `SELECT lsn AS at FROM pg_create_logical_replication_slot('other', 'pgoutput', true)`,
      )
      const at = lsn(BigInt(`0x${(rows[0]?.at ?? '').split('/')[1]}`))
      await f.source.query(`INSERT INTO t SELECT g, 3 FROM generate_series(1, 100) g`)
      await follower.pauseAt(at, AbortSignal.timeout(20_000))
      expect(await idsOn(f)).toEqual([1, 2])
      await delay(200)
      expect(await idsOn(f)).toEqual([1, 2])
      await expect(
        follower.reached(await currentLsn(f.sourceUrl), AbortSignal.timeout(300)),
      ).rejects.toThrow(/timeout/i)
      follower.resume()
      await f.caughtUp(follower)
      expect(await idsOn(f)).toEqual([1, 2, 3])
      await expect(follower.pauseAt(at)).rejects.toThrow(/cannot pause/)
      await f.source.query(`SELECT pg_drop_replication_slot('other')`)
    })

    it('goes on where the one before it has stopped', async () => {
      const f = await open()
      for (let round = 1; round <= 3; round += 1) {
        const follower = await f.follow()
        await f.source.query(`INSERT INTO t SELECT g, ${round} FROM generate_series(1, 50) g`)
        await f.caughtUp(follower)
        await f.source.query(`UPDATE t SET v = coalesce(v, '') || 'x'`)
        await follower.stop()
        await expect(follower.ended).resolves.toBeUndefined()
        await expect(follower.reached(lsn(2n ** 60n))).rejects.toThrow('stopped')
      }
      await f.caughtUp(await f.follow())
      expect(await f.differences('t', 50)).toEqual([])
    })

    async function idsOn({ target }: FollowFixture): Promise<number[]> {
      const { rows } = await target.query<{ id: number }>('SELECT DISTINCT id FROM t ORDER BY id')
      return rows.map(({ id }) => id)
    }

    async function holderOf({ source, options }: FollowFixture): Promise<number | undefined> {
      const { rows } = await source.query<{ pid: number }>(
        'SELECT active_pid AS pid FROM pg_replication_slots WHERE slot_name = $1',
        [options.slot],
      )
      return rows[0]?.pid
    }
  },
)
