// A cancel request that is late: the statement that it was for is over, and whoever comes next on that server would be hit.
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { afterEach, expect, inject, it } from 'vitest'
import { shardId } from '../../core/ids.ts'
import { ask } from '../../pool/exchange.ts'
import type { ServerTarget } from '../../pool/server-connection.ts'
import { pause, present } from '../support/clients.ts'
import { closePools, lease, poolTo } from './pools.ts'

const home = new URL(present(present(inject('servers')[0]).shards[0]).url)
const cancelRequest = 1234 * 65_536 + 5678
/** How long a request is under way, and for how long it is waited for. */
const lateMs = 600
const cancelTimeoutMs = 150

const relays: Server[] = []
afterEach(() => {
  closePools()
  for (const relay of relays.splice(0)) relay.close()
})

/** Leads to the server; cancel requests arrive `delayMs` later, whoever has hung up meanwhile. */
async function targetBehind(delayMs: number): Promise<ServerTarget> {
  const relay = createServer({ allowHalfOpen: true }, (client) => {
    const server = connect({ host: home.hostname, port: Number(home.port) })
    server.on('data', (chunk) => client.write(chunk))
    server.on('close', () => client.destroy()).on('error', () => client.destroy())
    client.on('error', () => undefined)
    client.on('data', (chunk) => {
      const isCancel = chunk.length >= 8 && chunk.readInt32BE(4) === cancelRequest
      if (isCancel) setTimeout(() => server.write(chunk), delayMs)
      else server.write(chunk)
    })
  })
  relays.push(relay)
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve))
  const { port } = relay.address() as AddressInfo
  const login = { user: home.username, password: decodeURIComponent(home.password) }
  const place = { host: '127.0.0.1', port, database: 'postgres' }
  return { shard: shardId('s1'), role: 'primary', ...place, ...login }
}

it('leaves its server to nobody else once it is not waited for any more', async () => {
  const pool = poolTo(await targetBehind(lateMs), { cancelTimeoutMs })
  const first = await lease(pool)
  const statement = ask(first, 'SELECT pg_sleep(0.05)')
  const cancelled = pool.cancel(first)
  await statement
  pool.release(first)
  await cancelled
  const second = await lease(pool)
  expect(second.processId).not.toBe(first.processId)
  const slept = await ask(second, `SELECT 'whole' FROM pg_sleep(${(2 * lateMs) / 1_000})`)
  expect(slept.rows).toEqual([['whole']])
  pool.release(second)
})

it('that arrives in time leaves its server as it is', async () => {
  const pool = poolTo(await targetBehind(0), { cancelTimeoutMs: 5_000 })
  const first = await lease(pool)
  const statement = ask(first, 'SELECT pg_sleep(20)')
  await pause(50)
  const cancelled = pool.cancel(first)
  await expect(statement).rejects.toMatchObject({ sqlstate: '57014' })
  pool.release(first)
  await cancelled
  const second = await lease(pool)
  expect(second.processId).toBe(first.processId)
  pool.release(second)
})
