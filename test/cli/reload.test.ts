// What a reload changes of a running proxy, seen by its clients: in one process and in several alike.
import { afterEach, describe, expect, inject, it } from 'vitest'
import type { Client } from 'pg'
import {
  connected,
  pause,
  present,
  refusal,
  until,
  value,
  withClients,
} from '../support/clients.ts'
import { createPooler, type Pooler, type Serving } from './pooler.ts'
import { Program } from './program.ts'

// Several processes start, on a machine that may be busy with other tests.
const patienceMs = 120_000
const servers = present(inject('servers')[0])
let pooler: Pooler
let serving: Serving
let admin: Client | undefined
afterEach(async () => {
  await admin?.end().catch(() => undefined)
  await pooler.remove()
})

async function serve(workers: number, lines = ''): Promise<void> {
  const pool = `{ size: ${workers}, query_wait_timeout: 60s }`
  pooler = await createPooler(servers, { lines: `workers: ${workers}\n${lines}`, pool })
  serving = await pooler.serve()
  admin = await connected(serving.admin)
}

async function reload(text: string): Promise<void> {
  await pooler.write(text)
  await admin?.query('RELOAD')
}

/** How long `count` clients need for a nap of 300 ms each. */
async function napsMs(count: number): Promise<number> {
  return await withClients(serving.place, count, async (clients) => {
    const startMs = performance.now()
    await Promise.all(clients.map((client) => client.query('SELECT pg_sleep(0.3)')))
    return performance.now() - startMs
  })
}

describe.each([1, 2])('a reload of %i process(es)', { timeout: patienceMs }, (workers) => {
  it('has users, rules, pools and databases as the file says now', async () => {
    await serve(workers)
    const { text } = pooler
    const { place } = serving
    const before = await connected(place)

    await reload(text.replace('password: pencil', 'password: crayon'))
    const crayon = { ...place, password: 'crayon' }
    for (let times = 0; times < 6; times += 1) {
      expect((await refusal(connected(place))).code).toBe('28P01')
      await (await connected(crayon)).end()
    }
    expect(await value(before, 'SELECT 1')).toBe('1')

    await reload(
      text.replace(
        'users: [',
        'auth: { rules: [{ database: app, method: reject }, { method: scram }] }\nusers: [',
      ),
    )
    expect((await refusal(connected(place))).code).toBe('28000')
    await reload(text)
    await (await connected(place)).end()

    expect(await napsMs(4 * workers)).toBeGreaterThan(900)
    await reload(text.replace(`size: ${workers}`, 'size: 40'))
    await until('there are servers for all', async () => (await napsMs(4)) < 600)
    await reload(text.replace('query_wait_timeout: 60s', 'query_wait_timeout: 50ms'))
    await withClients(place, 3 * workers, async (clients) => {
      const naps = clients.map((client) => client.query('SELECT pg_sleep(1)'))
      const codes = (await Promise.allSettled(naps)).map((nap) =>
        nap.status === 'rejected' ? Reflect.get(Object(nap.reason), 'code') : 'done',
      )
      expect(codes).toContain('53300')
    })

    const [, app = ''] = /\n {2}app:\n([^]*)$/.exec(text) ?? []
    await reload(`${text}  other:\n${app}`)
    const other = { ...place, database: 'other' }
    const guest = await connected(other)
    expect(await value(guest, 'SELECT current_database()')).toBe(
      await value(before, 'SELECT current_database()'),
    )
    const told = new Promise((resolve) => guest.once('error', resolve))
    await reload(text)
    expect(await told).toMatchObject({ code: '57P01' })
    for (let times = 0; times < 4; times += 1) {
      expect((await refusal(connected(other))).code).toBe('3D000')
    }
    expect(await value(before, 'SELECT 1')).toBe('1')
    await before.end()
  })
})

describe('a reload', { timeout: patienceMs }, () => {
  it('that is asked for while the proxy starts waits for that', async () => {
    pooler = await createPooler(servers, { lines: 'log: { level: debug }' })
    const { text, url } = pooler
    const dead = url.replace(/:\d+\//, ':1/')
    const waiting = text
      .replace(
        `primary: "${url}"`,
        `primary: "${dead}", replicas: ["${dead.replace(':1/', ':2/')}"]`,
      )
      .replace('    pool:', '    failover: { wait: 4s }\n    pool:')
    await pooler.write(waiting)
    const program = new Program(['serve', '--config', pooler.path])
    await program.printed('stderr', /\n/)
    await pooler.write(waiting.replace('password: pencil', 'password: crayon'))
    program.signal('SIGHUP')
    await program.printed('stderr', /"msg":"ready"/)
    await program.printed('stderr', /"msg":"configuration reloaded"/)
    program.signal('SIGTERM')
    expect((await program.ended()).code).toBe(0)
  })

  it('of a wrong file says where, and changes nothing; with "watch" a right one needs no asking', async () => {
    await serve(1, 'watch: true')
    const { text } = pooler
    const { place } = serving
    const refused = await refusal(
      reload(text.replace('query_wait_timeout: 60s', 'query_wait_timeout: soon')),
    )
    expect(refused.message).toMatch(
      /ringfence\.yaml:\d+:\d+ .*databases\.app\.pool\.query_wait_timeout/,
    )
    await (await connected(place)).end()
    await pooler.write(text.replace('password: pencil', 'password: crayon'))
    await until('the file is taken', async () => {
      return await connected({ ...place, password: 'crayon' }).then(
        (client) => client.end().then(() => true),
        () => pause(100).then(() => false),
      )
    })
  })
})
