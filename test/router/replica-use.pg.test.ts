// What the router lets onto a replica, asked of a real one: it must answer, and as the primary does.
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { loadSchema } from '../../catalog/schema-loader.ts'
import { epoch, shardId } from '../../core/ids.ts'
import { openRun, type Run } from '../../demo/run.ts'
import { PostgresServer } from '../../demo/postgres-server.ts'
import { superuser } from '../../demo/roles.ts'
import { primaryReason } from '../../router/functions.ts'
import { loadParser } from '../../router/parser.ts'
import { restingTopology } from '../../router/topology.ts'
import { Router } from '../../router/router.ts'
import type { Schema } from '../../router/schema.ts'
import { connected, until } from '../support/clients.ts'
import { installationOf } from '../support/postgres-installation.ts'

const ddl = `
  CREATE TABLE orders (id int PRIMARY KEY, note text);
  INSERT INTO orders SELECT n, 'note ' || n FROM generate_series(1, 50) n;
  CREATE UNLOGGED TABLE scratch (id int);
  CREATE TABLE parted (id int) PARTITION BY LIST (id);
  CREATE UNLOGGED TABLE parted_1 PARTITION OF parted FOR VALUES IN (1);
  CREATE SEQUENCE seq;
  SELECT nextval('seq');
  CREATE TABLE log (id int);
  CREATE FUNCTION touch() RETURNS int LANGUAGE plpgsql
    AS 'BEGIN INSERT INTO log VALUES (1); RETURN 1; END';
  CREATE FUNCTION touch(orders) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN touch(); END';
  CREATE FUNCTION step(int, int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN touch(); END';
  CREATE FUNCTION calm(int) RETURNS int STABLE LANGUAGE sql RETURN $1 + 1;
  CREATE AGGREGATE churn (int) (sfunc = step, stype = int, initcond = '0');
  CREATE OPERATOR <<<# (leftarg = int, rightarg = int, function = step);
  CREATE TYPE shade AS ENUM ('dark', 'light');
  CREATE FUNCTION shade_of(int) RETURNS shade LANGUAGE plpgsql
    AS 'BEGIN PERFORM touch(); RETURN ''dark''; END';
  CREATE CAST (int AS shade) WITH FUNCTION shade_of(int);
  CREATE FUNCTION fits(int) RETURNS bool LANGUAGE plpgsql
    AS 'BEGIN PERFORM touch(); RETURN true; END';
  CREATE DOMAIN fitting AS int CHECK (fits(VALUE));
  CREATE VIEW touching AS SELECT id, touch() AS t FROM orders;
  CREATE VIEW over_touching AS SELECT t FROM touching;
  CREATE VIEW scratches AS SELECT * FROM scratch;
  CREATE VIEW locking AS SELECT * FROM orders FOR UPDATE;
  CREATE VIEW servers AS SELECT pg_is_in_recovery() AS replica;
  CREATE VIEW settings AS SELECT current_setting('transaction_read_only') AS read_only;
  CREATE VIEW calm_view AS SELECT calm(id), lower(note) FROM orders;
  CREATE MATERIALIZED VIEW kept AS SELECT count(*) FROM pg_class;
  CREATE TABLE guarded (id int, owner text);
  INSERT INTO guarded VALUES (1, 'a'), (2, 'b');
  ALTER TABLE guarded ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
  CREATE POLICY own ON guarded USING (owner = current_setting('app.owner', true));
  CREATE TABLE watched (id int);
  INSERT INTO watched VALUES (1);
  ALTER TABLE watched ENABLE ROW LEVEL SECURITY;
  CREATE POLICY touches ON watched USING (id = touch());
  CREATE ROLE reader;
  GRANT ALL ON ALL TABLES IN SCHEMA public TO reader;
  GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO reader;`

const onReplica = [
  'SELECT * FROM orders WHERE id = 5',
  'SELECT xmin::text, ctid, * FROM orders ORDER BY id',
  'SELECT count(*), max(lower(note)) FROM orders GROUP BY id % 3 ORDER BY 1, 2',
  'WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT * FROM n',
  'TABLE orders',
  'VALUES (1), (2)',
  'SELECT calm(1), random() < 2, clock_timestamp() > now(), pg_sleep(0)',
  'SELECT * FROM calm_view',
  'SELECT * FROM kept',
  'SELECT current_database(), current_user, version(), current_schema',
  'SELECT * FROM guarded',
  'EXPLAIN (COSTS OFF) SELECT * FROM orders',
  'SELECT o.calm FROM (SELECT 1 AS calm) o',
]

