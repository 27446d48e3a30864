// The console of a proxy with two workers: one answer for both, settings shown without secrets and changed while it runs.
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { settingChanged, shownSettings } from '../../cli/live-settings.ts'
import { connected, present, refusal, until, withClients } from '../support/clients.ts'
import { createPooler, type Pooler, type Serving } from './pooler.ts'

describe('the settings that are shown', () => {
  const inForce = {
    users: [{ name: 'app', password: 'pencil' }],
    session_tokens: { key: 'k'.repeat(40) },
    databases: { app: { shards: [{ id: 's1', primary: 'postgres://u:hush@h/app' }] } },
    log: { level: 'warn' },
  }
  const rows = shownSettings(inForce)
  const row = (key: string) => rows.find(([name]) => name === key)

  it('are those of the file and the defaults of the others, with whether SET changes them', () => {
    expect(row('log.level')).toEqual(['log.level', 'warn', 'info', 'yes'])
    expect(row('listen.port')).toEqual(['listen.port', '6432', '6432', 'no'])
    expect(row('users[0].name')).toEqual(['users[0].name', 'app', null, 'no'])
  })

  it('have no secret among them', () => {
    const text = JSON.stringify(rows)
    for (const secret of ['pencil', 'hush', 'kkkk']) expect(text).not.toContain(secret)
  })

  it.each([
    ['no.such', '1', '55P02'],
    ['listen.port', '1', '55P02'],
    ['log', 'x', '55P02'],
    ['log.level', '[', '22023'],
  ])('do not take %s = %s', (key, value, code) => {
    expect(() => settingChanged(inForce, key, value)).toThrow(
      expect.objectContaining({ sqlstate: code }),
    )
  })

  it('take PgBouncer’s names and its 1 for yes', () => {
    const changed = settingChanged(inForce, 'log_connections', '1')
    expect(changed).toMatchObject({ log: { level: 'warn', connections: true } })
  })
})

describe('the console of two workers', () => {
  let pooler: Pooler
  let serving: Serving
  let admin: Client
  beforeAll(async () => {
    const lines = 'workers: 2'
    pooler = await createPooler(present(inject('servers')[0]), { lines, pool: '{ size: 7 }' })
    serving = await pooler.serve()
    admin = await connected(serving.admin)
  })
  afterAll(async () => {
    await admin?.end()
    await pooler?.remove()
  })
  type Row = Readonly<Record<string, unknown>>
  const show = async (what: string) => (await admin.query<Row>(`SHOW ${what}`)).rows

  it('sums what they have and says whose each client and server is', async () => {
    await withClients(serving.place, 8, async (clients) => {
      await Promise.all(clients.map((client) => client.query('SELECT 1')))
      expect(await show('WORKERS')).toMatchObject([{ worker: 1 }, { worker: 2 }])
      expect(await show('POOLS')).toMatchObject([{ cl_active: 8 }])
      expect(await show('DATABASES')).toMatchObject([
        { name: 'app', pool_size: 7, current_client_connections: 8 },
      ])
      const shown = await show('CLIENTS')
      expect(shown).toHaveLength(8)
      expect(new Set(shown.map(({ id }) => id)).size).toBe(8)
      const [stats] = await show('STATS')
      expect(Number(stats?.['total_query_count'])).toBe(8)
      const [victim] = shown
      await admin.query(`KILL_CLIENT ${String(victim?.['id'])}`)
      await until('it is gone', async () => (await show('CLIENTS')).length === 7)
      expect((await refusal(admin.query(`KILL_CLIENT ${String(victim?.['id'])}`))).code).toBe(
        '3D000',
      )
    })
  })

  it('changes a setting for all of them, until the file is read again', async () => {
    const slow = async () => (await show('CONFIG')).find(({ key }) => key === 'log.slow_statement')
    expect(await slow()).toMatchObject({ value: 'null', changeable: 'yes' })
    expect((await admin.query('SET log.slow_statement = 0')).command).toBe('SET')
    expect(await slow()).toMatchObject({ value: '0' })
    await withClients(serving.place, 6, async (clients) => {
      await Promise.all(clients.map((client) => client.query("SELECT 'hush'")))
    })
    const line = /^.*"statement":"SELECT \$1".*$/m
    await serving.program.printed('stderr', line)
    expect(serving.program.stderr).not.toContain('hush')
    expect((await refusal(admin.query('SET listen.port = 1'))).code).toBe('55P02')
    expect((await refusal(admin.query("SET log.level = 'loud'"))).code).toBe('22023')
    const absent = await refusal(admin.query("SET auth.file = 'no such file'"))
    expect(absent).toMatchObject({ code: '22023' })
    expect(absent.message).toContain('ENOENT')
    await admin.query("SET LOG.LEVEL = 'info'")
    await admin.query('RELOAD')
    expect(await slow()).toMatchObject({ value: 'null' })
  })
})
