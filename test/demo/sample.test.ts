// The sample of the demo: what is loaded where.
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { loadSample } from '../../demo/sample.ts'
import { sampleTenants } from '../../demo/sample-rows.ts'
import { withClient } from '../../demo/sql.ts'
import { createDatabases, type TestDatabases } from '../support/databases.ts'

describe.each(inject('servers'))('the sample on PostgreSQL $version', (servers) => {
  let databases: TestDatabases
  const shardOf = (tenant: bigint) => Number(tenant % 3n)
  beforeAll(async () => {
    databases = await createDatabases(servers, 'sample')
    await loadSample({ urls: databases.urls, shardOf })
  })
  afterAll(() => databases.drop())

  const onEveryShard = (sql: string) =>
    Promise.all(
      databases.urls.map((url) =>
        withClient(url, async (client) => {
          const answer = await client.query<unknown[]>({ text: sql, rowMode: 'array' })
          return answer.rows
        }),
      ),
    )

  it('puts each tenant on its shard and nowhere else', async () => {
    const shards = await onEveryShard('SELECT tenant_id FROM tenants ORDER BY 1')
    const found = shards.map((rows) => rows.map(([tenant]) => BigInt(String(tenant))))
    expect(found).toEqual(
      [0, 1, 2].map((index) => sampleTenants.filter((t) => shardOf(t) === index)),
    )
  })

  it.each([
    ['tenants', 100],
    ['users', 550],
    ['orders', 1002],
    ['order_items', 2504],
    ['events', 2016],
  ])('has in %s %i rows', async (table, expected) => {
    const shards = await onEveryShard(`SELECT count(*)::int FROM ${table}`)
    expect(shards.flat(2).reduce((sum: number, count) => sum + Number(count), 0)).toBe(expected)
  })

  it('has the same products on every shard', async () => {
    const [first, ...others] = await onEveryShard('TABLE products ORDER BY id')
    expect(first).toHaveLength(50)
    for (const other of others) expect(other).toEqual(first)
  })

  it('has orders that cost what their items cost', async () => {
    const shards = await onEveryShard(`
      SELECT o.id FROM orders AS o
        LEFT JOIN order_items AS i ON (i.tenant_id, i.order_id) = (o.tenant_id, o.id)
       GROUP BY o.id, o.total HAVING o.total IS DISTINCT FROM sum(i.quantity * i.unit_price)`)
    expect(shards).toEqual([[], [], []])
  })

  it('gives new rows ids that no other shard gives', async () => {
    const insert = `INSERT INTO events (tenant_id, kind)
                    SELECT min(tenant_id), 'login' FROM tenants, generate_series(1, 3) AS n
                     GROUP BY n
                    RETURNING id`
    const shards = await onEveryShard(insert)
    const ids = shards.flat(2).map(Number)
    expect(new Set(ids).size).toBe(9)
    expect(Math.min(...ids)).toBe(1_024_000)
  })
})
