// Opening a socket to a server: TCP or a Unix socket, and TLS inside it when that is asked for. What comes before the
// handshake is never taken for what comes through it (CVE-2021-23222).
import { connect, type OnReadOpts, type Socket } from 'node:net'
import { connect as connectTls, type TLSSocket } from 'node:tls'
import { tlsServerEndPoint } from '../wire/tls-server-end-point.ts'
import { writeSslRequest } from '../wire/startup.ts'
import { Views } from '../wire/views.ts'
import { Writer } from '../wire/writer.ts'
import type { Attempt, ServerTls, ServerTlsMode } from './server-tls.ts'

/** Where a server listens; a host that begins with a slash is the directory of its Unix socket. */
export type ServerPlace = {
  readonly host: string
  readonly port: number
  /** Absent or null: the mode of the OpenOptions. */
  readonly tlsMode?: ServerTlsMode | null | undefined
}

/** A socket that is connected, and its listeners for 'error' and 'close' are the caller's affair from then on. */
export type OpenedSocket = {
  readonly socket: Socket
  /** Null: not encrypted. */
  readonly tls: ServerTls | null
  /** For SCRAM-SHA-256-PLUS; null without TLS, or where the certificate has none. */
  readonly endPoint: Buffer | null
}

export type OpenOptions = {
  /** Null: there is none, so only `plain` can be attempted. */
  readonly tls: ServerTls | null
  /** Takes what the server sends; `chunk` is valid for the call. */
  readonly received: (chunk: Uint8Array) => void
  /** Where plain sockets read into. */
  readonly readBuffer: Buffer
  readonly keepAliveAfterMs: number | null
  /** Destroys the socket while it is opened, with the signal's reason. */
  readonly signal: AbortSignal
}

const encryptionAccepted = 0x53 // S
const encryptionDeclined = 0x4e // N

/** @throws Error with the reason, in libpq's words where it has some */
export async function openSocket(
  place: ServerPlace,
  attempt: Attempt,
  options: OpenOptions,
): Promise<OpenedSocket> {
  const { tls, signal, received } = options
  const inbox: Inbox = { take: attempt === 'plain' ? received : () => {} }
  const raw = dialSocket(place, options, inbox)
  const stop = () => raw.destroy(reasonOf(signal))
  signal.addEventListener('abort', stop, { once: true })
  try {
    signal.throwIfAborted()
    await untilConnected(raw)
    if (attempt === 'plain' || tls === null) return { socket: raw, tls: null, endPoint: null }
    if (!(await isTlsGranted(raw, inbox))) {
      if (attempt === 'tls') throw new Error('server does not support SSL, but SSL was required')
      inbox.take = received
      return { socket: raw, tls: null, endPoint: null }
    }
    const socket = await secured(raw, place, tls)
    socket.on('data', received)
    const certificate = socket.getPeerX509Certificate()
    const endPoint = certificate === undefined ? null : tlsServerEndPoint(certificate.raw)
    return { socket, tls, endPoint }
  } catch (error) {
    raw.destroy()
    throw signal.aborted ? reasonOf(signal) : error
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

type Inbox = { take: (chunk: Uint8Array) => void }

function dialSocket(place: ServerPlace, options: OpenOptions, inbox: Inbox): Socket {
  const { readBuffer, keepAliveAfterMs } = options
  const views = new Views(readBuffer)
  const onread: OnReadOpts = {
    buffer: readBuffer,
    callback: (count) => {
      inbox.take(views.first(count))
      return true
    },
  }
  const { host, port } = place
  const where = host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : { host, port }
  const probed = { keepAlive: true, keepAliveInitialDelay: keepAliveAfterMs ?? 0 }
  return connect({ ...where, ...(keepAliveAfterMs === null ? {} : probed), noDelay: true, onread })
}

function untilConnected(socket: Socket): Promise<void> {
  return settled(socket, 'the server closed the connection', (resolve) => {
    socket.once('connect', resolve)
  })
}

/** Sends SSLRequest and waits for the one byte that answers it. */
function isTlsGranted(raw: Socket, inbox: Inbox): Promise<boolean> {
  return settled(
    raw,
    'the server closed the connection after an SSL request',
    (resolve, reject) => {
      inbox.take = (chunk) => {
        // Whatever follows was not encrypted.
        inbox.take = () => raw.destroy(new Error('received unencrypted data after SSL response'))
        const [answer] = chunk
        if (chunk.length > 1) reject(new Error('received unencrypted data after SSL response'))
        else if (answer === encryptionAccepted || answer === encryptionDeclined) {
          resolve(answer === encryptionAccepted)
        } else reject(new Error('received invalid response to SSL negotiation'))
      }
      const writer = new Writer(8)
      writeSslRequest(writer)
      raw.write(writer.take())
    },
  )
}

function secured(raw: Socket, place: ServerPlace, tls: ServerTls): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ socket: raw, ...tls.handshake(place) })
    const fail = (error: Error) => reject(tlsError(error, place))
    const closed = () => reject(new Error('the server closed the connection during the handshake'))
    socket.once('error', fail).once('close', closed)
    raw.once('error', fail)
    socket.once('secureConnect', () => {
      socket.off('error', fail).off('close', closed)
      // Errors of the socket beneath come out of this one.
      raw.off('error', fail).on('error', () => {})
      resolve(socket)
    })
  })
}

/** One outcome, or the socket's own error; no listener stays. */
function settled<T>(
  socket: Socket,
  whenClosed: string,
  begin: (resolve: (value: T) => void, reject: (error: Error) => void) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const closed = () => reject(new Error(whenClosed))
    const leave = () => socket.off('error', failed).off('close', closed)
    const failed = (error: Error) => {
      leave()
      reject(error)
    }
    socket.on('error', failed).on('close', closed)
    begin((value) => {
      leave()
      resolve(value)
    }, failed)
  })
}

function tlsError(error: Error, { host }: ServerPlace): Error {
  const code = 'code' in error ? String(error.code) : ''
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const name = /(?:DNS:|IP Address:|cert's CN: )([^\s,]+)/.exec(error.message)?.[1] ?? ''
    return new Error(`server certificate for "${name}" does not match host name "${host}"`)
  }
  // OpenSSL's own have a name from its list; those of its verification have not.
  if (/^[A-Z][A-Z_]+$/.test(code) && !code.startsWith('E')) {
    return new Error(`SSL error: certificate verify failed (${error.message})`)
  }
  return new Error(`SSL error: ${error.message}`)
}

function reasonOf(signal: AbortSignal): Error {
  const reason: unknown = signal.reason
  return reason instanceof Error ? reason : new Error(String(reason))
}
