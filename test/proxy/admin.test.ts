// The admin console: a database of its own name, in which SHOW tells what the proxy is doing.
import { type AddressInfo, createServer } from 'node:net'
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { pgError } from '../../core/errors.ts'
import { FlushTurn, Outbox } from '../../pool/outbox.ts'
import type { AdminCommands } from '../../proxy/admin/commands.ts'
import { AdminConsole } from '../../proxy/admin/console.ts'
import {
  codesOf,
  connected,
  errorFields,
  pause,
  present,
  refusal,
  rowsOf,
  until,
  untilReady,
  withClient,
} from '../support/clients.ts'
import { frontendMessage } from '../support/frontend-bytes.ts'
import { RawConnection } from '../support/raw-connection.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import { type Stack, startStack } from '../support/stack.ts'
import { Framer } from '../../wire/framer.ts'

let stack: Stack
let admin: Client
beforeAll(async () => {
  const servers = present(inject('servers')[0])
  stack = await startStack(servers, {
    shards: 2,
    users: [
      { name: 'boss', secret: { kind: 'password', password: 'secret' }, admin: true },
      { name: 'guest', secret: { kind: 'password', password: 'secret' }, admin: false },
    ],
  })
  admin = await connected(as('boss', 'ringfence'))
})
afterAll(async () => {
  await admin.end()
  await stack.close()
})

const as = (user: string, database = stack.proxy.database) => ({
  ...stack.proxy,
  user,
  password: 'secret',
  database,
})

async function show(what: string): Promise<Record<string, string | number>[]> {
  const { rows } = await admin.query<Record<string, string | number>>(`SHOW ${what}`)
  return rows
}

describe('the admin console', () => {
  it('is for admins alone', async () => {
    const refused = await refusal(connected(as('guest', 'ringfence')))
    expect(refused).toMatchObject({ code: '42501', severity: 'FATAL' })
    expect(refused.hint).toContain('admin: true')
  })

  it('lists its commands, each of which it knows', async () => {
    const commands = (await show('HELP')).map(({ command }) => String(command))
    const shown = commands.filter((command) => command.startsWith('SHOW '))
    expect(shown).toEqual(expect.arrayContaining(['SHOW POOLS', 'SHOW SHARDS', 'SHOW HELP']))
    for (const command of shown.filter((each) => each !== 'SHOW FDS')) {
      const { fields, command: tag } = await admin.query(`${command.toLowerCase()};`)
      expect(fields.length).toBeGreaterThan(0)
      expect(tag).toBe('SHOW')
    }
    const others = commands.filter((command) => !shown.includes(command))
    for (const word of ['PAUSE', 'RESUME', 'RELOAD', 'KILL_CLIENT', 'SET', 'SHUTDOWN']) {
      expect(others.some((command) => command.startsWith(word))).toBe(true)
    }
  })

  it('shows the databases and where their virtual nodes are', async () => {
    const name = stack.proxy.database
    expect(await show('DATABASES')).toMatchObject([{ name, shards: 2, sharded: 'yes' }])
    const shards = await show('SHARDS')
    expect(shards.map(({ shard }) => shard)).toEqual(['s1', 's2'])
    const vnodes = shards.map((row) => Number(row['vnodes']))
    expect(vnodes.reduce((sum, count) => sum + count)).toBe(4096)
    expect(Math.min(...vnodes)).toBeGreaterThan(1_000)
  })

  it('shows what clients are doing and why one keeps its server', async () => {
    await withClient(as('guest'), async (client) => {
      expect(await show('CLIENTS')).toMatchObject([{ user: 'guest', state: 'idle', servers: '' }])
      await client.query('SELECT pg_advisory_lock(1)')
      await until('what it holds was looked at', async () => {
        return (await show('CLIENTS'))[0]?.['pinned'] !== ''
      })
      const [row] = await show('CLIENTS')
      expect(row).toMatchObject({ user: 'guest', servers: 's1', state: 'active' })
      expect(row?.['pinned']).toContain('advisory lock')
      const reason = { user: 'guest', shard: 's1', reason: 'advisory lock' }
      expect(await show('PINS')).toMatchObject([reason])
      expect(await show('POOLS')).toMatchObject([{ cl_active: 1, sv_active: 1 }])
      expect((await show('SHARDS')).map((shard) => shard['active'])).toEqual([1, 0])
      await client.query('DISCARD ALL')
      expect(await show('CLIENTS')).toMatchObject([{ servers: '', pinned: '' }])
    })
  })

  const unknown = ['SHOW', 'SHOW NOTHING', 'RELOAD now', 'SELECT 1', 'SHOW POOLS FOR ME']
  it.each([...unknown, 'PAUSE a b c', 'SHOW PAUSE', 'SHOW (POOLS)', 'KILL_CLIENT', '$1'])(
    'does not know %s and says where help is',
    async (sql) => {
      const refused = await refusal(admin.query(sql))
      expect(refused).toMatchObject({ code: '42601', severity: 'ERROR' })
      expect(refused.hint).toContain('SHOW HELP')
    },
  )

  it('refuses RELOAD where there is no file to read again', async () => {
    const refused = await refusal(admin.query('RELOAD'))
    expect(refused).toMatchObject({ code: 'F0000', severity: 'ERROR' })
    expect(refused.message).toContain('there is no file to read again')
  })

  it.each([
    ['PAUSE nothing', 'database "nothing" does not exist'],
    ['RESUME "no such; thing" s1', 'database "no such; thing" does not exist'],
    ['PAUSE % s9', 'shard "s9" does not exist'],
    ['resume % S1;', 'shard "S1" does not exist'],
  ])('refuses %s: the name is unknown', async (command, message) => {
    const refused = await refusal(admin.query(command.replace('%', stack.proxy.database)))
    expect(refused).toMatchObject({ code: '3D000', severity: 'ERROR', message })
    expect(refused.hint).toContain('SHOW SHARDS')
  })

  it('holds new transactions of a paused shard, lets open ones end, and goes on at RESUME', async () => {
    const { database } = stack.proxy
    const open = await connected(as('guest'))
    const late = await connected(as('guest'))
    await open.query('BEGIN')
    await open.query('SELECT 1')
    let paused = false
    const pausing = admin.query(`PAUSE ${database} s1`).then((answer) => {
      paused = true
      return answer
    })
    await until('the pool is paused', async () => {
      const other = await connected(as('boss', 'ringfence'))
      await other.end()
      return true
    })
    let answered = false
    const held = late.query('SELECT 2').then(() => (answered = true))
    await open.query('SELECT 3')
    await pause(50)
    expect({ paused, answered }).toEqual({ paused: false, answered: false })
    await open.query('COMMIT')
    expect((await pausing).command).toBe('PAUSE')
    await pause(50)
    expect(answered).toBe(false)
    expect((await admin.query(`RESUME ${database} s1`)).command).toBe('RESUME')
    await held
    await open.end()
    await late.end()
  })
})

