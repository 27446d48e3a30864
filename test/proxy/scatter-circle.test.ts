// Scatter reads that are run again while every server is in use: nobody waits for a server that is kept by somebody who
// waits for his.
import { afterAll, beforeAll, expect, it } from 'vitest'
import { demoUrl } from '../../demo/cluster.ts'
import { askServer, column, pause, present, until, value, withPair } from '../support/clients.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import { untilReadable } from './replica-fixture.ts'

const tenants = 40

let stack: ReplicatedStack
beforeAll(async () => {
  stack = await startReplicatedStack({
    shards: 2,
    replicas: 1,
    proxies: 1,
    relays: true,
    poolSize: 1,
    reads: { maxLagMs: null, rywWaitMs: 0 },
    setupSql: 'CREATE TABLE lines (tenant_id bigint PRIMARY KEY, n integer NOT NULL)',
  })
})
afterAll(() => stack?.stop())

it('a scatter read gives back what it needs no more, before it waits for another server', async () => {
  const [first, second] = [present(stack.shards[0]), present(stack.shards[1])]
  const [late, other] = [first.host('s1-b'), second.host('s2-b')]
  const { instance } = stack.proxy(0)
  await withPair(stack.place(0), async (reader, writer) => {
    for (let tenant = 1; tenant <= tenants; tenant += 1) {
      await writer.query('INSERT INTO lines VALUES ($1, 0)', [tenant])
    }
    await Promise.all([first.untilReplayed(late), second.untilReplayed(other)])
    await untilReadable(instance, 1)
    await value(writer, 'SHOW ringfence.session_token')
    const [key] = await askServer(demoUrl(late.server), 'SELECT tenant_id FROM lines LIMIT 1')
    // There is a connection to each of them from now on.
    expect(await column(reader, 'SELECT tenant_id FROM lines')).toHaveLength(tenants)
    await value(reader, 'SHOW ringfence.session_token')
    await first.pauseReplay(late)
    await writer.query('UPDATE lines SET n = 1 WHERE tenant_id = $1', [key])

    // On both replicas; the first shard's answer is slow to come.
    const way = stack.relay(0, 's1-b')
    await way.set({ kind: 'latency', ms: 700, jitterMs: 0 })
    const read = column(reader, 'SELECT tenant_id FROM lines')
    await pause(200)
    // On the first shard's primary, since its replica lacks what was written; and on the second one's replica.
    const readToo = column(writer, 'SELECT tenant_id FROM lines')
    await pause(200)
    await way.set({ kind: 'reset' })
    const both = Promise.all([read, readToo]).then((rows) => rows.map(({ length }) => length))
    expect(await Promise.race([both, pause(8_000)])).toEqual([tenants, tenants])
    await way.set({ kind: 'none' })
    await first.resumeReplay(late)
  })
  const database = present(instance?.databases.values().next().value)
  await until('all servers are back', () => {
    const { leased, waiting, opening } = database.stats()
    return leased + waiting + opening === 0
  })
})
