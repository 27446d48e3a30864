// While virtual nodes are on the move, shards hold rows that they do not own: whatever goes to several shards answers as
// if these rows were not there.
import { assert, asyncProperty } from 'fast-check'
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { column, connected, refusal, value } from '../support/clients.ts'
import { type Arena, openArena } from './arena.ts'
import { hiddenKeys, plantHidden } from './hidden-plant.ts'
import { scatterStatement } from './hidden-reads.ts'
import { readStatement } from './reads.ts'
import { parameters, runSeed, timeoutMs } from './run-seeds.ts'
import type { Param, Statement } from './side.ts'
import { Tape, tapes } from './tape.ts'

const few = `'0', '1', '2', '3', '4'`

/** Statements that go to all shards or to several, in every form that they may have. */
const scattered: readonly string[] = [
  'SELECT * FROM orders',
  'TABLE orders',
  'TABLE ONLY users',
  'SELECT o FROM orders o',
  'SELECT public.orders.*, public.orders.total FROM public.orders',
  'SELECT * FROM orders AS o (a, b, c), products p WHERE a > 3 AND b = b',
  'SELECT to_json(o), o IS NULL, (o).status FROM orders o',
  'SELECT x.a, y FROM orders AS x (a, b) LEFT JOIN tags y ON y.tenant_id = x.b',
  `SELECT * FROM orders WHERE tenant_id IN (${few})`,
  `SELECT * FROM orders WHERE tenant_id = ANY ('{0,1,2,3,4,5,6,7}') OFFSET 0`,
  'SELECT * FROM orders o JOIN users u USING (tenant_id)',
  'SELECT * FROM orders o NATURAL JOIN shop.orders s',
  'SELECT * FROM orders o LEFT JOIN order_items i USING (tenant_id)',
  'SELECT o, i FROM order_items i RIGHT JOIN orders o USING (tenant_id)',
  'SELECT * FROM tenants t LEFT JOIN (users u JOIN orders o USING (tenant_id)) USING (tenant_id)',
  'SELECT * FROM tenants t LEFT JOIN (users u LEFT JOIN tags g USING (tenant_id)) ON u.tenant_id = t.tenant_id',
  'SELECT * FROM (tenants t JOIN users u USING (tenant_id)) AS j',
  'SELECT j.* FROM tenants t JOIN users u USING (tenant_id) AS j',
  'SELECT * FROM products p JOIN orders o ON p.id = o.id LEFT JOIN products q ON q.name = o.status',
  'SELECT * FROM orders o, LATERAL (SELECT * FROM users u WHERE u.tenant_id = o.tenant_id ORDER BY id DESC LIMIT 1) x',
  'SELECT o.*, (SELECT count(*) FROM users u WHERE u.tenant_id = o.tenant_id) FROM orders o',
  'SELECT (SELECT (SELECT max(g.word) FROM tags g WHERE g.tenant_id = u.tenant_id) FROM users u WHERE u.tenant_id = o.tenant_id LIMIT 1) FROM orders o',
  'SELECT * FROM tenants t WHERE EXISTS (SELECT FROM orders o WHERE o.tenant_id = t.tenant_id)',
  'SELECT * FROM tenants t WHERE NOT EXISTS (SELECT FROM orders o WHERE o.tenant_id = t.tenant_id)',
  'SELECT * FROM tenants WHERE tenant_id IN (SELECT tenant_id FROM users WHERE age > 0)',
  'SELECT * FROM orders o WHERE total >= (SELECT avg(i.total) FROM orders i WHERE i.tenant_id = o.tenant_id)',
  'SELECT t.name, (SELECT sum(n) FROM (SELECT count(*) AS n FROM orders o WHERE o.tenant_id = t.tenant_id UNION ALL SELECT count(*) FROM users u WHERE u.tenant_id = t.tenant_id) x) FROM tenants t',
  'SELECT t.name, ARRAY(SELECT o.id FROM orders o WHERE o.tenant_id = t.tenant_id GROUP BY o.tenant_id, o.id HAVING o.total > 0 ORDER BY 1) FROM tenants t',
  'SELECT CASE WHEN EXISTS (SELECT FROM users u WHERE u.tenant_id = t.tenant_id) THEN 1 ELSE 2 END FROM tenants t',
  'WITH o AS (SELECT * FROM orders) SELECT * FROM o WHERE total > 1',
  'WITH orders AS MATERIALIZED (SELECT * FROM users) SELECT * FROM orders',
  'SELECT * FROM (WITH users AS (SELECT * FROM orders) SELECT * FROM users) x',
  'SELECT * FROM (SELECT * FROM orders WHERE total > 1) o JOIN users u ON u.tenant_id = o.tenant_id',
  'SELECT * FROM events',
  'SELECT * FROM ONLY events',
  'SELECT * FROM events_good e JOIN tenants USING (tenant_id)',
  'SELECT unnest(ARRAY[o.id, o.id + 1]) FROM orders o',
  'SELECT * FROM orders o JOIN generate_series(1, 2) g ON g = o.id',
  'SELECT * FROM tags; SELECT * FROM tenants',
]

