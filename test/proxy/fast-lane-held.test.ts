// Where the rest of a pool is held, or there is no rest, the fast lane does not keep its servers for itself: what cannot ride
// is served all the same. Found by clients that waited for seconds beside others whose short reads rode on and on.
import { afterEach, expect, inject, it } from 'vitest'
import { connected, present, withClient } from '../support/clients.ts'
import { type Stack, startStack } from '../support/stack.ts'

const servers = present(inject('servers')[0])
const runMs = 2_000

let stack: Stack
afterEach(() => stack.close())

/** What failed of six clients: the reads of three ride, the statements of the others do not. */
async function failures(): Promise<readonly string[]> {
  const failed: string[] = []
  const endMs = performance.now() + runMs
  const ask = async (sql: string) => {
    const client = await connected(stack.proxy)
    while (performance.now() < endMs) {
      await client.query(sql).catch((error: unknown) => failed.push(String(error)))
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
    await client.end()
  }
  const sqls = ['SELECT 1', 'SELECT txid_current() IS NULL']
  await Promise.all([...sqls, ...sqls, ...sqls].map(ask))
  return failed
}

const queryWaitTimeoutMs = 1_500

it('lends its server where a transaction holds the rest of the pool', async () => {
  const pool = { size: 2, laneServersMax: 1, queryWaitTimeoutMs }
  stack = await startStack(servers, { shards: 1, pool })
  await withClient(stack.proxy, async (client) => {
    await client.query('BEGIN; SELECT 1')
    expect(await failures()).toEqual([])
    await client.query('COMMIT')
  })
})

it.each([1, 2])('lends its servers where the database may have %i', async (count) => {
  const pool = { size: 20, laneServersMax: 4, queryWaitTimeoutMs }
  const database = { serverConnectionsMax: count }
  stack = await startStack(servers, { shards: 1, pool, database })
  expect(await failures()).toEqual([])
})

it('has no more than half of the servers of a user whose pool is smaller', async () => {
  const none = {
    mode: null,
    reserve: null,
    serverConnectionsMax: null,
    clientConnectionsMax: null,
    queryTimeoutMs: null,
    queryWaitTimeoutMs: null,
    transactionTimeoutMs: null,
    idleTransactionTimeoutMs: null,
    clientIdleTimeoutMs: null,
  }
  const { username } = new URL(present(servers.shards[0]).url)
  const users = new Map([[decodeURIComponent(username), { ...none, size: 1 }]])
  const pool = { size: 20, laneServersMax: 4, queryWaitTimeoutMs }
  stack = await startStack(servers, { shards: 1, pool, shared: { users } })
  expect(await failures()).toEqual([])
  const [database] = stack.instance.databases.values()
  expect(database?.pools.map(({ lane }) => lane.serversMax)).toEqual([0])
})
