// Reads of a sharded database on replicas: of one key, of several, of all shards. Functions of users are not passed on to
// shards, so the proxy's counters tell where a read went.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Client } from 'pg'
import {
  column,
  refusal,
  rawClient,
  rowsOf,
  untilReady,
  value,
  withClient,
} from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import {
  noticing,
  type OtherProxy,
  type Reads,
  readsDuring,
  startOther,
  untilReadable,
} from './replica-fixture.ts'

const setupSql = `
CREATE TABLE orders (tenant_id bigint, id integer, amount integer, PRIMARY KEY (tenant_id, id))

CREATE UNLOGGED TABLE drafts (tenant_id bigint, id integer)
`
const tenants = Array.from({ length: 20 }, (_, at) => at + 1)

let stack: ReplicatedStack
let proxy: OtherProxy
/** Of one shard each. */
let one = 0
let two = 0

beforeAll(async () => {
  const reads = { rywWaitMs: 5_000, maxLagMs: null }
  stack = await startReplicatedStack({ shards: 2, replicas: 1, proxies: 1, setupSql, reads })
  proxy = await startOther(stack, { database: { readOnlyAlias: 'app_ro' } })
  await withClient(proxy.place, async (client) => {
    for (const tenant of tenants) {
      await client.query('INSERT INTO orders VALUES ($1, 1, 10)', [tenant])
    }
    const shardOf = async (tenant: number) => {
      const rows = await client.query<{ aspect: string; value: string }>(
        `EXPLAIN (ROUTE) SELECT * FROM orders WHERE tenant_id = ${tenant}`,
      )
      return rows.rows.find(({ aspect }) => aspect === 'shard')?.value
    }
    for (const tenant of tenants) {
      if ((await shardOf(tenant)) === 's1') one = tenant
      else two = tenant
    }
  })
  await Promise.all(stack.shards.map((shard) => shard.untilReplayed(shard.host(`${shard.id}-b`))))
  await untilReadable(proxy.instance, 1)
})
afterAll(async () => {
  await proxy?.instance.close()
  await stack?.stop()
})

const session = <T>(use: (client: Client) => Promise<T>, database = 'app') =>
  withClient({ ...proxy.place, database }, use)
/** Reads that the statement caused in a session of its own, and its rows' first column. */
async function run(sql: string, values?: readonly unknown[]): Promise<[Reads, (string | null)[]]> {
  let rows: (string | null)[] = []
  const reads = await readsDuring(proxy.instance, () =>
    session(async (client) => {
      rows = await column(client, sql, values)
    }),
  )
  return [reads, rows]
}

const cases = () =>
  [
    ['one key', 'SELECT tenant_id FROM orders WHERE tenant_id = $1', [one], 1, [one]],
    [
      'keys of two shards',
      'SELECT tenant_id FROM orders WHERE tenant_id IN ($1, $2)',
      [one, two],
      2,
      [one, two],
    ],
    [
      'keys of an array',
      'SELECT tenant_id FROM orders WHERE tenant_id = ANY($1)',
      [[one, two]],
      2,
      [one, two],
    ],
    ['all shards', 'SELECT tenant_id FROM orders WHERE id = $1', [1], 2, tenants],
    ['no table', 'SELECT $1::bigint', [5], 1, [5]],
  ] as const
const sorted = (rows: readonly (string | number | null)[]) => rows.map(Number).sort((a, b) => a - b)

describe('a read of a sharded database', () => {
  it.each([0, 1, 2, 3, 4])('runs on replicas, however many shards it needs (%i)', async (at) => {
    const [, sql, values, shards, expected] = cases()[at] ?? cases()[0]
    const [reads, rows] = await run(sql, values)
    expect(sorted(rows)).toEqual(sorted(expected))
    expect(reads).toEqual({ primary: 0, replica: shards })
    const literal = sql.replaceAll(/\$(\d)(::bigint)?/g, (_, n: string) => {
      const given = values[Number(n) - 1]
      return Array.isArray(given) ? `'{${given.join(',')}}'` : String(given)
    })
    const [simple, sameRows] = await run(literal)
    expect(sorted(sameRows)).toEqual(sorted(expected))
    expect(simple).toEqual({ primary: 0, replica: shards })
  })

  it.each([0, 1, 2, 3, 4])('follows its hint on every shard (%i)', async (at) => {
    const [, sql, values, shards, expected] = cases()[at] ?? cases()[0]
    for (const hint of ['primary', 'consistency=strong']) {
      const [reads, rows] = await run(`/* ringfence:${hint} */ ${sql}`, values)
      expect(reads).toEqual({ primary: shards, replica: 0 })
      expect(sorted(rows)).toEqual(sorted(expected))
    }
  })

  it('is prepared once and run on the replicas of other shards', async () => {
    const reads = await readsDuring(proxy.instance, () =>
      session(async (client) => {
        for (const tenant of [one, two, one, two]) {
          const query = { name: 'q', text: 'SELECT amount FROM orders WHERE tenant_id = $1' }
          const { rows } = await client.query({ ...query, values: [tenant] })
          expect(rows).toEqual([{ amount: 10 }])
        }
      }),
    )
    expect(reads).toEqual({ primary: 0, replica: 4 })
  })

  it('goes to primaries where only they can serve', async () => {
    await session(async (client) => {
      const reads = await readsDuring(proxy.instance, async () => {
        await client.query('SELECT * FROM drafts')
        await client.query(`SELECT * FROM orders WHERE tenant_id = ${one} FOR UPDATE`)
        await client.query('BEGIN')
        await client.query('SELECT * FROM orders')
        await client.query('COMMIT')
      })
      expect(reads.replica).toBe(0)
    })
  })

  it('COPY TO of one key reads from a replica', async () => {
    const { connection } = await rawClient(proxy.place)
    const reads = await readsDuring(proxy.instance, async () => {
      connection.send(
        textBytes('Q', `COPY (SELECT amount FROM orders WHERE tenant_id = ${one}) TO STDOUT`),
      )
      const answer = await untilReady(connection)
      expect(rowsOf(answer)).toEqual([])
      expect(
        answer
          .find(({ code }) => code === 'd')
          ?.bytes.subarray(5)
          .toString(),
      ).toBe('10\n')
    })
    expect(reads).toEqual({ primary: 0, replica: 1 })
    connection.destroy()
  })

  it('sees what its session has written, on every shard', async () => {
    await session(async (client) => {
      for (let amount = 11; amount < 17; amount += 1) {
        for (const tenant of [one, two]) {
          await client.query('UPDATE orders SET amount = $2 WHERE tenant_id = $1', [tenant, amount])
        }
        const sql = `SELECT amount FROM orders WHERE tenant_id IN (${one}, ${two})`
        expect(await column(client, sql)).toEqual([String(amount), String(amount)])
        const token = await value(client, 'SHOW ringfence.session_token')
        await session(async (other) => {
          await other.query(`SET ringfence.session_token = '${token}'`)
          expect(await column(other, sql)).toEqual([String(amount), String(amount)])
        })
      }
    })
  })

  it('is warned of a hint that cannot be followed, once for all shards', async () => {
    const { client, warnings } = await noticing(proxy.place)
    await client.query('/* ringfence:nonsense */ SELECT * FROM orders')
    await client.query('/* ringfence:nonsense */ SELECT * FROM orders WHERE id = $1', [1])
    expect(warnings).toEqual(Array.from({ length: 2 }, () => '01000 unknown hint "nonsense"'))
    await client.end()
  })
})

