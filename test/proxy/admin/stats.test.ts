// SHOW STATS tells the truth: what a scripted load has done, counted here and there.
import type { Socket } from 'node:net'
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { connected, pause, present, withClient } from '../../support/clients.ts'
import { type Stack, startStack } from '../../support/stack.ts'

let stack: Stack
let admin: Client
beforeAll(async () => {
  stack = await startStack(present(inject('servers')[0]), { shards: 1, pool: { size: 2 } })
  admin = await connected({ ...stack.proxy, database: 'pgbouncer' })
})
afterAll(async () => {
  await admin?.end()
  await stack?.close()
})

type Counts = Readonly<Record<string, number>>

async function totals(): Promise<Counts> {
  const { rows } = await admin.query<Record<string, string>>('SHOW STATS_TOTALS')
  const row = present(rows.find(({ database }) => database === stack.proxy.database))
  return Object.fromEntries(
    Object.entries(row).flatMap(([name, value]) =>
      name === 'database' ? [] : [[name, Number(value)]],
    ),
  )
}

/** What `load` adds to each count. */
async function added(load: () => Promise<unknown>): Promise<Counts> {
  const before = await totals()
  await load()
  const after = await totals()
  return Object.fromEntries(
    Object.entries(after).map(([name, value]) => [name, value - (before[name] ?? 0)]),
  )
}

describe('SHOW STATS', () => {
  it('counts queries, transactions and the servers that were given for them', async () => {
    await withClient(stack.proxy, async (client) => {
      const grown = await added(async () => {
        for (let at = 0; at < 5; at += 1) await client.query('SELECT 1')
        await client.query('BEGIN')
        for (let at = 0; at < 3; at += 1) await client.query('SELECT 2')
        await client.query('COMMIT')
        await client.query('SELECT 1; SELECT 2')
        await client.query('SELECT nothing').catch(() => null)
      })
      expect(grown).toMatchObject({ xact_count: 8, query_count: 12, server_assignment_count: 8 })
    })
  })

  it('counts bytes from and to clients as their sockets do', async () => {
    await withClient(stack.proxy, async (client) => {
      await client.query('SELECT 1')
      const socket = socketOf(client)
      const [read, written] = [socket.bytesRead, socket.bytesWritten]
      const grown = await added(async () => {
        await client.query(`SELECT repeat('x', 100000)`)
        await client.query({ name: 'n', text: 'SELECT $1::text', values: ['y'.repeat(50_000)] })
      })
      expect(grown).toMatchObject({
        bytes_sent: socket.bytesRead - read,
        bytes_received: socket.bytesWritten - written,
      })
    })
  })

  it('counts prepared statements: those of clients, those of servers, and their use', async () => {
    await withClient(stack.proxy, async (client) => {
      await withClient(stack.proxy, async (other) => {
        const grown = await added(async () => {
          for (const each of [client, other]) {
            for (let at = 0; at < 3; at += 1) {
              await each.query({ name: 'same', text: 'SELECT 41 + $1::int', values: [at] })
            }
          }
          await client.query('SELECT $1::int', [1])
        })
        expect(grown).toMatchObject({ client_parse_count: 2, bind_count: 6 })
        expect(grown['server_parse_count']).toBeGreaterThanOrEqual(1)
        expect(grown['server_parse_count']).toBeLessThanOrEqual(2)
      })
    })
  })

  it('tells time at servers from time in transactions and from waiting', async () => {
    const clients = await Promise.all([1, 2, 3].map(() => connected(stack.proxy)))
    const [one, two, three] = [present(clients[0]), present(clients[1]), present(clients[2])]
    const grown = await added(async () => {
      await one.query('BEGIN')
      await one.query('SELECT 1')
      const sleeping = two.query('SELECT pg_sleep(0.3)')
      await pause(50)
      const late = three.query('SELECT 1')
      await Promise.all([sleeping, late])
      await one.query('COMMIT')
    })
    await Promise.all(clients.map((client) => client.end()))
    const ms = (name: string) => (grown[name] ?? 0) / 1_000
    expect(ms('wait_time')).toBeGreaterThan(150)
    expect(ms('query_time')).toBeGreaterThan(280)
    // The open transaction and the sleep each lasted that long; the statement that waited did not.
    expect(ms('xact_time')).toBeGreaterThan(550)
    expect(grown).toMatchObject({ xact_count: 3, query_count: 5 })
  })

  it('shows the client that waits, for how long, and the pool in which it does', async () => {
    const holders = await Promise.all([1, 2].map(() => connected(stack.proxy)))
    await Promise.all(holders.map((client) => client.query('BEGIN; SELECT 1')))
    await withClient({ ...stack.proxy, application_name: 'late' }, async (late) => {
      const waiting = late.query('SELECT 1')
      await pause(100)
      const { rows: clients } = await admin.query<Record<string, unknown>>('SHOW CLIENTS')
      const line = clients.find(({ application_name: name }) => name === 'late')
      expect(line).toMatchObject({ state: 'waiting', link: '', type: 'C' })
      expect(Number(line?.['wait']) * 1e6 + Number(line?.['wait_us'])).toBeGreaterThan(50_000)
      const { rows: pools } = await admin.query<Record<string, number>>('SHOW POOLS')
      expect(pools).toMatchObject([{ cl_active: 2, cl_waiting: 1, sv_active: 2, sv_idle: 0 }])
      const [pool] = pools
      expect((pool?.['maxwait'] ?? 0) * 1e6 + (pool?.['maxwait_us'] ?? 0)).toBeGreaterThan(50_000)
      const { rows: servers } = await admin.query<Record<string, unknown>>('SHOW SERVERS')
      const links = new Set(clients.map(({ ptr }) => ptr))
      expect(servers.map(({ state }) => state)).toEqual(['active', 'active'])
      expect(servers.every(({ link }) => links.has(link))).toBe(true)
      const pids = await Promise.all(
        holders.map(
          async (client) => (await client.query('SELECT pg_backend_pid() AS pid')).rows[0],
        ),
      )
      const shown = servers.map(({ remote_pid: pid }) => Number(pid)).sort((a, b) => a - b)
      expect(shown).toEqual(pids.map(({ pid }) => Number(pid)).sort((a, b) => a - b))
      await Promise.all(holders.map((client) => client.query('ROLLBACK')))
      await waiting
    })
    await Promise.all(holders.map((client) => client.end()))
  })
})

/** The socket of node-postgres' own connection. */
function socketOf(client: Client): Socket {
  const connection: unknown = Reflect.get(client, 'connection')
  const stream: unknown =
    typeof connection === 'object' && connection !== null ? Reflect.get(connection, 'stream') : null
  if (!(stream instanceof Object) || !('bytesRead' in stream)) throw new Error('no socket')
  return stream as Socket
}
