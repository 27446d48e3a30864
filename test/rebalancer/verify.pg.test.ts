// Comparing source and target over a pair of snapshots, on real servers of the same and of
// different versions.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { moverServers } from '../support/mover-servers.ts'
import {
  type VerifyOptions,
  type VerifyProgress,
  verify,
  type Verified,
} from '../../rebalancer/verify/verify.ts'
import { systemClock } from '../../core/clock.ts'
import { Throttle } from '../../rebalancer/throttle.ts'
import { unlimited } from '../../rebalancer/throttle-verdict.ts'
import { present, refusal } from '../support/clients.ts'
import {
  all,
  copyNow,
  free,
  half,
  type MoveFixture,
  never,
  openMove,
  pairsOf,
  rules,
  withSnapshot,
} from './copy-fixture.ts'

/** Compares tables over snapshots taken now. */
async function verifyNow(
  fixture: MoveFixture,
  names: readonly string[],
  options: Partial<VerifyOptions> = {},
): Promise<Verified> {
  const tables = await Promise.all(names.map((name) => fixture.table(`public.${name}`)))
  return await withSnapshot(fixture.source, async (source) => {
    return await withSnapshot(fixture.target, async (target) => {
      return await verify({
        sourceUrl: fixture.source.url,
        sourceSnapshot: source.name,
        targetUrl: fixture.target.url,
        targetSnapshot: target.name,
        tables,
        set: half,
        rules,
        workers: 2,
        throttle: free,
        onProgress: () => undefined,
        signal: never,
        ...options,
      })
    })
  })
}

describe.each(pairsOf(moverServers()))('comparing PostgreSQL $name', ({ from, to }) => {
  let fixture: MoveFixture
  beforeAll(async () => {
    fixture = await openMove(from, to)
    await fixture.both(`
      CREATE TYPE mood AS ENUM ('glad', 'bad');
      CREATE TABLE kinds (tenant_id bigint, id bigint GENERATED ALWAYS AS IDENTITY, "A ""name" text,
        feeling mood[], whole numeric, part float8, small real, instant timestamptz,
        took interval, raw bytea, fee money, doc jsonb, relation regclass, days daterange,
        twice bigint GENERATED ALWAYS AS (tenant_id * 2) STORED, PRIMARY KEY ("A ""name", id))`)
    await fixture.source.client.query(`
      INSERT INTO kinds (tenant_id, "A ""name", feeling, whole, part, small, instant, took, raw,
        fee, doc, relation, days) SELECT i % 100, 'n' || i % 7, '{glad,NULL}', i / 3.0, i / 3.0,
        random(), now(), interval '1 mon 2 days' * i, decode(md5(i::text), 'hex'), i, '{"a": 1}',
        'pg_class', daterange('2020-01-01', NULL) FROM generate_series(1, 3000) i`)
    // Settings of the databases that change how values are written.
    const [source, target] = [fixture.source.client, fixture.target.client]
    for (const client of [source, target]) {
      const { rows } = await client.query<{ name: string }>('SELECT current_database() AS name')
      const setting = client === source ? 'Asia/Tokyo' : 'America/New_York'
      const style = client === source ? 'SQL, DMY' : 'German'
      const digits = client === source ? -3 : 3
      const name = present(rows[0]).name
      await client.query(`ALTER DATABASE ${name} SET TimeZone = '${setting}'`)
      await client.query(`ALTER DATABASE ${name} SET DateStyle = '${style}'`)
      await client.query(`ALTER DATABASE ${name} SET extra_float_digits = ${digits}`)
      await client.query(`ALTER DATABASE ${name} SET bytea_output = 'escape'`)
    }
    await copyNow(fixture, await fixture.table('public.kinds'))
  })
  afterAll(async () => await fixture.close())

  it('finds copied rows the same, whatever settings the servers have', async () => {
    const { rows, bytes, ...found } = await verifyNow(fixture, ['kinds'])
    expect(found).toEqual({ differences: [], differing: 0 })
    expect(rows).toBeGreaterThan(1000)
    expect(bytes).toBeGreaterThan(rows * 50)
  })

  it('names rows that differ, lack and are too many, and the columns', async () => {
    const key = { 'A "name': 'n1' }
    const inSet = `ringfence.vnode(tenant_id) < 32`
    const ids = await fixture.source.client.query<{ id: string }>(
      `SELECT id FROM kinds WHERE "A ""name" = 'n1' AND ${inSet} ORDER BY id LIMIT 3`,
    )
    const [changed, gone, both] = ids.rows.map(({ id }) => id)
    await fixture.target.client.query(`
      BEGIN;
      UPDATE kinds SET part = part + 1e-12, feeling = '{glad}' WHERE id = ${changed};
      DELETE FROM kinds WHERE id = ${gone};
      UPDATE kinds SET raw = NULL, doc = '{"a": 1, "b": null}' WHERE id = ${both};
      SET LOCAL session_replication_role = replica;
      INSERT INTO kinds (tenant_id, id, "A ""name") OVERRIDING SYSTEM VALUE
        SELECT tenant_id, -1, 'n1' FROM kinds WHERE id = ${changed};
      COMMIT`)
    const found = await verifyNow(fixture, ['kinds'])
    expect(found.differing).toBe(4)
    const table = 'public.kinds'
    const expected = [
      { table, key: { ...key, id: changed }, kind: 'differs', columns: ['feeling', 'part'] },
      { table, key: { ...key, id: gone }, kind: 'missing on target' },
      { table, key: { ...key, id: both }, kind: 'differs', columns: ['raw', 'doc'] },
      { table, key: { ...key, id: '-1' }, kind: 'not on source' },
    ]
    expect(found.differences).toHaveLength(4)
    expect(found.differences).toEqual(expect.arrayContaining(expected))
  })
})

