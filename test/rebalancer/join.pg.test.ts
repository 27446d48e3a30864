// A shard joins: what it is given, what is refused, and that nothing is left behind when it fails.
// Without proxies; those are in test/cli/shards.test.ts.
import type { Client } from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { moverServers } from '../support/mover-servers.ts'
import { registerProxy } from '../../catalog/proxy-registry.ts'
import { finishJoin, listShards, removeShard } from '../../catalog/shards.ts'
import { initialise } from '../../catalog/migrate.ts'
import { shardId } from '../../core/ids.ts'
import { joinCluster, type JoinOptions } from '../../rebalancer/join/join.ts'
import { JoinRefused } from '../../rebalancer/join/join-refused.ts'
import { makeGid } from '../../catalog/gid.ts'
import { strideSequencesSql } from '../../catalog/sequences.ts'
import { until } from '../support/clients.ts'
import { type CatalogFixture, column, openFixture, rules } from '../catalog/fixture.ts'

const s3 = shardId('s3')
const schema = `
  CREATE TABLE products (id serial PRIMARY KEY, title text, at timestamptz, x float8, list text[]);
  CREATE TABLE accounts (owner_id bigint, id bigserial, product integer REFERENCES products,
    PRIMARY KEY (owner_id, id));
  CREATE TABLE audit_log (id serial, what text);
  CREATE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
  CREATE VIEW titles AS SELECT title FROM products`

