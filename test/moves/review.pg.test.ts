// What an adversarial reading of moves has found, each as a test of its own on real servers.
import { Client, DatabaseError } from 'pg'
import { afterEach, describe, expect, it } from 'vitest'
import { moverServers } from '../support/mover-servers.ts'
import { openCatalogConnection } from '../../catalog/connection.ts'
import { placeFence } from '../../catalog/fence.ts'
import { advanceMove, type Move } from '../../catalog/move-store.ts'
import { shardId, vnode } from '../../core/ids.ts'
import { lsn, parseLsn } from '../../core/lsn.ts'
import { openShard } from '../../rebalancer/copy/connection.ts'
import { lockMove, LockLost } from '../../rebalancer/move-lock.ts'
import { openCatalog } from '../../rebalancer/run-move.ts'
import { vnodeOfKey } from '../../router/key-hash.ts'
import { movedSetSql, setMembership } from '../../router/moved-set.ts'
import { type Stack, startStack } from '../support/stack.ts'
import { askCatalog, finishMove, moverOf, planMove, runUntil } from './mover.ts'

let stack: Stack
afterEach(async () => await stack.close())

const setupSql =
  'CREATE TABLE orders (tenant_id bigint, id bigint, note text, PRIMARY KEY (tenant_id, id))'

/** Runs SQL on a shard itself. */
async function onShard<Row extends object>(
  url: string | undefined,
  ...texts: readonly string[]
): Promise<readonly Row[]> {
  const client = new Client(url)
  await client.connect()
  try {
    let rows: readonly Row[] = []
    for (const text of texts) rows = (await client.query<Row>(text)).rows
    return rows
  } finally {
    await client.end()
  }
}

/** True when the fence has refused it. */
async function isFenced(client: Client, sql: string): Promise<boolean> {
  try {
    await client.query(sql)
    return false
  } catch (error) {
    if (error instanceof DatabaseError && error.constraint === 'ringfence_fence') return true
    throw error
  }
}

