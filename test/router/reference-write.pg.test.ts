// What runs on every shard must leave the same rows on every shard, and those that plain PostgreSQL
// would have: the plan is carried out on two real databases and the statement itself on a third.
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { loadSchema } from '../../catalog/schema-loader.ts'
import { loadParser } from '../../router/parser.ts'
import { Router, type RouterContext } from '../../router/router.ts'
import { createDatabases, type TestDatabases } from '../support/databases.ts'
import { sampleRules, sampleTopology } from './sample.ts'

const schemaSql = `
CREATE SCHEMA "Odd ""one";
CREATE TABLE countries (code text PRIMARY KEY, name varchar(8));
CREATE TABLE products (
  id bigserial PRIMARY KEY, name text, price numeric(6, 2), on_day date DEFAULT current_date,
  added_at timestamptz DEFAULT now(), token uuid DEFAULT gen_random_uuid(), tags text[] DEFAULT '{a}',
  doubled numeric GENERATED ALWAYS AS (price * 2) STORED);
CREATE TABLE badges (id int GENERATED ALWAYS AS IDENTITY, "La bel" char(4), raw bytea, made timestamp(0));
INSERT INTO countries VALUES ('de', 'Germany'), ('fr', 'France');
CREATE TABLE orders (tenant_id bigint NOT NULL, id bigint);
`

/**
 * Statement → columns that must be as on plain PostgreSQL; the rest is drawn by chance or by the
 * clock.
 */
const statements: readonly (readonly [string, string])[] = [
  [`INSERT INTO products (name) VALUES ('a'), ('it''s "b" \\ é')`, 'id, name, tags'],
  ["INSERT INTO products VALUES (DEFAULT, 'c', 1.005)", 'id, name, price, doubled'],
  ['INSERT INTO products DEFAULT VALUES', 'id, name'],
  [
    "INSERT INTO products (name, price) VALUES ('p', round((random() * 100)::numeric, 1))",
    'id, name',
  ],
  [
    "INSERT INTO products (name, on_day, added_at) VALUES ('x', 'tomorrow', 'today')",
    'name, on_day',
  ],
  [
    "INSERT INTO products (name, on_day) VALUES (NULL, now()), (upper('q'), now() + '2 days')",
    'name, on_day',
  ],
  [
    "INSERT INTO products (id, name) VALUES (1, 'again') ON CONFLICT (id) DO UPDATE SET name = excluded.name, on_day = current_date, added_at = now() RETURNING id, name",
    'id, name, on_day',
  ],
  [
    "INSERT INTO badges (\"La bel\", raw) VALUES ('ab', '\\x00ff'), ('c''d', 'x')",
    'id, "La bel", raw',
  ],
  ['INSERT INTO badges VALUES (DEFAULT, NULL, NULL, localtimestamp)', 'id'],
  [
    'INSERT INTO badges ("La bel", made) OVERRIDING SYSTEM VALUE VALUES (7, clock_timestamp())',
    '"La bel"',
  ],
  [
    "UPDATE products SET price = price + 1, on_day = current_date + 1, added_at = now() - interval '1 hour' WHERE added_at <= now()",
    'id, on_day',
  ],
  [
    'UPDATE products SET token = NULL, name = (SELECT min(name) FROM countries) WHERE id = 1',
    'id, name',
  ],
  [
    "INSERT INTO products (id, name, on_day, added_at, token) SELECT 100 + length(code), name, now(), now(), NULL FROM countries WHERE code = 'de'",
    'id, name, on_day',
  ],
  [
    'DELETE FROM products USING countries c WHERE c.name = products.name AND added_at <= CURRENT_TIMESTAMP',
    'id',
  ],
  [
    "MERGE INTO countries c USING (VALUES ('de', 'D'), ('it', 'I')) v (a, b) ON c.code = v.a WHEN MATCHED THEN UPDATE SET name = v.b WHEN NOT MATCHED THEN INSERT VALUES (v.a, v.b)",
    'name',
  ],
]

describe.each(inject('servers'))('writes to reference tables on PostgreSQL $version', (servers) => {
  const router = new Router({ cacheEntriesMax: 100 })
  const clients: Client[] = []
  const databases: TestDatabases[] = []
  let context: RouterContext

  async function open(): Promise<Client> {
    const home = { ...servers, shards: servers.shards.slice(0, 1) }
    const created = await createDatabases(home, 'router')
    databases.push(created)
    const client = new Client({ connectionString: created.urls[0] })
    await client.connect()
    clients.push(client)
    await client.query(schemaSql)
    return client
  }

  beforeAll(async () => {
    await loadParser()
    const [plain] = [await open(), await open(), await open()]
    const ask = async (sql: string) => {
      const types = { getTypeParser: () => String }
      return (await plain.query<(string | null)[]>({ text: sql, rowMode: 'array', types })).rows
    }
    const rules = sampleRules('bigint')
    const schema = await loadSchema(ask, rules, 'postgres')
    context = { topology: sampleTopology, schema, rules, searchPath: schema.defaultSearchPath }
  })

  afterAll(async () => {
    await Promise.all(clients.map((client) => client.end()))
    await Promise.all(databases.map((database) => database.drop()))
  })

  it.each(statements)('%s', async (sql, columns) => {
    const [plain, home, other] = clients
    if (plain === undefined || home === undefined || other === undefined)
      throw new Error('no servers')
    const prepared = router.statements(Buffer.from(sql, 'utf8'), context)
    const plan = router.plan(prepared, 0, null, context)
    if (plan.kind !== 'everywhere') throw new Error(`${sql}: ${JSON.stringify(plan)}`)
    await home.query('BEGIN')
    let rewritten = sql
    if (plan.once !== null) {
      const { rows } = await home.query<(string | null)[]>({
        text: plan.once.sql,
        rowMode: 'array',
      })
      rewritten = plan.once.rewrite(rows)
    }
    await home.query(rewritten)
    await home.query('COMMIT')
    await other.query(rewritten)
    await plain.query(sql)
    const table = plan.relation
    const all = `SELECT t::text AS row FROM ${table} t ORDER BY 1`
    expect((await other.query(all)).rows).toEqual((await home.query(all)).rows)
    const some = `SELECT ROW(${columns})::text AS row FROM ${table} ORDER BY 1`
    expect((await other.query(some)).rows).toEqual((await plain.query(some)).rows)
  })
})
