// A CancelRequest as libpq sends it.
import { once } from 'node:events'
import { connect } from 'node:net'
import type { Client } from 'pg'
import type { Place } from '../support/stack.ts'

/** Over a connection of its own to the same port; resolves once the proxy has closed that. */
export async function cancelThroughPort({ host, port }: Place, client: Client): Promise<void> {
  const { processID, secretKey } = keyOf(client)
  const socket = connect(port, host)
  const bytes = Buffer.alloc(16)
  bytes.writeInt32BE(16, 0)
  bytes.writeInt32BE(80_877_102, 4)
  bytes.writeInt32BE(processID, 8)
  bytes.writeInt32BE(secretKey, 12)
  socket.end(bytes)
  socket.resume()
  await once(socket, 'close')
}

function keyOf(client: Client): { readonly processID: number; readonly secretKey: number } {
  const [processID, secretKey]: unknown[] = [
    Reflect.get(client, 'processID'),
    Reflect.get(client, 'secretKey'),
  ]
  if (typeof processID !== 'number' || typeof secretKey !== 'number') throw new Error('no key')
  return { processID, secretKey }
}
