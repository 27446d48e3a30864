// What plans are made from: sizes per virtual node on real tables, and the catalog's owners, pins and measured load.
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { moverServers } from '../support/mover-servers.ts'
import { writeLoad } from '../../catalog/load-store.ts'
import type { Vnode } from '../../core/ids.ts'
import { readPlanInput } from '../../rebalancer/load/read-plan-input.ts'
import { readSizes, type Sizes } from '../../rebalancer/load/sizes.ts'
import type { MoverDatabase } from '../../rebalancer/run-move.ts'
import { readMovedTables } from '../../rebalancer/tables.ts'
import { vnodeOfInt } from '../../router/key-hash.ts'
import { type CatalogFixture, column, openCluster, rules } from '../catalog/fixture.ts'

const target = { epsilon: 0.1, bytesMax: null }
const never = new AbortController().signal

const setupSql = `
  CREATE TABLE public.orders (tenant_id bigint, id bigint, note text, PRIMARY KEY (tenant_id, id));
  CREATE TABLE public.accounts (owner_id integer PRIMARY KEY, note text);
  CREATE TABLE public.parted (tenant_id bigint, at integer, note text) PARTITION BY RANGE (at);
  CREATE TABLE public.parted_1 PARTITION OF public.parted FOR VALUES FROM (0) TO (10);
  CREATE TABLE public."Parted 2" PARTITION OF public.parted FOR VALUES FROM (10) TO (20);
  CREATE TABLE public.products (id bigint PRIMARY KEY);
  INSERT INTO public.orders
    SELECT t, g, repeat('x', 50) FROM generate_series(1, 200) t, generate_series(1, 20) g;
  INSERT INTO public.orders SELECT 5, g, repeat('x', 50) FROM generate_series(21, 4000) g;
  INSERT INTO public.accounts SELECT g, 'a' FROM generate_series(1, 100) g;
  INSERT INTO public.parted
    SELECT t, 2 * g, 'p' FROM generate_series(1, 50) t, generate_series(0, 9) g;
  INSERT INTO public.products SELECT generate_series(1, 10000)`

const of = (key: number): Vnode => vnodeOfInt(key, 12)
const sumOf = ({ vnodes, keys }: Sizes, what: 'rows' | 'bytes') =>
  [...vnodes.values(), ...keys.values()].reduce((sum, size) => sum + size[what], 0)