describe('a READ ONLY transaction of a sharded database', () => {
  it('reads on a replica of each shard that it comes to', async () => {
    await session(async (client) => {
      const reads = await readsDuring(proxy.instance, async () => {
        await client.query('BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ')
        await column(client, `SELECT amount FROM orders WHERE tenant_id = ${one}`)
        expect(sorted(await column(client, 'SELECT tenant_id FROM orders'))).toEqual(tenants)
        await client.query('SAVEPOINT here')
        await column(client, `SELECT amount FROM orders WHERE tenant_id = ${two}`)
        await client.query('ROLLBACK TO here')
        await column(client, 'SELECT tenant_id FROM orders')
        await client.query('COMMIT')
      })
      expect(reads).toEqual({ primary: 0, replica: 2 })
    })
  })

  it('writes nothing', async () => {
    await session(async (client) => {
      await client.query('BEGIN READ ONLY')
      await column(client, 'SELECT tenant_id FROM orders')
      const write = client.query(`UPDATE orders SET amount = 0 WHERE tenant_id = ${one}`)
      expect(await refusal(write)).toMatchObject({ code: '25006' })
      await client.query('ROLLBACK')
    })
  })
})

describe('the read-only name of a sharded database', () => {
  it('reads on replicas and writes nowhere', async () => {
    const reads = await readsDuring(proxy.instance, () =>
      session(async (client) => {
        expect(sorted(await column(client, 'SELECT tenant_id FROM orders'))).toEqual(tenants)
        await client.query('/* ringfence:primary */ SELECT * FROM orders')
        await client.query('SET ringfence.consistency = strong')
        await client.query('SELECT * FROM orders WHERE tenant_id = $1', [two])
        for (const sql of [
          `UPDATE orders SET amount = 0 WHERE tenant_id = ${one}`,
          'UPDATE orders SET amount = 0',
          'INSERT INTO orders VALUES (1, 2, 3)',
          'CREATE TABLE forbidden (id integer)',
          'CREATE TABLE forbidden (tenant_id bigint)',
        ]) {
          const outcome = client.query(sql)
          expect((await refusal(outcome)).code).toMatch(/^(?:25006|0A000)$/)
        }
        await client.query('BEGIN')
        await client.query('SELECT * FROM orders')
        await client.query('COMMIT')
      }, 'app_ro'),
    )
    expect(reads.primary).toBe(0)
    expect(
      await session((client) => value(client, 'SELECT amount FROM orders WHERE amount = 0')),
    ).toBe(null)
  })
})

it('partial answers are given when asked for, with a warning that names what is missing', async () => {
  const [, second] = stack.shards
  if (second === undefined) throw new Error('there are two shards')
  await Promise.all(second.hosts.map((host) => second.kill(host)))
  const hurried = await startOther(stack, { database: { failover: { waitMs: 0, probeMs: 200 } } })
  const { client, warnings } = await noticing(hurried.place)
  const sql = 'SELECT tenant_id FROM orders'
  const refused = await refusal(client.query(sql))
  expect([refused.code, refused.message.includes('"s2"')]).toEqual(['08001', true])
  await client.query('SET ringfence.partial = on')
  const rows = await column(client, sql)
  expect(rows).toContain(String(one))
  expect(rows).not.toContain(String(two))
  expect(warnings).toHaveLength(1)
  expect(warnings[0]).toMatch(/^01000 .*"s2"/)
  expect(await column(client, `SELECT tenant_id FROM orders WHERE tenant_id = ${one}`)).toEqual([
    String(one),
  ])
  const gone = refusal(client.query(`SELECT tenant_id FROM orders WHERE tenant_id = ${two}`))
  expect(await gone).toMatchObject({ code: '08001' })
  await client.end()
  await hurried.instance.close()
})
