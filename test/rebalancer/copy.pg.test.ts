// Copying rows of a set between real servers, of the same and of different versions.
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { moverServers } from '../support/mover-servers.ts'
import { systemClock } from '../../core/clock.ts'
import { openReader, openWriter } from '../../rebalancer/copy/connection.ts'
import { countRows } from '../../rebalancer/copy/count-rows.ts'
import { deleteRows } from '../../rebalancer/copy/delete-rows.ts'
import { openSnapshot } from '../../rebalancer/copy/snapshot.ts'
import { joinClaim } from '../../rebalancer/copy/target-claim.ts'
import { Throttle } from '../../rebalancer/throttle.ts'
import { unlimited } from '../../rebalancer/throttle-verdict.ts'
import { keyText, type MovedSet } from '../../router/moved-set.ts'
import { askServer, column, connected, refusal, until, value } from '../support/clients.ts'
import {
  all,
  copyFrom,
  copyNow,
  free,
  half,
  type MoveFixture,
  type MoveShard,
  never,
  openMove,
  pairsOf,
  rules,
  withSnapshot,
} from './copy-fixture.ts'

const inHalf = `ringfence.vnode(tenant_id) < 32`

describe.each(pairsOf(moverServers()))('copying from PostgreSQL $name', ({ from, to }) => {
  let fixture: MoveFixture
  beforeAll(async () => {
    fixture = await openMove(from, to)
  })
  afterAll(async () => await fixture.close())

  /** All rows as text, sorted. */
  async function rowsOf({ client }: MoveShard, table: string, where = 'true'): Promise<unknown> {
    return await column(client, `SELECT t::text FROM ${table} t WHERE ${where} ORDER BY 1`)
  }

  it('leaves the target with the set’s rows and its own', async () => {
    await fixture.both('CREATE TABLE plain (id int PRIMARY KEY, tenant_id bigint, note text)')
    await fixture.source.client.query(
      `INSERT INTO plain SELECT i, i % 100, repeat('x', i % 50) FROM generate_series(1, 5000) i`,
    )
    await fixture.target.client.query(
      `INSERT INTO plain SELECT -i, i % 100, 'its own' FROM generate_series(1, 500) i
       WHERE ringfence.vnode((i % 100)::bigint) >= 32`,
    )
    const own = await rowsOf(fixture.target, 'plain')
    const copied = await copyNow(fixture, await fixture.table('public.plain'))
    const moved = await rowsOf(fixture.source, 'plain', inHalf)
    expect(moved).toHaveLength(copied.rows)
    expect(copied.rows).toBeGreaterThan(1000)
    expect(await rowsOf(fixture.target, 'plain', inHalf)).toEqual(moved)
    expect(await rowsOf(fixture.target, 'plain', `NOT ${inHalf}`)).toEqual(own)
  })

  it('begins again without doubling rows or keeping old ones', async () => {
    await fixture.source.client.query('DELETE FROM plain WHERE id < 1000')
    await fixture.source.client.query(`UPDATE plain SET note = 'new' WHERE id < 2000`)
    await copyNow(fixture, await fixture.table('public.plain'))
    expect(await rowsOf(fixture.target, 'plain', inHalf)).toEqual(
      await rowsOf(fixture.source, 'plain', inHalf),
    )
  })

  it('keeps every kind of value, generated and identity columns as they are', async () => {
    await fixture.both(`
      CREATE SCHEMA "Odd ""Schema";
      CREATE TYPE "Odd ""Schema".mood AS ENUM ('glad', 'so, so', 'bad');
      CREATE DOMAIN positive AS int CHECK (VALUE > 0);
      CREATE DOMAIN moods AS "Odd ""Schema".mood[];
      CREATE TYPE money_of AS (amount numeric(10, 2), currency text);
      CREATE TABLE "Odd ""Schema"."A table, ""quoted""" (
        "The id" bigint GENERATED ALWAYS AS IDENTITY, dropped int,
        tenant_id bigint NOT NULL, feeling "Odd ""Schema".mood, feelings moods,
        many "Odd ""Schema".mood[][], age positive, price money_of, prices money_of[],
        doc jsonb, plain json, days daterange, whole numeric, part real, instant timestamptz,
        took interval, ip inet, net macaddr, words tsvector, bits varbit(9), raw bytea, fee money,
        relation regclass, relations regclass[], place point, tags text[], letter char(3),
        xml_part xml, twice bigint GENERATED ALWAYS AS (tenant_id * 2) STORED,
        PRIMARY KEY (tenant_id, "The id"));
      ALTER TABLE "Odd ""Schema"."A table, ""quoted""" DROP dropped`)
    await fixture.source.client.query(`
      SET TimeZone = 'Asia/Tokyo'; SET extra_float_digits = 0; SET DateStyle = 'German';
      INSERT INTO "Odd ""Schema"."A table, ""quoted""" OVERRIDING SYSTEM VALUE
      SELECT i * 3, i, (ARRAY['glad', 'so, so', 'bad'])[i % 3 + 1]::"Odd ""Schema".mood,
        ARRAY['bad', NULL, 'so, so']::moods, ARRAY[ARRAY['bad', 'glad']]::"Odd ""Schema".mood[][],
        i, (i / 7.0, 'E"U,\\\\R')::money_of, ARRAY[(1, NULL)]::money_of[],
        jsonb_build_object('a', i, 'ü', NULL), '{"b" : 1,  "b":2}',
        daterange('2020-01-01', NULL), 'NaN', 'infinity'::real, now() + i * interval '1 s',
        interval '1 year -3 days 4:05:06.789', '::1/64', '08:00:2b:01:02:03',
        to_tsvector('simple', 'a fat cat'), B'101', decode(md5(i::text), 'hex'), 12.34,
        'pg_class', ARRAY['pg_type'::regclass], point(i, 1.0 / 3), ARRAY['a', '', NULL, '"{'],
        'a', '<a/>'
      FROM generate_series(1, 300) i`)
    const name = '"Odd ""Schema"."A table, ""quoted"""'
    const table = await fixture.table('Odd "Schema.A table, "quoted"')
    const { rows } = await copyNow(fixture, table)
    expect(rows).toBeGreaterThan(100)
    await fixture.both(`RESET ALL`)
    expect(await rowsOf(fixture.target, name)).toEqual(await rowsOf(fixture.source, name, inHalf))
  })

  it('copies and deletes in small pieces under a bound on bytes, in binary and in text format', async () => {
    // PostgreSQL gives regclass another number on another server: such tables are copied as text.
    await fixture.both(`
      CREATE TABLE pieces (id int PRIMARY KEY, tenant_id bigint, note text);
      CREATE TABLE pieces_as_text (LIKE pieces INCLUDING ALL, relation regclass)`)
    await fixture.source.client.query(`
      INSERT INTO pieces SELECT i, i % 100, repeat('x', i % 90) FROM generate_series(1, 8000) i;
      DELETE FROM pieces WHERE id BETWEEN 3000 AND 5000;
      INSERT INTO pieces_as_text SELECT *, 'pg_class' FROM pieces`)
    for (const name of ['pieces', 'pieces_as_text']) {
      const throttle = new Throttle({ ...unlimited, bytesPerSecondMax: 4_000_000 }, systemClock)
      const table = await fixture.table(`public.${name}`)
      await copyNow(fixture, table, { throttle })
      expect(await rowsOf(fixture.target, name)).toEqual(await rowsOf(fixture.source, name, inHalf))
      const rows = { table, set: half, rules, batchRows: 10_000, url: fixture.target.url }
      await deleteRows({ ...rows, throttle, signal: never, onProgress: () => undefined })
      expect(await value(fixture.target.client, `SELECT count(*) FROM ${name}`)).toBe('0')
    }
  })

  it('reaches partitions, also where shards are partitioned differently', async () => {
    await fixture.both(`
      CREATE TABLE parts (tenant_id bigint, id int, at date, PRIMARY KEY (id, at))
        PARTITION BY RANGE (at)`)
    await fixture.source.client.query(`
      CREATE TABLE "Part One" PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')
        PARTITION BY HASH (id);
      CREATE TABLE part_1a PARTITION OF "Part One" FOR VALUES WITH (MODULUS 2, REMAINDER 0);
      CREATE TABLE part_1b (id int NOT NULL, at date NOT NULL, tenant_id bigint);
      ALTER TABLE "Part One" ATTACH PARTITION part_1b FOR VALUES WITH (MODULUS 2, REMAINDER 1);
      CREATE TABLE part_rest PARTITION OF parts DEFAULT;
      INSERT INTO parts SELECT i % 50, i, '2020-11-01'::date + i FROM generate_series(1, 2000) i`)
    await fixture.target.client.query('CREATE TABLE part_all PARTITION OF parts DEFAULT')
    const { rows } = await copyNow(fixture, await fixture.table('public.parts'))
    expect(rows).toBeGreaterThan(500)
    expect(await rowsOf(fixture.target, 'parts')).toEqual(
      await rowsOf(fixture.source, 'parts', inHalf),
    )
  })

  it('takes along pinned keys and leaves out those pinned elsewhere', async () => {
    await fixture.both(
      'CREATE TABLE pinned (tenant_id bigint, id int, PRIMARY KEY (tenant_id, id))',
    )
    await fixture.source.client.query(
      'INSERT INTO pinned SELECT i % 100, i FROM generate_series(1, 2000) i',
    )
    const numbers = await column(
      fixture.source.client,
      'SELECT i FROM generate_series(1, 99) i WHERE ringfence.vnode(i) < 32 ORDER BY i LIMIT 3',
    )
    const others = await column(
      fixture.source.client,
      'SELECT i FROM generate_series(1, 99) i WHERE ringfence.vnode(i) >= 32 ORDER BY i LIMIT 2',
    )
    const text = (key: string | null) => keyText({ kind: 'bigint', value: BigInt(key ?? 0) })
    const set: MovedSet = { ...half, keys: others.map(text), except: numbers.map(text) }
    const table = await fixture.table('public.pinned')
    await copyNow(fixture, table, { set })
    const expected = `(${inHalf} OR tenant_id IN (${others.join()}))
                      AND tenant_id NOT IN (${numbers.join()})`
    const rows = await rowsOf(fixture.source, 'pinned', expected)
    expect(await rowsOf(fixture.target, 'pinned')).toEqual(rows)
    const keys: MovedSet = { vnodes: [], keys: numbers.map(text), except: [] }
    await copyNow(fixture, table, { set: keys })
    expect(await value(fixture.target.client, 'SELECT count(*) FROM pinned')).toBe(
      String((Array.isArray(rows) ? rows.length : 0) + 60),
    )
    const counted = { table, rules, signal: never, url: fixture.target.url }
    expect((await countRows({ ...counted, set: keys })).rows).toBe(60)
  })

  it('runs no trigger, checks no foreign key and minds no rule on the target', async () => {
    await fixture.both(`
      CREATE TABLE parents (tenant_id bigint, id int PRIMARY KEY);
      CREATE TABLE children (tenant_id bigint, id int PRIMARY KEY,
        parent int REFERENCES parents ON DELETE CASCADE);
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE 'not through here'; END $$;
      INSERT INTO parents SELECT 1, 1; INSERT INTO children SELECT 1, 1, 1`)
    await fixture.target.client.query(`
      DELETE FROM parents;
      CREATE TRIGGER refuse BEFORE INSERT OR DELETE ON children
        FOR EACH ROW EXECUTE FUNCTION refuse();
      CREATE RULE nothing AS ON DELETE TO children DO INSTEAD NOTHING;
      SET session_replication_role = replica; INSERT INTO children VALUES (1, 2, 99)`)
    await copyNow(fixture, await fixture.table('public.children'), { set: all })
    expect(await rowsOf(fixture.target, 'children')).toEqual(['(1,1,1)'])
  })

  it('shows the snapshot’s rows whatever is committed meanwhile', async () => {
    await fixture.both('CREATE TABLE frozen (tenant_id bigint, id int PRIMARY KEY)')
    await fixture.source.client.query(
      'INSERT INTO frozen SELECT i, i FROM generate_series(1, 1000) i',
    )
    const before = await rowsOf(fixture.source, 'frozen', inHalf)
    const table = await fixture.table('public.frozen')
    await withSnapshot(fixture.source, async ({ name }) => {
      await fixture.source.client.query('DELETE FROM frozen WHERE id % 2 = 0')
      await fixture.source.client.query(
        'INSERT INTO frozen SELECT i, i FROM generate_series(2000, 4000) i',
      )
      await fixture.source.client.query('UPDATE frozen SET id = -id WHERE id % 3 = 0')
      await copyFrom(fixture, name, { table })
    })
    expect(await rowsOf(fixture.target, 'frozen')).toEqual(before)
  })
})

