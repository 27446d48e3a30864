// SHUTDOWN in its three modes, of one process and of several: who may go on, for how long, and that a later order counts.
import type { Client } from 'pg'
import { afterEach, describe, expect, inject, it } from 'vitest'
import { connected, pause, present, until, value } from '../support/clients.ts'
import { createPooler, type Pooler, type Serving } from './pooler.ts'

const patienceMs = 60_000
const servers = present(inject('servers')[0])
let pooler: Pooler
afterEach(() => pooler.remove())

async function serve(workers: number, lines = ''): Promise<{ serving: Serving; admin: Client }> {
  pooler = await createPooler(servers, { lines: `workers: ${workers}\n${lines}` })
  const serving = await pooler.serve()
  return { serving, admin: await connected(serving.admin) }
}

/** The answer to SHUTDOWN goes out first: for a moment somebody may still come in. */
const refusesNew = ({ place }: Serving) =>
  until('nobody listens', async () => {
    return await connected(place).then(
      async (client) => {
        await client.end()
        return false
      },
      (error: unknown) => String(error).includes('ECONNREFUSED'),
    )
  })

describe.each([1, 2])('SHUTDOWN of %i process(es)', { timeout: patienceMs }, (workers) => {
  it('ends it at once', async () => {
    const { serving, admin } = await serve(workers)
    const busy = await connected(serving.place)
    const told = new Promise((resolve) => busy.once('error', resolve))
    await busy.query('BEGIN')
    await admin.query('SHUTDOWN').catch(() => undefined)
    expect(await told).toMatchObject({ code: '57P01' })
    expect((await serving.program.ended()).code).toBe(0)
  })

  it('WAIT_FOR_SERVERS lets transactions end', async () => {
    const { serving, admin } = await serve(workers)
    const busy = await connected(serving.place)
    await busy.query('BEGIN')
    // Its own process may end before it has answered.
    await admin.query('SHUTDOWN WAIT_FOR_SERVERS').catch(() => undefined)
    await refusesNew(serving)
    expect(await value(busy, 'SELECT 7')).toBe('7')
    await busy.query('COMMIT')
    expect((await serving.program.ended()).code).toBe(0)
  })

  it('WAIT_FOR_CLIENTS lets clients go on until they leave, whatever drain_timeout says', async () => {
    const { serving, admin } = await serve(workers, 'drain_timeout: 100ms')
    const staying = await connected(serving.place)
    await admin.query('SHUTDOWN WAIT_FOR_CLIENTS')
    await admin.end()
    await refusesNew(serving)
    await pause(500)
    expect(await value(staying, 'SELECT 7')).toBe('7')
    await staying.end()
    expect((await serving.program.ended()).code).toBe(0)
  })

  it('counts while an earlier one still waits', async () => {
    const { serving, admin } = await serve(workers)
    const staying = await connected(serving.place)
    const told = new Promise((resolve) => staying.once('error', resolve))
    await staying.query('BEGIN')
    await admin.query('SHUTDOWN WAIT_FOR_CLIENTS')
    await refusesNew(serving)
    await admin.query('SHUTDOWN WAIT_FOR_SERVERS').catch(() => undefined)
    await pause(300)
    expect(await value(staying, 'SELECT 7')).toBe('7')
    await staying.query('COMMIT')
    expect(await told).toMatchObject({ code: '57P01' })
    expect((await serving.program.ended()).code).toBe(0)
  })

  it('counts at once while an earlier one still waits', async () => {
    const { serving, admin } = await serve(workers)
    const staying = await connected(serving.place)
    const told = new Promise((resolve) => staying.once('error', resolve))
    await staying.query('BEGIN')
    await admin.query('SHUTDOWN WAIT_FOR_CLIENTS')
    await refusesNew(serving)
    await admin.query('SHUTDOWN').catch(() => undefined)
    expect(await told).toMatchObject({ code: '57P01' })
    expect((await serving.program.ended()).code).toBe(0)
  })
})