describe('commands that take their time', () => {
  type Deed = { readonly names: string; end(error?: Error): void }
  const deeds: Deed[] = []
  const count = { name: 'count', type: 'int4' } as const
  const commands: Pick<AdminCommands, 'columnsOf' | 'run'> = {
    columnsOf: ({ name }) => (name === 'show' ? [count] : null),
    run: async ({ name, args }) => {
      const notices: [] = []
      if (name === 'show') return { columns: [count], rows: [[deeds.length]], notices }
      const [database = '', shard = '(all)'] = args.map((arg) => ('text' in arg ? arg.text : ''))
      await new Promise<void>((resolve, reject) => {
        const end = (error?: Error) => (error === undefined ? resolve() : reject(error))
        deeds.push({ names: `${database} ${shard}`, end })
      })
      return { columns: null, rows: [], notices }
    },
  }
  const turn = new FlushTurn()
  const server = createServer((socket) => {
    const outbox = new Outbox(socket, turn)
    const framer = new Framer(1024)
    const asker = { role: 'admin', exact: false } as const
    const admin = new AdminConsole({ socket, outbox, framer, asker, commands })
    socket.on('data', (chunk) => admin.received(chunk))
    socket.on('error', () => undefined)
  })
  let client: RawConnection
  beforeAll(async () => {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    client = await RawConnection.open({ host: '127.0.0.1', port })
  })
  afterAll(() => {
    client.destroy()
    server.close()
  })

  const query = (sql: string) => frontendMessage('Q', Buffer.from(`${sql}\0`))

  it('are answered in the order in which they came, one after the other', async () => {
    deeds.length = 0
    const sent = ['PAUSE app s1', 'SHOW COUNT', 'pause "my ""app"""', 'SHOW COUNT;', ''].map(query)
    client.send(Buffer.concat(sent))
    await until('the first has begun', () => deeds.length === 1)
    expect(await client.next(50)).toBe('timeout')
    deeds[0]?.end()
    expect(codesOf(await untilReady(client))).toBe('CZ')
    expect(rowsOf(await untilReady(client))).toEqual([['1']])
    await until('the second has begun', () => deeds.length === 2)
    deeds[1]?.end(pgError('adminTargetUnknown', ['database', 'x']))
    expect(errorFields(await untilReady(client))).toMatchObject({ C: '3D000', S: 'ERROR' })
    expect(rowsOf(await untilReady(client))).toEqual([['2']])
    expect(codesOf(await untilReady(client))).toBe('IZ')
    expect(deeds.map(({ names }) => names)).toEqual(['app s1', 'my "app" (all)'])
  })

  it('keep more of what comes in behind them than a socket is read for', async () => {
    deeds.length = 0
    const count = 20_000
    client.send(
      Buffer.concat([query('PAUSE app'), ...Array<Buffer>(count).fill(query('SHOW COUNT'))]),
    )
    await until('it has begun', () => deeds.length === 1)
    await pause(20)
    deeds[0]?.end()
    expect(codesOf(await untilReady(client))).toBe('CZ')
    for (let at = 0; at < count; at += 1) await untilReady(client)
    expect(await client.next(20)).toBe('timeout')
  })

  it('outlive their client without harm', async () => {
    deeds.length = 0
    const { port } = server.address() as AddressInfo
    const other = await RawConnection.open({ host: '127.0.0.1', port })
    other.send(Buffer.concat([query('PAUSE app'), query('SHOW COUNT')]))
    await until('it has begun', () => deeds.length === 1)
    other.destroy()
    await pause(20)
    deeds[0]?.end()
    client.send(query('SHOW COUNT'))
    expect(rowsOf(await untilReady(client))).toEqual([['1']])
  })
})

