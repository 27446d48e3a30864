// Clients that listen over one connection: what one of them does, or what an operator does meanwhile, costs the others nothing.
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { cancel } from '../support/cancel.ts'
import {
  askServer,
  codesOf,
  connected,
  pause,
  present,
  rawClient,
  refusal,
  until,
  untilReady,
  withClient,
} from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import { type Place, type Stack, startStack } from '../support/stack.ts'

const servers = present(inject('servers')[0])
const missed = 'notifications may have been missed'

let stack: Stack
let admin: Client
beforeAll(async () => {
  stack = await startStack(servers, { shards: 1, pool: { queryWaitTimeoutMs: 5_000 } })
  admin = await connected({ ...stack.proxy, database: 'ringfence' })
})
afterAll(async () => {
  await admin.end()
  await stack.close()
})

const home = () => present(stack.shardUrls[0])

type Ear = { readonly client: Client; readonly heard: string[] }

async function ear(place: Place, sql: string): Promise<Ear> {
  const client = await connected(place)
  const heard: string[] = []
  client.on('notification', ({ channel, payload }) => heard.push(`${channel}: ${payload ?? ''}`))
  client.on('notice', ({ message }) => heard.push(message ?? ''))
  await client.query(sql)
  return { client, heard }
}

describe('LISTEN', () => {
  it('that was cancelled is none: the next one waits like any other', async () => {
    const { connection, cancelKey } = await rawClient(stack.proxy)
    await admin.query('PAUSE')
    try {
      connection.send(textBytes('Q', 'LISTEN twice'))
      await pause(50)
      await cancel(stack.proxy, cancelKey)
      expect(codesOf(await untilReady(connection))).toBe('EZ')
      connection.send(textBytes('Q', 'LISTEN twice'))
      expect(await connection.next(200)).toBe('timeout')
    } finally {
      await admin.query('RESUME')
    }
    expect(codesOf(await untilReady(connection))).toBe('CZ')
    await askServer(home(), `SELECT pg_notify('twice', 'heard')`)
    const told = await connection.next(5_000)
    expect(typeof told === 'string' ? told : told.code).toBe('A')
    connection.destroy()
  })

  it('is refused to nobody because an operator has connections replaced', async () => {
    const stop = new AbortController()
    const refusals: unknown[] = []
    const loops = Array.from({ length: 4 }, async (_, at) => {
      const client = await connected(stack.proxy)
      for (let turn = 0; !stop.signal.aborted; turn += 1) {
        try {
          await client.query(`LISTEN c${at}_${turn}`)
          await client.query('UNLISTEN *')
        } catch (error) {
          refusals.push(error)
        }
      }
      await client.end()
    })
    for (let turn = 0; turn < 15; turn += 1) {
      await admin.query('RECONNECT')
      await pause(30)
    }
    for (let turn = 0; turn < 4; turn += 1) {
      await admin.query('PAUSE')
      await admin.query('RESUME')
    }
    stop.abort()
    await Promise.all(loops)
    expect(refusals).toEqual([])
  })

  it('tells of channels and payloads as PostgreSQL itself does', async () => {
    const scripts = [
      `LISTEN "Straße ""1"""; NOTIFY "Straße ""1""", 'größer'`,
      `LISTEN ${'x'.repeat(63)}; SELECT pg_notify('${'x'.repeat(63)}', 'as long as it may be')`,
      `LISTEN folded; BEGIN; NOTIFY folded, 'a'; NOTIFY folded, 'b'; NOTIFY folded, 'a'; NOTIFY folded; NOTIFY folded; COMMIT`,
      `LISTEN undone; BEGIN; NOTIFY undone, '1'; SAVEPOINT s; NOTIFY undone, '2'; ROLLBACK TO s; NOTIFY undone, '3'; NOTIFY undone, '1'; COMMIT`,
      `LISTEN gone; BEGIN; NOTIFY gone, '1'; ROLLBACK`,
      `LISTEN wide; SELECT pg_notify('wide', repeat('x', 7999))`,
      `LISTEN wide; SELECT pg_notify('wide', repeat('x', 8000))`,
      `LISTEN empty; SELECT pg_notify('', 'x')`,
      `LISTEN nothing; SELECT pg_notify('nothing', NULL)`,
      `SELECT pg_notify('${'y'.repeat(64)}', 'too long')`,
      `BEGIN; LISTEN late; NOTIFY late, '1'; COMMIT; NOTIFY late, '2'`,
      `BEGIN; LISTEN kept; SAVEPOINT s; UNLISTEN kept; ROLLBACK TO s; COMMIT; NOTIFY kept, 'still'`,
      `BEGIN; SAVEPOINT s; LISTEN lost; ROLLBACK TO s; COMMIT; NOTIFY lost, 'no'`,
      `LISTEN a; LISTEN b; UNLISTEN a; NOTIFY a, 'no'; NOTIFY b, 'yes'`,
      `LISTEN c; BEGIN; UNLISTEN c; NOTIFY c, 'too late'; COMMIT`,
      `LISTEN d; BEGIN; UNLISTEN *; LISTEN d; NOTIFY d, 'again'; COMMIT`,
      `LISTEN e; DO $$ BEGIN PERFORM pg_notify('e', 'by a block'); END $$`,
      `LISTEN f; BEGIN; NOTIFY f, 'chained'; COMMIT AND CHAIN; NOTIFY f, 'second'; COMMIT`,
    ]
    for (const script of scripts) {
      const told = await Promise.all([stack.direct, stack.proxy].map((at) => play(at, script)))
      expect({ script, told: told[1] }).toEqual({ script, told: told[0] })
    }
  })
})

