// What a pool does in the moment in which its server is replaced or lost, seen by statements that come in that very
// moment. The servers are scripted: only logins are needed.
import { afterEach, describe, expect, it } from 'vitest'
import type { Pool } from '../../pool/pool.ts'
import type { ServerConnection, ServerOwner, ServerTarget } from '../../pool/server-connection.ts'
import { shardId } from '../../core/ids.ts'
import { present, until } from '../support/clients.ts'
import { ScriptedServer } from '../support/scripted-server.ts'
import { closePools, lease, poolTo } from './pools.ts'

const started: ScriptedServer[] = []
afterEach(() => {
  closePools()
  for (const server of started.splice(0)) server.close()
})

async function listening(): Promise<ScriptedServer> {
  const server = new ScriptedServer()
  await server.listen()
  started.push(server)
  return server
}

const targetAt = ({ port }: ScriptedServer): ServerTarget => ({
  shard: shardId('s1'),
  role: 'primary',
  host: '127.0.0.1',
  port,
  database: 'app',
  user: 'app',
  password: null,
})

/** Leases a server for somebody who, when it is lost, does as `lost` says. */
async function leaseFor(pool: Pool, lost: (server: ServerConnection) => void) {
  const server = await lease(pool)
  const owner: ServerOwner = { serverSpoke: () => undefined, serverClosed: lost }
  server.owner = owner
  return server
}

describe('a pool that is pointed to another server', () => {
  it('lends no connection to the one before, also not to who has just lost one', async () => {
    const [before, after] = [await listening(), await listening()]
    const pool = poolTo(targetAt(before), { size: 4 })
    const next: Promise<ServerConnection>[] = []
    const busy = await leaseFor(pool, (server) => {
      next.push(lease(pool))
      pool.discard(server, 'it was lost')
    })
    const others = [await lease(pool), await lease(pool)]
    for (const other of others) pool.release(other)
    expect(pool.stats.idle).toBe(2)
    pool.point(targetAt(after), 'a failover')
    expect(busy.closed).toBe(true)
    const got = await present(next[0])
    expect([got.target.port, got.closed]).toEqual([after.port, false])
  })
})

describe('a pool whose server dies in use', () => {
  it('has it looked at, whoever gives it back', async () => {
    const server = await listening()
    const suspicions: string[] = []
    const pool = poolTo(targetAt(server), { suspect: (reason) => suspicions.push(reason) })
    const used = await leaseFor(pool, () => pool.release(used))
    server.close()
    await until('it is known to be dead', () => used.closed)
    expect(suspicions).toHaveLength(1)
    expect(pool.stats).toMatchObject({ idle: 0, leased: 0 })
  })
})
