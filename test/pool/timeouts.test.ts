// How long clients may take: statements, transactions, silence. And statement mode, where transactions may take nothing.
import type { Client } from 'pg'
import { afterEach, describe, expect, inject, it } from 'vitest'
import { superuser } from '../../demo/roles.ts'
import type { DatabaseOptions } from '../../proxy/database-options.ts'
import { connected, pause, present, refusal, until, value, withClient } from '../support/clients.ts'
import { type Stack, type StackOptions, startStack } from '../support/stack.ts'
import { noLimits } from './user-limits.ts'

const [newest] = inject('servers')
let stack: Stack | undefined
afterEach(async () => {
  await stack?.close()
  stack = undefined
})

async function start(
  database: Partial<DatabaseOptions>,
  options: Partial<StackOptions> = {},
): Promise<Stack> {
  stack = await startStack(present(newest), { shards: 1, database, ...options })
  return stack
}

/** What a client is told beside its answers. */
function noticesOf(client: Client): string[] {
  const notices: string[] = []
  client.on('notice', ({ message }) => notices.push(message ?? ''))
  return notices
}

/** How the connection ends by itself: the error that it is sent last. */
function endOf(client: Client): Promise<{ code: string | undefined; message: string }> {
  return new Promise((resolve) => {
    let last = { code: undefined as string | undefined, message: 'no error' }
    client.on('error', (error: Error & { code?: string }) => {
      if (error.code !== undefined) last = { code: error.code, message: error.message }
    })
    client.on('end', () => resolve(last))
  })
}

describe('query_timeout', () => {
  it('cancels a statement that runs for too long; its client goes on', async () => {
    const running = await start({ queryTimeoutMs: 300 })
    await withClient(running.proxy, async (client) => {
      const notices = noticesOf(client)
      const late = await refusal(client.query('SELECT pg_sleep(20)'))
      expect(late).toMatchObject({ code: '57014', severity: 'ERROR' })
      expect(notices).toEqual(['canceling statement due to query_timeout of 300 ms'])
      expect(await value(client, 'SELECT 1')).toBe('1')
    })
    await until('the server is back', () => running.poolStats().idle === 1)
  })

  it('leaves alone what is fast, and who thinks in between', async () => {
    const running = await start({ queryTimeoutMs: 200 })
    await withClient(running.proxy, async (client) => {
      const notices = noticesOf(client)
      await client.query('BEGIN')
      for (let round = 0; round < 4; round += 1) {
        await client.query('SELECT pg_sleep(0.05)')
        await pause(150)
      }
      await client.query('COMMIT')
      expect(notices).toEqual([])
    })
  })

  it('does not count the wait for a server', async () => {
    const running = await start({ queryTimeoutMs: 400 }, { pool: { size: 1 } })
    await withClient(running.proxy, async (holder) => {
      await holder.query('BEGIN')
      await holder.query('SELECT 1')
      await withClient(running.proxy, async (waiter) => {
        const answer = value(waiter, 'SELECT 5')
        await pause(800)
        await holder.query('COMMIT')
        expect(await answer).toBe('5')
      })
    })
  })

  it('of a user comes before that of the database', async () => {
    const users = new Map([[superuser, { ...noLimits, queryTimeoutMs: 200 }]])
    const running = await start({ queryTimeoutMs: 60_000 }, { shared: { users } })
    await withClient(running.proxy, async (client) => {
      expect(await refusal(client.query('SELECT pg_sleep(20)'))).toMatchObject({ code: '57014' })
    })
  })
})

describe('transaction_timeout', () => {
  it('ends a client whose transaction lasts too long, and its locks with it', async () => {
    const running = await start({ transactionTimeoutMs: 300 })
    const client = await connected(running.proxy)
    const end = endOf(client)
    await client.query('BEGIN')
    await client.query('SELECT pg_advisory_xact_lock(99)')
    expect(await end).toMatchObject({ code: '25P04' })
    await withClient(running.proxy, async (next) => {
      expect(await value(next, 'SELECT pg_try_advisory_xact_lock(99)')).toBe('t')
    })
  })

  it('does not add up short transactions', async () => {
    const running = await start({ transactionTimeoutMs: 300 })
    await withClient(running.proxy, async (client) => {
      for (let round = 0; round < 5; round += 1) {
        await client.query('BEGIN')
        await client.query('SELECT pg_sleep(0.05)')
        await client.query('COMMIT')
        await pause(50)
      }
      expect(await value(client, 'SELECT 1')).toBe('1')
    })
  })
})

describe('client_idle_timeout', () => {
  it('ends who is silent outside a transaction, not who is inside one', async () => {
    const running = await start({ clientIdleTimeoutMs: 300 })
    const busy = await connected(running.proxy)
    await busy.query('BEGIN')
    const client = await connected(running.proxy)
    expect(await endOf(client)).toMatchObject({ code: '57P05' })
    expect(await value(busy, 'SELECT 1')).toBe('1')
    await busy.end()
  })
})

describe('SUSPEND', () => {
  it('is no silence of the client', async () => {
    const running = await start({ idleTransactionTimeoutMs: 300, clientIdleTimeoutMs: 300 })
    const admin = await connected({ ...running.proxy, database: 'ringfence' })
    await withClient(running.proxy, async (client) => {
      await client.query('BEGIN')
      await admin.query('SUSPEND')
      const asked = value(client, 'SELECT 5')
      await pause(1_000)
      await admin.query('RESUME')
      expect(await asked).toBe('5')
    })
    await admin.end()
  })
})

describe('query_wait_notify', () => {
  it('tells once who waits for a server, and then answers', async () => {
    const running = await start({ queryWaitNotifyMs: 100 }, { pool: { size: 1 } })
    await withClient(running.proxy, async (holder) => {
      await holder.query('BEGIN')
      await holder.query('SELECT 1')
      await withClient(running.proxy, async (waiter) => {
        const notices = noticesOf(waiter)
        const answer = value(waiter, 'SELECT 5')
        await until('it is told', () => notices.length > 0)
        await pause(300)
        await holder.query('COMMIT')
        expect(await answer).toBe('5')
        expect(notices).toEqual(['no server connection is free, the statement waits for one'])
      })
    })
  })
})

describe('statement mode', () => {
  it('runs statements by themselves, and strings that end what they begin', async () => {
    const running = await start({ mode: 'statement' })
    await withClient(running.proxy, async (client) => {
      await client.query('CREATE TABLE marks (a int)')
      await client.query('INSERT INTO marks VALUES (1)')
      await client.query('BEGIN; INSERT INTO marks VALUES (2); COMMIT')
      expect(await value(client, 'SELECT count(*) FROM marks')).toBe('2')
      expect(await value(client, 'SELECT $1::text', ['bound'])).toBe('bound')
    })
  })

  it.each([['BEGIN'], ['START TRANSACTION'], ['BEGIN; INSERT INTO marks VALUES (3)']])(
    'refuses %s with 0A000, and closes so that nothing goes on without it',
    async (sql) => {
      const running = await start({ mode: 'statement' })
      const client = await connected(running.proxy)
      await client.query('CREATE TABLE marks (a int)')
      const refused = await refusal(client.query(sql))
      expect(refused).toMatchObject({ code: '0A000', severity: 'FATAL' })
      await withClient(running.proxy, async (next) => {
        expect(await value(next, 'SELECT count(*) FROM marks')).toBe('0')
      })
      await until('the server is given back', () => running.poolStats().leased === 0)
    },
  )
})