const text = (sql: string, type = 0): Param => ({ type, format: 0, value: Buffer.from(sql) })

/** The same with parameters, the types of which the server infers. */
const withParameters: readonly Statement[] = [
  {
    sql: 'SELECT $2, o.*, $1 || status FROM orders o WHERE total > $3 AND id = ANY ($4)',
    params: [text('a'), text('b'), text('0.5'), text('{1,2,3}')],
  },
  {
    sql: 'SELECT o.id + $1, u FROM orders o LEFT JOIN users u ON u.tenant_id = o.tenant_id AND u.id < $2',
    params: [text('1'), text('100')],
  },
  {
    sql: 'SELECT * FROM orders WHERE tenant_id IN ($1, $2, $3, $4)',
    params: [text('0'), text('1', 20), text('2', 23), text('3', 21)],
  },
  {
    sql: 'SELECT * FROM orders WHERE tenant_id = ANY ($1) OFFSET $2',
    params: [text('{0,1,2,3,4,5,6,7}'), text('0')],
  },
]

describe.each(inject('servers'))('rows of another shard on PostgreSQL $version', (servers) => {
  let arena: Arena
  let client: Client
  let oracle: Client
  /** Prepared and run once before anything moves. */
  const early = {
    name: 'early',
    text: 'SELECT o.*, t FROM orders o JOIN tenants t USING (tenant_id) WHERE o.total > $1',
    values: ['0'],
  }
  let before: string | null = null

  beforeAll(async () => {
    arena = await openArena(servers)
    client = await connected(arena.stack.proxy)
    oracle = await connected(arena.stack.direct)
    before = await texts(client)
    await plantHidden(arena.stack)
  })
  afterAll(async () => {
    await client.end()
    await oracle.end()
    await arena.close()
  })

  async function texts(side: Client): Promise<string> {
    const { rows } = await side.query<unknown[]>({ ...early, rowMode: 'array' })
    return rows
      .map((row) => JSON.stringify(row))
      .toSorted()
      .join('\n')
  }

  it('lie on shards that do not own them', async () => {
    const counts = await Promise.all(
      arena.stack.shardUrls.map(async (connectionString) => {
        const shard = await connected({ connectionString })
        const found = await column(shard, 'SELECT tenant_id FROM tenants')
        await shard.end()
        return found.filter((key) => key !== null && hiddenKeys.includes(key)).length
      }),
    )
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(2 * hiddenKeys.length)
    expect(counts.every((count) => count > 0)).toBe(true)
  })

  it.each(scattered)('are not seen by %s', async (sql) => {
    expect(await arena.pair.run({ sql, params: null })).toMatchObject({ kind: 'same' })
    if (sql.includes(';')) return
    for (const binary of [false, true])
      expect(await arena.pair.run({ sql, params: [], binary })).toMatchObject({ kind: 'same' })
  })

  it.each(withParameters)('are not seen by $sql', async (statement) => {
    for (const binary of [false, true])
      expect(await arena.pair.run({ ...statement, binary })).toMatchObject({ kind: 'same' })
  })

  it('are not seen by what was prepared before', async () => {
    expect(before).not.toBe('')
    expect(await texts(client)).toBe(before)
    expect(await texts(oracle)).toBe(before)
  })

  it('do not get in the way of whoever names their key', async () => {
    for (const key of [...hiddenKeys, '3']) {
      const sql = `SELECT count(*), sum(total) FROM orders WHERE tenant_id = ${key}`
      expect(await arena.pair.run({ sql, params: null })).toMatchObject({ kind: 'same' })
    }
  })

  it('are not seen in a transaction, nor under another search_path', async () => {
    const sql = 'SELECT * FROM orders o JOIN public.tenants t USING (tenant_id)'
    for (const each of [
      'BEGIN ISOLATION LEVEL REPEATABLE READ',
      sql,
      'COMMIT',
      'SET search_path = shop, public',
      sql,
      'RESET search_path',
    ]) {
      expect(await arena.pair.run({ sql: each, params: null })).toMatchObject({ kind: 'same' })
    }
  })

  it('are not locked', async () => {
    await client.query('BEGIN')
    const { rowCount } = await client.query(
      'SELECT 1 FROM tenants t WHERE EXISTS (SELECT FROM orders o WHERE o.tenant_id = t.tenant_id FOR UPDATE)',
    )
    expect(rowCount).toBeGreaterThan(0)
    const free: (string | null)[] = []
    const locked: (string | null)[] = []
    for (const connectionString of arena.stack.shardUrls) {
      const shard = await connected({ connectionString })
      const skipping = `SELECT id FROM orders WHERE id > 100 FOR UPDATE SKIP LOCKED`
      free.push(...(await column(shard, skipping)))
      const all = await column(shard, 'SELECT id FROM orders WHERE id < 100')
      const unlocked = await column(
        shard,
        'SELECT id FROM orders WHERE id < 100 FOR UPDATE SKIP LOCKED',
      )
      locked.push(...all.slice(unlocked.length))
      await shard.end()
    }
    await client.query('COMMIT')
    const planted = await Promise.all(
      arena.stack.shardUrls.map(async (connectionString) => {
        const shard = await connected({ connectionString })
        const count = Number(await value(shard, 'SELECT count(*) FROM orders WHERE id > 100'))
        await shard.end()
        return count
      }),
    )
    expect(free).toHaveLength(planted.reduce((sum, count) => sum + count, 0))
    expect(locked.length).toBeGreaterThan(0)
  })

  it.each([
    'SELECT o.id, no_such FROM orders o',
    "SELECT 'ü€', 1 FROM orders o LEFT JOIN users u USING (tenant_id) WHERE u.nothing",
    'SELECT 1; SELECT o.id FROM users u JOIN orders o USING (tenant_id) WHERE o.id + o.status',
  ])('leave positions of errors where they are: %s', async (sql) => {
    const [mine, expected] = await Promise.all([client, oracle].map((side) => errorOf(side, sql)))
    expect(expected?.position).toMatch(/^\d+$/)
    expect(mine).toEqual(expected)
  })

  it.each([
    'DECLARE c CURSOR FOR SELECT * FROM orders',
    'COPY orders TO STDOUT',
    'COPY (SELECT * FROM orders) TO STDOUT',
    'EXPLAIN ANALYZE SELECT * FROM orders',
    'SELECT * FROM active_users',
    'SELECT count(*) FROM orders',
    'UPDATE orders SET total = 1',
    'DELETE FROM orders WHERE tenant_id IN (0, 1, 2, 3, 4)',
    'INSERT INTO shop.orders SELECT id, status, tenant_id FROM orders',
    'SELECT user_count()',
    'INSERT INTO products (id, name) SELECT id, email FROM users',
    'SELECT * FROM orders FOR UPDATE',
    'CREATE TABLE copy AS SELECT * FROM orders',
    'MERGE INTO orders o USING users u ON o.tenant_id = u.tenant_id WHEN MATCHED THEN DELETE',
  ])('are not met by what is refused across shards: %s', async (sql) => {
    await client.query('BEGIN')
    const { code } = await refusal(client.query(sql))
    await client.query('ROLLBACK')
    expect(code).toBe('0A000')
  })

  it('are not seen by any SELECT that goes to several shards', { timeout: timeoutMs }, async () => {
    const counts = { answered: 0, rows: 0, failed: 0, refused: 0 }
    const property = asyncProperty(tapes(90), async (numbers) => {
      await compare(scatterStatement(new Tape(numbers)), counts)
    })
    await assert(property, parameters(600))
    process.stdout.write(`hidden rows: seed ${runSeed}: ${JSON.stringify(counts)}\n`)
    expect(counts.answered).toBeGreaterThan(counts.failed + counts.refused)
    expect(counts.rows).toBeGreaterThan(counts.answered)
  })

  it('are not seen by any SELECT', { timeout: timeoutMs }, async () => {
    const counts = { answered: 0, rows: 0, failed: 0, refused: 0 }
    const property = asyncProperty(tapes(120), async (numbers) => {
      await compare(readStatement(new Tape(numbers)), counts)
    })
    await assert(property, parameters(300))
    expect(counts.rows).toBeGreaterThan(0)
  })

  type Counts = { answered: number; rows: number; failed: number; refused: number }

  async function compare(statement: Statement, counts: Counts): Promise<void> {
    const verdict = await arena.pair.run(statement)
    if (verdict.kind === 'different') {
      const params = statement.params?.map(({ value: bytes }) => String(bytes)).join(' | ') ?? ''
      throw new Error(`${statement.sql}\n${params}\n${verdict.what}`)
    }
    if (verdict.kind === 'refused') counts.refused += 1
    else if (verdict.reply.error !== null) counts.failed += 1
    else {
      counts.answered += 1
      counts.rows += verdict.reply.results[0]?.rows.length ?? 0
    }
  }
})

async function errorOf(client: Client, sql: string) {
  const outcome: unknown = await client.query(sql).catch((error: unknown) => error)
  const fields = typeof outcome === 'object' && outcome !== null ? outcome : {}
  return {
    code: 'code' in fields ? fields.code : undefined,
    position: 'position' in fields ? fields.position : undefined,
    message: 'message' in fields ? fields.message : undefined,
  }
}