describe('the admin console, of a shard with a replica', () => {
  let replicated: ReplicatedStack
  let console: Client
  beforeAll(async () => {
    replicated = await startReplicatedStack({
      shards: 1,
      replicas: 1,
      proxies: 1,
      setupSql: 'CREATE TABLE notes (id int PRIMARY KEY)',
    })
    console = await connected({ ...replicated.place(0), database: 'ringfence' })
  }, 60_000)
  afterAll(async () => {
    await console?.end()
    await replicated?.stop()
  }, 60_000)

  type Row = Readonly<Record<string, string | number | null>>
  const rowsOfShow = async (what: string) => (await console.query<Row>(`SHOW ${what}`)).rows
  const hosts = async () => {
    const rows = await rowsOfShow('REPLICAS')
    return new Map(rows.map((row) => [String(row['port']), row]))
  }

  it('shows role, state, position and lag of each server, and the reads that it served', async () => {
    const [shard] = replicated.shards
    const [replica] = present(shard).replicas
    const ports = [`${present(shard).primary.port}`, `${present(replica).port}`]
    const caughtUp = async () => (await hosts()).get(ports[1] ?? '')?.['lag_bytes'] === '0'
    await until('the replica has everything', caughtUp)
    const before = await hosts()
    expect([...before.keys()]).toEqual(ports)
    expect([...before.values()].map((row) => row['role'])).toEqual(['primary', 'replica'])
    for (const row of before.values()) {
      expect(row).toMatchObject({ shard: 's1', state: 'up', reason: null, timeline: 1 })
      expect(row['lsn']).toMatch(/^[0-9A-F]+\/[0-9A-F]+$/)
    }
    expect([...before.values()].map((row) => row['lag_ms'])).toEqual([null, '0'])
    await withClient(replicated.place(0), async (client) => {
      for (let at = 0; at < 5; at += 1) await client.query('SELECT count(*) FROM notes')
    })
    const reads = [...(await hosts()).values()].map((row) => Number(row['reads']))
    expect(reads).toEqual([0, 5])
  })

  it('makes a planned switchover possible without a single error', async () => {
    const shard = present(replicated.shards[0])
    const [old, next] = [shard.primary, present(shard.replicas[0])]
    const { database } = replicated.place(0)
    const writers = await Promise.all(
      Array.from({ length: 4 }, () => connected(replicated.place(0))),
    )
    const stop = new AbortController()
    const written = await Promise.all([
      ...writers.map(async (client, writer) => {
        const ids: number[] = []
        for (let id = writer; !stop.signal.aborted; id += writers.length) {
          await client.query('BEGIN')
          await client.query(`INSERT INTO notes VALUES (${id})`)
          await client.query('COMMIT')
          ids.push(id)
        }
        return ids
      }),
      (async () => {
        await pause(100)
        await console.query(`PAUSE ${database} s1`)
        expect(await rowsOfShow('SHARDS')).toMatchObject([{ port: old.port, paused: 'yes' }])
        await old.server.stop('fast')
        await shard.promote(next)
        await console.query(`RESUME ${database} s1`)
        await until('another server is the primary', async () => {
          const [row] = await rowsOfShow('SHARDS')
          return row?.['port'] === next.port && row['paused'] === 'no'
        })
        await pause(200)
        stop.abort()
        return []
      })(),
    ])
    const ids = written.flat().sort((a, b) => a - b)
    const { rows } = await present(writers[0]).query<{ id: number }>('SELECT id FROM notes')
    expect(rows.map(({ id }) => id).sort((a, b) => a - b)).toEqual(ids)
    expect(ids.length).toBeGreaterThan(writers.length * 2)
    await Promise.all(writers.map((client) => client.end()))
    const found = await hosts()
    const promoted = { role: 'primary', state: 'up', timeline: 2 }
    expect(found.get(`${next.port}`)).toMatchObject(promoted)
    expect(found.get(`${old.port}`)).toMatchObject({ state: 'down' })
    expect(found.get(`${old.port}`)?.['reason']).not.toBe(null)
  }, 60_000)
})
