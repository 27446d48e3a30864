// `ringfence init` on real servers: what it creates, that a second run changes nothing, and what it refuses.
import { afterEach, describe, expect, inject, it } from 'vitest'
import { initialise } from '../../catalog/migrate.ts'
import { shardId } from '../../core/ids.ts'
import { vnodeOfInt, vnodeOfText, vnodeOfUuid } from '../../router/key-hash.ts'
import { createRandom } from '../support/random.ts'
import { column, openFixture, rules, type CatalogFixture } from './fixture.ts'

let fixture: CatalogFixture
afterEach(async () => await fixture.close())

describe.each(inject('servers'))('init on PostgreSQL $version', (servers) => {
  it('creates catalog and functions, places every vnode, and changes nothing when run again', async () => {
    fixture = await openFixture(servers)
    const { shards } = fixture
    const [home, second] = shards
    const { applied } = await initialise({ shards, rules })
    expect(applied.filter((name) => name.startsWith('s1: '))).toEqual([
      's1: home/001-catalog',
      's1: home/002-moves',
      's1: home/003-load',
      's1: shard/001-vnode',
      's1: shard/002-commit-record',
      's1: shard/003-sequences',
      's1: shard/004-move',
      's1: shard/005-grants',
    ])
    expect(applied.filter((name) => !name.startsWith('s1: '))).toHaveLength(10)
    const state = async () => [
      await column(home.client, 'SELECT t::text FROM ringfence.topology t'),
      await column(home.client, 'SELECT v::text FROM ringfence.vnode v ORDER BY vnode'),
      await column(home.client, 'SELECT s::text FROM ringfence.shard s ORDER BY id'),
      await column(second.client, 'SELECT m::text FROM ringfence.migration m ORDER BY number'),
      await column(second.client, 'SELECT l::text FROM ringfence.local_shard l'),
      await column(
        second.client,
        `SELECT oid::int FROM pg_proc WHERE pronamespace = 'ringfence'::regnamespace`,
      ),
    ]
    const before = await state()
    expect(before[1]).toHaveLength(4096)
    const counts = await column<number>(
      home.client,
      'SELECT count(*)::int FROM ringfence.vnode GROUP BY shard',
    )
    expect(Math.max(...counts)).toBeLessThanOrEqual(Math.ceil((1.05 * 4096) / 3))
    expect(await initialise({ shards, rules })).toEqual({ applied: [] })
    expect(await state()).toEqual(before)
  })

  it('lets one of several runs at once do the work', async () => {
    fixture = await openFixture(servers)
    const { shards } = fixture
    const runs = await Promise.all([1, 2, 3].map(() => initialise({ shards, rules })))
    expect(runs.map(({ applied }) => applied.length).sort((a, b) => a - b)).toEqual([0, 0, 18])
  })

  it('finishes what a run that was cut short has begun', async () => {
    fixture = await openFixture(servers)
    const { shards } = fixture
    await initialise({ shards: shards.slice(0, 1), rules })
    const [, , third] = shards
    await third.client.query('CREATE SCHEMA ringfence')
    const { applied } = await initialise({ shards, rules })
    expect(applied).toHaveLength(10)
    expect(await initialise({ shards, rules })).toEqual({ applied: [] })
  })

  it('lets clients run its functions where PUBLIC may run none by default', async () => {
    fixture = await openFixture(servers)
    const { shards } = fixture
    for (const { client } of shards) {
      await client.query('ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC')
    }
    await initialise({ shards, rules })
    const [, second] = shards
    const sql = `SELECT p.oid::regprocedure::text FROM pg_proc p
      WHERE p.pronamespace = 'ringfence'::regnamespace
        AND NOT EXISTS (SELECT FROM aclexplode(p.proacl) WHERE grantee = 0)`
    expect(await column(second.client, sql)).toEqual([])
  })

  it('gives ringfence.vnode() the key hash for every key type, inlined by the planner', async () => {
    fixture = await openFixture(servers)
    const { shards } = fixture
    await initialise({ shards, rules })
    const [, second] = shards
    const random = createRandom(11)
    const uuid = random.bytes(16)
    const row = await second.client.query(
      `SELECT ringfence.vnode($1::bigint) AS bigint, ringfence.vnode(42) AS integer,
              ringfence.vnode(7::smallint) AS smallint, ringfence.vnode('tenant-42') AS text,
              ringfence.vnode('x'::varchar(3)) AS varchar, ringfence.vnode($2::uuid) AS uuid,
              ringfence.vnode(NULL::bigint) AS nothing`,
      ['-9000000000', uuid.toString('hex')],
    )
    expect(row.rows).toEqual([
      {
        bigint: vnodeOfInt(-9_000_000_000n, 12),
        integer: vnodeOfInt(42, 12),
        smallint: vnodeOfInt(7, 12),
        text: vnodeOfText(Buffer.from('tenant-42'), 12),
        varchar: vnodeOfText(Buffer.from('x'), 12),
        uuid: vnodeOfUuid(uuid, 12),
        nothing: null,
      },
    ])
    await second.client.query('CREATE TABLE t (tenant_id bigint, name varchar, id uuid)')
    const plan = await column<string>(
      second.client,
      `EXPLAIN (VERBOSE, COSTS OFF) SELECT FROM t WHERE ringfence.vnode(tenant_id) = 1
       AND ringfence.vnode(name) = 2 AND ringfence.vnode(id) = 3`,
    )
    expect(plan.join('\n')).toContain('hashint8extended(t.tenant_id')
    expect(plan.join('\n')).not.toContain('ringfence.vnode')
  })

  it('lets any role read the topology and ask for vnodes, and no other role change them', async () => {
    fixture = await openFixture(servers)
    const { shards } = fixture
    const [{ client }] = shards
    await initialise({ shards, rules })
    await client.query('BEGIN; CREATE ROLE somebody; SET LOCAL ROLE somebody')
    expect(await column(client, 'SELECT epoch::int FROM ringfence.topology')).toEqual([1])
    expect(await column(client, 'SELECT count(*)::int FROM ringfence.vnode')).toEqual([4096])
    expect(await column(client, 'SELECT ringfence.vnode(42)')).toEqual([vnodeOfInt(42, 12)])
    await expect(client.query('UPDATE ringfence.topology SET epoch = 7')).rejects.toThrow(
      'permission denied',
    )
    await client.query('ROLLBACK')
  })

  it('registers a new shard without vnodes and a new weight, each as a new epoch', async () => {
    fixture = await openFixture(servers)
    const [home, second, third] = fixture.shards
    await initialise({ shards: [home, second], rules })
    const heavier = { ...second, weight: 3 }
    await initialise({ shards: [home, heavier, third], rules })
    const { rows } = await home.client.query(
      `SELECT id, ordinal, weight, (SELECT count(*)::int FROM ringfence.vnode WHERE shard = id) > 0 AS owns
       FROM ringfence.shard ORDER BY ordinal`,
    )
    expect(rows).toEqual([
      { id: 's1', ordinal: 0, weight: 1, owns: true },
      { id: 's2', ordinal: 1, weight: 3, owns: true },
      { id: 's3', ordinal: 2, weight: 1, owns: false },
    ])
    expect(await column(home.client, 'SELECT epoch::int FROM ringfence.topology')).toEqual([2])
  })

  it('refuses to lose a shard that owns vnodes, and forgets one that owns none for good', async () => {
    fixture = await openFixture(servers)
    const [home, second, third] = fixture.shards
    await initialise({ shards: [home, second], rules })
    await expect(initialise({ shards: [home], rules })).rejects.toThrow(
      /^shard "s2" is not in the configuration but owns \d+ virtual nodes$/,
    )
    await initialise({ shards: [home, second, third], rules })
    await initialise({ shards: [home, second], rules })
    expect(await column(home.client, 'SELECT id FROM ringfence.shard ORDER BY id')).toEqual([
      's1',
      's2',
    ])
    // Its rows may live on elsewhere, numbered by its sequences: the ordinal is not given away again.
    await third.client.query('DROP SCHEMA ringfence CASCADE')
    await initialise({ shards: [home, second, { ...third, id: shardId('s4') }], rules })
    expect(
      await column(home.client, `SELECT ordinal FROM ringfence.shard WHERE id = 's4'`),
    ).toEqual([3])
  })

  it('refuses another number of vnodes and another key type', async () => {
    fixture = await openFixture(servers)
    const { shards } = fixture
    await initialise({ shards, rules })
    await expect(initialise({ shards, rules: { ...rules, vnodeCount: 8192 } })).rejects.toThrow(
      'the cluster has 4096 virtual nodes, the configuration 8192',
    )
    await expect(initialise({ shards, rules: { ...rules, keyType: 'uuid' } })).rejects.toThrow(
      "shard key is of type bigint, the configuration's uuid",
    )
  })

  it('refuses shards whose databases have been swapped, also the home shard’s', async () => {
    fixture = await openFixture(servers)
    const [home, second, third] = fixture.shards
    await initialise({ shards: fixture.shards, rules })
    const swapped = [home, { ...second, url: third.url }, { ...third, url: second.url }]
    await expect(initialise({ shards: swapped, rules })).rejects.toThrow(
      'the database of shard "s2" is shard "s3" of a cluster',
    )
    await expect(initialise({ shards: [second, home, third], rules })).rejects.toThrow(
      'the database of shard "s2" belongs to another cluster',
    )
    expect(await column(second.client, `SELECT to_regclass('ringfence.topology')`)).toEqual([null])
  })

  it('names a migration whose text is not the one that was applied, and one from a newer version', async () => {
    fixture = await openFixture(servers)
    const { shards } = fixture
    const [home, second] = shards
    await initialise({ shards, rules })
    await second.client.query(`UPDATE ringfence.migration SET checksum = 'x' WHERE number = 2`)
    await expect(initialise({ shards, rules })).rejects.toThrow(
      'migration "shard/002-commit-record" differs from the text that was applied to shard "s2"',
    )
    await home.client.query(
      `INSERT INTO ringfence.migration VALUES ('home', 900, 'home/900-future', 'x')`,
    )
    await expect(initialise({ shards, rules })).rejects.toThrow(
      'shard "s1" has migration "home/900-future", which this version does not know',
    )
  })

  it('names the shard that it cannot reach', async () => {
    fixture = await openFixture(servers)
    const [home, second] = fixture.shards
    const down = { ...second, url: 'postgres://postgres@127.0.0.1:1/nowhere' }
    await expect(initialise({ shards: [home, down], rules })).rejects.toThrow(
      'could not connect to shard "s2"',
    )
    expect(await column(home.client, `SELECT to_regclass('ringfence.migration')`)).toEqual([null])
  })
})
