// A write on all shards of which one is lost while another has not begun: nothing of it is kept anywhere.
import { Client } from 'pg'
import { afterEach, describe, expect, inject, it } from 'vitest'
import { advisoryLocks } from '../../catalog/connection.ts'
import { systemClock } from '../../core/clock.ts'
import { createLog } from '../../core/log.ts'
import { waitUntil } from '../../demo/process.ts'
import { Proxy } from '../../proxy/proxy.ts'
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts'
import { type Stack, startStack } from '../support/stack.ts'

const setupSql = `
  CREATE TABLE products (id int PRIMARY KEY, price int)

  INSERT INTO products VALUES (1, 10)`
const deadlineMs = 10_000
const waitingSql = `SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`

/** Longer than all that happens between the loss and the end of the write. */
const slow = { kind: 'latency', ms: 500, jitterMs: 0 } as const

let stack: Stack
let relay: FaultProxy
let proxy: Proxy
const opened: Client[] = []
afterEach(async () => {
  await Promise.all(opened.splice(0).map((client) => client.end()))
  await proxy.close()
  await relay.close()
  await stack.close()
})

/** A second proxy, whose way to the first shard can be made slow. */
async function startRelayed(): Promise<void> {
  const [database] = stack.instance.databases.values()
  const [home, ...others] = database?.options.shards ?? []
  if (database === undefined || home === undefined) throw new Error('the stack has shards')
  relay = await startFaultProxy({ host: home.host, port: home.port })
  const { user, password } = stack.proxy
  proxy = await Proxy.start({
    version: 'test',
    listen: { host: '127.0.0.1', port: 0 },
    http: null,
    users: [{ name: user, secret: { kind: 'password', password }, admin: true }],
    authRules: [{ database: null, user: null, address: null, method: 'scram' }],
    databases: [{ ...database.options, shards: [{ ...home, port: relay.port }, ...others] }],
    redis: null,
    tokenKey: null,
    limits: {
      frameBytesMax: 1024 * 1024,
      frameBytesBeforeLoginMax: 16 * 1024,
      loginTimeoutMs: 10_000,
      connectTimeoutMs: 5_000,
    },
    clock: systemClock,
    log: createLog('error'),
  })
}

async function open(url: string): Promise<Client> {
  const client = new Client(url)
  client.on('error', () => undefined)
  await client.connect()
  opened.push(client)
  return client
}

describe.each(inject('servers'))('a write on all shards of PostgreSQL $version', (servers) => {
  it('leaves nothing on a shard that had still to begin when another one was lost', async () => {
    stack = await startStack(servers, { shards: 3, setupSql })
    const [, second, third] = await Promise.all(stack.shardUrls.map(open))
    if (second === undefined || third === undefined) throw new Error('there are three shards')
    for (const shard of [second, third]) {
      await shard.query(`SELECT pg_advisory_lock(${advisoryLocks.referenceWrite})`)
    }
    await startRelayed()
    const client = new Client({ ...stack.proxy, port: proxy.port })
    await client.connect()
    opened.push(client)
    const writing = client.query('UPDATE products SET price = price + $1', [1])
    const failure = writing.then(
      () => null,
      (error: Error) => error,
    )
    for (const shard of [second, third]) {
      const waits = async () => (await shard.query(waitingSql)).rowCount === 1
      expect(await waitUntil(waits, deadlineMs)).toBe(true)
    }
    await relay.set(slow)
    await third.query(`SELECT pg_terminate_backend(pid) FROM (${waitingSql}) w`)
    const gone = async () => (await third.query(waitingSql)).rowCount === 0
    expect(await waitUntil(gone, deadlineMs)).toBe(true)
    // Time for the proxy to hear of it; what follows holds however long that takes.
    await new Promise((resolve) => setTimeout(resolve, 100))
    for (const shard of [second, third]) {
      await shard.query(`SELECT pg_advisory_unlock(${advisoryLocks.referenceWrite})`)
    }
    expect(await failure).not.toBe(null)
    await client.query('SELECT 1')
    for (const shard of opened.slice(0, 3)) {
      expect((await shard.query('SELECT price FROM products')).rows).toEqual([{ price: 10 }])
    }
  })
})
