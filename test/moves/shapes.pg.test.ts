// Tables, settings and neighbours that moves have stumbled over, each on real servers: what is followed both ways arrives as it
// is, and what cannot be moved is refused before anything is copied.
import { afterEach, describe, expect, it } from 'vitest'
import { liftAbandonedFence } from '../../catalog/abandoned-fence.ts'
import { placeFence } from '../../catalog/fence.ts'
import { wish } from '../../catalog/move-store.ts'
import { createLog } from '../../core/log.ts'
import { shardId } from '../../core/ids.ts'
import { openShard } from '../../rebalancer/copy/connection.ts'
import { examine } from '../../rebalancer/doctor.ts'
import { type MoverDatabase, openCatalog, verifySwitched } from '../../rebalancer/run-move.ts'
import { askServer, connected, present, until, value, withClient } from '../support/clients.ts'
import { moverServers } from '../support/mover-servers.ts'
import { type Stack, startStack } from '../support/stack.ts'
import { askCatalog, finishMove, moverOf, planMove, runUntil } from './mover.ts'

let stack: Stack
afterEach(async () => await stack.close())

const plain = 'CREATE TABLE t (tenant_id bigint, id int, v text, PRIMARY KEY (tenant_id, id))'
const rows = `INSERT INTO t (tenant_id, id, v) SELECT g, 1, 'x' FROM generate_series(1, 100) g`

type Shape = {
  /** On both shards, beside the proxy. */
  readonly ddl: string
  /** On the source, before the move. */
  readonly fill?: string
  /** `$1` is the database's name. */
  readonly settings?: readonly string[]
}

async function start(servers: Parameters<typeof startStack>[0], shape: Shape) {
  stack = await startStack(servers, { shards: 2 })
  for (const url of stack.shardUrls) {
    const name = new URL(url).pathname.slice(1)
    const settings = (shape.settings ?? []).map((each) => `ALTER DATABASE "${name}" SET ${each}`)
    await onShard(url, [shape.ddl, ...settings].join(';'))
  }
  await onShard(source(), shape.fill ?? rows)
  return moverOf(stack)
}

/** Several statements, whatever the database has set. */
const onShard = (url: string, sql: string) =>
  withClient({ connectionString: url }, async (client) => {
    await client.query('SET default_transaction_read_only = off; SET statement_timeout = 0')
    await client.query(sql)
  })

const source = () => present(stack.shardUrls[0])
const target = () => present(stack.shardUrls[1])
const keep = { keepSourceMs: null }

/** Left switched, with the way back open. */
async function switched(mover: MoverDatabase, whileFollowed: readonly string[]) {
  const move = await planMove(mover, { from: 's1', to: 's2', vnodes: 4_096, options: keep })
  await runUntil(mover, move, 'catching_up')
  for (const sql of whileFollowed) await onShard(source(), sql)
  await runUntil(mover, move, 'switched')
  const [now] = await askCatalog<{ state: string; error: string | null }>(
    mover,
    `SELECT state, error FROM ringfence.move WHERE id = ${move.id}`,
  )
  expect(now).toEqual({ state: 'switched', error: null })
  return move
}

/** Rows that s1 owned when the move was planned. */
const ofSet = (id: number) =>
  askCatalog<{ vnodes: number[] }>(
    moverOf(stack),
    `SELECT vnodes FROM ringfence.move WHERE id = ${id}`,
  ).then(([move]) => `ringfence.vnode(tenant_id) = ANY ('{${move?.vnodes.join(',')}}')`)

/** Writes on the new owner, and takes the move back with them. */
async function takeBack(mover: MoverDatabase, id: number, writes: readonly string[]) {
  for (const sql of writes) await onShard(target(), sql)
  const verified = await verifySwitched({
    database: mover,
    moveId: id,
    log: createLog('error'),
    signal: AbortSignal.timeout(20_000),
  })
  expect(verified).toMatchObject({ differing: 0 })
  const texts = `SELECT t::text FROM t WHERE ${await ofSet(id)} ORDER BY 1`
  const wanted = await askServer(target(), texts)
  const catalog = await openCatalog(mover)
  await wish(catalog.client, id, 'rollback')
  await catalog.end()
  expect(await finishMove(mover, { id })).toMatchObject({ state: 'aborted', error: null })
  expect(await askServer(source(), texts)).toEqual(wanted)
}

const deferrable = 'PRIMARY KEY (tenant_id, id) DEFERRABLE'

