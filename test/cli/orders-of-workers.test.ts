// Orders of the admin console that two workers carry out: for databases that only one of them has opened, for the process that
// keeps them, and for a worker that takes the place of another.
import type { Client } from 'pg'
import { afterEach, describe, expect, inject, it } from 'vitest'
import { connected, pause, present, until, value, withClients } from '../support/clients.ts'
import { childrenOf, createPooler, isAlive, kill, type Pooler, type Serving } from './pooler.ts'

const patienceMs = 60_000
const servers = present(inject('servers')[0])
let pooler: Pooler
let admin: Client
afterEach(async () => {
  await admin.end().catch(() => undefined)
  await pooler.remove()
})

async function serve(change: (text: string) => string = (text) => text): Promise<Serving> {
  pooler = await createPooler(servers, { lines: 'workers: 2', pool: '{ size: 8 }' })
  await pooler.write(change(pooler.text))
  const serving = await pooler.serve()
  admin = await connected(serving.admin)
  return serving
}

/** False while `answer` does not come. */
const comes = (answer: Promise<unknown>) =>
  Promise.race([answer.then(() => true), pause(300).then(() => false)])

describe('two workers', { timeout: patienceMs }, () => {
  it('pause a database of the entry * that one of them has opened', async () => {
    const { place } = await serve((text) => text.replace('  app:\n', '  "*":\n'))
    const database = new URL(pooler.url).pathname.slice(1)
    const any = { ...place, database }
    const [first] = [await connected(any)]
    await first.query('SELECT 1')
    await admin.query(`PAUSE ${database}`)
    const answers = Promise.all(
      Array.from({ length: 6 }, async () => {
        const client = await connected(any)
        const answer = await value(client, 'SELECT 1')
        await client.end()
        return answer
      }),
    )
    expect(await comes(Promise.race([answers, first.query('SELECT 1')]))).toBe(false)
    await admin.query(`RESUME ${database}`)
    expect(new Set(await answers)).toEqual(new Set(['1']))
    await first.end()
  })

  it('and their supervisor go by what SET says', async () => {
    const serving = await serve()
    await admin.query("SET drain_timeout = '300ms'")
    await admin.end()
    const staying = await connected(serving.place)
    const told = new Promise((resolve) => staying.once('error', resolve))
    serving.program.signal('SIGUSR2')
    expect(await told).toMatchObject({ code: '57P01' })
    await until('the old process has ended', () => !isAlive(serving.program.pid))
  })

  it('are suspended, also one that takes the place of another', async () => {
    const serving = await serve()
    await admin.query('SUSPEND')
    const former = await childrenOf(serving.program.pid)
    for (const pid of former) kill(pid)
    await until('they are replaced', async () => {
      const there = await childrenOf(serving.program.pid)
      return there.length === 2 && !there.some((pid) => former.includes(pid))
    })
    await withClients(serving.place, 6, async (clients) => {
      const asked = clients.map((client) => value(client, 'SELECT 1'))
      const answers = Promise.all(asked)
      answers.catch(() => undefined)
      expect(await comes(Promise.race(asked))).toBe(false)
      const next = await connected(serving.admin)
      await next.query('RESUME')
      await next.end()
      expect(new Set(await answers)).toEqual(new Set(['1']))
    })
  })
})
