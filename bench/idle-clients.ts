// What an idle client costs a proxy in memory: a proxy started anew, then clients that log in, send
// one statement as any application does, and stay.
import { setTimeout as delay } from 'node:timers/promises'
import { Client } from 'pg'
import { assert } from '../core/assert.ts'
import { residentBytesOf } from './cpu.ts'
import type { Peer, Starter } from './peers.ts'
import { databaseUrl } from './servers.ts'

export type IdleResult = {
  readonly peer: string
  readonly version: string
  /** In the order of their counts; the first is the proxy with one client come and gone. */
  readonly steps: readonly IdleStep[]
}

type IdleStep = {
  /** Connected and idle. */
  readonly clients: number
  /** Resident memory of the proxy. */
  readonly residentBytes: number
}

/** Few enough for a proxy's listen queue. */
const loginsAtOnce = 20
/** For what the last login left to be freed. */
const settleMs = 1_000

/** Starts the proxy, measures at each count, and stops it. */
export async function measureIdleClients(
  { start }: Starter,
  counts: readonly number[],
  signal: AbortSignal,
): Promise<IdleResult> {
  const peer = await start()
  const clients: Client[] = []
  const steps: IdleStep[] = []
  try {
    assert(peer.proxyPid !== null, `${peer.name} is a proxy`)
    for (const count of [0, ...counts]) {
      while (clients.length < count) {
        signal.throwIfAborted()
        const batch = Math.min(loginsAtOnce, count - clients.length)
        clients.push(...(await Promise.all(Array.from({ length: batch }, () => connect(peer)))))
      }
      await delay(settleMs, undefined, { signal })
      steps.push({ clients: count, residentBytes: residentBytesOf(peer.proxyPid) })
    }
    return { peer: peer.name, version: peer.version, steps }
  } finally {
    await Promise.allSettled(clients.map((client) => client.end()))
    await peer.stop()
  }
}

/** KiB that one more client costs, from the first step to the last; null without clients. */
export function kibibytesPerClient({ steps }: IdleResult): number | null {
  const [empty, last] = [steps[0], steps.at(-1)]
  if (empty === undefined || last === undefined || last.clients === empty.clients) return null
  return (last.residentBytes - empty.residentBytes) / (last.clients - empty.clients) / 1024
}

async function connect({ port, database }: Peer): Promise<Client> {
  const client = new Client({ connectionString: databaseUrl({ port }, database) })
  // One that is lost shows as less memory than it should; the statement below as an error.
  client.on('error', () => undefined)
  await client.connect()
  await client.query('SELECT 1')
  return client
}
