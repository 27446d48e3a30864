// CancelRequests as libpq sends them, over a connection of their own.
import type { Client } from 'pg'
import { cancelBytes } from './frontend-bytes.ts'
import { RawConnection } from './raw-connection.ts'
import type { Place } from './stack.ts'

const closedWithinMs = 10_000

/** For what the client with that key is doing: body of its BackendKeyData. Resolves once the proxy has closed the connection. */
export async function cancel(place: Pick<Place, 'host' | 'port'>, key: Buffer): Promise<void> {
  const connection = await RawConnection.open(place)
  connection.send(cancelBytes(key))
  const arrival = await connection.next(closedWithinMs)
  if (arrival !== 'closed') throw new Error('a cancel request was answered, or not taken')
}

/** Key of a client of protocol 3.0. */
export function cancelKeyOf(client: Client): Buffer {
  const key = Buffer.alloc(8)
  for (const [at, name] of ['processID', 'secretKey'].entries()) {
    const value: unknown = Reflect.get(client, name)
    if (typeof value !== 'number') throw new Error(`a client that is logged in has a ${name}`)
    key.writeInt32BE(value, at * 4)
  }
  return key
}
