// Cancelling exactly one statement. A CancelRequest names a server process, not a statement, and travels on
// a connection of its own: until that has closed the server is kept from everybody else. PostgreSQL closes
// it after it has signalled the process, and a signal that finds the process idle is dropped when the next
// command is read (tcop/postgres.c), so it cannot hit the next client's statement. A request that was sent, and of which it
// is not known whether it has arrived, may arrive at any time: its server serves nobody else any more.
import type { Socket } from 'node:net'
import { writeCancelRequest } from '../wire/startup.ts'
import { Writer } from '../wire/writer.ts'
import { openSocket } from './connect.ts'
import type { ServerConnection } from './server-connection.ts'

/**
 * Asks the server to stop what it does for its present client. Resolves once the request has been delivered
 * or has failed: a cancel is a wish, there is nothing to report. Its key travels encrypted if the connection does.
 */
export function cancelStatement(server: ServerConnection, cancelTimeoutMs: number): Promise<void> {
  const sent = send(server, cancelTimeoutMs).finally(() => server.cancels.delete(sent))
  server.cancels.add(sent)
  return sent
}

async function send(server: ServerConnection, cancelTimeoutMs: number): Promise<void> {
  const { target, tls } = server
  const signal = AbortSignal.timeout(cancelTimeoutMs)
  let outcome: Delivery = 'not sent'
  try {
    const opened = await openSocket(target, tls === null ? 'plain' : 'tls', {
      tls,
      received: () => {},
      readBuffer: Buffer.allocUnsafe(64),
      keepAliveAfterMs: null,
      signal,
    })
    const writer = new Writer(32)
    writeCancelRequest(writer, server.processId, server.secret)
    outcome = await delivered(opened.socket, writer.take(), signal)
  } catch {
    // Nobody waits for an answer.
  } finally {
    if (outcome === 'under way') server.expiresAtMs = Number.NEGATIVE_INFINITY
  }
}

type Delivery = 'not sent' | 'under way' | 'delivered'

/** Resolves when the server has closed the connection, or the time is up. */
function delivered(socket: Socket, request: Uint8Array, signal: AbortSignal): Promise<Delivery> {
  return new Promise((resolve) => {
    let outcome: Delivery = 'under way'
    signal.addEventListener('abort', () => socket.destroy(), { once: true })
    socket.on('error', () => socket.destroy())
    socket.on('end', () => {
      outcome = 'delivered'
    })
    socket.on('close', () => resolve(outcome))
    socket.end(request)
  })
}
