// What an operator does to a database as a whole: disable, reconnect, wait_close, kill, suspend.
import { afterEach, describe, expect, inject, it } from 'vitest'
import type { DatabaseControl } from '../../proxy/database-control.ts'
import { connected, pause, present, refusal, until, value, withClient } from '../support/clients.ts'
import { type Stack, startStack } from '../support/stack.ts'

const [newest] = inject('servers')
let stack: Stack | undefined
afterEach(async () => {
  await stack?.close()
  stack = undefined
})

async function start(): Promise<{ running: Stack; control: DatabaseControl }> {
  const running = await startStack(present(newest), { shards: 1, pool: { size: 2 } })
  stack = running
  const [database] = running.instance.databases.values()
  return { running, control: present(database).control }
}

const pidSql = 'SELECT pg_backend_pid()'

describe('DISABLE', () => {
  it('keeps new clients out until ENABLE; those that are there go on', async () => {
    const { running, control } = await start()
    await withClient(running.proxy, async (client) => {
      control.disable()
      expect(await refusal(connected(running.proxy))).toMatchObject({
        code: '57P03',
        severity: 'FATAL',
      })
      expect(await value(client, 'SELECT 1')).toBe('1')
      control.enable()
      await withClient(running.proxy, (next) => next.query('SELECT 1'))
    })
  })
})

describe('RECONNECT', () => {
  it('replaces idle connections at once, leased ones at the end of their transaction', async () => {
    const { running, control } = await start()
    await withClient(running.proxy, async (client) => {
      await client.query('BEGIN')
      const pid = await value(client, pidSql)
      control.reconnect()
      let closed = false
      const waiting = control.waitClose().then(() => {
        closed = true
      })
      await pause(50)
      expect(await value(client, pidSql)).toBe(pid)
      expect(closed).toBe(false)
      await client.query('COMMIT')
      await waiting
      expect(await value(client, pidSql)).not.toBe(pid)
    })
    await control.waitClose()
  })
})

describe('KILL', () => {
  it('closes clients and servers at once; who comes later waits for RESUME', async () => {
    const { running, control } = await start()
    const [database] = running.instance.databases.values()
    const client = await connected(running.proxy)
    await client.query('BEGIN')
    await client.query('SELECT pg_advisory_xact_lock(5)')
    const busy = await connected(running.proxy)
    const slept = refusal(busy.query('SELECT pg_sleep(30)'))
    await until('both have servers', () => running.poolStats().leased === 2)
    control.kill(running.instance.sessions)
    expect(await slept).toMatchObject({ code: '57P01', severity: 'FATAL' })
    expect((await refusal(client.query('SELECT 1'))).message).not.toBe('')
    expect(running.poolStats()).toMatchObject({ leased: 0, idle: 0, waiting: 0 })
    const late = connected(running.proxy)
    await pause(100)
    present(database).resume(null)
    const next = await late
    expect(await value(next, 'SELECT pg_try_advisory_xact_lock(5)')).toBe('t')
    await next.end()
  })
})

describe('SUSPEND', () => {
  it('lets what runs end, and takes nothing more until it is over', async () => {
    const { running, control } = await start()
    await withClient(running.proxy, async (client) => {
      const slept = value(client, 'SELECT 1 FROM pg_sleep(0.2)')
      await until('it runs', () => running.poolStats().leased === 1)
      await control.suspend(running.instance.sessions)
      expect(await slept).toBe('1')
      let answered = false
      const held = value(client, 'SELECT 2').then((answer) => {
        answered = true
        return answer
      })
      await pause(150)
      expect(answered).toBe(false)
      control.wake(running.instance.sessions)
      expect(await held).toBe('2')
    })
  })

  it('takes nothing from clients that come later either', async () => {
    const { running, control } = await start()
    await control.suspend(running.instance.sessions)
    await withClient(running.proxy, async (client) => {
      const held = value(client, 'SELECT 3')
      const first = await Promise.race([held, pause(150).then(() => 'nothing')])
      expect(first).toBe('nothing')
      control.wake(running.instance.sessions)
      expect(await held).toBe('3')
    })
  })
})
