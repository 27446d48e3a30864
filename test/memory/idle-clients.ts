// Clients that have logged in, asked one statement each, and stay: what each of them costs the proxy.
import { rawClient, untilReady } from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import type { RawConnection } from '../support/raw-connection.ts'
import type { MeasuredProxy } from './measured-proxy.ts'

/** Per client, in bytes: objects of JavaScript, and the process's resident size, which garbage of the logins is part of. */
type IdleCost = { readonly heapBytes: number; readonly residentBytes: number }

const loginsAtOnce = 50
/** Clients that come and go first: what is made once does not count. */
const warmUp = 200

export async function measureIdle(proxy: MeasuredProxy, count: number): Promise<IdleCost> {
  for (const connection of await logIn(proxy, warmUp)) connection.destroy()
  const before = await proxy.held()
  const clients = await logIn(proxy, count)
  try {
    const after = await proxy.held()
    if (after.sessions < count) throw new Error(`${after.sessions} of ${count} clients are there`)
    return {
      heapBytes: (after.heapBytes - before.heapBytes) / count,
      residentBytes: (after.residentBytes - before.residentBytes) / count,
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
  const { connection } = await rawClient(place)
  connection.send(textBytes('Q', 'SELECT 1'))
  await untilReady(connection)
  return connection
}
