// The schema as the router sees it, loaded from real catalogs.
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { expandSearchPath, loadSchema, type Ask } from '../../catalog/schema-loader.ts'
import type { Schema } from '../../router/schema.ts'
import { openCluster, openFixture, rules, type CatalogFixture } from './fixture.ts'

const ddl = `
  CREATE SCHEMA app;
  CREATE SCHEMA bob;
  CREATE DOMAIN positive AS bigint CHECK (VALUE > 0);
  CREATE DOMAIN small_positive AS positive;
  CREATE DOMAIN token AS uuid DEFAULT gen_random_uuid();
  CREATE FUNCTION app.stamp() RETURNS int LANGUAGE sql VOLATILE RETURN 1;
  CREATE FUNCTION app.fixed(x int) RETURNS int LANGUAGE sql IMMUTABLE RETURN x;
  CREATE FUNCTION app.lower(x int) RETURNS int LANGUAGE sql STABLE RETURN x;
  CREATE TABLE users (id bigint GENERATED ALWAYS AS IDENTITY, tenant_id bigint NOT NULL,
    name varchar(20), PRIMARY KEY (tenant_id, id));
  CREATE TABLE app.accounts (owner_id small_positive, by_the_way text);
  CREATE TABLE products (id serial PRIMARY KEY, tenant_id bigint);
  CREATE TABLE audit_log (tenant_id bigint);
  CREATE TABLE plain (id int);
  CREATE TABLE events (tenant_id bigint, at date) PARTITION BY RANGE (at);
  CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
  CREATE TABLE plain_child (tenant_id bigint) INHERITS (plain);
  CREATE VIEW of_home AS SELECT * FROM plain, pg_class;
  CREATE VIEW of_home_again AS SELECT id FROM of_home;
  CREATE VIEW of_nothing AS SELECT 1 AS one;
  CREATE VIEW of_reference AS SELECT * FROM products;
  CREATE VIEW of_sharded AS SELECT * FROM users;
  CREATE VIEW of_sharded_again AS SELECT name FROM of_sharded;
  CREATE VIEW of_both AS SELECT p.id FROM products p JOIN plain USING (id);
  CREATE MATERIALIZED VIEW kept AS SELECT * FROM plain;
  CREATE SEQUENCE counter;
  CREATE COLLATION app.shapeless (provider = icu, locale = 'und', deterministic = false);
  CREATE TABLE app.names (shaped text COLLATE app.shapeless, b int, a int, PRIMARY KEY (a, b));
  CREATE AGGREGATE app.total (int) (sfunc = int4pl, stype = int, initcond = '0');
  CREATE TEMP TABLE fleeting (tenant_id bigint);`

/** Default expression → whether two shards could compute different values. */
const defaults: readonly (readonly [string, string, boolean])[] = [
  ['int', '1 + 2', false],
  ['text', `'x' || 'y'`, false],
  ['int', 'app.fixed(3)', false],
  ['int', 'app.stamp()', true],
  ['int[]', 'ARRAY[1, abs(-2)]', false],
  ['jsonb', `'{"CURRENT_USER": ":funcid 1"}'`, false],
  ['text', `lower('X')`, false],
  ['numeric', '1.5::numeric(5,2)', false],
  ['text', `coalesce(NULL, 'a')`, false],
  ['int', 'CASE WHEN 1 = 2 THEN 1 ELSE app.stamp() END', true],
  ['bool', `(3 = ANY ('{1,2}'::int[]) AND NOT true) IS NULL`, false],
  ['timestamptz', 'now()', true],
  ['timestamptz', 'CURRENT_TIMESTAMP', true],
  ['date', 'CURRENT_DATE', true],
  ['text', 'CURRENT_USER', true],
  ['uuid', 'gen_random_uuid()', true],
  ['bigint', `nextval('counter')`, true],
  ['timestamp', `now() AT TIME ZONE 'utc'`, true],
  ['timestamptz', `'2026-01-01'::text::timestamptz`, true],
  ['timestamptz', `'2026-01-01'`, false],
]