describe.each(moverServers())('moves on PostgreSQL $version', (servers) => {
  it.each([
    {
      name: 'a partitioned table whose primary key lacks the shard key',
      ddl: `CREATE TABLE t (tenant_id bigint NOT NULL, id int, v text, day int DEFAULT 1,
          PRIMARY KEY (v, id, day)) PARTITION BY LIST (day);
        CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1); CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2)`,
      fill: `INSERT INTO t SELECT g, g, 'x' FROM generate_series(1, 100) g`,
      first: [`UPDATE t SET v = 'y' WHERE id % 2 = 0`, 'UPDATE t SET day = 2 WHERE id % 5 = 0'],
      later: [`UPDATE t SET v = 'z' WHERE id % 3 = 0`, 'DELETE FROM t WHERE id % 7 = 0'],
    },
    {
      name: 'a partitioned table that alone tells whole old rows',
      ddl: `CREATE TABLE t (tenant_id bigint, id int, v text, PRIMARY KEY (tenant_id, id))
          PARTITION BY HASH (id); ALTER TABLE t ALTER v SET STORAGE EXTERNAL;
        CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 1, REMAINDER 0);
        ALTER TABLE t1 ALTER v SET STORAGE EXTERNAL; ALTER TABLE t REPLICA IDENTITY FULL`,
      fill: `INSERT INTO t SELECT g, 1, repeat('x', 5000) FROM generate_series(1, 100) g`,
      first: ['UPDATE t SET id = 2 WHERE tenant_id % 2 = 0'],
      later: ['UPDATE t SET id = 3 WHERE tenant_id % 3 = 0'],
    },
    {
      name: 'a table with a rule ON UPDATE',
      ddl: `${plain}; CREATE RULE r AS ON UPDATE TO t DO ALSO NOTHING`,
      first: [`INSERT INTO t SELECT tenant_id, 2, 'y' FROM t`, `UPDATE t SET v = 'z' WHERE id = 1`],
      later: [`INSERT INTO t SELECT tenant_id, 3, 'y' FROM t WHERE id = 1`, `UPDATE t SET v = 'q'`],
    },
    {
      name: 'arrays with NULL in them where array_nulls is off',
      ddl: 'CREATE TABLE t (tenant_id bigint, id int, v text[], PRIMARY KEY (tenant_id, id))',
      fill: `INSERT INTO t SELECT g, 1, ARRAY['NULL', NULL] FROM generate_series(1, 100) g`,
      settings: ['array_nulls = off'],
      first: ['INSERT INTO t SELECT tenant_id, 2, v FROM t'],
      later: ['INSERT INTO t SELECT tenant_id, 3, v FROM t WHERE id = 1'],
    },
    {
      name: 'databases whose settings are made for clients alone',
      ddl: plain,
      settings: [
        `statement_timeout = '200ms'`,
        `lock_timeout = '100ms'`,
        `idle_in_transaction_session_timeout = '100ms'`,
        `idle_session_timeout = '300ms'`,
        'default_transaction_read_only = on',
        `DateStyle = 'SQL, DMY'`,
      ],
      first: [`UPDATE t SET v = 'y'`],
      later: [`UPDATE t SET v = 'z'`],
    },
  ])('follow $name, and take it back', async ({ first, later, ...shape }) => {
    const mover = await start(servers, shape)
    const { id } = await switched(mover, first)
    await takeBack(mover, id, later)
    const signal = AbortSignal.timeout(20_000)
    const { findings } = await examine({ database: mover, fix: false, rows: false, signal })
    expect(findings.filter(({ where }) => where !== 'catalog')).toEqual([])
  })

  it.each([
    [
      'a deferrable primary key',
      `CREATE TABLE t (tenant_id bigint, id int, v text, ${deferrable})`,
      /deferrable/,
    ],
    [
      'a generated column in its primary key',
      `CREATE TABLE t (tenant_id bigint, n int, v text, id int GENERATED ALWAYS AS (n + 1) STORED,
         PRIMARY KEY (tenant_id, id))`,
      /column "id" of its keys is generated/,
    ],
    [
      'a key that is hashed otherwise',
      'CREATE TABLE t (tenant_id numeric, id int, v text, PRIMARY KEY (tenant_id, id))',
      /"tenant_id" is numeric, which is no key of type bigint/,
    ],
  ])('refuse a table with %s before they begin', async (_, ddl, why) => {
    const mover = await start(servers, { ddl, fill: 'SELECT' })
    const move = await planMove(mover, { from: 's1', to: 's2', vnodes: 10 })
    const ended = await finishMove(mover, move)
    expect(ended).toMatchObject({ state: 'aborted', error: expect.stringMatching(why) })
    expect(ended.progress.slot).toBeUndefined()
  })

  it('refuse a table that a subscription writes: no fence would hold it', async () => {
    const mover = await start(servers, { ddl: plain })
    await askServer(target(), 'CREATE PUBLICATION outside FOR TABLE t')
    const { hostname, port, username, password, pathname } = new URL(target())
    const secret = `user=${username} password=${decodeURIComponent(password)}`
    await withClient({ connectionString: source() }, async (client) => {
      await client.query(
        `CREATE SUBSCRIPTION ringfence_test CONNECTION
           'host=${hostname} port=${port} ${secret} dbname=${pathname.slice(1)}' PUBLICATION outside
         WITH (enabled = false, create_slot = false, slot_name = NONE, copy_data = false)`,
      )
      const move = await planMove(mover, { from: 's1', to: 's2', vnodes: 10 })
      const ended = await finishMove(mover, move)
      await client.query('DROP SUBSCRIPTION ringfence_test')
      expect(ended).toMatchObject({
        state: 'aborted',
        error: expect.stringMatching(/subscription/),
      })
    })
  })

  it('count their time from when they have begun, not from when they were kept', async () => {
    const mover = await start(servers, { ddl: plain })
    const options = { maxMs: 20_000 }
    const move = await planMove(mover, { from: 's1', to: 's2', vnodes: 10, options })
    await askCatalog(mover, `UPDATE ringfence.move SET created_at = created_at - interval '1 h'`)
    expect(await finishMove(mover, move)).toMatchObject({ state: 'done', error: null })
  })

  it('name whoever keeps them from beginning', async () => {
    const ddl = 'CREATE TABLE t (tenant_id bigint, id int PRIMARY KEY, v text)'
    const mover = await start(servers, { ddl, fill: 'SELECT' })
    const move = await planMove(mover, { from: 's1', to: 's2', vnodes: 10 })
    const reader = await connected({ connectionString: source() })
    await reader.query('BEGIN; SELECT count(*) FROM t')
    const pid = await value(reader, 'SELECT pg_backend_pid()')
    const errors = new Set<string | null>()
    const running = finishMove(mover, move, ({ error }) => errors.add(error))
    const why = `the replica identity of table "public"."t" cannot be changed while transactions use it`
    await until('it is said who', () => errors.has(`${why}: processes ${pid}`))
    await reader.end()
    expect(await running).toMatchObject({ state: 'done', error: null })
  })

  it('have their fence lifted while somebody reads for long, and put up again', async () => {
    const mover = await start(servers, {
      ddl: `CREATE TABLE t (tenant_id bigint, id int, v text, PRIMARY KEY (tenant_id, id))
              PARTITION BY LIST (id); CREATE TABLE t1 PARTITION OF t DEFAULT`,
    })
    const move = await planMove(mover, { from: 's1', to: 's2', vnodes: 4_096, options: keep })
    await runUntil(mover, move, 'catching_up')
    await askCatalog(mover, `UPDATE ringfence.move SET state = 'fencing'`)
    const fence = {
      moveId: move.id,
      tables: [{ schema: 'public', name: 't', key: 'tenant_id' }],
      set: move.set,
      keyType: 'bigint',
      timeoutMs: 2_000,
      now: () => performance.now(),
    } as const
    await using shard = await openShard(source(), AbortSignal.timeout(30_000))
    await placeFence(shard.client, fence)
    const write = `UPDATE t SET v = 'w' WHERE ${await ofSet(move.id)}`
    await expect(askServer(source(), write)).rejects.toThrow(/moved to another shard/)
    const reader = await connected({ connectionString: source() })
    await reader.query('BEGIN; SELECT count(*) FROM t')
    const urlOf = (id: ReturnType<typeof shardId>) => (id === shardId('s1') ? source() : target())
    await liftAbandonedFence({
      moveId: move.id,
      urlOf,
      home: shardId('s1'),
      log: createLog('error'),
    })
    const state = () => askCatalog(mover, 'SELECT state FROM ringfence.move')
    expect(await state()).toEqual([{ state: 'catching_up' }])
    await askServer(source(), write)
    await placeFence(shard.client, fence)
    await expect(askServer(source(), write)).rejects.toThrow(/moved to another shard/)
    await reader.end()
    expect(
      await finishMove(mover, { id: move.id }, ({ state: now }) => {
        if (now === 'switched')
          void askCatalog(mover, `UPDATE ringfence.move SET wish = 'complete'`)
      }),
    ).toMatchObject({ state: 'done' })
    const triggers = `SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'ringfence%'`
    expect(await askServer(source(), triggers)).toEqual(['0'])
  })
})