describe.each(moverServers())('comparing on PostgreSQL $version', (servers) => {
  let fixture: MoveFixture
  beforeAll(async () => {
    fixture = await openMove(servers, servers)
  })
  afterAll(async () => await fixture.close())

  it('finds one changed bit in one row of a million, and names the row', async () => {
    await fixture.both(
      'CREATE UNLOGGED TABLE million (id int PRIMARY KEY, tenant_id bigint, raw bytea)',
    )
    await fixture.both(`INSERT INTO million
      SELECT i, i % 10000, decode(md5(i::text), 'hex') FROM generate_series(1, 1000000) i`)
    await fixture.target.client.query(
      'UPDATE million SET raw = set_bit(raw, 77, 1 - get_bit(raw, 77)) WHERE id = 654321',
    )
    const found = await verifyNow(fixture, ['million'], { set: all })
    expect(found).toMatchObject({ rows: 1_000_000, differing: 1 })
    expect(found.differences).toEqual([
      { table: 'public.million', key: { id: '654321' }, kind: 'differs', columns: ['raw'] },
    ])
    await fixture.target.client.query(
      'UPDATE million SET raw = set_bit(raw, 77, 1 - get_bit(raw, 77)) WHERE id = 654321',
    )
    expect(await verifyNow(fixture, ['million'], { set: all })).toMatchObject({
      rows: 1_000_000,
      differing: 0,
    })
  }, 120_000)

  it('finds two rows that have exchanged their values', async () => {
    await fixture.target.client.query(`
      UPDATE million SET raw = decode(md5(CASE id WHEN 5 THEN '6' ELSE '5' END), 'hex')
      WHERE id IN (5, 6)`)
    const found = await verifyNow(fixture, ['million'], { set: all })
    expect(found.differences.map(({ key }) => key)).toEqual([{ id: '5' }, { id: '6' }])
    await fixture.both('DROP TABLE million')
  }, 60_000)

  it('lists a hundred rows of very many, and says how many differ at least', async () => {
    await fixture.both('CREATE TABLE many (id int PRIMARY KEY, tenant_id bigint)')
    await fixture.source.client.query(
      'INSERT INTO many SELECT i, i FROM generate_series(1, 300000) i',
    )
    const found = await verifyNow(fixture, ['many'], { set: all })
    expect(found.rows).toBe(300_000)
    expect(found.differences).toHaveLength(100)
    expect(found.differing).toBe(300_000)
    expect(new Set(found.differences.map(({ kind }) => kind))).toEqual(
      new Set(['missing on target']),
    )
  }, 60_000)

  it('divides parts that are too large to be fetched', async () => {
    await fixture.both('CREATE TABLE dense (id int PRIMARY KEY, tenant_id bigint)')
    await fixture.both('INSERT INTO dense SELECT i, i FROM generate_series(1, 40000) i')
    await fixture.target.client.query('UPDATE dense SET tenant_id = 7 WHERE id = 31337')
    const found = await verifyNow(fixture, ['dense'], { set: all, fetchedRowsMax: 1 })
    expect(found).toMatchObject({ rows: 40_000, differing: 1 })
    expect(found.differences).toMatchObject([
      { key: { id: '31337' }, kind: 'differs', columns: ['tenant_id'] },
    ])
    await fixture.target.client.query('DELETE FROM dense WHERE id % 2 = 0')
    const many = await verifyNow(fixture, ['dense'], { set: all, fetchedRowsMax: 1 })
    expect(many.differences.length).toBeGreaterThan(0)
    expect(many.differing).toBeGreaterThan(10_000)
    expect(many.differing).toBeLessThanOrEqual(20_001)
  })

  it('names what differs also in small pieces under a bound on bytes', async () => {
    await fixture.both('CREATE TABLE gentle (id int PRIMARY KEY, tenant_id bigint)')
    await fixture.both('INSERT INTO gentle SELECT i, i FROM generate_series(1, 40000) i')
    await fixture.target.client.query('UPDATE gentle SET tenant_id = 7 WHERE id = 31337')
    const throttle = new Throttle({ ...unlimited, bytesPerSecondMax: 8_000_000 }, systemClock)
    for (const fetchedRowsMax of [1, 100_000]) {
      const found = await verifyNow(fixture, ['gentle'], { set: all, throttle, fetchedRowsMax })
      expect(found).toMatchObject({ rows: 40_000, differing: 1 })
      expect(found.differences).toMatchObject([{ key: { id: '31337' }, columns: ['tenant_id'] }])
    }
  })

  it('compares values of 100 MB', async () => {
    await fixture.both(`
      CREATE TABLE heavy (id int PRIMARY KEY, tenant_id bigint, raw bytea, words text);
      ALTER TABLE heavy ALTER raw SET STORAGE EXTERNAL;
      INSERT INTO heavy SELECT 1, 1, decode(repeat(md5('1'), 100 * 1024 * 1024 / 16), 'hex'),
        repeat('äbc', 30 * 1024 * 1024)`)
    expect(await verifyNow(fixture, ['heavy'], { set: all })).toMatchObject({ differing: 0 })
    await fixture.target.client.query('UPDATE heavy SET raw = set_byte(raw, 99000000, 0)')
    const { differences } = await verifyNow(fixture, ['heavy'], { set: all })
    expect(differences).toMatchObject([{ key: { id: '1' }, columns: ['raw'] }])
  }, 120_000)

  it('tells how far it is, and leaves out what was done before', async () => {
    await fixture.both(`
      CREATE TABLE first (id int PRIMARY KEY, tenant_id bigint);
      CREATE TABLE second (id int PRIMARY KEY, tenant_id bigint);
      INSERT INTO first SELECT i, i FROM generate_series(1, 1000) i`)
    await fixture.target.client.query('INSERT INTO second VALUES (1, 1)')
    const told: VerifyProgress[] = []
    const onProgress = (progress: VerifyProgress) => told.push(progress)
    const both = ['first', 'second']
    const found = await verifyNow(fixture, both, { set: all, onProgress })
    expect(found.differences).toMatchObject([{ table: 'public.second', kind: 'not on source' }])
    expect(told.filter(({ same }) => same)).toEqual([
      { table: 'public.first', ranges: 2, rangesTotal: 2, rows: 1000, same: true },
    ])
    const done = new Set(['public.second'])
    expect(await verifyNow(fixture, both, { set: all, done })).toMatchObject({
      rows: 1000,
      differing: 0,
    })
  })

  it('compares partitions of one shard with those of another, and columns by name', async () => {
    await fixture.source.client.query(`
      CREATE TABLE parts (id int, tenant_id bigint, note text, PRIMARY KEY (id))
        PARTITION BY HASH (id);
      CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
      CREATE TABLE parts_2 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
      INSERT INTO parts SELECT i, i, 'n' FROM generate_series(1, 1000) i`)
    await fixture.target.client.query(`
      CREATE TABLE parts (note text, gone int, tenant_id bigint, id int, PRIMARY KEY (id));
      ALTER TABLE parts DROP gone;
      INSERT INTO parts SELECT 'n', i, i FROM generate_series(1, 1000) i`)
    expect(await verifyNow(fixture, ['parts'])).toMatchObject({ differing: 0 })
  })

  it('stops when told to', async () => {
    const stopping = new AbortController()
    const stopped = verifyNow(fixture, ['first'], {
      signal: stopping.signal,
      onProgress: () => stopping.abort(new Error('told to stop')),
    })
    expect((await refusal(stopped)).message).toBe('told to stop')
  })
})
