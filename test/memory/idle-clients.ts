// Clients that have logged in as drivers do, asked a statement and a transaction, and stay: what each of them costs the proxy.
import { pause, rawClient, untilReady } from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import type { RawConnection } from '../support/raw-connection.ts'
import type { MeasuredProxy } from './measured-proxy.ts'

/**
 * Per client, in bytes: objects of JavaScript, and what the process has grown by, its garbage and Node's own sockets
 * included; nobody has asked it to tidy up.
 */
type IdleCost = { readonly heapBytes: number; readonly residentBytes: number }

const loginsAtOnce = 50
const parameters = [
  ['application_name', 'idle'],
  ['client_encoding', 'UTF8'],
] as const
/** Clients that come and go first: what is made once does not count. */
const warmUp = 400
/** Until what V8 has compiled meanwhile is in use, and what it needed for that is let go of. */
const settleMs = 3_000

export async function measureIdle(proxy: MeasuredProxy, count: number): Promise<IdleCost> {
  for (const connection of await logIn(proxy, warmUp)) connection.destroy()
  await pause(settleMs)
  const before = await proxy.held()
  const clients = await logIn(proxy, count)
  try {
    const { residentBytes } = await proxy.heldAsItIs()
    const after = await proxy.held()
    if (after.sessions < count) throw new Error(`${after.sessions} of ${count} clients are there`)
    return {
      heapBytes: (after.heapBytes - before.heapBytes) / count,
      residentBytes: (residentBytes - before.residentBytes) / count,
    }
  } finally {
    for (const connection of clients) connection.destroy()
  }
}

async function logIn({ place }: MeasuredProxy, count: number): Promise<RawConnection[]> {
  const clients: RawConnection[] = []
  while (clients.length < count) {
    const batch = Math.min(loginsAtOnce, count - clients.length)
    clients.push(...(await Promise.all(Array.from({ length: batch }, () => one(place)))))
  }
  return clients
}

async function one(place: MeasuredProxy['place']): Promise<RawConnection> {
  const { connection } = await rawClient(place, { parameters })
  for (const sql of ['SELECT 1', 'BEGIN', 'SELECT 2', 'COMMIT']) {
    connection.send(textBytes('Q', sql))
    await untilReady(connection)
  }
  return connection
}
