// Opening a server connection: the socket (connect.ts), then the login (server-login.ts) up to the first ReadyForQuery.
// Everything within one deadline.
import type { Clock } from '../core/clock.ts'
import { PgError, pgError } from '../core/errors.ts'
import { openSocket } from './connect.ts'
import type { FlushTurn } from './outbox.ts'
import { ServerConnection, type ServerTarget } from './server-connection.ts'
import { ServerLogin } from './server-login.ts'
import type { Attempt, ServerTls } from './server-tls.ts'

export type DialOptions = {
  readonly turn: FlushTurn
  /** Shared by all server sockets: a chunk is consumed before the next read starts. */
  readonly readBuffer: Buffer
  readonly clock: Clock
  readonly connectTimeoutMs: number
  readonly wholeBytesMax: number
  /** Absent or null: no TLS. */
  readonly tls?: ServerTls | null
}

// The system's own two hours are long for who waits on a server whose machine is gone. Ten more probes follow, one
// each second (uv_tcp_keepalive). Servers of a shard with replicas are looked at anyway; a single one is not.
const keepAliveAfterMs = 30_000

/** Dials and logs in. @throws PgError 08001 with the server's own words when that fails. */
export async function dial(target: ServerTarget, options: DialOptions): Promise<ServerConnection> {
  const [first, second]: readonly Attempt[] = options.tls?.attempts(target) ?? ['plain']
  const abort = new AbortController()
  const { clock, connectTimeoutMs } = options
  const deadline = clock.after(connectTimeoutMs, () =>
    abort.abort(new Error(`no answer within ${connectTimeoutMs} ms`)),
  )
  try {
    return await dialOnce(target, first ?? 'plain', options, abort.signal)
  } catch (error) {
    if (second === undefined || abort.signal.aborted || !isOfEncryption(error)) throw error
    return await dialOnce(target, second, options, abort.signal)
  } finally {
    deadline.cancel()
  }
}

async function dialOnce(
  target: ServerTarget,
  attempt: Attempt,
  options: DialOptions,
  signal: AbortSignal,
): Promise<ServerConnection> {
  const { turn, readBuffer, clock, wholeBytesMax, tls = null } = options
  let receive: (chunk: Uint8Array) => void = () => {}
  const received = (chunk: Uint8Array) => receive(chunk)
  const opened = await openSocket(target, attempt, {
    tls,
    received,
    readBuffer,
    keepAliveAfterMs,
    signal,
  }).catch((cause: unknown) => {
    throw unreachable(target, cause)
  })
  const { socket, endPoint } = opened
  const channelBinding = tls?.channelBinding ?? 'prefer'
  const login = new ServerLogin(socket, target, () => ({ channelBinding, endPoint }))
  receive = (chunk) => login.received(chunk)
  const stop = () => login.fail(messageOf(signal.reason))
  signal.addEventListener('abort', stop, { once: true })
  try {
    const identity = await login.done
    const server = new ServerConnection(
      socket,
      turn,
      { ...identity, target, tls: opened.tls, connectedAtMs: clock.nowMs() },
      wholeBytesMax,
    )
    receive = (chunk) => server.received(chunk)
    login.leave()
    socket.on('error', (error) => server.died(error.message))
    socket.on('close', () => server.died('the server closed the connection'))
    return server
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

/** A handshake that failed, or a login that the server may refuse for want of encryption, or for its presence. */
function isOfEncryption(error: unknown): boolean {
  if (!(error instanceof PgError)) return false
  if (error.sqlstate === '28000') return true
  return error.cause instanceof Error && error.cause.message.startsWith('SSL error')
}

function unreachable(target: ServerTarget, cause: unknown): PgError {
  return pgError('serverUnreachable', [target.shard, messageOf(cause)], { cause })
}

function messageOf(thrown: unknown): string {
  // Node puts the attempts at several addresses into an AggregateError without a message.
  const errors: readonly unknown[] = thrown instanceof AggregateError ? thrown.errors : [thrown]
  return errors.map((error) => (error instanceof Error ? error.message : String(error))).join('; ')
}
