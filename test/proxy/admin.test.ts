// The admin console: a database of its own name, in which SHOW tells what the proxy is doing.
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { connected, present, refusal, withClient } from '../support/clients.ts'
import { type Stack, startStack } from '../support/stack.ts'

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

async function show(what: string): Promise<Record<string, string>[]> {
  const { rows } = await admin.query<Record<string, string>>(`SHOW ${what}`)
  return rows
}

describe('the admin console', () => {
  it('is for admins alone', async () => {
    const refused = await refusal(connected(as('guest', 'ringfence')))
    expect(refused).toMatchObject({ code: '42501', severity: 'FATAL' })
    expect(refused.hint).toContain('admin: true')
  })

  it('lists its commands, each of which it knows', async () => {
    const commands = (await show('HELP')).map(({ command = '' }) => command)
    const known = ['VERSION', 'DATABASES', 'POOLS', 'SHARDS', 'CLIENTS', 'HELP']
    expect(commands).toEqual(known.map((name) => `SHOW ${name}`))
    for (const command of commands) {
      const { fields, command: tag } = await admin.query(`${command.toLowerCase()};`)
      expect(fields.length).toBeGreaterThan(0)
      expect(tag).toBe('SHOW')
    }
  })

  it('shows the databases and where their virtual nodes are', async () => {
    const name = stack.proxy.database
    expect(await show('DATABASES')).toMatchObject([{ name, shards: '2', sharded: 'yes' }])
    const shards = await show('SHARDS')
    expect(shards.map(({ shard }) => shard)).toEqual(['s1', 's2'])
    const vnodes = shards.map((row) => Number(row['vnodes']))
    expect(vnodes.reduce((sum, count) => sum + count)).toBe(4096)
    expect(Math.min(...vnodes)).toBeGreaterThan(1_000)
  })

  it('shows what clients are doing and why one keeps its server', async () => {
    await withClient(as('guest'), async (client) => {
      expect(await show('CLIENTS')).toMatchObject([{ user: 'guest', state: 'ready', servers: '' }])
      await client.query('SELECT pg_advisory_lock(1)')
      const [row] = await show('CLIENTS')
      expect(row).toMatchObject({ user: 'guest', servers: 's1' })
      expect(row?.['pinned']).toContain('advisory lock')
      const home = (await show('POOLS')).filter(({ shard }) => shard === 's1')
      expect(home.map(({ active }) => active)).toContain('1')
      await client.query('DISCARD ALL')
      expect(await show('CLIENTS')).toMatchObject([{ servers: '', pinned: '' }])
    })
  })

  it.each(['SHOW', 'SHOW NOTHING', 'RELOAD', 'SELECT 1', 'SHOW POOLS FOR ME'])(
    'does not know %s and says where help is',
    async (sql) => {
      const refused = await refusal(admin.query(sql))
      expect(refused).toMatchObject({ code: '42601', severity: 'ERROR' })
      expect(refused.hint).toContain('SHOW HELP')
    },
  )

  it('speaks the simple protocol only', async () => {
    const other = await connected(as('boss', 'ringfence'))
    const refused = await refusal(other.query('SHOW POOLS', [1]))
    expect(refused).toMatchObject({ code: '08P01', severity: 'FATAL' })
    await other.end().catch(() => undefined)
  })
})
