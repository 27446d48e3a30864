// Session mode: a client keeps its server until it leaves, and what it leaves behind is gone for the next one. What the
// next client finds is compared with what a fresh connection to PostgreSQL itself finds.
import { afterEach, describe, expect, inject, it } from 'vitest'
import type { Client } from 'pg'
import { superuser } from '../../demo/roles.ts'
import { pause, present, refusal, until, value, withClient, withPair } from '../support/clients.ts'
import { type Stack, type StackOptions, startStack } from '../support/stack.ts'
import { noLimits } from './user-limits.ts'

let stack: Stack | undefined
afterEach(async () => {
  await stack?.close()
  stack = undefined
})

async function start(
  servers: Parameters<typeof startStack>[0],
  pool: NonNullable<StackOptions['pool']> = {},
): Promise<Stack> {
  const database = { mode: 'session' } as const
  stack = await startStack(servers, { shards: 1, database, pool: { size: 1, ...pool } })
  return stack
}

const [newest] = inject('servers')

/** All that a session can leave behind, and that DISCARD ALL takes away. */
const dirt = `
  SET work_mem = '7MB';
  SET search_path = pg_catalog;
  SET application_name = 'dirty';
  SELECT set_config('my.own', 'left', false);
  CREATE TEMPORARY TABLE left_behind (a int);
  PREPARE left_statement AS SELECT 1;
  SELECT pg_advisory_lock(4711);
  DECLARE left_cursor CURSOR WITH HOLD FOR SELECT 1;
  LISTEN left_channel`
const look = `SELECT json_build_object(
  'work_mem', current_setting('work_mem'),
  'search_path', current_setting('search_path'),
  'application_name', current_setting('application_name'),
  'own', coalesce(current_setting('my.own', true), ''),
  'tables', (SELECT count(*) FROM pg_class WHERE relname = 'left_behind'),
  'statements', (SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'left%'),
  'locks', (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
  'cursors', (SELECT count(*) FROM pg_cursors),
  'channels', (SELECT count(*) FROM pg_listening_channels()))::text`

async function runAll(client: Client, sql: string): Promise<void> {
  for (const statement of sql.split(';')) await client.query(statement)
}

describe.each(inject('servers'))('in session mode of PostgreSQL $version', (servers) => {
  it('a client finds nothing that the one before it has left on the same server', async () => {
    const running = await start(servers)
    const pristine = await withClient(running.direct, (client) => value(client, look))
    const pid = await withClient(running.proxy, async (client) => {
      await runAll(client, dirt)
      expect(await value(client, look)).not.toBe(pristine)
      return value(client, 'SELECT pg_backend_pid()')
    })
    await withClient(running.proxy, async (client) => {
      expect(await value(client, look)).toBe(pristine)
      expect(await value(client, 'SELECT pg_backend_pid()')).toBe(pid)
    })
  })

  it('a transaction that was left open is rolled back', async () => {
    const running = await start(servers)
    await withClient(running.proxy, (client) => client.query('CREATE TABLE kept (a int)'))
    await withClient(running.proxy, async (client) => {
      await client.query('BEGIN')
      await client.query('INSERT INTO kept VALUES (1)')
    })
    await withClient(running.proxy, async (client) => {
      expect(await value(client, 'SELECT count(*) FROM kept')).toBe('0')
    })
  })
})

describe('a client in session mode', () => {
  it('keeps its server between statements, and others wait until it leaves', async () => {
    const running = await start(present(newest))
    const pid = (client: Client) => value(client, 'SELECT pg_backend_pid()')
    await withPair(running.proxy, async (first, second) => {
      const own = await pid(first)
      const waits = pid(second)
      await until('it waits', () => running.poolStats().waiting === 1)
      expect(await pid(first)).toBe(own)
      await first.end()
      expect(await waits).toBe(own)
    })
    await until('it is back', () => running.poolStats().idle === 1)
  })

  it('has prepared statements of SQL and of the protocol side by side', async () => {
    const running = await start(present(newest))
    await withClient(running.proxy, async (client) => {
      await client.query('PREPARE sums (int, int) AS SELECT $1 + $2 AS sum')
      expect(await value(client, 'EXECUTE sums (1, 2)')).toBe('3')
      const named = {
        name: 'products',
        text: 'SELECT $1::int * $2::int AS product',
        values: [3, 4],
      }
      expect((await client.query(named)).rows).toEqual([{ product: 12 }])
      expect((await client.query(named)).rows).toEqual([{ product: 12 }])
    })
    await withClient(running.proxy, async (client) => {
      const named = {
        name: 'products',
        text: 'SELECT $1::int * $2::int AS product',
        values: [5, 6],
      }
      expect((await client.query(named)).rows).toEqual([{ product: 30 }])
      expect(await refusal(client.query('EXECUTE sums (1, 2)'))).toMatchObject({ code: '26000' })
    })
  })

  it('keeps its server over DISCARD ALL, which leaves it like new', async () => {
    const running = await start(present(newest))
    await withClient(running.proxy, async (client) => {
      const pristine = await value(client, look)
      const pid = await value(client, 'SELECT pg_backend_pid()')
      await runAll(client, dirt)
      await client.query('DISCARD ALL')
      expect(await value(client, look)).toBe(pristine)
      expect(await value(client, 'SELECT pg_backend_pid()')).toBe(pid)
    })
  })

  it('is told when its server is lost: its session is lost with it', async () => {
    const running = await start(present(newest))
    await withClient(running.proxy, async (client) => {
      const pid = await value(client, 'SELECT pg_backend_pid()')
      await withClient(running.direct, (killer) =>
        killer.query('SELECT pg_terminate_backend($1)', [Number(pid)]),
      )
      await pause(100)
      const lost = await refusal(client.query('SELECT 1'))
      expect(lost.message).toMatch(/session state was lost|Connection terminated|not queryable/)
    })
    await withClient(running.proxy, async (client) => {
      expect(await value(client, 'SELECT 2')).toBe('2')
    })
  })
})

describe('a user with a mode of his own', () => {
  it('has that instead of his database’s', async () => {
    const user = { ...noLimits, mode: 'session' } as const
    const shared = { users: new Map([[superuser, user]]) }
    const running = await startStack(present(newest), { shards: 1, shared })
    stack = running
    await withClient(running.proxy, async (client) => {
      await client.query('SELECT 1')
      expect(running.poolStats().leased).toBe(1)
    })
    await until('it is back', () => running.poolStats().leased === 0)
  })
})