describe.each(moverServers())('input of plans on PostgreSQL $version', (servers) => {
  let fixture: CatalogFixture
  let home: Client
  let database: MoverDatabase
  beforeAll(async () => {
    fixture = await openCluster(servers)
    home = fixture.shards[0].client
    for (const { client } of fixture.shards) {
      await client.query('SET search_path = pg_catalog; SET jit = off')
      await client.query(setupSql)
    }
    database = {
      name: 'test',
      rules,
      home: fixture.shards[0].id,
      shards: new Map(fixture.shards.map(({ id, url }) => [id, { urls: [url] }])),
    }
  })
  afterAll(async () => await fixture.close())

  const sizesOf = async (options: { keys?: readonly string[]; sampleBytes?: number } = {}) => {
    const tables = await readMovedTables(home, rules)
    return await readSizes(home, tables, { keyType: 'bigint', keys: [], ...options })
  }

  it('counts rows of all sharded tables and partitions by virtual node', async () => {
    const sizes = await sizesOf()
    expect(sumOf(sizes, 'rows')).toBe(200 * 20 + 3980 + 100 + 500)
    expect(sizes.vnodes.get(of(150))?.rows).toBe(20)
    expect(sizes.vnodes.get(of(60))?.rows).toBe(20 + 1)
  })

  it('shares out what the tables take on disk, with indexes', async () => {
    const [whole] = await column<number>(
      home,
      `SELECT sum(pg_total_relation_size(c.oid))::float8 FROM pg_class c
       WHERE c.relname IN ('orders', 'accounts', 'parted_1', 'Parted 2')`,
    )
    expect(sumOf(await sizesOf(), 'bytes')).toBeCloseTo(whole ?? 0, 0)
  })

  it('counts the keys that are asked for apart', async () => {
    const sizes = await sizesOf({ keys: ['5', '7'] })
    expect(sizes.keys.get('5')?.rows).toBe(4000 + 1 + 10)
    expect(sizes.keys.get('7')?.rows).toBe(20 + 1 + 10)
    expect(sizes.vnodes.get(of(5))).toBeUndefined()
  })

  it('samples a large table by pages, the same ones each time', async () => {
    const sampled = await sizesOf({ sampleBytes: 128 * 1024 })
    const whole = await sizesOf()
    expect(sumOf(sampled, 'rows')).toBeGreaterThan(0.5 * sumOf(whole, 'rows'))
    expect(sumOf(sampled, 'rows')).toBeLessThan(2 * sumOf(whole, 'rows'))
    expect(sumOf(sampled, 'bytes')).toBeCloseTo(sumOf(whole, 'bytes'), 0)
    expect(await sizesOf({ sampleBytes: 128 * 1024 })).toEqual(sampled)
  })

  it('puts owners, load, sizes, hot keys and pins together', async () => {
    const counts = { statements: 1, bytes: 0, rows: 0 }
    await writeLoad(home, {
      vnodes: [
        { ...counts, vnode: of(5), serverMs: 800 },
        { ...counts, vnode: of(9), serverMs: 300 },
      ],
      keys: [
        { key: '5', vnode: of(5), statements: 1, serverMs: 600 },
        { key: '9', vnode: of(9), statements: 1, serverMs: 200 },
      ],
    })
    const [owner = ''] = await column<string>(
      home,
      'SELECT shard FROM ringfence.vnode WHERE vnode = $1',
      [of(9)],
    )
    await home.query(`INSERT INTO ringfence.pin VALUES ('5', 's2')`)
    await home.query(`UPDATE ringfence.shard SET state = 'draining', weight = 2 WHERE id = 's3'`)
    try {
      const input = await readPlanInput(database, target, never)
      expect(input.shards).toEqual([
        { id: 's1', weight: 1, draining: false },
        { id: 's2', weight: 1, draining: false },
        { id: 's3', weight: 2, draining: true },
      ])
      expect(input.vnodes.length).toBe(4096)
      const perSecond = Math.LN2 / 600
      expect(input.vnodes[of(5)]).toMatchObject({
        vnode: of(5),
        load: expect.closeTo(200 * perSecond, 3),
        bytes: 0,
      })
      const nine = input.vnodes[of(9)]
      expect(nine).toMatchObject({ shard: owner, load: expect.closeTo(300 * perSecond, 3) })
      expect(input.pins).toEqual([
        {
          key: '5',
          shard: 's2',
          load: expect.closeTo(600 * perSecond, 3),
          bytes: expect.any(Number),
        },
      ])
      expect(input.pins[0]?.bytes).toBeGreaterThan(4000 * 50)
      expect(input.hotKeys).toEqual([
        {
          key: '9',
          vnode: of(9),
          load: expect.closeTo(200 * perSecond, 3),
          bytes: expect.any(Number),
        },
      ])
      // All of its rows are that key's.
      expect(nine?.bytes).toBeCloseTo(input.hotKeys[0]?.bytes ?? 0, 0)
    } finally {
      await home.query('TRUNCATE ringfence.pin, ringfence.vnode_load, ringfence.key_load')
      await home.query(`UPDATE ringfence.shard SET state = 'active', weight = 1`)
    }
  })

  it('leaves a shard out that is about to join', async () => {
    await home.query(`INSERT INTO ringfence.shard VALUES ('s4', 9, 1, 'joining')`)
    try {
      const input = await readPlanInput(database, target, never)
      expect(input.shards.map(({ id }) => id)).toEqual(['s1', 's2', 's3'])
    } finally {
      await home.query(`DELETE FROM ringfence.shard WHERE id = 's4'`)
    }
  })
})
