// Clients that read nothing of what they have asked for: they hold a bounded part of it, and not for ever.
import { afterEach, describe, expect, inject, it } from 'vitest'
import { connected, pause, present, rawClient, until, untilReady } from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import { type Stack, startStack } from '../support/stack.ts'

const servers = present(inject('servers')[0])
const mebibyte = 1024 * 1024
let stack: Stack
afterEach(() => stack.close())

describe('a client that reads nothing', () => {
  it('of its last words is gone all the same some time after', async () => {
    stack = await startStack(servers, { shards: 1 })
    const admin = await connected({ ...stack.proxy, database: 'ringfence' })
    const { connection, cancelKey } = await rawClient(stack.proxy)
    connection.send(textBytes('Q', 'SELECT 1'))
    await untilReady(connection)
    connection.pause()
    connection.send(textBytes('Q', "SELECT repeat('x', 3000000) FROM generate_series(1, 4)"))
    await pause(300)
    await admin.query(`KILL_CLIENT ${cancelKey.readInt32BE(0)}`)
    await admin.end()
    let retired = false
    void stack.instance.retire(60_000, 0).then(() => (retired = true))
    await until('its socket is closed', () => retired, 9_000)
    expect(stack.instance.sessions.size).toBe(0)
    connection.destroy()
  })

  it('of the admin console is not listened to any more', async () => {
    stack = await startStack(servers, { shards: 1 })
    const { connection } = await rawClient({ ...stack.proxy, database: 'ringfence' })
    connection.pause()
    const before = process.memoryUsage().arrayBuffers
    const question = textBytes('Q', 'SHOW HELP')
    for (let turn = 0; turn < 40; turn += 1) {
      connection.send(Buffer.concat(Array.from({ length: 500 }, () => question)))
      await pause(20)
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(8 * mebibyte)
    connection.resume()
    for (let turn = 0; turn < 20_000; ) {
      const arrival = await connection.next(5_000)
      if (typeof arrival === 'string') throw new Error(arrival)
      if (arrival.code === 'Z') turn += 1
    }
    connection.destroy()
  })
})
