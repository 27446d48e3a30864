// What a proxy measures of its statements: virtual nodes, time, bytes, rows, hot keys; and how that gets into the catalog.
import { Client } from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { readLoad } from '../../catalog/load-store.ts'
import { systemClock } from '../../core/clock.ts'
import { createLog } from '../../core/log.ts'
import type { LoadMeter } from '../../proxy/load-meter.ts'
import { startLoadReports } from '../../proxy/load-reports.ts'
import { vnodeOfInt } from '../../router/key-hash.ts'
import { type Stack, startStack } from '../support/stack.ts'

const vnodeBits = 12
const setupSql = `CREATE TABLE orders (
  tenant_id bigint, id bigint, note text, PRIMARY KEY (tenant_id, id))

CREATE TABLE products (id bigint PRIMARY KEY)`

describe.each(inject('servers'))('load measured on PostgreSQL $version', (servers) => {
  let stack: Stack
  let client: Client
  let meter: LoadMeter
  beforeAll(async () => {
    // Nothing is taken away while a test counts.
    const database = { measureLoad: true, loadReportIntervalMs: 3_600_000 }
    stack = await startStack(servers, { shards: 3, setupSql, database })
    client = new Client(stack.proxy)
    await client.connect()
    const [measured] = stack.instance.databases.values()
    if (measured === undefined || measured.load === null) throw new Error('nothing is measured')
    meter = measured.load
  })
  afterAll(async () => {
    await client.end()
    await stack.close()
  })
  beforeEach(() => {
    meter.take()
  })

  const of = (tenant: number) => vnodeOfInt(BigInt(tenant), vnodeBits)

  it.each([
    ['simple', (sql: string) => client.query(sql)],
    ['extended', (sql: string) => client.query(sql, [])],
  ])('counts statements, rows, bytes and time of the %s protocol', async (protocol, query) => {
    const tenant = protocol === 'simple' ? 1 : 2
    await query(
      `INSERT INTO orders VALUES
         (${tenant}, 101, repeat('x', 100)), (${tenant}, 102, repeat('x', 100))`,
    )
    meter.take()
    await query(`SELECT * FROM orders WHERE tenant_id = ${tenant} AND id > 100`)
    await query(`SELECT note, pg_sleep(0.05) FROM orders WHERE tenant_id = ${tenant} AND id = 101`)
    const { vnodes } = meter.take()
    expect(vnodes).toEqual([
      {
        vnode: of(tenant),
        statements: 2,
        rows: 3,
        bytes: expect.any(Number),
        serverMs: expect.any(Number),
      },
    ])
    expect(vnodes[0]?.serverMs).toBeGreaterThan(50)
    expect(vnodes[0]?.bytes).toBeGreaterThan(300)
  })

  it('counts statements of a transaction for their own virtual nodes', async () => {
    await client.query('BEGIN')
    await client.query('INSERT INTO orders VALUES (31, 1, null)')
    await client.query('SELECT * FROM orders WHERE tenant_id = $1', [32])
    await client.query('COMMIT')
    const counted = meter.take().vnodes.map(({ vnode, statements }) => [vnode, statements])
    expect(new Map(counted.map(([at, statements]) => [at, statements]))).toEqual(
      new Map([
        [of(31), 1],
        [of(32), 1],
      ]),
    )
  })

  it('shares the time of a string of statements out among them', async () => {
    await client.query('INSERT INTO orders VALUES (41, 1, null)')
    meter.take()
    await client.query(
      `SELECT id FROM orders WHERE tenant_id = 41;
       SELECT pg_sleep(0.06) FROM orders WHERE tenant_id = 41`,
    )
    const [counted] = meter.take().vnodes
    expect(counted).toMatchObject({ vnode: of(41), statements: 2, rows: 2 })
    expect(counted?.serverMs).toBeGreaterThan(60)
    expect(counted?.serverMs).toBeLessThan(10_000)
  })

  it('counts no statement that is not tied to one key', async () => {
    await client.query('SELECT * FROM orders')
    await client.query('SELECT 1')
    await client.query('SELECT * FROM products')
    expect(meter.take()).toEqual({ vnodes: [], keys: [] })
  })

  it('counts a statement that fails', async () => {
    const failing = client.query('SELECT 1 / (tenant_id - 1) FROM orders WHERE tenant_id = 1')
    // The error reaches the client before the exchange is over.
    const next = client.query('SELECT 1')
    await expect(failing).rejects.toMatchObject({ code: '22012' })
    await next
    expect(meter.take().vnodes).toMatchObject([{ vnode: of(1), statements: 1, rows: 0 }])
  })

  it('tells the hottest keys among many', async () => {
    const wanted = [71, 72]
    // Each is told some 20 times of 333; that it is told less than twice happens once in ten million runs.
    for (let round = 0; round < 1_000; round += 1) {
      const tenant = wanted[round % 3] ?? 1_000 + round
      await client.query('SELECT * FROM orders WHERE tenant_id = $1', [tenant])
    }
    const { keys } = meter.take()
    const hottest = [...keys].sort((a, b) => b.statements - a.statements).slice(0, 2)
    expect(new Set(hottest.map(({ key }) => key))).toEqual(new Set(['71', '72']))
    expect(hottest.every(({ key, vnode }) => vnode === of(Number(key)))).toBe(true)
  })

  it('is written to the catalog, and kept while the home shard is away', async () => {
    await client.query('SELECT * FROM orders WHERE tenant_id = 81')
    await client.query('SELECT 1')
    const home = stack.shardUrls[0] ?? ''
    const away = new URL(home)
    away.port = '1'
    let url = away.href
    const reports = startLoadReports({
      meter,
      url: () => url,
      log: createLog('silent'),
      clock: systemClock,
      random: () => 0.5,
      intervalMs: 20,
    })
    try {
      await new Promise((resolve) => setTimeout(resolve, 200))
      expect(await writtenFor(home, 81)).toBeUndefined()
      url = home
      await expect
        .poll(() => writtenFor(home, 81), { timeout: 10_000 })
        .toMatchObject({ statements: expect.closeTo(Math.LN2 / 600, 4) })
    } finally {
      await reports.close()
    }
  })

  it('is reported by the proxy itself every few seconds', async () => {
    const database = { measureLoad: true, loadReportIntervalMs: 50 }
    const own = await startStack(servers, { shards: 3, setupSql, database })
    const direct = new Client(own.proxy)
    try {
      await direct.connect()
      await direct.query('INSERT INTO orders VALUES (91, 1, null)')
      await expect
        .poll(() => writtenFor(own.shardUrls[0] ?? '', 91), { timeout: 10_000 })
        .toMatchObject({ rows: expect.closeTo(Math.LN2 / 600, 4) })
    } finally {
      await direct.end()
      await own.close()
    }
  })

  async function writtenFor(home: string, tenant: number) {
    const reader = new Client({ connectionString: home })
    await reader.connect()
    try {
      return (await readLoad(reader)).vnodes.find(({ vnode }) => vnode === of(tenant))
    } finally {
      await reader.end()
    }
  }
})
