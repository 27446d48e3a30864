// Values of every kind arrive as they are, in the form that is safe for them; columns that
// PostgreSQL computes or guards are left to it, or written in spite of it.
import { afterEach, describe, expect, it } from 'vitest'
import { moverServers } from '../support/mover-servers.ts'
import { type FixtureOptions, type FollowFixture, openFollowFixture } from './apply-fixture.ts'

const set = { vnodes: [], keys: ['1'], except: [] }
const identity = ['tenant_id', 'id']

/** Built-in scalars: type and values. */
const scalars: readonly (readonly [string, readonly string[]])[] = [
  ['boolean', ['true', 'false', 'NULL']],
  ['smallint', ['-32768', '32767']],
  ['numeric', ['0', `'NaN'`, '-1.50', '1e40', `'Infinity'`]],
  ['numeric(12, 3)', ['1.5', '-99999.999']],
  ['real', ['0.1', `'-Infinity'`, `'NaN'`, `'-0'`]],
  ['double precision', ['0.1', '1e-300', `'NaN'`, '0.30000000000000004']],
  ['text', [`''`, `'a"b\\c''{},'`, `E'\\n\\t'`, `'ümläut 🐘'`]],
  ['varchar(5)', [`'abcde'`, `'ü   '`]],
  ['char(5)', [`'ab'`, `''`]],
  ['"char"', [`'x'`, `''`]],
  ['name', [`'n'`]],
  ['bytea', [`''`, `'\\x00ff27'`]],
  ['date', [`'infinity'`, `'0044-03-15 BC'`, `'2024-02-29'`]],
  ['time', [`'23:59:59.999999'`]],
  ['timetz', [`'12:00+05:30'`]],
  ['timestamp', [`'infinity'`, `'1900-01-01 00:00:00.000001'`]],
  ['timestamptz', [`'-infinity'`, `'2024-03-31 02:30:00+01'`]],
  ['interval', [`'1 mon -3 days 04:05:06.7'`, `'-00:00:00.1'`]],
  ['uuid', [`'00000000-0000-0000-0000-00000000000f'`]],
  ['json', [`'{"a":  1, "a": 2}'`]],
  ['jsonb', [`'{"b": [1, null], "a": 1e400}'`, `'null'`]],
  ['inet', [`'10.0.0.1/8'`, `'::1'`]],
  ['cidr', [`'10.0.0.0/8'`]],
  ['macaddr', [`'08:00:2b:01:02:03'`]],
  ['bit(3)', [`B'101'`]],
  ['bit varying', [`B''`, `B'1'`]],
  ['money', ['12.34', '-0.01']],
  ['point', [`'(1.5,-2)'`]],
  ['box', [`'(1,1),(0,0)'`]],
  ['tsvector', [`'a:1 b:2A'`]],
  ['int4range', [`'[1,5)'`, `'empty'`]],
  ['tstzrange', [`'[2024-01-01,)'`]],
  ['int4multirange', [`'{[1,2),[5,9)}'`]],
  ['pg_lsn', [`'1/2'`]],
]

/** Types whose binary form is not the same everywhere, or is no element of an array. */
const others: readonly (readonly [string, readonly string[]])[] = [
  ['mood', [`'sad'`, `'so "so"'`]],
  ['mood[]', [`'{sad,NULL}'`, `'{}'`]],
  ['pair', [`ROW(1, 'a"(,')`, `ROW(NULL, NULL)`]],
  ['pair[]', [`ARRAY[ROW(1, 'x')::pair, NULL]`]],
  ['positive', ['1', 'NULL']],
  ['positive[]', [`'{1,2}'`]],
  ['int[]', [`'{1,NULL,3}'`, `'{{1,2},{3,4}}'`, `'[0:1]={1,2}'`, `'{}'`]],
  ['text[]', [`ARRAY['', NULL, 'a,b', '{"', E'\\\\']`]],
  ['box[]', [`'{(1,1),(0,0);(2,2),(1,1)}'`]],
  ['moods', [`'[sad,"so ""so""")'`]],
  ['regclass', [`'pg_class'`]],
  ['xml', [`'<a>1</a>'`]],
  ['"we""ird".t', [`'sad'`]],
]

