// Clients that go without a word: what they had open is rolled back, their locks are free at once, the
// server is clean for the next or closed.
import type { Client } from 'pg'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import {
  askServer,
  codesOf,
  present,
  rawClient,
  until,
  untilReady,
  value,
  withClient,
} from '../support/clients.ts'
import {
  bindBytes,
  executeBytes,
  frontendMessage,
  parseBytes,
  textBytes,
} from '../support/frontend-bytes.ts'
import type { RawConnection } from '../support/raw-connection.ts'
import { type Stack, startStack } from '../support/stack.ts'

const servers = present(inject('servers')[0])
const empty = Buffer.alloc(0)

type Setup = { readonly shards: number; readonly what: string }
const setups: Setup[] = [
  { shards: 1, what: 'one server' },
  { shards: 2, what: 'two shards' },
]

let stack: Stack
async function start(shards: number): Promise<void> {
  stack = await startStack(servers, {
    shards,
    pool: { size: 3 },
    setupSql: `CREATE TABLE rows (tenant_id bigint PRIMARY KEY, note text)

INSERT INTO rows VALUES (1, 'first')

INSERT INTO rows VALUES (2, 'second')`,
  })
}
afterEach(() => stack.close())

async function query(connection: RawConnection, sql: string): Promise<string> {
  connection.send(textBytes('Q', sql))
  return codesOf(await untilReady(connection))
}

/** Sessions, servers in use, transactions and locks of clients that went; those of `client` apart. */
async function leftBehind(client: Client): Promise<string> {
  await until('the sessions are gone', () => stack.instance.sessions.size === 1)
  await until('the servers are back', () => stack.poolStats().leased === 0)
  const { opening, waiting } = stack.poolStats()
  if (opening + waiting > 0) return `${opening} opening, ${waiting} waiting`
  for (const url of stack.shardUrls) {
    await until('nothing is open on the servers', async () => {
      const [open] = await askServer(
        url,
        `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
           AND backend_type = 'client backend' AND state <> 'idle' AND pid <> pg_backend_pid()`,
      )
      return open === '0'
    })
    const locks = `SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
                   WHERE locktype = 'advisory' AND datname = current_database()`
    const [held] = await askServer(url, locks)
    if (held !== '0') return `${held} advisory locks`
  }
  await client.query("SET lock_timeout = '5s'")
  await client.query("UPDATE rows SET note = 'after' WHERE tenant_id = 1")
  const note = await value(client, 'SELECT note FROM rows WHERE tenant_id = 1')
  return note === 'after' ? 'nothing' : `a row with ${note}`
}

