// Databases by names that nobody has listed: the entry `*`, aliases, and what server connections begin with.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, inject, it } from 'vitest'
import { anyName } from '../../proxy/auto-databases.ts'
import {
  askServer,
  connected,
  pause,
  present,
  refusal,
  until,
  value,
  withClient,
} from '../support/clients.ts'
import { createDatabases } from '../support/databases.ts'
import { type Stack, type StackOptions, startStack } from '../support/stack.ts'

const [newest] = inject('servers')
let stack: Stack | undefined
const dropped: (() => Promise<void>)[] = []
afterEach(async () => {
  await stack?.close()
  stack = undefined
  for (const drop of dropped.splice(0)) await drop()
})

/** A stack whose one database is the entry `*`. */
async function startAny(options: Partial<StackOptions> = {}): Promise<Stack> {
  stack = await startStack(present(newest), {
    shards: 1,
    ...options,
    database: { name: anyName, ...options.database },
  })
  return stack
}

/** A database on the proxy's own server, which no entry names. */
async function unlisted(): Promise<string> {
  const home = present(newest)
  const databases = await createDatabases({ ...home, shards: home.shards.slice(0, 1) }, 'unlisted')
  dropped.push(() => databases.drop())
  return new URL(present(databases.urls[0])).pathname.slice(1)
}

describe('the entry *', () => {
  it('serves any database of its server under its own name, each with pools of its own', async () => {
    const running = await startAny()
    const [one, two] = [await unlisted(), await unlisted()]
    for (const name of [one, two]) {
      await withClient({ ...running.proxy, database: name }, async (client) => {
        expect(await value(client, 'SELECT current_database()')).toBe(name)
      })
    }
    const { databases } = running.instance
    expect([...databases.keys()].sort()).toEqual([one, two].sort())
    const idle = (name: string) => databases.get(name)?.stats().idle ?? 0
    await until('both are back', () => idle(one) > 0 && idle(two) > 0)
  })

  it('tells of a database that the server lacks in the server’s words, and forgets it', async () => {
    const running = await startAny()
    const lost = { ...running.direct, database: 'never_created' }
    const direct = await refusal(connected(lost))
    const through = await refusal(connected({ ...running.proxy, database: 'never_created' }))
    expect(through).toMatchObject({ code: direct.code, message: direct.message, severity: 'FATAL' })
    expect(running.instance.databases.size).toBe(0)
  })

  it('has no database by a name that a server would cut', async () => {
    const running = await startAny()
    const url = present(running.shardUrls[0])
    const name = 'long'.padEnd(63, 'x')
    await askServer(url, `CREATE DATABASE ${name}`)
    try {
      const place = { ...running.proxy, database: name }
      expect(await withClient(place, (client) => value(client, 'SELECT current_database()'))).toBe(
        name,
      )
      expect(await refusal(connected({ ...place, database: `${name}x` }))).toMatchObject({
        code: '3D000',
      })
    } finally {
      await running.close()
      stack = undefined
      const { href } = new URL('/postgres', url)
      await askServer(href, `DROP DATABASE ${name}`)
    }
  })

  it('heeds PAUSE of a name that nobody has asked for yet, and does not forget it', async () => {
    const running = await startAny({ shared: { autoDatabaseIdleMs: 100 } })
    const name = await unlisted()
    const admin = await connected({ ...running.proxy, database: 'ringfence' })
    await admin.query(`PAUSE ${name}`)
    await pause(2_500)
    const answer = withClient({ ...running.proxy, database: name }, (client) =>
      value(client, 'SELECT 1'),
    )
    expect(await Promise.race([answer, pause(300).then(() => 'waits')])).toBe('waits')
    await admin.query(`RESUME ${name}`)
    expect(await answer).toBe('1')
    expect(await refusal(admin.query(`PAUSE ${'x'.repeat(64)}`))).toMatchObject({ code: '3D000' })
    await admin.end()
  })

  it('serves so many names at once and no more, unless one is without clients', async () => {
    const running = await startAny({ shared: { autoDatabasesMax: 1 } })
    const [one, two] = [await unlisted(), await unlisted()]
    const first = await connected({ ...running.proxy, database: one })
    expect(await refusal(connected({ ...running.proxy, database: two }))).toMatchObject({
      code: '53300',
    })
    await first.end()
    await until('the first has left', () => running.instance.databases.get(one)?.clients === 0)
    await withClient({ ...running.proxy, database: two }, async (client) => {
      expect(await value(client, 'SELECT current_database()')).toBe(two)
    })
    expect([...running.instance.databases.keys()]).toEqual([two])
  })

  it('closes the connections of a name that nobody has used for autodb_idle_timeout', async () => {
    const running = await startAny({ shared: { autoDatabaseIdleMs: 200 } })
    const name = await unlisted()
    await withClient({ ...running.proxy, database: name }, (client) => client.query('SELECT 1'))
    expect([...running.instance.databases.keys()]).toEqual([name])
    await until('it is gone', () => running.instance.databases.size === 0)
    const open = () =>
      askServer(
        present(present(newest).shards[0]).url,
        'SELECT count(*) FROM pg_stat_activity WHERE datname = $1',
        [name],
      )
    await until('its connections are closed', async () => (await open())[0] === '0')
  })
})

