// What following cannot go on with ends it, with a code and a remedy, and leaves the target as it
// was.
import { afterEach, describe, expect, it } from 'vitest'
import { moverServers } from '../support/mover-servers.ts'
import { lsn } from '../../core/lsn.ts'
import { Follower } from '../../rebalancer/apply/follower.ts'
import { type FixtureOptions, type FollowFixture, openFollowFixture } from './apply-fixture.ts'

const ddl = `CREATE TABLE t (tenant_id bigint NOT NULL, id int NOT NULL, v text,
  PRIMARY KEY (tenant_id, id))`
const tables = [{ name: 't', key: 'tenant_id', identity: ['tenant_id', 'id'] }]
const set = { vnodes: [], keys: ['1'], except: [] }

describe.each(moverServers().map((servers) => [servers.version, servers] as const))(
  'problems of a move on PostgreSQL %i',
  (_, servers) => {
    let fixture: FollowFixture | null = null
    afterEach(async () => {
      await fixture?.close()
      fixture = null
    })

    async function open(options: Partial<FixtureOptions> = {}): Promise<FollowFixture> {
      fixture = await openFollowFixture({ servers, ddl, tables, set, ...options })
      return fixture
    }

    it.each([
      ['another type', 'ALTER TABLE t ALTER v TYPE varchar(10)', 'column "v"'],
      ['a column less', 'ALTER TABLE t DROP v', 'no column "v"'],
      ['a column more', 'ALTER TABLE t ADD w int', 'no column "w"'],
      ['no table', 'DROP TABLE t', 'target does not have it'],
      [
        'another primary key',
        'ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (id)',
        'primary key',
      ],
      [
        'a generated column',
        'ALTER TABLE t DROP v, ADD v text GENERATED ALWAYS AS (NULL) STORED',
        'generated',
      ],
    ])('a target with %s is refused at the start', async (__, change, message) => {
      const { target, follow } = await open()
      await target.query(change)
      await expect(follow()).rejects.toMatchObject({
        name: 'MoveProblem',
        code: 'schemaChanged',
        message: expect.stringContaining(message),
      })
    })

    it.each([
      'ALTER TABLE t ADD w int',
      'ALTER TABLE t ALTER v TYPE varchar(10)',
      'ALTER TABLE t RENAME v TO w',
      'ALTER TABLE t DROP v',
    ])('a change of the source’s table ends it: %s', async (change) => {
      const { source, target, follow, caughtUp } = await open()
      const follower = await follow()
      await source.query(`INSERT INTO t VALUES (1, 1)`)
      await caughtUp(follower)
      await source.query(change)
      await source.query(`INSERT INTO t VALUES (1, 2)`)
      await expect(follower.ended).rejects.toMatchObject({ code: 'schemaChanged' })
      expect((await target.query('SELECT * FROM t')).rowCount).toBe(1)
      await expect(follow()).rejects.toMatchObject({ code: 'schemaChanged' })
    })

    it('a replica identity without the shard key ends it', async () => {
      const { source, follow, options } = await open({
        ddl: 'CREATE TABLE t (tenant_id bigint NOT NULL, id int PRIMARY KEY, v text)',
        tables: [{ name: 't', key: 'tenant_id', identity: ['id'] }],
      })
      const follower = await follow()
      await source.query(`INSERT INTO t VALUES (1, 1)`)
      await expect(follower.ended).rejects.toMatchObject({
        code: 'identityMissing',
        hint: expect.stringContaining('REPLICA IDENTITY FULL'),
      })
      expect(options.tables.length).toBe(1)
    })

    it('an update of a row that the target lacks ends it, and nothing of it stays', async () => {
      const { source, target, follow, caughtUp } = await open()
      const follower = await follow()
      await source.query(`INSERT INTO t VALUES (1, 1), (1, 2)`)
      await caughtUp(follower)
      await target.query('DELETE FROM t WHERE id = 2')
      await source.query(`UPDATE t SET v = 'new'`)
      await expect(follower.ended).rejects.toMatchObject({ code: 'rowMissing' })
      expect((await target.query('SELECT v FROM t')).rows).toEqual([{ v: null }])
    })

    it('a row that excludes another one on the target ends it', async () => {
      const { source, target, follow } = await open({
        ddl: `${ddl}; CREATE UNIQUE INDEX ON t (v)`,
      })
      await target.query(`INSERT INTO t VALUES (2, 1, 'taken')`)
      const follower = await follow()
      await source.query(`INSERT INTO t VALUES (1, 1, 'taken')`)
      await expect(follower.ended).rejects.toMatchObject({ code: 'rowConflict' })
      expect((await target.query('SELECT * FROM t')).rowCount).toBe(1)
    })

    it('a value that the target does not accept ends it', async () => {
      const { source, target, follow } = await open()
      const follower = await follow()
      await target.query('ALTER TABLE t ADD CHECK (length(v) < 3)')
      await source.query(`INSERT INTO t VALUES (1, 1, 'too long')`)
      await expect(follower.ended).rejects.toMatchObject({ name: 'MoveProblem' })
    })

    it('a slot or a publication that is gone is found at once and after a loss', async () => {
      const { source, follow, options } = await open()
      const follower = await follow()
      await source.query('DROP PUBLICATION moved')
      await endStream(source, options.slot)
      await expect(follower.ended).rejects.toMatchObject({ code: 'publicationLost' })
      await source.query('CREATE PUBLICATION moved FOR TABLE t')
      const second = await follow()
      await endStream(source, options.slot)
      await dropSlot(source, options.slot)
      await expect(second.ended).rejects.toMatchObject({ code: 'slotLost' })
      await expect(follow()).rejects.toMatchObject({ code: 'slotLost' })
    })

    it('a target that has forgotten what was acknowledged is refused', async () => {
      const { target, follow, options } = await open()
      await target.query('INSERT INTO ringfence.move_progress VALUES ($1, $2, $3)', [
        options.moveId,
        'forward',
        '0/10',
      ])
      await expect(follow()).rejects.toMatchObject({ code: 'positionLost' })
    })

    it('of two followers of one move none applies what the other has applied', async () => {
      const { source, follow, caughtUp, differences, options } = await open()
      const first = await follow()
      await source.query(`INSERT INTO t VALUES (1, 1, 'x')`)
      await caughtUp(first)
      const second = await Follower.start(options)
      const settled = await Promise.race([first.ended.catch(() => 'ended'), first.stop()])
      expect([undefined, 'ended']).toContain(settled)
      await source.query(`INSERT INTO t VALUES (1, 2, 'y')`)
      await caughtUp(second)
      await second.stop()
      expect(await differences('t', 2)).toEqual([])
    })

    it('somebody else’s progress ends it', async () => {
      const { source, target, follow } = await open()
      const follower = await follow()
      await target.query('UPDATE ringfence.move_progress SET lsn = lsn + 1')
      await source.query(`INSERT INTO t VALUES (1, 1, 'x')`)
      await expect(follower.ended).rejects.toMatchObject({ code: 'applierReplaced' })
      expect((await target.query('SELECT * FROM t')).rowCount).toBe(0)
      await expect(follower.pauseAt(lsn(1n))).rejects.toMatchObject({ code: 'applierReplaced' })
    })

    it('a wait ends with its signal, and the pause with it', async () => {
      const { source, follow, caughtUp, differences } = await open()
      const follower = await follow()
      const far = lsn(2n ** 62n)
      await expect(follower.pauseAt(far, AbortSignal.timeout(50))).rejects.toThrow(/timeout/i)
      await expect(follower.reached(far, AbortSignal.abort())).rejects.toThrow(/abort/i)
      await source.query(`INSERT INTO t VALUES (1, 1, 'x')`)
      await caughtUp(follower)
      expect(await differences('t', 1)).toEqual([])
    })
  },
)

async function endStream(source: FollowFixture['source'], slot: string): Promise<void> {
  await source.query(
    'SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1',
    [slot],
  )
}

/** As soon as nobody holds it. */
async function dropSlot(source: FollowFixture['source'], slot: string): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    try {
      await source.query('SELECT pg_drop_replication_slot($1)', [slot])
      return
    } catch {
      await endStream(source, slot)
    }
  }
}
