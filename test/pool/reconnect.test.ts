// Servers that are not there: clients are told soon, and served again once the server is back.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createLog } from '../../core/log.ts'
import { type Cluster, startCluster } from '../../demo/cluster.ts'
import type { PostgresServer } from '../../demo/postgres-server.ts'
import {
  connected,
  present,
  refusal,
  until,
  value,
  withClient,
  withClients,
} from '../support/clients.ts'
import { embeddedVersion, installationOf } from '../support/postgres-installation.ts'
import { type Stack, startStack } from '../support/stack.ts'

let cluster: Cluster
let server: PostgresServer
let stack: Stack

beforeAll(async () => {
  const installation = await installationOf(embeddedVersion)
  const log = createLog('silent')
  cluster = await startCluster({ shards: 1, replicas: 0, installation, dir: null, log })
  server = present(cluster.shards[0]).primary
  const servers = { version: embeddedVersion, shards: [{ id: 's1', url: server.url() }] }
  stack = await startStack(servers, { shards: 1, pool: { size: 3, queryWaitTimeoutMs: 8_000 } })
})
afterAll(async () => {
  if (!server.running) await server.start()
  await stack.close()
  await cluster.stop()
})

/** Clients wait in line for less than this when the server is gone: not for the pool's deadline. */
const soonMs = 4_000

describe('a server that is gone', () => {
  it('is told as 08001 to all who ask, soon and with a hint; they go on when it is back', async () => {
    await withClients(stack.proxy, 20, async (clients) => {
      for (const client of clients) await client.query('SELECT 1')
      await server.kill()
      await until('the pool knows', () => stack.poolStats().idle === 0)
      const startedMs = performance.now()
      const refused = await Promise.all(clients.map((client) => refusal(client.query('SELECT 1'))))
      expect(performance.now() - startedMs).toBeLessThan(soonMs)
      expect(new Set(refused.map(({ code }) => code))).toEqual(new Set(['08001']))
      expect(refused[0]).toMatchObject({ severity: 'ERROR' })
      expect(refused[0]?.message).toContain('could not connect to shard "s1"')
      expect(refused[0]?.hint).toContain('ringfence check')
      await server.start()
      for (const client of clients) {
        await until('it is served again', () =>
          client.query('SELECT 1').then(
            () => true,
            () => false,
          ),
        )
      }
      await Promise.all(clients.map((client) => client.query('SELECT 1')))
      await until('no connection is being opened', () => stack.poolStats().opening === 0)
      expect(stack.poolStats()).toMatchObject({ leased: 0, waiting: 0 })
    })
  })

  it('does not keep clients with known settings from logging in', async () => {
    await withClient(stack.proxy, (client) => client.query('SELECT 1'))
    await server.kill()
    await withClient(stack.proxy, async (client) => {
      expect(await refusal(client.query('SELECT 1'))).toMatchObject({ code: '08001' })
      const unknown = { ...stack.proxy, options: '-c work_mem=9MB' }
      expect(await refusal(connected(unknown))).toMatchObject({ code: '08001', severity: 'FATAL' })
      await server.start()
      await until('it is served again', () =>
        value(client, 'SELECT 1').then(
          (answer) => answer === '1',
          () => false,
        ),
      )
    })
  })

  it('in the middle of a restart refuses with 08001 what it refuses itself', async () => {
    await withClient(stack.proxy, async (client) => {
      await client.query('SELECT 1')
      const restarted = server.restart()
      let refused = 0
      await until('it is served again', () =>
        client.query('SELECT 1').then(
          () => refused > 0,
          (error: unknown) => {
            expect(error).toMatchObject({ code: expect.stringMatching(/^(?:08001|08006|57P01)$/) })
            refused += 1
            return false
          },
        ),
      )
      await restarted
    })
  })
})