describe.each(moverServers())('a shard that joins, on PostgreSQL $version', (servers) => {
  let fixture: CatalogFixture
  let home: Client
  let third: Client
  beforeEach(async () => {
    fixture = await openFixture(servers)
    const [one, two, three] = fixture.shards
    home = one.client
    third = three.client
    for (const { client } of [one, two]) await client.query(schema)
    const rows = `INSERT INTO products (title, at, x, list)
      SELECT 'p' || n, now(), random(), ARRAY['a', NULL, '"'] FROM generate_series(1, 500) n`
    await one.client.query(rows)
    await one.client.query(`CREATE TRIGGER complain BEFORE INSERT ON products
      FOR EACH ROW EXECUTE FUNCTION complain()`)
    await one.client.query(`INSERT INTO audit_log (what) VALUES ('x')`)
    await initialise({ shards: [one, two], rules })
  })
  afterEach(async () => {
    await fixture.close()
  })

  function options(changed: Partial<JoinOptions> = {}): JoinOptions {
    const [one, , three] = fixture.shards
    return {
      id: s3,
      weight: 2,
      shard: { urls: [three.url] },
      home: { urls: [one.url] },
      rules,
      forget: [],
      timeoutMs: 20_000,
      say: () => undefined,
      signal: new AbortController().signal,
      ...changed,
    }
  }

  const problemsOf = async (joining: Promise<unknown>): Promise<readonly string[]> => {
    const outcome: unknown = await joining.catch((error: unknown) => error)
    if (!(outcome instanceof JoinRefused)) throw new Error(`not refused: ${String(outcome)}`)
    return outcome.problems
  }
  const sum = `SELECT count(*) || ' ' || sum(hashtextextended(p::text, 0)) FROM products p`
  const tablesOf = (client: Client) =>
    column<string>(client, `SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`)

  it('has schema, rows of reference tables and none of other tables, and sequences of its own', async () => {
    await home.query(`SELECT nextval('accounts_id_seq') FROM generate_series(1, 3)`)
    const joined = await joinCluster(options())
    expect(joined).toMatchObject({
      epoch: 3,
      ordinal: 2,
      tables: [{ name: 'public.products', rows: 500 }],
      notes: [],
    })
    expect(await listShards(home)).toMatchObject([
      { id: 's1', state: 'active' },
      { id: 's2', state: 'active' },
      { id: 's3', ordinal: 2, state: 'active', weight: 2, vnodes: 0 },
    ])
    expect(await tablesOf(third)).toEqual(await tablesOf(home))
    expect(await column(third, sum)).toEqual(await column(home, sum))
    expect(await column(third, 'SELECT count(*)::int FROM audit_log')).toEqual([0])
    const [last] = await column<string>(home, 'SELECT last_value FROM accounts_id_seq')
    const [next] = await column<string>(third, `SELECT nextval('accounts_id_seq')`)
    expect(Number(next)).toBeGreaterThan(Number(last))
    expect(Number(next) % 1024).toBe(3)
    expect(await column(third, 'SELECT ordinal FROM ringfence.local_shard')).toEqual([2])
    const [strided] = await column<number>(third, strideSequencesSql(rules))
    expect(strided).toBe(0)
    expect(await joinCluster(options())).toBeNull()
  })

  it('comes back with its number, and with the rows of now', async () => {
    await joinCluster(options())
    await removeShard(home, s3)
    await home.query(`DELETE FROM products WHERE id > 400`)
    await home.query(`UPDATE products SET title = 'new' WHERE id < 10`)
    await third.query(`SELECT nextval('accounts_id_seq') FROM generate_series(1, 5)`)
    const before = await column(third, 'SELECT last_value FROM accounts_id_seq')
    expect(await joinCluster(options())).toMatchObject({ ordinal: 2, tables: [{ rows: 400 }] })
    expect(await column(third, sum)).toEqual(await column(home, sum))
    expect(await column(third, 'SELECT last_value FROM accounts_id_seq')).toEqual(before)
  })

  it('waits for what was prepared on the home shard: it may commit yet', async () => {
    await home.query('ALTER TABLE products DISABLE TRIGGER complain')
    const writer = await fixture.open(fixture.shards[0])
    const gid = makeGid(shardId('s2'), 'late', shardId('s1'))
    await writer.query(`BEGIN; INSERT INTO products (title) VALUES ('late')`)
    await writer.query(`PREPARE TRANSACTION '${gid}'`)
    const said: string[] = []
    const joining = joinCluster(options({ say: (line) => said.push(line) }))
    const waiting = 'waiting for 1 prepared transactions on the home shard'
    await until(waiting, () => said.includes(waiting))
    await writer.query(`COMMIT PREPARED '${gid}'`)
    expect(await joining).toMatchObject({ tables: [{ rows: 501 }] })
  })

  it('is out of the catalog again when it fails, with nothing left of what was made', async () => {
    // A view of a type that the copy cannot make: its function is in C and its library is not
    // there.
    await home.query(`CREATE FUNCTION gone() RETURNS integer LANGUAGE internal AS 'pg_backend_pid'`)
    await home.query(`UPDATE pg_proc SET prosrc = 'no_such_function' WHERE proname = 'gone'`)
    await home.query(`CREATE VIEW of_gone AS SELECT 1 AS a WHERE false AND gone() = 1`)
    const problems = await problemsOf(joinCluster(options()))
    expect(problems).toHaveLength(2)
    expect(problems[0]).toMatch(/^function public\.gone\(\) on "s3": there is no built-in function/)
    expect(problems[1]).toMatch(/^view public\.of_gone on "s3": function public\.gone\(\) does not/)
    expect(await tablesOf(third)).toEqual([])
    expect((await listShards(home)).map(({ id }) => id)).toEqual(['s1', 's2'])
    expect(
      await column(home, 'SELECT what FROM ringfence.topology_history ORDER BY epoch'),
    ).toEqual(['the ring placed all virtual nodes', 'shard s3 joining', 'shard s3 did not join'])
    await home.query('DROP VIEW of_gone; DROP FUNCTION gone')
    expect(await joinCluster(options())).toMatchObject({ ordinal: 2 })
  })

  it('is refused for everything at once, before anything changes', async () => {
    await home.query(`CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq)`)
    await home.query('CREATE TABLE child () INHERITS (audit_log)')
    await third.query('CREATE TABLE products (id text); CREATE TABLE stranger (a int)')
    await third.query('INSERT INTO stranger VALUES (1)')
    const gone = {
      id: 'p1',
      incarnation: crypto.randomUUID(),
      address: '10.0.0.9:6432',
      version: '1',
    }
    await registerProxy(home, gone)
    await home.query(`UPDATE ringfence.proxy SET heartbeat = now() - interval '1 minute'`)
    const problems = await problemsOf(joinCluster(options()))
    expect(problems.map((problem) => problem.replace(/\d+ s:/, '60 s:'))).toEqual([
      'proxy "p1" at 10.0.0.9:6432 has not been heard of for 60 s: start it again, or if it is gone ' +
        'for good add --forget-proxy p1',
      'operator public.===(text,text) is not copied: create it on "s3" and run the same command again',
      'table that inherits public.child is not copied: create it on "s3" and run the same command again',
      'table public.products on "s3" differs from the home shard\'s: make them the same, or remove it there',
      'table public.stranger is on "s3" but not on the home shard: remove it there',
      'table public.stranger on "s3" has rows: empty it, or name another database',
    ])
    expect(await column(home, 'SELECT epoch::int FROM ringfence.topology')).toEqual([1])
    expect(await column(third, `SELECT to_regnamespace('ringfence')`)).toEqual([null])
    await third.query(`DROP TABLE products, stranger;
      CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq);
      CREATE TABLE audit_log (id serial, what text); CREATE TABLE child () INHERITS (audit_log)`)
    expect(await joinCluster(options({ forget: ['p1'] }))).toMatchObject({ ordinal: 2 })
  })

  it('names a proxy that falls silent while it is waited for', async () => {
    const self = {
      id: 'p1',
      incarnation: crypto.randomUUID(),
      address: '10.0.0.9:6432',
      version: '1',
    }
    await registerProxy(home, self)
    const joining = joinCluster(options()).catch((error: unknown) => error)
    expect(String(await joining)).toMatch(
      /proxy "p1" at 10\.0\.0\.9:6432 has not been heard of for 6 s/,
    )
    expect((await listShards(home)).map(({ id }) => id)).toEqual(['s1', 's2'])
  })

  it('is refused as another shard, and of another cluster', async () => {
    const second = { urls: [fixture.shards[1].url] }
    expect(await problemsOf(joinCluster(options({ shard: second })))).toEqual([
      'the database of shard "s3" is shard "s2" of this cluster: correct its URL',
    ])
    await fixture.shards[1].client.query(
      'UPDATE ringfence.local_shard SET cluster = gen_random_uuid()',
    )
    expect(await problemsOf(joinCluster(options({ shard: second })))).toEqual([
      'the database of shard "s3" belongs to another cluster: correct its URL',
    ])
  })

  it('is refused while virtual nodes are on the move and while another command changes the shards', async () => {
    await home.query(`INSERT INTO ringfence.move (vnodes, keys, except_keys, from_shard, to_shard, state)
      VALUES ('{1}', '{}', '{}', 's1', 's2', 'copying')`)
    await expect(joinCluster(options())).rejects.toThrow('virtual nodes are on the move (move 1)')
    await home.query(`UPDATE ringfence.move SET state = 'done'`)
    const other = await fixture.open(fixture.shards[0])
    await other.query('SELECT pg_advisory_lock(1380337219, 1)')
    await expect(joinCluster(options())).rejects.toThrow('another "ringfence init"')
    await other.query('SELECT pg_advisory_unlock(1380337219, 1)')
    await expect(finishJoin(home, s3)).rejects.toThrow('is not joining any more')
  })
})
