// Cancelling exactly one statement. A CancelRequest names a server process, not a statement, and travels on
// a connection of its own: until that has closed the server is kept from everybody else. PostgreSQL closes
// it after it has signalled the process, and a signal that finds the process idle is dropped when the next
// command is read (tcop/postgres.c), so it cannot hit the next client's statement.
import { connect } from 'node:net'
import { writeCancelRequest } from '../wire/startup.ts'
import { Writer } from '../wire/writer.ts'
import type { ServerConnection } from './server-connection.ts'

const cancelTimeoutMs = 5_000

/**
 * Asks the server to stop what it does for its present client. Resolves once the request has been delivered
 * or has failed: a cancel is a wish, there is nothing to report.
 */
export async function cancelStatement(server: ServerConnection): Promise<void> {
  const { target } = server
  server.cancelsInFlight += 1
  const writer = new Writer(32)
  writeCancelRequest(writer, server.processId, server.secret)
  const place = target.host.startsWith('/')
    ? { path: `${target.host}/.s.PGSQL.${target.port}` }
    : { host: target.host, port: target.port }
  await new Promise<void>((resolve) => {
    const socket = connect({ ...place, noDelay: true })
    socket.setTimeout(cancelTimeoutMs, () => socket.destroy())
    socket.on('connect', () => socket.end(writer.take()))
    socket.on('error', () => socket.destroy())
    socket.on('close', () => resolve())
    socket.resume()
  })
  server.cancelsInFlight -= 1
}
