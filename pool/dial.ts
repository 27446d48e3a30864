// Opening a server connection: the socket, then the login (server-login.ts) up to the first ReadyForQuery.
// Everything within one deadline.
import { connect, type OnReadOpts } from 'node:net'
import type { Clock } from '../core/clock.ts'
import type { FlushTurn } from './outbox.ts'
import { ServerConnection, type ServerTarget } from './server-connection.ts'
import { ServerLogin } from './server-login.ts'

export type DialOptions = {
  readonly turn: FlushTurn
  /** Shared by all server sockets: a chunk is consumed before the next read starts. */
  readonly readBuffer: Buffer
  readonly clock: Clock
  readonly connectTimeoutMs: number
  readonly wholeBytesMax: number
}

// The system's own two hours are long for who waits on a server whose machine is gone. Ten more probes follow, one
// each second (uv_tcp_keepalive). Servers of a shard with replicas are looked at anyway; a single one is not.
const keepAliveAfterMs = 30_000

/** Dials and logs in. @throws PgError 08001 with the server's own words when that fails. */
export async function dial(target: ServerTarget, options: DialOptions): Promise<ServerConnection> {
  let receive: (chunk: Uint8Array) => void = () => {}
  const onread: OnReadOpts = {
    buffer: options.readBuffer,
    callback: (count, buffer) => {
      receive(buffer.subarray(0, count))
      return true
    },
  }
  const place = target.host.startsWith('/')
    ? { path: `${target.host}/.s.PGSQL.${target.port}` }
    : { host: target.host, port: target.port }
  const keepAlive = { keepAlive: true, keepAliveInitialDelay: keepAliveAfterMs }
  const socket = connect({ ...place, ...keepAlive, noDelay: true, onread })
  const login = new ServerLogin(socket, target)
  receive = (chunk) => login.received(chunk)
  const deadline = options.clock.after(options.connectTimeoutMs, () =>
    login.fail(`no answer within ${options.connectTimeoutMs} ms`),
  )
  try {
    const identity = await login.done
    const server = new ServerConnection(
      socket,
      options.turn,
      { ...identity, target, connectedAtMs: options.clock.nowMs() },
      options.wholeBytesMax,
    )
    receive = (chunk) => server.received(chunk)
    socket.removeAllListeners('close').removeAllListeners('error')
    socket.on('error', (error) => server.died(error.message))
    socket.on('close', () => server.died('the server closed the connection'))
    return server
  } finally {
    deadline.cancel()
  }
}
