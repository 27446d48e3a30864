// TLS towards clients: the certificate that they are shown, whether they may or must use it, and what it has proven of
// them. The files can be read again at any time; connections that are open keep what they were opened with.
import { constants, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { createServer, type Server, type TlsOptions, type TLSSocket } from 'node:tls'
import { tlsServerEndPoint } from '../wire/tls-server-end-point.ts'
import { type ClientCertificate, describeCertificate } from './client-certificate.ts'

/** As PgBouncer's client_tls_sslmode. */
export type ClientTlsMode = 'disable' | 'allow' | 'prefer' | 'require' | 'verify-ca' | 'verify-full'

/** Paths of PEM files; `cert` and `key` are there unless `mode` is disable, `ca` where the mode verifies. */
export type ClientTlsOptions = {
  readonly mode: ClientTlsMode
  readonly cert: string | null
  readonly key: string | null
  readonly ca: string | null
  readonly protocols: 'secure' | 'tlsv1.2' | 'tlsv1.3'
  /** As OpenSSL lists them; null: Node's own choice. */
  readonly ciphers: string | null
}

/** What TLS says of a client's connection. */
export type ClientTlsFacts = {
  /** For SCRAM-SHA-256-PLUS; null where the certificate allows no channel binding. */
  readonly serverEndPoint: Buffer | null
  /** What the client has shown, if an authority of `ca` has signed it. */
  readonly certificate: ClientCertificate | null
  /** PostgreSQL’s protocol was agreed upon by ALPN: without it direct TLS is nothing. */
  readonly protocolAgreed: boolean
  /** Why what it has shown is not trusted; null when nothing was shown, or all is well. */
  readonly distrust: string | null
}

/** Continues a connection once its handshake is through. */
export type Secured = (socket: TLSSocket, facts: ClientTlsFacts) => void

/** Protocol name that direct TLS must agree upon (RFC 7301; PostgreSQL 17, "SSL Session Encryption"). */
const alpnProtocol = 'postgresql'

export class ClientTls {
  readonly #handshakes = new Map<string, Secured>()
  readonly #failed: (error: Error) => void
  #options: ClientTlsOptions
  /** It listens nowhere; null while the mode is disable. */
  #server: Server | null

  /** `failed` hears of handshakes that come to nothing. @throws Error naming the setting and what is wrong with its file */
  constructor(options: ClientTlsOptions, failed: (error: Error) => void) {
    this.#failed = failed
    this.#options = options
    this.#server = this.#load(options)
  }

  get mode(): ClientTlsMode {
    return this.#options.mode
  }

  /** Files whose change asks for a reload. */
  get files(): readonly string[] {
    const { cert, key, ca } = this.#options
    return [cert, key, ca].filter((file) => file !== null)
  }

  get options(): ClientTlsOptions {
    return this.#options
  }

  /** Reads the files; what it gives makes further handshakes go by them. @throws Error as the constructor does */
  prepare(options: ClientTlsOptions): () => void {
    const server = this.#load(options)
    return () => {
      this.#server = server
      this.#options = options
    }
  }

  /**
   * Goes on with `raw` inside TLS; nobody else may read from it any more. `hello`: what has been read of the client's
   * handshake already. A handshake that fails closes the socket.
   */
  secure(raw: Socket, hello: Uint8Array | null, secured: Secured): void {
    const key = connectionName(raw)
    if (this.#server === null || key === undefined) {
      raw.destroy()
      return
    }
    this.#handshakes.set(key, secured)
    raw.once('close', () => this.#handshakes.delete(key))
    raw.pause()
    if (hello !== null) raw.unshift(Buffer.from(hello))
    this.#server.emit('connection', raw)
  }

  #load(options: ClientTlsOptions): Server | null {
    if (options.mode === 'disable') return null
    const cert = readSetting('cert', options.cert)
    const key = readSetting('key', options.key)
    const ca = options.ca === null ? null : readSetting('ca', options.ca)
    const server = createTlsServer(options, { cert, key, ca })
    const serverEndPoint = tlsServerEndPoint(new X509Certificate(cert).raw)
    server.on('secureConnection', (socket) => this.#secured(socket, serverEndPoint))
    server.on('tlsClientError', (error) => this.#failed(error))
    return server
  }

  #secured(socket: TLSSocket, serverEndPoint: Buffer | null): void {
    const key = connectionName(socket)
    const secured = key === undefined ? undefined : this.#handshakes.get(key)
    if (key === undefined || secured === undefined) {
      socket.destroy()
      return
    }
    this.#handshakes.delete(key)
    const shown = socket.getPeerX509Certificate()
    const certificate = shown !== undefined && socket.authorized ? describeCertificate(shown) : null
    const distrust =
      shown === undefined || socket.authorized ? null : String(socket.authorizationError)
    const protocolAgreed = socket.alpnProtocol === alpnProtocol
    secured(socket, { serverEndPoint, certificate, protocolAgreed, distrust })
  }
}

function createTlsServer(
  { protocols, ciphers }: ClientTlsOptions,
  { cert, key, ca }: { readonly cert: Buffer; readonly key: Buffer; readonly ca: Buffer | null },
): Server {
  const options: TlsOptions = {
    cert,
    key,
    // Without authorities of one's own nobody is trusted: Node's list is for the web.
    ...(ca === null ? { ca: [] } : { ca, requestCert: true }),
    // Who is not trusted is told so, in words and inside TLS.
    rejectUnauthorized: false,
    ALPNProtocols: [alpnProtocol],
    minVersion: protocols === 'tlsv1.3' ? 'TLSv1.3' : 'TLSv1.2',
    maxVersion: protocols === 'tlsv1.2' ? 'TLSv1.2' : 'TLSv1.3',
    ...(ciphers === null ? {} : { ciphers }),
    // As in PostgreSQL: a session that is resumed would bring back a trust that may have been withdrawn.
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  }
  try {
    return createServer(options)
  } catch (cause) {
    throw new Error(`TLS towards clients cannot be set up: ${messageOf(cause)}`, { cause })
  }
}

function readSetting(name: 'cert' | 'key' | 'ca', file: string | null): Buffer {
  if (file === null) throw new Error(`tls.client.${name} is missing`)
  try {
    return readFileSync(file)
  } catch (cause) {
    throw new Error(`tls.client.${name} cannot be read: ${messageOf(cause)}`, { cause })
  }
}

/** The four numbers that name a TCP connection; undefined once it is gone. TLS sockets tell those of their own. */
function connectionName(socket: Socket): string | undefined {
  const { remoteAddress, remotePort, localAddress, localPort } = socket
  if (remoteAddress === undefined || localAddress === undefined) return undefined
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