/** Users' code that runs without being called by name, and relations that replicas have not. */
const hidden = `
  CREATE SCHEMA r;
  CREATE TABLE r.plain (id int, tenant text);
  CREATE UNLOGGED TABLE r.unlogged (id int);
  CREATE TABLE r.parted (id int) PARTITION BY LIST (id);
  CREATE TABLE r.parted_1 PARTITION OF r.parted FOR VALUES IN (1);
  CREATE UNLOGGED TABLE r.parted_2 PARTITION OF r.parted FOR VALUES IN (2);
  CREATE TABLE r.base (id int);
  CREATE UNLOGGED TABLE r.second_child (x int) INHERITS (r.plain, r.base);
  CREATE SEQUENCE r.seq;
  CREATE FUNCTION r.touch() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
  CREATE FUNCTION r.calm() RETURNS int STABLE LANGUAGE sql RETURN 1;
  CREATE VIEW r.of_unlogged AS SELECT * FROM r.unlogged;
  CREATE VIEW r.of_view AS SELECT o.id FROM r.of_unlogged o;
  CREATE VIEW r.of_class AS SELECT relname FROM pg_class;
  CREATE VIEW r.of_columns AS SELECT column_name FROM information_schema.columns;
  CREATE VIEW r.of_activity AS SELECT pid FROM pg_stat_activity;
  CREATE VIEW r.rolling AS SELECT random() AS r, id FROM r.parted_1;
  CREATE VIEW r.touching AS SELECT r.touch() + 1 AS t, r.calm(), now();
  CREATE VIEW r.over_touching AS SELECT t FROM r.touching;
  CREATE VIEW r.calm_view AS SELECT lower(tenant), id = 1 AS one FROM r.parted_1, (SELECT 'a'::text AS tenant) s;
  CREATE VIEW r.locking AS SELECT id FROM r.parted_1 FOR UPDATE;
  CREATE VIEW r.own_setting AS SELECT current_setting('app.tenant') AS a, current_setting('a.b', true) AS b;
  CREATE VIEW r.server_setting AS SELECT current_setting('transaction_read_only') AS a;
  CREATE VIEW r.ticking AS SELECT nextval('r.seq') AS n;
  CREATE MATERIALIZED VIEW r.kept AS SELECT r.touch() AS t, relname FROM pg_class;
  CREATE TABLE r.guarded (id int, tenant text);
  ALTER TABLE r.guarded ENABLE ROW LEVEL SECURITY;
  CREATE POLICY own ON r.guarded USING (tenant = current_setting('app.tenant', true));
  CREATE TABLE r.watched (id int);
  ALTER TABLE r.watched ENABLE ROW LEVEL SECURITY;
  CREATE POLICY touches ON r.watched FOR SELECT USING (id = r.touch());
  CREATE POLICY writes ON r.guarded FOR INSERT WITH CHECK (id = r.touch());
  CREATE TABLE r.off_guard (id int);
  CREATE POLICY touches ON r.off_guard USING (id = r.touch());
  CREATE TABLE r.indirect (id int);
  ALTER TABLE r.indirect ENABLE ROW LEVEL SECURITY;
  CREATE POLICY looks ON r.indirect USING (id IN (SELECT u.id FROM r.unlogged u));
  CREATE FUNCTION r.step(int, int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN $1 + $2; END';
  CREATE AGGREGATE r.churn (int) (sfunc = r.step, stype = int, initcond = '0');
  CREATE FUNCTION r.now(int) RETURNS int STABLE LANGUAGE sql RETURN $1;
  CREATE VIEW r.churned AS SELECT r.churn(id) FROM r.base;`

const hiddenOperators = `
  CREATE OPERATOR r.<<<# (leftarg = int, rightarg = int, function = r.step);
  CREATE TYPE r.shade AS ENUM ('dark', 'light');
  CREATE FUNCTION r.shade_of(int) RETURNS r.shade LANGUAGE plpgsql AS 'BEGIN RETURN ''dark''; END';
  CREATE CAST (int AS r.shade) WITH FUNCTION r.shade_of(int);
  CREATE FUNCTION r.fits(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
  CREATE DOMAIN r.fitting AS int CHECK (r.fits(VALUE));
  CREATE DOMAIN r.more_fitting AS r.fitting;`

