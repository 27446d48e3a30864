// A new process takes the port over from a running one: nobody who connects meanwhile is refused or reset, whoever is
// connected stays, and a new process that does not come up changes nothing.
import { once } from 'node:events'
import { connect } from 'node:net'
import type { Client } from 'pg'
import { afterEach, describe, expect, inject, it } from 'vitest'
import { cancel, cancelKeyOf } from '../support/cancel.ts'
import { connected, present, refusal, until, value } from '../support/clients.ts'
import { createPooler, isAlive, type Pooler, type Serving } from './pooler.ts'
import { runProgram } from './program.ts'

// Several processes start, on a machine that may be busy with other tests.
const patienceMs = 120_000
const servers = present(inject('servers')[0])
let pooler: Pooler
afterEach(() => pooler.remove())

const upgrade = ({ place }: Serving) =>
  runProgram(['upgrade', '--config', pooler.path, '--proxy', `127.0.0.1:${place.port}`])

/** Connects, asks and leaves again and again, `loops` at a time, until told to stop; gives every error. */
function storm({ place }: Serving, loops: number) {
  const errors: unknown[] = []
  let connections = 0
  const stop = new AbortController()
  const on = () => !stop.signal.aborted
  const loop = async () => {
    while (on()) {
      try {
        const client = await connected(place)
        await client.query('SELECT 1')
        await client.end()
        connections += 1
      } catch (error) {
        errors.push(error)
      }
    }
  }
  // Connections that only come and go: they are what stands in the queue.
  const knock = async () => {
    while (on()) {
      const socket = connect(place.port, place.host)
      socket.on('error', (error) => errors.push(error))
      await once(socket, 'connect').catch(() => undefined)
      connections += 1
      socket.destroy()
    }
  }
  const running = Promise.all([...Array.from({ length: loops }, loop), knock(), knock()])
  return {
    count: () => connections,
    end: async () => {
      stop.abort()
      await running
      return errors
    },
  }
}

describe.each([1, 2])('an upgrade of %i process(es)', { timeout: patienceMs }, (workers) => {
  it('is seen by no client: neither by who comes, nor by who is there', async () => {
    pooler = await createPooler(servers, { lines: `workers: ${workers}` })
    const serving = await pooler.serve()
    const old = serving.program.pid
    const staying = await connected(serving.place)
    await staying.query('BEGIN; CREATE TEMP TABLE kept AS SELECT 42 AS answer')
    const storming = storm(serving, 8)
    await until('it storms', () => storming.count() > 20)
    const { code, stdout } = await upgrade(serving)
    expect({ code, stdout }).toMatchObject({ code: 0 })
    expect(stdout).toContain('the new process serves')
    const before = storming.count()
    await until('it goes on', () => storming.count() > before + 100)
    expect(await storming.end()).toEqual([])
    expect(await pooler.pid()).not.toBe(old)
    expect((await fetch(`${serving.http}/readyz`)).status).toBe(200)
    expect(await value(staying, 'SELECT answer FROM kept')).toBe('42')
    await staying.query('COMMIT')
    expect(isAlive(old)).toBe(true)
    const asleep = refusal(staying.query('SELECT pg_sleep(60)'))
    await until('the cancel finds it', async () => {
      await cancel(serving.place, cancelKeyOf(staying))
      return await Promise.race([asleep.then(() => true), pauseMs(200).then(() => false)])
    })
    expect((await asleep).code).toBe('57014')
    await staying.end()
    await until('the old process has ended', () => !isAlive(old))
    expect(await value(await connected(serving.place), 'SELECT 1')).toBe('1')
  })
})

describe.each([1, 2])(
  'two upgrades of %i process(es) in a row',
  { timeout: patienceMs },
  (workers) => {
    it('leave nobody whom a cancel request does not find, and orders in force', async () => {
      pooler = await createPooler(servers, { lines: `workers: ${workers}` })
      const serving = await pooler.serve()
      const first = await connected(serving.place)
      const orders = await connected(serving.admin)
      await orders.query('DISABLE app')
      await orders.query('PAUSE app')
      await orders.end()
      expect((await upgrade(serving)).code).toBe(0)
      expect(await refusal(connected(serving.place))).toMatchObject({ code: '57P03' })
      const later = await connected(serving.admin)
      await later.query('ENABLE app')
      // Nothing is known of the server yet: the login waits for it already.
      const enters = connected(serving.place)
      expect(await Promise.race([enters, pauseMs(300).then(() => 'waits')])).toBe('waits')
      await later.query('RESUME app')
      await later.end()
      const second = await enters
      // Orders go to the process that was replaced, too.
      expect(await value(first, 'SELECT 1')).toBe('1')
      expect((await upgrade(serving)).code).toBe(0)
      const third = await connected(serving.place)
      await found(serving, [first, second, third])
      await second.end()
      await found(serving, [first, third])
      await Promise.all([first.end(), third.end()])
      await until('the first process has ended', () => !isAlive(serving.program.pid))
    })
  },
)

/** A cancel request finds each of them, whichever process answers. */
async function found({ place }: Serving, clients: readonly Client[]): Promise<void> {
  for (const client of clients) {
    const asleep = refusal(client.query('SELECT pg_sleep(20)'))
    await pauseMs(100)
    await cancel(place, cancelKeyOf(client))
    expect(await asleep).toMatchObject({ code: '57014' })
  }
}

describe('an upgrade', { timeout: patienceMs }, () => {
  it('that fails says why, and changes nothing', async () => {
    pooler = await createPooler(servers)
    const serving = await pooler.serve()
    const staying = await connected(serving.place)
    await pooler.write(pooler.text.replace('http: {', 'workers: 2000\nhttp: {'))
    serving.program.signal('SIGUSR2')
    await serving.program.printed('stderr', /upgrade: this process goes on/)
    expect(serving.program.stderr).toMatch(/workers/)
    expect(await value(staying, 'SELECT 1')).toBe('1')
    expect(await value(await connected(serving.place), 'SELECT 1')).toBe('1')
    expect(await pooler.pid()).toBe(serving.program.pid)
  })

  it('has a deadline for those who stay', async () => {
    pooler = await createPooler(servers, { lines: 'drain_timeout: 300ms' })
    const serving = await pooler.serve()
    const staying = await connected(serving.place)
    const told = new Promise((resolve) => staying.once('error', resolve))
    serving.program.signal('SIGUSR2')
    expect(await told).toMatchObject({ code: '57P01' })
    await until('the old process has ended', () => !isAlive(serving.program.pid))
    expect(await value(await connected(serving.place), 'SELECT 1')).toBe('1')
  })

  it('to another number of workers takes the same port', async () => {
    pooler = await createPooler(servers, { lines: 'workers: 2' })
    const serving = await pooler.serve()
    await pooler.write(pooler.text.replace('workers: 2', 'workers: 1'))
    expect((await upgrade(serving)).code).toBe(0)
    await until('the old process has ended', () => !isAlive(serving.program.pid))
    const ten = await Promise.all(Array.from({ length: 10 }, () => connected(serving.place)))
    expect(new Set(await Promise.all(ten.map((client) => value(client, 'SELECT 1'))))).toEqual(
      new Set(['1']),
    )
    await Promise.all(ten.map((client) => client.end()))
  })
})

function pauseMs(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
