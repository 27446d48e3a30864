// Several workers behind one port: shares that add up, cancel requests that find their client, a worker that dies, a
// supervisor that dies.
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { Client } from 'pg'
import { cancel, cancelKeyOf } from '../support/cancel.ts'
import {
  askServer,
  connected,
  pause,
  present,
  refusal,
  until,
  value,
  withClients,
} from '../support/clients.ts'
import { childrenOf, createPooler, isAlive, kill, type Pooler, type Serving } from './pooler.ts'

// Several processes start, on a machine that may be busy with other tests.
const patienceMs = 120_000
const count = 2
const size = 7

let pooler: Pooler
let serving: Serving
beforeAll(async () => {
  pooler = await createPooler(present(inject('servers')[0]), {
    lines: `workers: ${count}`,
    pool: `{ size: ${size}, max_client_conn: 200 }`,
  })
  serving = await pooler.serve()
}, patienceMs)
afterAll(() => pooler.remove())

/** Server connections that clients of the proxy hold now, as PostgreSQL sees them. */
const busyServers = async () =>
  Number(
    (
      await askServer(
        pooler.url,
        `SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND query LIKE '%pg_sleep%' AND state = 'active'
           AND pid <> pg_backend_pid()`,
      )
    )[0],
  )

describe('several workers', { timeout: patienceMs }, () => {
  it('share the clients, and have as many servers together as the file allows', async () => {
    expect(await childrenOf(serving.program.pid)).toHaveLength(count)
    await withClients(serving.place, 60, async (clients) => {
      const sleeping = clients.map((client) => client.query('SELECT pg_sleep(0.5)'))
      await until('all servers work', async () => (await busyServers()) === size)
      let most = 0
      const ended = Promise.all(sleeping).then(() => true)
      while (
        !(await Promise.race([
          ended,
          busyServers().then((busy) => ((most = Math.max(most, busy)), false)),
        ]))
      );
      expect(most).toBe(size)
    })
  })

  it('cancel what the client does, whichever of them the request reaches, and answer once it was done', async () => {
    // No more than the smallest share: all of them run.
    await withClients(serving.place, Math.floor(size / count), async (clients) => {
      for (let round = 0; round < 5; round += 1) {
        const sleeping = clients.map((client) => refusal(client.query('SELECT pg_sleep(60)')))
        await until('all run', async () => (await busyServers()) === clients.length)
        for (const client of clients) await cancel(serving.place, cancelKeyOf(client))
        const errors = await Promise.all(sleeping)
        expect(errors.map(({ code }) => code)).toEqual(clients.map(() => '57014'))
      }
    })
  })

  it('show their counters added up, and each its own', async () => {
    await withClients(serving.place, 20, async () => {
      const metric = /^ringfence_client_connections\{(.*)\} (\d+)$/gm
      const sum = await (await fetch(`${serving.http}/metrics`)).text()
      expect([...sum.matchAll(metric)].map(([, labels, number]) => [labels, number])).toEqual([
        ['database="app"', '20'],
      ])
      const each = await (await fetch(`${serving.http}/metrics/workers`)).text()
      const found = [...each.matchAll(metric)]
      expect(new Set(found.map(([, labels]) => labels))).toEqual(
        new Set([1, 2].map((worker) => `database="app",worker="${worker}"`)),
      )
      expect(found.reduce((total, [, , number]) => total + Number(number), 0)).toBe(20)
      expect((await fetch(`${serving.http}/readyz`)).status).toBe(200)
    })
  })

  it('go on when one of them is killed; its clients alone lose their connection', async () => {
    const clients = await Promise.all(Array.from({ length: 30 }, () => connected(serving.place)))
    const lost = new Set<Client>()
    for (const client of clients) client.once('error', () => lost.add(client))
    const [victim = 0] = await childrenOf(serving.program.pid)
    kill(victim)
    const late = await Promise.all(Array.from({ length: 30 }, () => connected(serving.place)))
    await until('the worker is replaced', async () => {
      return (await childrenOf(serving.program.pid)).length === count
    })
    expect(lost.size).toBeGreaterThan(0)
    expect(lost.size).toBeLessThan(clients.length)
    const kept = [...clients.filter((client) => !lost.has(client)), ...late]
    const answers = await Promise.all(kept.map((client) => value(client, 'SELECT 1')))
    expect(new Set(answers)).toEqual(new Set(['1']))
    await Promise.all([...clients, ...late].map((client) => client.end().catch(() => undefined)))
  })

  it('begin with what is paused when they take the place of another', async () => {
    const admin = await connected(serving.admin)
    await admin.query('PAUSE app')
    const former = await childrenOf(serving.program.pid)
    for (const pid of former) kill(pid)
    await until('they are replaced', async () => {
      const present = await childrenOf(serving.program.pid)
      return present.length === count && !present.some((pid) => former.includes(pid))
    })
    // The login waits already: nothing is known of the server yet.
    let answered = false
    const asked = connected(serving.place).then(async (client) => {
      await client.query('SELECT 1')
      answered = true
      await client.end()
    })
    await pause(300)
    expect(answered).toBe(false)
    const next = await connected(serving.admin)
    await next.query('RESUME app')
    await asked
    await next.end()
  })

  it('end with the supervisor when that is killed', async () => {
    const other = await pooler.serve()
    const client = await connected(other.place)
    const lost = new Promise((resolve) => client.once('error', resolve))
    const workers = await childrenOf(other.program.pid)
    expect(workers).toHaveLength(count)
    other.program.signal('SIGKILL')
    await until('they are gone', () => !workers.some(isAlive))
    await lost
  })

  it('let transactions end at SIGTERM, refuse connections meanwhile, and end with exit code 0', async () => {
    const other = await pooler.serve()
    const busy = await connected(other.place)
    await busy.query('BEGIN')
    other.program.signal('SIGTERM')
    await until('nobody listens', async () => {
      // The signal is on its way for a moment.
      const why = await connected(other.place).then((client) => client.end().then(() => ''), String)
      return why.includes('ECONNREFUSED')
    })
    expect(await value(busy, 'SELECT 1')).toBe('1')
    await busy.query('COMMIT')
    expect((await other.program.ended()).code).toBe(0)
  })
})