describe.each(moverServers())('the mover on PostgreSQL $version', (servers) => {
  let fixture: MoveFixture
  beforeAll(async () => {
    fixture = await openMove(servers, servers)
    await fixture.both(`
      CREATE TABLE strict (tenant_id bigint, id int PRIMARY KEY);
      CREATE TABLE large (tenant_id bigint, id int PRIMARY KEY, filler text)
        WITH (fillfactor = 20)`)
    await fixture.source.client.query(`
      INSERT INTO strict SELECT i, i FROM generate_series(1, 200) i;
      INSERT INTO large SELECT i % 1000, i, repeat('x', 200) FROM generate_series(1, 100000) i`)
  })
  afterAll(async () => await fixture.close())

  it('copies a large table in parts by several workers, and tells how far it is', async () => {
    const table = await fixture.table('public.large')
    const told: number[] = []
    const onProgress = (rows: number) => told.push(rows)
    const copied = await copyNow(fixture, table, { workers: 3, onProgress })
    expect(told.length).toBeGreaterThan(3)
    expect(told.reduce((sum, rows) => sum + rows, 0)).toBe(copied.rows)
    const sum = `SELECT count(*) || ' ' || sum(id) FROM large WHERE ${inHalf}`
    expect(await value(fixture.target.client, sum)).toBe(await value(fixture.source.client, sum))
  })

  it('deletes in batches, and again what it did not find', async () => {
    const told: number[] = []
    const table = await fixture.table('public.large')
    await copyNow(fixture, table)
    const options = { table, set: half, rules, throttle: free, signal: never }
    const url = fixture.target.url
    const before = (await countRows({ ...options, url })).rows
    const onProgress = (rows: number) => told.push(rows)
    const deleted = await deleteRows({ ...options, url, batchRows: 700, onProgress })
    expect(deleted).toBe(before)
    expect(Math.max(...told)).toBeLessThanOrEqual(700)
    expect(await countRows({ ...options, url })).toEqual({ rows: 0, bytes: 0 })
    expect(await deleteRows({ ...options, url, batchRows: 700, onProgress: () => undefined })).toBe(
      0,
    )
  })

  it('copies a row of 100 MB in bounded memory', async () => {
    await fixture.both('CREATE TABLE heavy (tenant_id bigint, id int PRIMARY KEY, raw bytea)')
    await fixture.source.client.query(`
      ALTER TABLE heavy ALTER raw SET STORAGE EXTERNAL;
      INSERT INTO heavy
      SELECT 1, i, decode(repeat(md5(i::text), 100 * 1024 * 1024 / 16), 'hex')
      FROM generate_series(1, 2) i`)
    const table = await fixture.table('public.heavy')
    // Buffers are outside of the heap; what was freed and not yet collected counts too.
    const before = process.memoryUsage().arrayBuffers
    let peakBytes = 0
    const watch = setInterval(() => {
      peakBytes = Math.max(peakBytes, process.memoryUsage().arrayBuffers - before)
    }, 5)
    const copied = await copyNow(fixture, table, { set: all }).finally(() => clearInterval(watch))
    expect(copied.rows).toBe(2)
    expect(copied.bytes).toBeGreaterThan(200 * 1024 * 1024)
    expect(peakBytes).toBeLessThan(100 * 1024 * 1024)
    const sum = `SELECT string_agg(encode(sha256(raw), 'hex'), ' ' ORDER BY id) FROM heavy`
    expect(await value(fixture.target.client, sum)).toBe(await value(fixture.source.client, sum))
  }, 60_000)

  it('stops when told to, and leaves no transaction open', async () => {
    const table = await fixture.table('public.large')
    const stopping = new AbortController()
    const onProgress = () => stopping.abort(new Error('told to stop'))
    const stopped = copyNow(fixture, table, { signal: stopping.signal, onProgress })
    expect((await refusal(stopped)).message).toBe('told to stop')
    const open = `SELECT count(*) FROM pg_stat_activity
                  WHERE datname = current_database() AND application_name = 'ringfence mover'`
    for (const { url } of [fixture.source, fixture.target]) {
      await until('all sessions end', async () => (await askServer(url, open))[0] === '0')
    }
  })

  it.each(['source', 'target'] as const)(
    'fails when its sessions on the %s are killed, and may be run again',
    async (side) => {
      const table = await fixture.table('public.large')
      const kill = `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                    WHERE datname = current_database() AND query LIKE 'COPY %'`
      const kills: Promise<(string | null)[]>[] = []
      const onProgress = () => {
        if (kills.length === 0) kills.push(askServer(fixture[side].url, kill))
      }
      // Slow enough to be met at work.
      const slow = new Throttle({ ...unlimited, bytesPerSecondMax: 8_000_000 }, systemClock)
      const failing = copyNow(fixture, table, { set: all, throttle: slow, onProgress })
      const { message } = await refusal(failing)
      expect(message).toMatch(/^could not copy table public.large: |^the connection to the target/)
      const [killed = []] = await Promise.all(kills)
      expect(Number(killed[0])).toBeGreaterThan(0)
      expect((await copyNow(fixture, table, { set: all })).rows).toBe(100_000)
      expect(await value(fixture.target.client, 'SELECT count(*) FROM large')).toBe('100000')
    },
    60_000,
  )

  it('says what the target has refused, and may then be run again', async () => {
    await fixture.target.client.query('ALTER TABLE strict ADD CHECK (id <> 100)')
    const table = await fixture.table('public.strict')
    expect((await refusal(copyNow(fixture, table, { set: all }))).message).toBe(
      'could not copy table public.strict: ' +
        'new row for relation "strict" violates check constraint "strict_id_check"',
    )
    await fixture.target.client.query('ALTER TABLE strict DROP CONSTRAINT strict_id_check')
    expect((await copyNow(fixture, table, { set: all })).rows).toBe(200)
  })

  it('waits for what a runner that died has still on its way', async () => {
    const table = await fixture.table('public.strict')
    const late = await openWriter(fixture.target.url, never)
    const { targetUrl, signal } = { targetUrl: fixture.target.url, signal: never }
    await joinClaim(late.client, { table, set: all, rules, targetUrl, signal })
    await late.client.query('BEGIN; INSERT INTO public.strict VALUES (7, 7007)')
    const copying = copyNow(fixture, table, { set: all })
    const waits = `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`
    await until('it waits', async () => (await askServer(fixture.target.url, waits))[0] === '1')
    await late.client.query('COMMIT')
    await late[Symbol.asyncDispose]()
    expect((await copying).rows).toBe(200)
    expect(await value(fixture.target.client, 'SELECT count(*) FROM strict')).toBe('200')
  })

  it('does not wait for an old transaction longer than it may for a snapshot', async () => {
    const old = await connected({ connectionString: fixture.source.url })
    await old.query('BEGIN; INSERT INTO strict VALUES (9, 9009)')
    const opening = openSnapshot(fixture.source.url, AbortSignal.timeout(500))
    expect((await refusal(opening)).message).toMatch(/timeout/)
    const left = `SELECT count(*) FROM pg_replication_slots WHERE database = current_database()`
    await until('no slot is left', async () => {
      return (await askServer(fixture.source.url, left))[0] === '0'
    })
    await old.query('ROLLBACK')
    await old.end()
  })

  it('gives each transaction to the snapshot or to what is after its position', async () => {
    const { url, client } = fixture.source
    const slot = `edge_${fixture.name}`
    await client.query(`
      CREATE TABLE edge (tenant_id bigint, id int PRIMARY KEY);
      CREATE PUBLICATION edge FOR TABLE edge`)
    await client.query(`SELECT pg_create_logical_replication_slot('${slot}', 'pgoutput')`)
    const writer = await connected({ connectionString: url })
    try {
      const stopped = new AbortController()
      const writing = (async () => {
        for (let id = 1; !stopped.signal.aborted; id += 1) {
          await writer.query(`INSERT INTO edge VALUES (1, ${id})`)
        }
      })()
      await until('rows are written', async () => (await count(client, 'edge')) > 20)
      const { seen, lsn } = await withSnapshot(fixture.source, async ({ name, lsn }) => {
        await using reader = await openReader(url, name, never)
        return { seen: await count(reader.client, 'public.edge'), lsn }
      })
      await until('more are written', async () => (await count(client, 'edge')) > seen + 20)
      stopped.abort()
      await writing
      // A Begin message says where the commit record is (manual, "Logical Replication Message
      // Formats").
      const commits = await column(
        client,
        `SELECT ('x' || encode(substr(data, 2, 8), 'hex'))::bit(64)::bigint
         FROM pg_logical_slot_get_binary_changes('${slot}', NULL, NULL,
           'proto_version', '1', 'publication_names', 'edge')
         WHERE get_byte(data, 0) = ascii('B')`,
      )
      expect(commits.length).toBe(await count(client, 'edge'))
      expect(commits.filter((commit) => BigInt(commit ?? 0) < lsn)).toHaveLength(seen)
    } finally {
      await writer.end()
      await client.query(`SELECT pg_drop_replication_slot('${slot}')`)
    }
  })
})

async function count(client: Client, table: string): Promise<number> {
  return Number(await value(client, `SELECT count(*) FROM ${table}`))
}
