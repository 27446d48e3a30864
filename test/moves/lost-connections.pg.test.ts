// Connections that a move loses at moments of their own: what it says in the end is why it ended, not what it lost.
import { Client } from 'pg'
import { afterEach, describe, expect, it } from 'vitest'
import { wish } from '../../catalog/move-store.ts'
import { waitUntil } from '../../demo/process.ts'
import { openReader } from '../../rebalancer/copy/connection.ts'
import { openSnapshot } from '../../rebalancer/copy/snapshot.ts'
import { isTransient } from '../../rebalancer/failure.ts'
import { openCatalog } from '../../rebalancer/run-move.ts'
import { moverServers } from '../support/mover-servers.ts'
import { type Stack, startStack } from '../support/stack.ts'
import { finishMove, moverOf, planMove, runUntil } from './mover.ts'

let stack: Stack
const clients: Client[] = []
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.end()))
  await stack.close()
})

const deadlineMs = 15_000
const setupSql = `
  CREATE TABLE orders (tenant_id bigint, id bigint, note text, PRIMARY KEY (tenant_id, id))

  INSERT INTO orders VALUES (1, 1, 'first')`

async function open(url: string): Promise<Client> {
  const client = new Client(url)
  await client.connect()
  clients.push(client)
  return client
}

describe.each(moverServers())('a move on PostgreSQL $version', (servers) => {
  it('that was aborted by a wish ends without an error although it lost its target', async () => {
    stack = await startStack(servers, { shards: 2, setupSql })
    const mover = moverOf(stack)
    const move = await planMove(mover, { from: 's1', to: 's2', vnodes: 4_000 })
    await runUntil(mover, move, 'catching_up')
    const catalog = await openCatalog(mover)
    await wish(catalog.client, move.id, 'abort')
    await catalog.end()
    const target = await open(stack.shardUrls[1] ?? '')
    await target.query('BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE')
    const ending = finishMove(mover, move)
    const observer = await open(stack.shardUrls[1] ?? '')
    const killed = async () => {
      const { rows } = await observer.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name ~ '^ringfence mov'`,
      )
      return rows.length > 0
    }
    expect(await waitUntil(killed, deadlineMs)).toBe(true)
    await target.query('ROLLBACK')
    const { state, error } = await ending
    expect({ state, error }).toEqual({ state: 'aborted', error: null })
  })

  it('whose snapshot went with its connection may try again', async () => {
    stack = await startStack(servers, { shards: 2, setupSql })
    const url = stack.shardUrls[0] ?? ''
    const signal = AbortSignal.timeout(deadlineMs)
    const snapshot = await openSnapshot(url, signal)
    await snapshot.close()
    const failure = await openReader(url, snapshot.name, signal).then(
      () => null,
      (error: Error) => error,
    )
    expect(failure).not.toBe(null)
    expect(isTransient(failure) ? 'transient' : failure?.message).toBe('transient')
  })
})