describe.each(inject('servers'))('what replicas can read on PostgreSQL $version', (servers) => {
  let fixture: CatalogFixture
  let schema: Schema

  const load = async (): Promise<Schema> => {
    const { client } = fixture.shards[0]
    const types = { getTypeParser: () => (text: string) => text }
    const ask: Ask = async (sql) =>
      (await client.query<(string | null)[]>({ text: sql, rowMode: 'array', types })).rows
    return loadSchema(ask, null, 'bob')
  }

  beforeAll(async () => {
    fixture = await openFixture(servers)
    await fixture.shards[0].client.query(hidden)
    schema = await load()
  })
  afterAll(async () => await fixture.close())

  it.each([
    ['plain', 'the unlogged table "second_child"'],
    ['base', 'the unlogged table "second_child"'],
    ['unlogged', 'the unlogged table "unlogged"'],
    ['parted', 'the unlogged table "parted_2"'],
    ['parted_1', undefined],
    ['seq', 'the sequence "seq"'],
    ['of_view', 'the unlogged table "unlogged", in the view "of_unlogged", in the view "of_view"'],
    ['of_class', 'a system catalog, in the view "of_class"'],
    ['of_columns', 'a system catalog, in the view "of_columns"'],
    ['of_activity', 'a system catalog, in the view "of_activity"'],
    ['locking', 'row locks, in the view "locking"'],
    ['kept', undefined],
    ['guarded', undefined],
    ['indirect', 'the unlogged table "unlogged"'],
  ])('reads of %s: %s', (name, reason) => {
    expect(schema.relations.get(`r.${name}`)?.primaryOnly).toBe(reason)
  })

  it.each([
    ['rolling', ['random']],
    ['touching', ['now', 'r.calm', 'r.touch']],
    ['over_touching', ['now', 'r.calm', 'r.touch']],
    ['calm_view', undefined],
    ['own_setting', undefined],
    ['server_setting', ['current_setting']],
    ['ticking', ['nextval']],
    ['kept', undefined],
    ['guarded', undefined],
    ['watched', ['r.touch']],
    ['off_guard', undefined],
    ['churned', ['r.churn']],
  ])('reading %s runs %s', (name, calls) => {
    expect(schema.relations.get(`r.${name}`)?.calls?.toSorted()).toEqual(calls)
  })

  it('counts an aggregate as volatile when what it is made of is', () => {
    expect(schema.functions.get('churn')).toMatchObject({ volatility: 'volatile', aggregate: true })
  })

  it('tells where functions of users are, and which have a name of the system', () => {
    expect(schema.functions.get('touch')).toMatchObject({ schemas: ['r'] })
    expect(schema.functions.get('now')).toMatchObject({ schemas: ['r'], shadows: true })
    expect(schema.functions.get('touch')).not.toHaveProperty('shadows')
  })

  it('knows operators, casts and domains that run volatile functions', async () => {
    expect(schema).not.toHaveProperty('hiddenVolatile')
    const { client } = fixture.shards[0]
    await client.query(hiddenOperators)
    expect((await load()).hiddenVolatile).toEqual({
      operators: new Set(['<<<#']),
      types: new Set(['shade', 'fitting', 'more_fitting']),
      implicitCast: false,
    })
    await client.query(`CREATE FUNCTION r.shade_of(bool) RETURNS r.shade LANGUAGE plpgsql
        AS 'BEGIN RETURN ''dark''; END';
      CREATE CAST (bool AS r.shade) WITH FUNCTION r.shade_of(bool) AS IMPLICIT`)
    expect((await load()).hiddenVolatile?.implicitCast).toBe(true)
  })
})

