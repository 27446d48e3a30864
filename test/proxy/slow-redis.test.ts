// A statement under a session id is answered once Redis has its position. That may take a while: its server works for
// others meanwhile.
import { afterAll, beforeAll, expect, it } from 'vitest'
import { present, until, withPair } from '../support/clients.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'

let stack: ReplicatedStack
beforeAll(async () => {
  stack = await startReplicatedStack({
    shards: 1,
    replicas: 1,
    proxies: 1,
    relays: true,
    redis: true,
    poolSize: 1,
    setupSql: 'CREATE TABLE notes (id bigint)',
  })
})
afterAll(() => stack?.stop())

it('a statement that waits for Redis keeps no server from the others', async () => {
  const { instance } = stack.proxy(0)
  const database = present(instance?.databases.values().next().value)
  await until('Redis is used', () => database.tokens?.state === 'connected')
  await withPair(stack.place(0), async (known, other) => {
    await known.query("SET ringfence.session_id = 'user-1'")
    await known.query('INSERT INTO notes VALUES (1)')
    await other.query('INSERT INTO notes VALUES (2)')
    await stack.relay(0, 'redis').set({ kind: 'blackHole' })
    const order: string[] = []
    const late = known.query('INSERT INTO notes VALUES (3)').then(() => order.push('with an id'))
    const soon = other.query('INSERT INTO notes VALUES (4)').then(() => order.push('without'))
    await Promise.all([late, soon])
    expect(order).toEqual(['without', 'with an id'])
    await stack.relay(0, 'redis').set({ kind: 'none' })
  })
})