const failing = [
  'SELECT * FROM orders FOR UPDATE',
  'SELECT * FROM locking',
  'SELECT * FROM scratch',
  'SELECT * FROM scratches',
  'SELECT * FROM parted',
  'SELECT touch()',
  'SELECT o.touch FROM orders o',
  'SELECT (o).touch FROM orders o',
  'SELECT churn(id) FROM orders',
  'SELECT 1 <<<# 2',
  'SELECT 1::shade',
  'SELECT 1::fitting',
  'SELECT * FROM touching',
  'SELECT t FROM over_touching',
  'SELECT * FROM watched',
  "SELECT nextval('seq')",
  'SELECT txid_current()',
  'SELECT pg_current_wal_lsn()',
  "SELECT pg_notify('a', 'b')",
  'WITH gone AS (DELETE FROM orders RETURNING *) SELECT * FROM gone',
  'EXPLAIN ANALYZE SELECT touch()',
]

const differing = [
  'SELECT last_value FROM seq',
  'SELECT * FROM servers',
  'SELECT * FROM settings',
  "SELECT current_setting('transaction_read_only')",
  'SHOW transaction_read_only',
  'SELECT pg_postmaster_start_time()',
  'SELECT pg_backend_pid()',
]

describe.each(inject('servers').map(({ version }) => version))(
  'replicas of PostgreSQL %i',
  (version) => {
    const router = new Router({ cacheEntriesMax: 100 })
    let run: Run
    let servers: PostgresServer[] = []
    let primary: Client
    let replica: Client
    let schema: Schema

    beforeAll(async () => {
      await loadParser()
      const installation = await installationOf(version)
      run = await openRun(null)
      const first = await PostgresServer.create({ installation, dir: `${run.dir}/1` })
      const second = await PostgresServer.createReplica(first, { dir: `${run.dir}/2` })
      servers = [first, second]
      await first.start()
      await second.start()
      ;[primary, replica] = [await open(first), await open(second)]
      await primary.query(ddl)
      const { rows } = await primary.query<{ lsn: string }>('SELECT pg_current_wal_lsn() AS lsn')
      const sql = `SELECT pg_last_wal_replay_lsn() >= '${rows[0]?.lsn}' AS there`
      await until('the replica has it', async () => (await texts(replica)(sql))[0]?.[0] === 't')
      schema = await loadSchema(texts(primary), null, superuser)
      for (const client of [primary, replica])
        await client.query("SET app.owner = 'a'; SET ROLE reader")
    })
    afterAll(async () => {
      await Promise.all([primary.end(), replica.end()])
      await Promise.all(servers.map((server) => server.stop('immediate')))
      await run.end()
    })

    const open = (server: PostgresServer) => connected({ connectionString: server.url() })

    const texts = (client: Client) => async (sql: string) => {
      const types = { getTypeParser: () => (text: string) => text }
      const query = { text: sql, rowMode: 'array', types }
      return (await client.query<(string | null)[]>(query)).rows
    }

    const verdict = (sql: string) => {
      const topology = restingTopology(epoch(0), [shardId('s1')], new Uint16Array(0))
      const context = { topology, schema, rules: null, searchPath: schema.defaultSearchPath }
      return router.statements(Buffer.from(sql), context).statements[0]?.replica.kind
    }

    it.each(onReplica)('answer %s as the primary does', async (sql) => {
      expect(verdict(sql)).toBe('allowed')
      expect(await texts(replica)(sql)).toEqual(await texts(primary)(sql))
    })

    it.each(failing)('are not asked %s, which fails there', async (sql) => {
      expect(verdict(sql)).toBe('primary')
      await expect(replica.query(sql)).rejects.toThrow(/recovery|read-only/)
    })

    it.each(differing)('are not asked %s, which they answer differently', async (sql) => {
      expect(verdict(sql)).toBe('primary')
      expect(await texts(replica)(sql)).not.toEqual(await texts(primary)(sql))
    })

    it('run every function without arguments that they are allowed to', async () => {
      const { rows } = await primary.query<{ name: string }>(`
        SELECT DISTINCT proname AS name FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND pronargs = 0 AND prokind = 'f'
          AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype)
          AND proname !~ '_handler$|_recv$|_in$|_validator$'`)
      const allowed = rows.filter(({ name }) => primaryReason(name, null, schema, null) === null)
      expect(allowed.length).toBeGreaterThan(10)
      const failed: string[] = []
      for (const { name } of allowed) {
        const run = replica.query(`SELECT pg_catalog."${name}"()`)
        await run.catch((error: unknown) => failed.push(`${name}: ${String(error)}`))
      }
      expect(failed).toEqual([])
    })
  },
)