describe.each(inject('servers'))('schema loader on PostgreSQL $version', (servers) => {
  let fixture: CatalogFixture
  let schema: Schema
  const asked: string[] = []

  function askOver(client: Client): Ask {
    return async (sql) => {
      asked.push(sql)
      const types = { getTypeParser: () => (text: string) => text }
      const answer = await client.query<(string | null)[]>({ text: sql, rowMode: 'array', types })
      return answer.rows
    }
  }

  beforeAll(async () => {
    fixture = await openCluster(servers)
    const [{ client }] = fixture.shards
    await client.query(ddl)
    const columns = defaults.map(
      ([type, expression], index) => `c${index} ${type} DEFAULT (${expression})`,
    )
    await client.query(`CREATE TABLE with_defaults (${columns.join(', ')}, t token,
      g int GENERATED ALWAYS AS (1) STORED, none int)`)
    schema = await loadSchema(askOver(client), rules, 'bob')
  })
  afterAll(async () => await fixture.close())

  const relation = (name: string) => schema.relations.get(name)
  const columnOf = (table: string, name: string) =>
    relation(table)?.columns.find((column) => column.name === name)

  it('asks at most three statements', () => {
    expect(asked).toHaveLength(3)
  })

  it.each([
    ['public.users', 'sharded', 'tenant_id'],
    ['app.accounts', 'sharded', 'owner_id'],
    ['public.events', 'sharded', 'tenant_id'],
    ['public.events_1', 'sharded', 'tenant_id'],
    ['public.products', 'reference', null],
    ['public.audit_log', 'home', null],
    ['public.plain', 'home', null],
    ['public.plain_child', 'home', null],
    ['public.counter', 'home', null],
    ['public.users_id_seq', 'home', null],
    ['public.of_home', 'home', null],
    ['public.of_home_again', 'home', null],
    ['public.of_nothing', 'home', null],
    ['public.kept', 'home', null],
    ['public.of_reference', 'reference', null],
    ['public.of_sharded', 'mixed', null],
    ['public.of_sharded_again', 'mixed', null],
    ['public.of_both', 'mixed', null],
    ['pg_catalog.pg_class', 'catalog', null],
    ['information_schema.tables', 'catalog', null],
    ['ringfence.vnode', 'catalog', null],
  ])('places %s: %s', (name, placement, key) => {
    expect(relation(name)).toMatchObject({ placement, key })
  })

  it('leaves temporary tables out', () => {
    expect([...schema.relations.values()].some(({ name }) => name === 'fleeting')).toBe(false)
  })

  it('describes columns in order', () => {
    expect(relation('public.users')?.columns).toEqual([
      {
        name: 'id',
        type: 'bigint',
        typeOid: 20,
        notNull: true,
        defaultSql: `nextval('public.users_id_seq'::regclass)`,
        defaultVolatile: true,
        identity: 'always',
        generated: false,
        deterministic: true,
      },
      expect.objectContaining({ name: 'tenant_id', notNull: true, defaultSql: null }),
      expect.objectContaining({ type: 'character varying(20)', typeOid: 1043, notNull: false }),
    ])
  })

  it('gives a domain’s base type, and its default', () => {
    expect(columnOf('app.accounts', 'owner_id')).toMatchObject({
      type: 'public.small_positive',
      typeOid: 20,
    })
    expect(columnOf('public.with_defaults', 't')).toMatchObject({
      defaultSql: 'gen_random_uuid()',
      defaultVolatile: true,
    })
  })

  it('qualifies names in types and defaults, and leaves the connection’s search_path as it was', async () => {
    expect(columnOf('public.products', 'id')?.defaultSql).toBe(
      `nextval('public.products_id_seq'::regclass)`,
    )
    const { rows } = await fixture.shards[0].client.query('SHOW search_path')
    expect(rows).toEqual([{ search_path: '"$user", public' }])
  })

  it.each(
    defaults.map(([type, expression, different], index) => ({
      type,
      expression,
      different,
      index,
    })),
  )('DEFAULT $expression: may differ between shards is $different', ({ different, index }) => {
    const column = columnOf('public.with_defaults', `c${index}`)
    expect(column?.defaultVolatile).toBe(different)
    expect(column?.defaultSql).not.toBeNull()
  })

  it('knows nondeterministic collations, primary keys in order, and aggregates', () => {
    expect(columnOf('app.names', 'shaped')).toMatchObject({ deterministic: false })
    expect(columnOf('app.names', 'a')).toMatchObject({ deterministic: true })
    expect(relation('app.names')?.primaryKey).toEqual(['a', 'b'])
    expect(relation('public.plain')?.primaryKey).toEqual([])
    expect(schema.functions.get('total')?.aggregate).toBe(true)
    expect(schema.functions.get('fixed')?.aggregate).toBe(false)
  })

  it('has no default for generated and plain columns', () => {
    const none = { defaultSql: null, defaultVolatile: false }
    expect(columnOf('public.with_defaults', 'g')).toMatchObject({ ...none, generated: true })
    expect(columnOf('public.with_defaults', 'none')).toMatchObject({ ...none, generated: false })
  })

  it.each([
    ['now', 'stable', true],
    ['random', 'volatile', true],
    ['nextval', 'volatile', true],
    ['abs', 'immutable', true],
    ['stamp', 'volatile', false],
    ['fixed', 'immutable', false],
    ['lower', 'stable', false],
    ['vnode', 'immutable', false],
  ])('knows that function %s is %s', (name, volatility, builtin) => {
    expect(schema.functions.get(name)).toMatchObject({ volatility, builtin })
  })

  it('knows every function of the system: a missing one would count as volatile', async () => {
    const { rows } = await fixture.shards[0].client.query<{ proname: string }>(
      `SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace`,
    )
    expect(rows.length).toBeGreaterThan(2000)
    expect(rows.filter(({ proname }) => !schema.functions.has(proname))).toEqual([])
  })

  it('resolves "$user" in the default search_path and keeps schemas that exist', () => {
    expect(schema.defaultSearchPath).toEqual(['bob', 'public'])
  })

  it('gives every load another version, and everything to home without sharding rules', async () => {
    const again = await loadSchema(askOver(fixture.shards[0].client), null, 'nobody')
    expect(again.version).not.toBe(schema.version)
    expect(again.relations.get('public.users')).toMatchObject({ placement: 'home', key: null })
    expect(again.defaultSearchPath).toEqual(['public'])
  })
})

describe('search_path', () => {
  it.each([
    ['"$user", public', ['bob', 'public']],
    ['', []],
    [
      'Mixed, "Mixed", "with ""quotes"", and commas"',
      ['mixed', 'Mixed', 'with "quotes", and commas'],
    ],
    ['""', ['']],
  ])('expands %s', (setting, expected) => {
    expect(expandSearchPath(setting, 'bob')).toEqual(expected)
  })
})
