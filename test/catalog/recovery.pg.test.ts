// In-doubt transactions after every kind of crash, on three real servers: afterwards all shards agree, always.
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import { decideCommitSql } from '../../catalog/commit-record.ts'
import { makeGid } from '../../catalog/gid.ts'
import { recoverPrepared, startRecovery } from '../../catalog/recovery.ts'
import { createLog } from '../../core/log.ts'
import { column, openCluster, type CatalogFixture, type CatalogShard } from './fixture.ts'

const log = createLog('silent')
const nothing = { committed: 0, rolledBack: 0, recordsRemoved: 0 }

describe.each(inject('servers'))('recovery on PostgreSQL $version', (servers) => {
  let fixture: CatalogFixture
  beforeAll(async () => {
    fixture = await openCluster(servers)
    for (const { client } of fixture.shards) await client.query('CREATE TABLE t (id text)')
  })
  afterEach(async () => {
    for (const { client } of fixture.shards) {
      const left = await column<string>(
        client,
        `SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts
         WHERE database = current_database()`,
      )
      for (const rollback of left) await client.query(rollback)
      await client.query('TRUNCATE t, ringfence.commit_record')
    }
  })
  afterAll(async () => await fixture.close())

  const recover = async (ageMsMin = 0, shards: readonly CatalogShard[] = fixture.shards) =>
    await recoverPrepared({ shards, ageMsMin, log })

  /** Writes a row in a transaction and prepares it, with the home shard as decider. */
  async function prepare({ id: shard, client }: CatalogShard, id: string): Promise<void> {
    const [{ id: decider }] = fixture.shards
    await client.query(`BEGIN; INSERT INTO t VALUES ('${id}');
      PREPARE TRANSACTION '${makeGid(decider, id, shard)}'`)
  }

  /** The decider's own part: its row and its decision, committed. */
  async function decideCommit(id: string): Promise<void> {
    const [{ client }] = fixture.shards
    await client.query(`BEGIN; INSERT INTO t VALUES ('${id}'); ${decideCommitSql(id)}; COMMIT`)
  }

  /** Ids of the rows on every shard. */
  const rows = async () =>
    await Promise.all(
      fixture.shards.map(({ client }) => column<string>(client, 'SELECT id FROM t')),
    )

  const preparedCount = async () => {
    const counts = await Promise.all(
      fixture.shards.map(({ client }) =>
        column<number>(
          client,
          'SELECT count(*)::int FROM pg_prepared_xacts WHERE database = current_database()',
        ),
      ),
    )
    return counts.flat().reduce((sum, count) => sum + count, 0)
  }

  const records = async () =>
    await column<string>(fixture.shards[0].client, 'SELECT decided FROM ringfence.commit_record')

  it('commits what its decider committed, and then removes the record', async () => {
    const [, second, third] = fixture.shards
    const id = randomUUID()
    await prepare(second, id)
    await prepare(third, id)
    await decideCommit(id)
    expect(await recover()).toEqual({ committed: 2, rolledBack: 0, recordsRemoved: 1 })
    expect(await rows()).toEqual([[id], [id], [id]])
    expect(await records()).toEqual([])
    expect(await recover()).toEqual(nothing)
  })

  it('rolls back what its decider never decided, and bars the decider from deciding later', async () => {
    const [home, second, third] = fixture.shards
    const id = randomUUID()
    await prepare(second, id)
    await prepare(third, id)
    expect(await recover()).toEqual({ committed: 0, rolledBack: 2, recordsRemoved: 0 })
    expect(await rows()).toEqual([[], [], []])
    await expect(decideCommit(id)).rejects.toMatchObject({ code: '23505' })
    await home.client.query('ROLLBACK')
    expect(await rows()).toEqual([[], [], []])
  })

  it('leaves a transaction alone while its decider is still open, and then follows it', async () => {
    const [home, second, third] = fixture.shards
    const [kept, dropped] = [randomUUID(), randomUUID()]
    await prepare(second, kept)
    await prepare(third, dropped)
    const commits = await fixture.open(home)
    const aborts = await fixture.open(home)
    await commits.query(`BEGIN; INSERT INTO t VALUES ('${kept}'); ${decideCommitSql(kept)}`)
    await aborts.query(`BEGIN; INSERT INTO t VALUES ('${dropped}'); ${decideCommitSql(dropped)}`)
    expect(await recover()).toEqual(nothing)
    expect(await preparedCount()).toBe(2)
    await commits.query('COMMIT')
    await aborts.query('ROLLBACK')
    expect(await recover()).toMatchObject({ committed: 1, rolledBack: 1 })
    expect(await rows()).toEqual([[kept], [kept], []])
  })

  it('waits for a decider that ends while it is being asked', async () => {
    const [home, second] = fixture.shards
    const id = randomUUID()
    await prepare(second, id)
    const decider = await fixture.open(home)
    await decider.query(`BEGIN; INSERT INTO t VALUES ('${id}'); ${decideCommitSql(id)}`)
    const recovering = recover()
    const watch = 'SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = $1'
    while ((await column(home.client, watch, ['transactionid'])).length === 0);
    await decider.query('COMMIT')
    expect(await recovering).toMatchObject({ committed: 1, rolledBack: 0 })
    expect(await rows()).toEqual([[id], [id], []])
  })

  it('leaves a transaction alone whose decider cannot be reached, and keeps all records', async () => {
    const [home, second, third] = fixture.shards
    const id = randomUUID()
    await second.client.query(`BEGIN; INSERT INTO t VALUES ('${id}');
      PREPARE TRANSACTION '${makeGid(third.id, id, second.id)}'`)
    await decideCommit('done')
    const down = { ...third, url: 'postgres://x@127.0.0.1:1/x' }
    expect(await recover(0, [home, second, down])).toEqual(nothing)
    expect(await preparedCount()).toBe(1)
    expect(await records()).toEqual(['commit'])
    expect(await recover()).toEqual({ committed: 0, rolledBack: 1, recordsRemoved: 1 })
  })

  it('does nothing without the home shard', async () => {
    const [home, second, third] = fixture.shards
    await prepare(second, 'x')
    const down = { ...home, url: 'postgres://x@127.0.0.1:1/x' }
    expect(await recover(0, [down, second, third])).toEqual(nothing)
    expect(await preparedCount()).toBe(1)
  })

  it('touches neither young transactions nor those of others', async () => {
    const [, second] = fixture.shards
    await prepare(second, randomUUID())
    await decideCommit('young')
    const foreign = `foreign-${randomUUID()}`
    await second.client.query(`BEGIN; INSERT INTO t VALUES ('x'); PREPARE TRANSACTION '${foreign}'`)
    expect(await recover(60_000)).toEqual(nothing)
    expect(await preparedCount()).toBe(2)
    expect(await records()).toEqual(['commit'])
    expect(await recover()).toEqual({ committed: 0, rolledBack: 1, recordsRemoved: 1 })
    expect(await preparedCount()).toBe(1)
  })

  it('keeps the record while a participant that died has not finished', async () => {
    const [, second] = fixture.shards
    const id = randomUUID()
    await prepare(second, id)
    await decideCommit(id)
    // Prepared long ago or not: what is too young to be finished still holds its record.
    await fixture.shards[0].client.query(
      `UPDATE ringfence.commit_record SET at = now() - interval '1 day'`,
    )
    expect(await recover(60_000)).toEqual(nothing)
    expect(await records()).toEqual(['commit'])
  })

  it('removes tombstones after an hour', async () => {
    const [home, second] = fixture.shards
    await prepare(second, randomUUID())
    await recover()
    expect(await recover()).toEqual(nothing)
    expect(await records()).toEqual(['abort'])
    await home.client.query(`UPDATE ringfence.commit_record SET at = now() - interval '61 min'`)
    expect(await recover()).toMatchObject({ recordsRemoved: 1 })
  })

  it('lets one of several proxies do the work', async () => {
    const [, second, third] = fixture.shards
    const ids = Array.from({ length: 20 }, () => randomUUID())
    for (const id of ids) {
      await prepare(second, id)
      await prepare(third, id)
    }
    for (const id of ids.slice(0, 10)) await decideCommit(id)
    const rounds = await Promise.all([recover(), recover(), recover()])
    expect(rounds.reduce((sum, { committed }) => sum + committed, 0)).toBe(20)
    expect(rounds.reduce((sum, { rolledBack }) => sum + rolledBack, 0)).toBe(20)
    expect((await rows()).map((shard) => shard.sort())).toEqual(
      [1, 2, 3].map(() => ids.slice(0, 10).sort()),
    )
  })

  it('lets a role that owns nothing decide, durably even under synchronous_commit = off', async () => {
    const [home] = fixture.shards
    const role = `app_${randomUUID().replaceAll('-', '')}`
    await home.client.query(`CREATE ROLE ${role}`)
    try {
      await home.client.query('SET synchronous_commit = off')
      await home.client.query(`BEGIN; SET LOCAL ROLE ${role}`)
      await home.client.query(decideCommitSql('x'))
      const [inside] = await column(home.client, 'SHOW synchronous_commit')
      await expect(home.client.query('DELETE FROM ringfence.commit_record')).rejects.toThrow(
        'permission denied',
      )
      await home.client.query('ROLLBACK')
      expect([inside, ...(await column(home.client, 'SHOW synchronous_commit'))]).toEqual([
        'on',
        'off',
      ])
    } finally {
      await home.client.query(`DROP ROLE ${role}`)
    }
  })

  it('runs at once and again after every interval until it is closed', async () => {
    const [, second] = fixture.shards
    const gone = async () => {
      while ((await preparedCount()) > 0);
    }
    await prepare(second, randomUUID())
    const recovery = startRecovery({ shards: fixture.shards, ageMsMin: 0, log, intervalMs: 20 })
    await gone()
    await prepare(second, randomUUID())
    await gone()
    await recovery.close()
    await prepare(second, randomUUID())
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(await preparedCount()).toBe(1)
  })
})
