// Timeouts that a client has set for itself: they do not go on in a server that serves somebody else, or nobody.
import { afterEach, describe, expect, inject, it } from 'vitest'
import { SettingsProfile } from '../../pool/settings-profile.ts'
import { askServer, connected, pause, present, refusal, until, value } from '../support/clients.ts'
import { type Stack, type StackOptions, startStack } from '../support/stack.ts'

const [newest] = inject('servers')
let stack: Stack | undefined
afterEach(async () => {
  await stack?.close()
  stack = undefined
})

async function start(pool: NonNullable<StackOptions['pool']>): Promise<Stack> {
  stack = await startStack(present(newest), { shards: 1, pool })
  return stack
}

const others = `SELECT pid FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY pid`

describe('idle_session_timeout of a client', () => {
  it('ends it when it is idle for so long, and no server', async () => {
    const running = await start({ size: 3, laneServersMax: 0 })
    const home = present(running.shardUrls[0])
    const clients = await Promise.all([1, 2, 3].map(() => connected(running.proxy)))
    await Promise.all(clients.map((client) => client.query('SELECT pg_sleep(0.1)')))
    const servers = await askServer(home, others)
    expect(servers).toHaveLength(3)
    const [silent, ...rest] = clients
    const client = present(silent)
    const ended = new Promise<unknown>((resolve) => client.on('error', resolve))
    await client.query(`SET idle_session_timeout = '400ms'`)
    expect(await value(client, 'SHOW idle_session_timeout')).toBe('400ms')
    expect(await ended).toMatchObject({
      code: '57P05',
      message: 'terminating connection due to idle-session timeout',
    })
    expect(await askServer(home, others)).toEqual(servers)
    for (const other of rest) {
      expect(await value(other, 'SHOW idle_session_timeout')).toBe('0')
      await other.end()
    }
  })

  it('leaves alone who is in a transaction, or works', async () => {
    const running = await start({ size: 2 })
    const client = await connected(running.proxy)
    await client.query(`SET idle_session_timeout = '200ms'`)
    await client.query('BEGIN')
    await pause(1_500)
    expect(await value(client, 'SELECT 1')).toBe('1')
    await client.query('COMMIT')
    expect(await value(client, 'SELECT 1 FROM pg_sleep(1.5)')).toBe('1')
    await client.end()
  })
})

describe('a session that PostgreSQL ends by a timeout of its own', () => {
  it.each([
    ['idle_in_transaction_session_timeout', 'idle-in-transaction timeout'],
    ['transaction_timeout', 'transaction timeout'],
  ])('takes no other connection with it: %s', async (name, reason) => {
    const running = await start({ size: 3, laneServersMax: 0 })
    const home = present(running.shardUrls[0])
    const clients = await Promise.all([1, 2, 3].map(() => connected(running.proxy)))
    await Promise.all(clients.map((client) => client.query('SELECT pg_sleep(0.1)')))
    const [idle, ...rest] = clients
    const client = present(idle)
    await client.query(`BEGIN; SET LOCAL ${name} = '400ms'`)
    const busy = present(
      (await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows[0],
    )
    const servers = await askServer(home, others)
    const left = servers.filter((pid) => pid !== String(busy.pid))
    expect(left).toHaveLength(2)
    await until('it is gone', async () => (await askServer(home, others)).length < 3)
    expect(await askServer(home, others)).toEqual(left)
    expect(await refusal(client.query('SELECT 1'))).toMatchObject({
      code: '40001',
      message: expect.stringContaining(reason),
    })
    await client.end()
    await Promise.all(rest.map((other) => other.end()))
  })
})

describe('statement_timeout of a client', () => {
  it('of a millisecond does not end what puts the settings of the next one in force', async () => {
    const running = await start({ size: 1 })
    const hasty = await connected(running.proxy)
    await hasty.query('SET statement_timeout = 1')
    const next = await connected(running.proxy)
    // Far more than a millisecond's work.
    const long = 'x'.repeat(20_000)
    for (let name = 0; name < 60; name += 1) await next.query(`SET my.setting${name} = '${long}'`)
    for (let turn = 0; turn < 20; turn += 1) {
      // It may be late for itself.
      const own = await hasty.query('SHOW statement_timeout').catch((error: unknown) => error)
      expect(own).toSatisfy(isAnswerOrTimeout)
      expect(await value(next, `SELECT current_setting('my.setting59')`)).toBe(long)
      expect(await value(next, 'SHOW statement_timeout')).toBe('0')
    }
    expect(await refusal(hasty.query('SELECT pg_sleep(5)'))).toMatchObject({ code: '57014' })
    await hasty.end()
    await next.end()
  })

  it('is still in force for its own statements, alone and in a transaction', async () => {
    const running = await start({ size: 2 })
    const client = await connected(running.proxy)
    await client.query(`SET statement_timeout = '200ms'`)
    for (const begin of ['SELECT 1', 'BEGIN']) {
      await client.query(begin)
      expect(await refusal(client.query('SELECT pg_sleep(5)'))).toMatchObject({ code: '57014' })
    }
    await client.query('ROLLBACK')
    expect(await value(client, 'SHOW statement_timeout')).toBe('200ms')
    await client.end()
  })
})

function isAnswerOrTimeout(answer: object): boolean {
  return 'rows' in answer || ('code' in answer && answer.code === '57014')
}

describe('the timeouts that a profile has', () => {
  it.each([
    ['SET statement_timeout = 50', 50, true],
    [`SET SESSION statement_timeout TO '999ms'`, 999, true],
    [`set statement_timeout to '1s'`, 1_000, false],
    [`SET statement_timeout = '0'`, 0, false],
    [`SET statement_timeout = '5 min'`, 300_000, false],
    [`SET statement_timeout = '1500us'`, 1.5, true],
    [`SELECT pg_catalog.set_config('statement_timeout','20s', false)`, 20_000, false],
    [`SET statement_timeout = E'\\x35s'`, null, true],
    ['SET statement_timeout = 0x10', null, true],
  ])('%s is %s ms', (sql, ms, isHasty) => {
    const profile = SettingsProfile.of([['statement_timeout', sql]])
    expect(profile.timeoutMs('statement_timeout')).toBe(ms)
    expect(profile.isHasty).toBe(isHasty)
    expect(profile.calmed.isHasty).toBe(false)
    expect(profile.calmed.get('statement_timeout')).toBe(isHasty ? undefined : sql)
  })

  it('go on in a server that is idle only when nobody feels them', () => {
    const idle = SettingsProfile.of([['idle_session_timeout', `SET idle_session_timeout = '1h'`]])
    expect([idle.isHasty, idle.calmed]).toEqual([true, SettingsProfile.empty])
    const none = SettingsProfile.of([['idle_session_timeout', 'SET idle_session_timeout = 0']])
    expect([none.isHasty, none.calmed]).toEqual([false, none])
    expect(none.timeoutMs('transaction_timeout')).toBe(0)
  })
})
