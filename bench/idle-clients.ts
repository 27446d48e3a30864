// What an idle client costs a proxy in memory: a proxy started anew, then clients that log in, send
// one statement as any application does, and stay.
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'pg'
import { assert } from '../core/assert.ts'
import { residentBytesOf } from './cpu.ts'
import type { Peer, StartPeer } from './peers.ts'
import { databaseUrl } from './servers.ts'

export type IdleResult = {
  readonly peer: string
  readonly clients: number
  /** Resident memory of the proxy with a first client come and gone, in bytes. */
  readonly emptyBytes: number
  /** With all clients connected and idle. */
  readonly idleBytes: number
}

/** Few enough for a proxy's listen queue. */
const loginsAtOnce = 20
/** For what the last login left to be freed. */
const settleMs = 1_000

/** Starts the proxy, measures and stops it. */
export async function measureIdleClients(
  start: StartPeer,
  count: number,
  signal: AbortSignal,
): Promise<IdleResult> {
  const peer = await start()
  const clients: Client[] = []
  try {
    assert(peer.proxyPid !== null, `${peer.name} is a proxy`)
    await delay(settleMs, undefined, { signal })
    const emptyBytes = residentBytesOf(peer.proxyPid)
    while (clients.length < count) {
      signal.throwIfAborted()
      const batch = Math.min(loginsAtOnce, count - clients.length)
      clients.push(...(await Promise.all(Array.from({ length: batch }, () => connect(peer)))))
    }
    await delay(settleMs, undefined, { signal })
    const idleBytes = residentBytesOf(peer.proxyPid)
    return { peer: peer.name, clients: count, emptyBytes, idleBytes }
  } finally {
    await Promise.allSettled(clients.map((client) => client.end()))
    await peer.stop()
  }
}

async function connect({ port, database }: Peer): Promise<Client> {
  const client = new Client({ connectionString: databaseUrl({ port }, database) })
  // One that is lost shows as less memory than it should; the statement below as an error.
  client.on('error', () => undefined)
  await client.connect()
  await client.query('SELECT 1')
  return client
}