const userTypes = `CREATE TYPE mood AS ENUM ('sad', 'so "so"'); CREATE TYPE pair AS (n int, t text);
  CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE TYPE moods AS RANGE (subtype = mood);
  CREATE SCHEMA "we""ird"; CREATE DOMAIN "we""ird".t AS mood`

function tableOf(types: typeof scalars): string {
  const columns = types.map(([type], index) => `c${index} ${type}`).join(', ')
  return `CREATE TABLE t (tenant_id bigint, id int, ${columns}, PRIMARY KEY (tenant_id, id))`
}

/** Row `n` has the n-th value of every type, or NULL. */
function insertOf(types: typeof scalars): string {
  const count = Math.max(...types.map(([, values]) => values.length))
  const rows = Array.from({ length: count }, (_, n) => {
    return `(1, ${n}, ${types.map(([, values]) => values[n] ?? 'NULL').join(', ')})`
  })
  return `INSERT INTO t VALUES ${rows.join(', ')}`
}

describe.each(moverServers().map((servers) => [servers.version, servers] as const))(
  'values applied on PostgreSQL %i',
  (version, servers) => {
    let fixture: FollowFixture | null = null
    afterEach(async () => {
      await fixture?.close()
      fixture = null
    })

    async function open(ddl: string, options: Partial<FixtureOptions> = {}) {
      const tables = [{ name: 't', key: 'tenant_id', identity }]
      fixture = await openFollowFixture({ servers, ddl, tables, set, ...options })
      return fixture
    }

    it.each([
      ['built-in scalars, in binary', '', scalars],
      ['users’ types and arrays, as text', userTypes, others],
      ['a domain over a scalar, in binary', userTypes, [['positive', ['1', '2']]] as const],
      ['an alias of an oid, which differs between servers', '', [['regclass', [`'t'`, `'t'`]]]],
      ['everything together', userTypes, [...scalars, ...others]],
    ] as const)('arrive as they are: %s', async (_, types, columns) => {
      const f = await open(`${types}; ${tableOf(columns)}`)
      const { source, follow, caughtUp } = f
      const follower = await follow()
      await source.query(`SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'`)
      await source.query(insertOf(columns))
      await caughtUp(follower)
      expect(await f.differences('t', 2)).toEqual([])
      const assignments = columns.map((__, index) => `c${index} = NULL`).join(', ')
      await source.query(`UPDATE t SET ${assignments} WHERE id = 1`)
      await source.query(insertOf(columns).replaceAll(/\((1), (\d+)/g, '($1, 10$2'))
      await caughtUp(follower)
      expect(await f.differences('t', 4)).toEqual([])
    })

    it('different defaults of the two databases change nothing', async () => {
      const columns = [...scalars, ...others]
      const f = await open(`${userTypes}; ${tableOf(columns)}`)
      const { source, target, name, follow, caughtUp } = f
      for (const setting of [
        `DateStyle = 'SQL, DMY'`,
        `IntervalStyle = 'sql_standard'`,
        `extra_float_digits = -5`,
        `bytea_output = 'escape'`,
        `TimeZone = 'America/New_York'`,
      ]) {
        await source.query(`ALTER DATABASE "${name}" SET ${setting}`)
      }
      await target.query(`ALTER DATABASE "${name}" SET DateStyle = 'ISO, YMD'`)
      const follower = await follow()
      await source.query(insertOf(columns))
      await caughtUp(follower)
      for (const each of await Promise.all([source, target].map((side) => rowsOf(side)))) {
        expect(each.length).toBeGreaterThan(3)
      }
      const [there, here] = await Promise.all([rowsOf(source), rowsOf(target)])
      expect(here).toEqual(there)
    })

    it('generated columns are computed, identity columns written', async () => {
      const f = await open(
        `CREATE TABLE t (tenant_id bigint, id int GENERATED ALWAYS AS IDENTITY, v int,
           twice int GENERATED ALWAYS AS (v * 2) STORED, ${
             version >= 18 ? 'thrice int GENERATED ALWAYS AS (v * 3) VIRTUAL,' : ''
           } PRIMARY KEY (tenant_id, id))`,
      )
      const { source, follow, caughtUp } = f
      const follower = await follow()
      await source.query('INSERT INTO t (tenant_id, v) SELECT 1, g FROM generate_series(1, 9) g')
      await source.query('UPDATE t SET v = v + 1 WHERE id < 5')
      await source.query('UPDATE t SET id = DEFAULT WHERE id = 2')
      await caughtUp(follower)
      expect(await f.differences('t', 9)).toEqual([])
    })

    it('identity columns outside of the primary key are written, large values kept', async () => {
      const f = await open(
        `CREATE TABLE t (tenant_id bigint, id int, n int GENERATED ALWAYS AS IDENTITY, v text,
           PRIMARY KEY (tenant_id, id)); ALTER TABLE t ALTER v SET STORAGE EXTERNAL`,
      )
      const { source, follow, caughtUp } = f
      const follower = await follow()
      await source.query(
        `INSERT INTO t (tenant_id, id, v)
         SELECT 1, g, repeat('x', 5000) FROM generate_series(1, 3) g`,
      )
      await source.query('UPDATE t SET n = DEFAULT WHERE id = 2')
      await source.query('UPDATE t SET id = 7 WHERE id = 3')
      await caughtUp(follower)
      expect(await f.differences('t', 3)).toEqual([])
    })

    it.each([
      ['numeric, whose equal values differ', 'numeric', ['1.0', '2.00', '3'], '1.00'],
      ['timestamptz', 'timestamptz', [`'2024-01-01'`, `'2024-01-02'`], `'2025-01-01'`],
      ['text', 'text', [`''`, `'a'`, `'A'`], `'b'`],
      ['an enum', 'mood', [`'sad'`], `'so "so"'`],
      ['an array', 'int[]', [`'{1}'`, `'{1,2}'`], `'{3}'`],
    ] as const)('rows are found by a primary key of %s', async (_, type, values, other) => {
      const f = await open(
        `${userTypes}; CREATE TABLE t (tenant_id bigint, id ${type}, v int,
           PRIMARY KEY (tenant_id, id))`,
      )
      const { source, follow, caughtUp } = f
      const follower = await follow()
      for (const value of values) await source.query(`INSERT INTO t VALUES (1, ${value}, 0)`)
      await source.query('UPDATE t SET v = v + 1')
      await source.query(`UPDATE t SET id = ${other} WHERE id = ${values[0]}`)
      await source.query(`DELETE FROM t WHERE id = ${values[1] ?? '(NULL)'}`)
      await caughtUp(follower)
      expect(await f.differences('t', 1)).toEqual([])
    })

    it('rows are found under a nondeterministic collation', async () => {
      const f = await open(
        `CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE t (tenant_id bigint, id text COLLATE loose, v int,
           PRIMARY KEY (tenant_id, id))`,
      )
      const { source, follow, caughtUp } = f
      const follower = await follow()
      await source.query(`BEGIN; INSERT INTO t VALUES (1, 'a', 0); DELETE FROM t;
        INSERT INTO t VALUES (1, 'A', 1); UPDATE t SET v = 2; UPDATE t SET id = 'a'; COMMIT`)
      await caughtUp(follower)
      expect(await f.differences('t', 1)).toEqual([])
    })

    it('a deferrable primary key is refused: rows may share it for a while', async () => {
      const { follow } = await open(
        `CREATE TABLE t (tenant_id bigint, id int, v text,
           PRIMARY KEY (tenant_id, id) DEFERRABLE INITIALLY DEFERRED);
         ALTER TABLE t REPLICA IDENTITY FULL`,
      )
      await expect(follow()).rejects.toMatchObject({ code: 'identityMissing' })
    })

    it('odd names are quoted', async () => {
      const f = await open(
        `CREATE TABLE t (tenant_id bigint, id int, "sel""ect" text, "ümlaut $1" int,
           PRIMARY KEY (tenant_id, id))`,
      )
      const { source, follow, caughtUp } = f
      const follower = await follow()
      await source.query(`INSERT INTO t VALUES (1, 1, 'a', 2)`)
      await source.query(`UPDATE t SET "sel""ect" = 'b'`)
      await caughtUp(follower)
      expect(await f.differences('t', 1)).toEqual([])
    })
  },
)

async function rowsOf(client: FollowFixture['source']): Promise<string[]> {
  await client.query(`SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET TimeZone = 'UTC';
    SET extra_float_digits = 1; SET bytea_output = 'hex'`)
  const { rows } = await client.query<{ row: string }>('SELECT t::text AS row FROM t ORDER BY id')
  return rows.map(({ row }) => row)
}