describe.each(moverServers())('moves on PostgreSQL $version', (servers) => {
  it('wait for what was committed asynchronously before the fence', async () => {
    stack = await startStack(servers, { shards: 2, setupSql })
    const [url = ''] = stack.shardUrls
    await onShard(
      url,
      `DO $$ BEGIN
         EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());
       END $$`,
    )
    const signal = AbortSignal.timeout(20_000)
    await using mover = await openShard(url, signal)
    const [before] = await onShard<{ lsn: string }>(
      url,
      `INSERT INTO orders SELECT g, 1, 'not flushed' FROM generate_series(1, 100) g`,
      'SELECT pg_current_wal_insert_lsn() AS lsn',
    )
    const fenced = await placeFence(mover.client, {
      moveId: 1,
      tables: [{ schema: 'public', name: 'orders', key: 'tenant_id' }],
      set: { vnodes: [vnode(1)], keys: [], except: [] },
      keyType: 'bigint',
      timeoutMs: 5_000,
      now: () => performance.now(),
    })
    expect(fenced).toBeGreaterThanOrEqual(parseLsn(before?.lsn ?? '') ?? 0n)
    // What the catalog says is acted on elsewhere: it must not be lost in a crash either.
    const catalog = await openCatalogConnection(url, 5_000)
    const { rows } = await catalog.client.query('SHOW synchronous_commit')
    await catalog.end()
    expect(rows).toEqual([{ synchronous_commit: 'on' }])
  })

  it('are given up when a table has come that was not copied', async () => {
    stack = await startStack(servers, { shards: 2, setupSql })
    const mover = moverOf(stack)
    const options = { verify: false }
    const move = await planMove(mover, { from: 's1', to: 's2', vnodes: 2048, options })
    await runUntil(mover, move, 'catching_up')
    const table = 'CREATE TABLE late (tenant_id bigint, id bigint, PRIMARY KEY (tenant_id, id))'
    for (const url of stack.shardUrls) await onShard(url, table)
    const [s1, s2] = stack.shardUrls
    await onShard(s1, 'INSERT INTO late SELECT g, 1 FROM generate_series(1, 100) g')
    const ended = await finishMove(mover, move)
    expect(ended).toMatchObject({
      state: 'aborted',
      error: 'table public.late has come since the move has begun',
    })
    expect(await onShard(s1, 'SELECT count(*)::int AS n FROM late')).toEqual([{ n: 100 }])
    expect(await onShard(s2, 'SELECT count(*)::int AS n FROM late')).toEqual([{ n: 0 }])
  })

  it('are given up when the target is another server than rows were copied to', async () => {
    stack = await startStack(servers, { shards: 2, setupSql })
    const mover = moverOf(stack)
    const [, s2] = stack.shardUrls
    const move = await planMove(mover, { from: 's1', to: 's2', vnodes: 2048 })
    await runUntil(mover, move, 'catching_up')
    // As a promoted replica would look.
    await askCatalog(
      mover,
      `UPDATE ringfence.move SET progress = progress || '{"copiedTo": "7/1"}'`,
    )
    const ended = await finishMove(mover, move)
    expect(ended.state).toBe('aborted')
    expect(ended.error).toContain('the target has failed over')
    expect(await onShard(s2, 'SELECT slot_name FROM pg_replication_slots')).toEqual([])
  })

  it('can be taken back although the slot for that was lost before the switch', async () => {
    stack = await startStack(servers, { shards: 2, setupSql })
    const mover = moverOf(stack)
    const [s1, s2] = stack.shardUrls
    await onShard(s1, `INSERT INTO orders SELECT g, 1, 'mine' FROM generate_series(1, 50) g`)
    const options = { keepSourceMs: null, verify: false, cutoverTimeoutMs: 500 }
    const move = await planMove(mover, { from: 's1', to: 's2', vnodes: 2048, options })
    const blocker = new Client(s1)
    await blocker.connect()
    const acts: Partial<Record<Move['state'], () => Promise<unknown>>> = {
      // The fence cannot be had at once.
      catching_up: () => blocker.query(`BEGIN; INSERT INTO orders VALUES (1, 2, 'not kept')`),
      unfencing: async () => {
        await onShard(
          s2,
          `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
           WHERE database = current_database() AND slot_name ~ 'reverse'`,
        )
        await blocker.query('ROLLBACK')
      },
      switched: () => askCatalog(mover, `UPDATE ringfence.move SET wish = 'rollback'`),
    }
    const seen: Move['state'][] = []
    const ended = await finishMove(mover, move, ({ state }) => {
      if (seen.includes(state)) return
      seen.push(state)
      void acts[state]?.()
    })
    await blocker.end()
    expect(seen).toContain('unfencing')
    expect(ended).toMatchObject({ state: 'aborted', progress: { rolledBack: true } })
    const rows = 'SELECT count(*)::int AS n FROM orders'
    expect([await onShard(s1, rows), await onShard(s2, rows)]).toEqual([[{ n: 50 }], [{ n: 0 }]])
  })

  it('end although a proxy cannot take them up', async () => {
    stack = await startStack(servers, { shards: 2, setupSql })
    const mover = moverOf(stack)
    const options = { prepareTimeoutMs: 300 }
    const move = await planMove(mover, { from: 's1', to: 's2', vnodes: 10, options })
    await askCatalog(
      mover,
      `INSERT INTO ringfence.proxy (id, incarnation, address, version, heartbeat)
       VALUES ('unable', gen_random_uuid(), 'elsewhere', 'test', clock_timestamp() + interval '1 hour')`,
    )
    const ended = await finishMove(mover, move)
    expect(ended.state).toBe('aborted')
    expect(ended.error).toContain('"unable"')
  })

  it('do not begin when the target has not joined, and do not take a floor back', async () => {
    stack = await startStack(servers, { shards: 2, setupSql })
    const mover = moverOf(stack)
    await askCatalog(
      mover,
      `INSERT INTO ringfence.shard (id, ordinal, weight, state) VALUES ('s9', 9, 1, 'joining')`,
    )
    const refused = await planMove(mover, { from: 's1', to: 's9', vnodes: 1 })
    const first = await planMove(mover, { from: 's1', to: 's2', vnodes: 1 })
    const second = await planMove(mover, { from: 's2', to: 's1', vnodes: 1 })
    const catalog = await openCatalog(mover)
    const floor = (at: bigint, timeline = 1) => ({
      shard: shardId('s2'),
      position: { systemId: '1', timeline, lsn: lsn(at) },
    })
    const next = 'preparing'
    try {
      await expect(advanceMove(catalog.client, refused, { next })).rejects.toThrow('has not joined')
      await advanceMove(catalog.client, first, { next, floor: floor(500n) })
      const going = await advanceMove(catalog.client, second, { next, floor: floor(400n) })
      const floors = 'SELECT timeline, lsn FROM ringfence.read_floor'
      expect(await askCatalog(mover, floors)).toEqual([{ timeline: 1, lsn: '0/1F4' }])
      if (going === undefined) throw new Error('somebody else runs the move')
      await advanceMove(catalog.client, going, { next: 'aborting', floor: floor(400n, 2) })
      expect(await askCatalog(mover, floors)).toEqual([{ timeline: 2, lsn: '0/190' }])
    } finally {
      await catalog.end()
    }
  })

  it('are not disturbed by what a runner that is gone has still under way', async () => {
    stack = await startStack(servers, { shards: 2, setupSql })
    const mover = moverOf(stack)
    const move = await planMove(mover, { from: 's1', to: 's2', vnodes: 2048 })
    await runUntil(mover, move, 'catching_up')
    const [cluster] = await askCatalog<{ name: string }>(
      mover,
      `SELECT left(cluster::text, 8) AS name FROM ringfence.topology`,
    )
    const name = `ringfence mover ${cluster?.name} ${move.id}`
    const stale = new Client({ connectionString: stack.shardUrls[0], application_name: name })
    const ended = new Promise((resolve) => stale.on('error', resolve))
    await stale.connect()
    // As if it were about to place or to lift a fence.
    await stale.query('BEGIN; LOCK TABLE orders IN SHARE ROW EXCLUSIVE MODE')
    expect(await finishMove(mover, move)).toMatchObject({ state: 'done' })
    expect(await ended).toMatchObject({ code: '57P01' })
  })

  it('stop when the catalog has fallen silent, before the server gives their lock away', async () => {
    stack = await startStack(servers, { shards: 2, setupSql })
    const [url = ''] = stack.shardUrls
    const catalog = await openCatalogConnection(url, 60_000)
    const lock = await lockMove(catalog, 1)
    if (lock === null) throw new Error('somebody else has the lock')
    const lost = new Promise((resolve) => {
      lock.lost.addEventListener('abort', () => resolve(lock.lost.reason))
    })
    // Nothing is answered while this runs.
    catalog.client.query('SELECT pg_sleep(60)').catch(() => undefined)
    expect(await lost).toBeInstanceOf(LockLost)
    lock.stop()
  })

  it('end sessions that a silent proxy may still have a write on its way to', async () => {
    stack = await startStack(servers, { shards: 2, setupSql })
    const mover = moverOf(stack)
    const stuck = new Client(stack.shardUrls[0])
    const ended = new Promise((resolve) => stuck.on('error', resolve))
    await stuck.connect()
    await stuck.query('SELECT 1')
    const move = await planMove(mover, { from: 's1', to: 's2', vnodes: 2048 })
    await runUntil(mover, move, 'copying')
    await askCatalog(
      mover,
      `INSERT INTO ringfence.proxy (id, incarnation, address, version, heartbeat)
       VALUES ('cut off', gen_random_uuid(), 'elsewhere', 'test', clock_timestamp() - interval '7 s')`,
    )
    // Idle for longer than any proxy may be silent.
    await onShard(stack.shardUrls[0], 'SELECT pg_sleep(6.5)')
    expect(await finishMove(mover, move)).toMatchObject({ state: 'done' })
    expect(await ended).toMatchObject({ code: '57P01' })
  })

  it('tell keys with quotes and backslashes apart in any session', async () => {
    stack = await startStack(servers, { shards: 2, rules: { keyType: 'text' } })
    const odd = [
      "it's",
      "\\'",
      'a\\b',
      '"q"',
      "x'); DROP TABLE t; --",
      'ключ',
      '{,}',
      '',
      'NULL',
      '\n',
    ]
    const others = ['its', 'ab', 'q', "'", '\\', 'null', ' ', 'n']
    const client = new Client(stack.shardUrls[0])
    await client.connect()
    try {
      for (const conforming of ['on', 'off']) {
        await client.query(`SET standard_conforming_strings = ${conforming}`)
        const none = { vnodes: [], keys: odd, except: [] }
        const { rows } = await client.query(
          `SELECT k FROM unnest($1::text[]) k WHERE ${movedSetSql(none, 'k', 'text')}`,
          [[...odd, ...others]],
        )
        expect(rows.map(({ k }) => k)).toEqual(odd)
        const all = Array.from({ length: 4096 }, (_, at) => vnode(at))
        const rest = await client.query(
          `SELECT k FROM unnest($1::text[]) k
           WHERE ${movedSetSql({ vnodes: all, keys: [], except: odd }, 'k', 'text')}`,
          [[...odd, ...others]],
        )
        expect(rest.rows.map(({ k }) => k)).toEqual(others)
      }
    } finally {
      await client.end()
    }
  })

  it('can be run by a login that is no superuser', async () => {
    stack = await startStack(servers, { shards: 2, setupSql })
    const role = `mover_${process.pid}`
    const shards = stack.shardUrls.map((text) => {
      const url = new URL(text)
      url.username = role
      url.password = 'secret'
      return url.href
    })
    try {
      for (const url of stack.shardUrls) {
        await onShard(
          url,
          `CREATE ROLE ${role} LOGIN REPLICATION PASSWORD 'secret'`,
          `GRANT SET ON PARAMETER session_replication_role TO ${role}`,
          `DO $$ DECLARE f regprocedure; BEGIN
             FOR f IN SELECT oid FROM pg_proc WHERE proname ~ '^pg_replication_origin_' LOOP
               EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO ${role}', f);
             END LOOP;
             EXECUTE format('GRANT CREATE ON DATABASE %I TO ${role}', current_database());
           END $$`,
          `GRANT ALL ON SCHEMA ringfence TO ${role}`,
          `GRANT ALL ON ALL TABLES IN SCHEMA ringfence TO ${role}`,
          `GRANT ALL ON ALL SEQUENCES IN SCHEMA ringfence TO ${role}`,
          `ALTER TABLE orders OWNER TO ${role}`,
          `INSERT INTO orders SELECT g, 1, '' FROM generate_series(1, 50) g`,
        )
      }
      const mover = moverOf({ ...stack, shardUrls: shards })
      const move = await planMove(mover, { from: 's1', to: 's2', vnodes: 2048 })
      expect(await finishMove(mover, move)).toMatchObject({ error: null, state: 'done' })
    } finally {
      for (const url of stack.shardUrls) {
        await onShard(url, 'ALTER TABLE orders OWNER TO CURRENT_USER', `DROP OWNED BY ${role}`)
        await onShard(url, `DROP ROLE ${role}`)
      }
    }
  })

  it('hear of an abort also after a moment in which nothing could be read', async () => {
    stack = await startStack(servers, { shards: 2, setupSql })
    const mover = moverOf(stack)
    const [s1] = stack.shardUrls
    const move = await planMove(mover, { from: 's1', to: 's2', vnodes: 2048 })
    const blocker = new Client(s1)
    await blocker.connect()
    const seen: Move['state'][] = []
    let hindering = Promise.resolve()
    const ended = await finishMove(mover, move, ({ state }) => {
      if (seen.includes(state)) return
      seen.push(state)
      if (state === 'copying') hindering = hinder()
    })
    // The snapshot of the copy waits for this; meanwhile the guard's own questions fail for a while.
    async function hinder() {
      await blocker.query(`BEGIN; INSERT INTO orders VALUES (1, 2, 'not kept')`)
      await askCatalog(mover, 'ALTER TABLE ringfence.move RENAME COLUMN hint TO hint_away')
      await onShard(s1, 'SELECT pg_sleep(1.2)')
      await askCatalog(mover, 'ALTER TABLE ringfence.move RENAME COLUMN hint_away TO hint')
      await askCatalog(mover, `UPDATE ringfence.move SET wish = 'abort'`)
      await onShard(s1, 'SELECT pg_sleep(3)')
      await blocker.query('ROLLBACK')
    }
    await hindering
    await blocker.end()
    expect(seen).not.toContain('catching_up')
    expect(ended.state).toBe('aborted')
  })

  it('fence the rows of their set and no others', async () => {
    stack = await startStack(servers, { shards: 2, setupSql })
    const [url = ''] = stack.shardUrls
    const chosen = Array.from({ length: 300 }, (_, at) => vnode((at * 13) % 4000))
    const set = { vnodes: chosen, keys: ['7', '8', '1000'], except: ['20', '21', '22', '23', '24'] }
    await using shard = await openShard(url, AbortSignal.timeout(20_000))
    await placeFence(shard.client, {
      moveId: 1,
      tables: [{ schema: 'public', name: 'orders', key: 'tenant_id' }],
      set,
      keyType: 'bigint',
      timeoutMs: 5_000,
      now: () => performance.now(),
    })
    const isMember = setMembership(set)
    const wrong: number[] = []
    for (let tenant = 1; tenant <= 1_000; tenant += 1) {
      const key = { kind: 'bigint', value: BigInt(tenant) } as const
      const sql = `INSERT INTO public.orders VALUES (${tenant}, 1, '')`
      const isRefused = await isFenced(shard.client, sql)
      if (isRefused !== isMember(key, vnodeOfKey(key, 12))) wrong.push(tenant)
    }
    expect(wrong).toEqual([])
  })
})