describe('the entry * at a reload', () => {
  it('gives way to an entry of the same name, and takes its databases along when it goes', async () => {
    const running = await startAny()
    const [name, other] = [await unlisted(), await unlisted()]
    const [template] = running.options.databases
    const readsAt = (place: string) =>
      withClient({ ...running.proxy, database: place }, (client) => value(client, 'SHOW work_mem'))
    expect([await readsAt(name), await readsAt(other)]).toEqual(['4MB', '4MB'])
    const listed = { ...present(template), name, serverSettings: new Map([['work_mem', '7MB']]) }
    await running.instance.configure({ ...running.options, databases: [present(template), listed] })
    expect([await readsAt(name), await readsAt(other)]).toEqual(['7MB', '4MB'])
    await running.instance.configure({ ...running.options, databases: [listed] })
    expect(await readsAt(name)).toBe('7MB')
    expect((await refusal(readsAt(other))).code).toBe('3D000')
  })
})

describe('a database', () => {
  it('has the same pools under its aliases', async () => {
    stack = await startStack(present(newest), { shards: 1, database: { aliases: ['second_name'] } })
    const running = stack
    await withClient({ ...running.proxy, database: 'second_name' }, async (client) => {
      await client.query('CREATE TABLE shared (a int)')
    })
    await withClient(running.proxy, async (client) => {
      expect(await value(client, 'SELECT count(*) FROM shared')).toBe('0')
    })
    const [database, ...others] = running.instance.databases.values()
    expect([database?.pools.length, others.length]).toEqual([1, 0])
  })

  it('begins server connections with its settings, which RESET and DISCARD ALL go back to', async () => {
    const serverSettings = new Map([
      ['timezone', 'Asia/Tokyo'],
      ['work_mem', '5MB'],
    ])
    stack = await startStack(present(newest), { shards: 1, database: { serverSettings } })
    await withClient(stack.proxy, async (client) => {
      expect(await value(client, 'SHOW timezone')).toBe('Asia/Tokyo')
      await client.query('SET work_mem = 7000')
      await client.query('RESET work_mem')
      expect(await value(client, 'SHOW work_mem')).toBe('5MB')
      await client.query("SET timezone = 'UTC'")
      await client.query('DISCARD ALL')
      expect(await value(client, 'SHOW timezone')).toBe('Asia/Tokyo')
    })
  })

  it('runs its connect_query on every new connection, and uses none on which that fails', async () => {
    const connectQuery = 'SELECT 1/(SELECT count(*) FROM pg_class WHERE relname = $$gate$$)'
    stack = await startStack(present(newest), { shards: 1, pool: { connectQuery } })
    const running = stack
    expect(await refusal(connected(running.proxy))).toMatchObject({ code: '22012' })
    await askServer(present(running.shardUrls[0]), 'CREATE TABLE gate (a int)')
    await until('the next try may be made', async () => {
      const client = await connected(running.proxy).catch(() => null)
      const answer = client === null ? null : await value(client, 'SELECT 7')
      await client?.end()
      return answer === '7'
    })
  })

  it('adds the client’s address to its application_name where that is wanted', async () => {
    stack = await startStack(present(newest), { shards: 1, database: { addsHost: true } })
    await withClient({ ...stack.proxy, application_name: 'shop' }, async (client) => {
      expect(await value(client, 'SHOW application_name')).toMatch(/^shop - 127\.0\.0\.1:\d+$/)
      await client.query("SET application_name = 'own'")
      expect(await value(client, 'SHOW application_name')).toBe('own')
    })
  })

  it('adds that it came by the Unix socket where it has no address', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'ringfence-unix-'))
    dropped.push(() => rm(dir, { recursive: true }))
    const listen = { unixSocket: { dir, mode: 0o700 } }
    stack = await startStack(present(newest), { shards: 1, listen, database: { addsHost: true } })
    const place = { ...stack.proxy, host: dir, application_name: 'shop' }
    await withClient(place, async (client) => {
      expect(await value(client, 'SHOW application_name')).toBe('shop - unix')
    })
  })
})
