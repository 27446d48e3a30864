// Clients of the TLS tests: `pg` and plain sockets, with certificates of test/support/certificates.
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions, type TLSSocket } from 'node:tls'
import type { ClientTlsOptions } from '../../proxy/client-tls.ts'
import type { ServerTlsOptions } from '../../pool/server-tls.ts'
import type { TlsOptions } from '../../proxy/tls.ts'
import { certificate, certificateFile } from './certificates.ts'

const none = {
  mode: 'disable',
  cert: null,
  key: null,
  ca: null,
  protocols: 'secure',
  ciphers: null,
} as const

/** TLS towards clients with the certificate `server` and the authority `ca`; servers are reached without. */
export function clientTls(change: Partial<ClientTlsOptions>): TlsOptions {
  const cert = certificateFile('server.crt')
  const key = certificateFile('server.key')
  return { client: { ...none, cert, key, ca: certificateFile('ca.crt'), ...change }, server: none }
}

/** TLS towards servers; clients have none. */
export function serverTls(change: Partial<ServerTlsOptions>): TlsOptions {
  return { client: none, server: { ...none, ...change } }
}

/** What a client trusts and, given a name, shows. */
export function trusting(
  shown: Parameters<typeof certificate>[0] | null = null,
): ConnectionOptions {
  const ca = readFileSync(certificateFile('ca.crt'), 'utf8')
  return { ca, servername: 'localhost', ...(shown === null ? {} : certificate(shown)) }
}

/** SSLRequest: eight bytes. */
export const sslRequest = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])
/** GSSENCRequest. */
export const gssRequest = Buffer.from([0, 0, 0, 8, 4, 210, 22, 48])

/** A connected socket. */
export function opened(place: { readonly host: string; readonly port: number }): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: place.host, port: place.port }, () => resolve(socket))
    socket.once('error', reject)
  })
}

/** All that comes until the other side closes. */
export function untilEnd(socket: Socket): Promise<Buffer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('error', () => undefined)
    socket.on('close', () => resolve(Buffer.concat(chunks)))
  })
}

/** The next bytes. */
export function answer(socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    socket.once('data', resolve)
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('closed')))
  })
}

/** TLS inside `socket`, the handshake done. @throws what the handshake fails with */
export function secured(socket: Socket, options: ConnectionOptions): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    socket.removeAllListeners('data')
    const inside = connectTls({ socket, ...options }, () => resolve(inside))
    inside.once('error', reject)
    inside.once('close', () => reject(new Error('closed')))
  })
}