describe.each(setups)('a client of $what that vanishes', ({ shards }) => {
  beforeEach(() => start(shards))

  it('idle in a transaction: what it wrote is undone', async () => {
    await withClient(stack.proxy, async (client) => {
      const { connection } = await rawClient(stack.proxy)
      await query(connection, 'BEGIN')
      await query(connection, "UPDATE rows SET note = 'lost' WHERE tenant_id = 1")
      connection.destroy()
      await until('the lock is free', () => stack.poolStats().leased === 0, 2_000)
      expect(await value(client, 'SELECT note FROM rows WHERE tenant_id = 1')).toBe('first')
      expect(await leftBehind(client)).toBe('nothing')
    })
  })

  it('in a transaction that has read every shard', async () => {
    await withClient(stack.proxy, async (client) => {
      const { connection } = await rawClient(stack.proxy)
      await query(connection, 'BEGIN')
      await query(connection, 'SELECT * FROM rows')
      await query(connection, "UPDATE rows SET note = 'lost' WHERE tenant_id = 1")
      connection.destroy()
      expect(await leftBehind(client)).toBe('nothing')
    })
  })

  it('in a failed transaction', async () => {
    await withClient(stack.proxy, async (client) => {
      const { connection } = await rawClient(stack.proxy)
      await query(connection, 'BEGIN')
      await query(connection, "UPDATE rows SET note = 'lost' WHERE tenant_id = 1")
      await query(connection, 'SELECT * FROM rows WHERE tenant_id = 1 / 0')
      connection.destroy()
      expect(await leftBehind(client)).toBe('nothing')
    })
  })

  it.each(['simple', 'extended'])(
    'while its %s statement runs: it is stopped',
    async (protocol) => {
      await withClient(stack.proxy, async (client) => {
        const { connection } = await rawClient(stack.proxy)
        await query(connection, 'BEGIN')
        await query(connection, "UPDATE rows SET note = 'lost' WHERE tenant_id = 1")
        const sleep = 'SELECT note, pg_sleep(60) FROM rows WHERE tenant_id = 1'
        if (protocol === 'simple') connection.send(textBytes('Q', sleep))
        else
          connection.send(
            Buffer.concat([
              parseBytes(empty, Buffer.from(sleep), []),
              bindBytes(empty, empty, [], []),
              executeBytes(empty, 0),
              frontendMessage('S'),
            ]),
          )
        await until('it runs', async () => {
          const running = await Promise.all(
            stack.shardUrls.map((url) =>
              askServer(
                url,
                `SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%'
                 AND wait_event = 'PgSleep' AND datname = current_database()`,
              ),
            ),
          )
          return running.flat().includes('1')
        })
        connection.destroy()
        expect(await leftBehind(client)).toBe('nothing')
      })
    },
  )

  it('in the middle of COPY FROM STDIN: no row of it is kept', async () => {
    await withClient(stack.proxy, async (client) => {
      const { connection } = await rawClient(stack.proxy)
      connection.send(textBytes('Q', 'COPY rows FROM STDIN'))
      expect(await connection.next(5_000)).toMatchObject({ code: 'G' })
      connection.send(frontendMessage('d', Buffer.from('3\tthird\n')))
      await until('a server has it', () => stack.poolStats().leased > 0)
      connection.destroy()
      expect(await leftBehind(client)).toBe('nothing')
      expect(await value(client, 'SELECT note FROM rows WHERE tenant_id = 3')).toBe(null)
    })
  })

  it('in the middle of a big result', async () => {
    await withClient(stack.proxy, async (client) => {
      const { connection } = await rawClient(stack.proxy)
      const big = 'SELECT note, generate_series(1, 100000000) FROM rows WHERE tenant_id = 1'
      connection.send(textBytes('Q', big))
      expect(await connection.next(10_000)).toMatchObject({ code: 'T' })
      connection.destroy()
      expect(await leftBehind(client)).toBe('nothing')
    })
  })

  it('with a session lock: it is released', async () => {
    await withClient(stack.proxy, async (client) => {
      const { connection } = await rawClient(stack.proxy)
      expect(await query(connection, 'SELECT pg_advisory_lock(42)')).toBe('TDCZ')
      connection.destroy()
      expect(await leftBehind(client)).toBe('nothing')
    })
  })

  it('in the middle of a message', async () => {
    await withClient(stack.proxy, async (client) => {
      const { connection } = await rawClient(stack.proxy)
      await query(connection, 'BEGIN')
      await query(connection, "UPDATE rows SET note = 'lost' WHERE tenant_id = 1")
      connection.send(textBytes('Q', 'SELECT 1').subarray(0, 7))
      connection.destroy()
      expect(await leftBehind(client)).toBe('nothing')
    })
  })
})

describe('the server of a client that vanished', () => {
  beforeEach(() => start(1))

  it('is used again when it could be cleaned', async () => {
    await withClient(stack.proxy, async (client) => {
      const { connection } = await rawClient(stack.proxy)
      await query(connection, 'BEGIN')
      await query(connection, "SET work_mem = '7MB'")
      await query(connection, 'SELECT 1')
      const { leased, idle } = stack.poolStats()
      connection.destroy()
      await until('it is back', () => stack.poolStats().idle === leased + idle)
      expect(await value(client, 'SHOW work_mem')).toBe('4MB')
    })
  })
})

it('a login that is refused for its session token leaves no session behind', async () => {
  await start(1)
  const parameters = [['ringfence.session_token', 'forged']] as const
  const { greeting } = await rawClient(stack.proxy, { parameters })
  expect(codesOf(greeting).at(-1)).toBe('E')
  const database = present(stack.instance.databases.get(stack.proxy.database))
  expect([stack.instance.sessions.size, database.sessions.size, database.clients]).toEqual([
    0, 0, 0,
  ])
})