/** What a client is told that sends `script` statement by statement. */
async function play(place: Place, script: string): Promise<string[]> {
  const client = new Client(place)
  const told: string[] = []
  client.on('notification', ({ channel, payload, processId }) => {
    const own = processId === Reflect.get(client, 'processID')
    told.push(`${channel}: ${(payload ?? '').slice(0, 40)} ${payload?.length ?? 0} ${own}`)
  })
  client.on('notice', ({ message, code }) => told.push(`${code ?? ''} ${message ?? ''}`))
  await client.connect()
  for (const sql of script.split(/; (?=[A-Z])(?!END)/)) {
    told.push(
      await client.query(sql).then(
        ({ command }) => command,
        (error: unknown) => String(error),
      ),
    )
  }
  await client.end()
  return told
}

describe('a client that listens', () => {
  it('in another encoding since then hears what is the same in it, and of the rest that it came', async () => {
    const { connection } = await rawClient(stack.proxy)
    for (const sql of ['LISTEN encoded', "SET client_encoding = 'LATIN1'"]) {
      connection.send(textBytes('Q', sql))
      await untilReady(connection)
    }
    connection.send(textBytes('Q', "NOTIFY encoded, 'plain'"))
    const plain = await untilReady(connection)
    expect(codesOf(plain)).toBe('CAZ')
    connection.send(textBytes('Q', "SELECT pg_notify('encoded', U&'\\00e9')"))
    const messages = await untilReady(connection)
    expect(codesOf(messages)).toBe('TDCNZ')
    const notice = messages.find(({ code }) => code === 'N')
    expect(notice?.bytes.toString()).toContain('client_encoding is LATIN1')
    connection.destroy()
  })

  it('and does not read holds no more than its bound, hears so, and nobody else is hurt', async () => {
    const slow = await rawClient(stack.proxy)
    slow.connection.send(textBytes('Q', 'LISTEN flood'))
    await untilReady(slow.connection)
    slow.connection.pause()
    const quick = await ear(stack.proxy, 'LISTEN flood')
    const count = 8_000
    for (let sent = 0; sent < count; sent += 1_000) {
      await askServer(
        home(),
        `SELECT pg_notify('flood', i || repeat('x', 7900)) FROM generate_series(${sent}, ${sent + 999}) i`,
      )
    }
    await until('the other one has heard all', () => quick.heard.length === count)
    expect(quick.heard.map((text) => Number.parseInt(text.slice(7), 10))).toEqual(
      Array.from({ length: count }, (_, at) => at),
    )
    const { rows } = await admin.query<{ send_avail: number }>('SHOW SOCKETS')
    expect(Math.max(...rows.map((row) => row.send_avail))).toBeLessThan(20 * 1024 * 1024)
    slow.connection.resume()
    const heard: number[] = []
    let warned = false
    while (!warned) {
      const told = await slow.connection.next(5_000)
      if (typeof told === 'string') throw new Error(told)
      if (told.code === 'N') warned = told.bytes.toString('latin1').includes(missed)
      else heard.push(Number.parseInt(told.bytes.subarray(9 + 6).toString('latin1'), 10))
    }
    expect(heard).toEqual(Array.from({ length: heard.length }, (_, at) => at))
    await quick.client.end()
    slow.connection.destroy()
  })
})

describe('the connection that listens', () => {
  it('is not in vain since the client that came first may not log in any more', async () => {
    const [first, second] = ['first', 'second'].map((name) => `${name}_${stack.proxy.database}`)
    if (first === undefined || second === undefined) return
    for (const name of [first, second]) {
      await askServer(home(), `CREATE ROLE ${name} LOGIN PASSWORD 'own'`)
    }
    const own = await startStack(servers, {
      shards: 1,
      database: { serverUser: null },
      users: [first, second].map((name) => ({
        name,
        secret: { kind: 'password', password: 'own' },
        admin: false,
      })),
    })
    try {
      const as = (user: string) => ({ ...own.proxy, user, password: 'own' })
      const gone = await ear(as(first), 'LISTEN news')
      const there = await ear(as(second), 'LISTEN news')
      await askServer(home(), `ALTER ROLE ${first} NOLOGIN`)
      present([...own.instance.databases.values()][0]).control.reconnect()
      await until('it listens again', () => there.heard.includes(missed))
      await withClient(
        { ...own.direct, database: new URL(present(own.shardUrls[0])).pathname.slice(1) },
        (client) => client.query("NOTIFY news, 'late'"),
      )
      await until('it hears', () => there.heard.includes('news: late'))
      expect((await refusal(connected(as('nobody')))).code).toBe('28P01')
      await Promise.all([gone.client.end(), there.client.end()])
    } finally {
      await own.close()
      for (const name of [first, second]) await askServer(home(), `DROP ROLE ${name}`)
    }
  })
})
