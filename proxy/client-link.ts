// An accepted connection from its first byte to its last: the socket, which TLS may come to wrap, and who receives its
// bytes: the login, then the session or the admin console. There are thousands that say nothing: what a link needs is the
// same object for all of them, and nothing of the login is left when that is over.
import type { Socket } from 'node:net'
import type { PgError } from '../core/errors.ts'
import { type FlushTurn, Outbox } from '../pool/outbox.ts'
import type { ClientSockets } from './client-socket.ts'
import type { ClientTls, ClientTlsFacts } from './client-tls.ts'
import type { ProxyContext } from './context.ts'
import type { Way } from './listener.ts'
import { type LoggedIn, Login } from './login.ts'
import type { LoginPolicy } from './login-policy.ts'

/** A socket that bytes can be sent to and read from, as they are. */
export type Transport = {
  readonly socket: Socket
  readonly outbox: Outbox
  /** Null: not encrypted. */
  readonly tls: ClientTlsFacts | null
}

/** What receives a client's bytes: the login, then the session or the admin console. */
export interface Receiver {
  /** `chunk` may be reused when the call returns. */
  received(chunk: Uint8Array): void
  /** The socket was full and takes bytes again. */
  drained(): void
  /** The connection is gone. */
  close(): void
}

/** The proxy, as all its links see it. */
export interface LinkHost {
  readonly sockets: ClientSockets
  readonly turn: FlushTurn
  readonly policy: LoginPolicy
  readonly clientTls: ClientTls
  readonly limits: {
    readonly frameBytesMax: number
    readonly frameBytesBeforeLoginMax: number
    readonly loginTimeoutMs: number
  }
  cancel(pid: number, secret: Uint8Array): Promise<void>
  /** Who takes the connection over. @throws PgError refusal */
  enter(login: LoggedIn, link: ClientLink): Promise<Receiver>
  closed(link: ClientLink): void
  /** A socket has met an error; it closes. */
  readonly failed: (error: Error) => void
}

export class ClientLink {
  readonly #host: LinkHost
  #socket: Socket
  /** Null once it is over. */
  #login: Login | null
  #receiver: Receiver

  constructor(accepted: Socket, way: Way, host: LinkHost, context: ProxyContext) {
    // Read before: one that has just been reset must not pass for a client of the Unix socket.
    const address = way === 'unix' ? '' : (accepted.remoteAddress ?? 'unknown')
    const socket = host.sockets.adopt(accepted, this)
    this.#host = host
    this.#socket = socket
    const { limits, policy, clientTls: tls, turn } = host
    this.#login = new Login(
      {
        transport: { socket, outbox: new Outbox(socket, turn), tls: null },
        way,
        policy,
        address,
        frameBytesMax: limits.frameBytesBeforeLoginMax,
        loginTimeoutMs: limits.loginTimeoutMs,
        tlsMode: tls.mode,
        startTls: (hello, then) => this.#startTls(hello, then),
        cancel: (pid, secret) => host.cancel(pid, secret),
        enter: (login) => this.#enter(login),
      },
      context,
    )
    this.#receiver = this.#login
    this.#listen(socket)
    socket.on('close', () => this.#closed())
  }

  /** Bytes from the client. */
  received(chunk: Uint8Array): void {
    this.#receiver.received(chunk)
  }

  /** Before the login is over. */
  refuse(error: PgError): void {
    this.#login?.refuse(error)
  }

  /** Closes the socket once what was sent is out. */
  end(): void {
    this.#socket.destroySoon()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  /** A client that ends its side is answered by the end of ours: the socket does that by itself (allowHalfOpen is off). */
  #listen(socket: Socket): void {
    socket.on('drain', () => this.#receiver.drained())
    socket.on('error', this.#host.failed)
  }

  #closed(): void {
    this.#host.closed(this)
    this.#receiver.close()
  }

  /** A TLS socket closes the one beneath it, and the other way round. */
  #startTls(hello: Uint8Array | null, then: (transport: Transport) => void): void {
    const raw = this.#socket
    raw.removeAllListeners('data')
    this.#host.clientTls.secure(raw, hello, (socket, tls) => {
      this.#socket = socket
      then({ socket, outbox: new Outbox(socket, this.#host.turn), tls })
      this.#listen(socket)
      socket.on('data', (chunk) => this.received(chunk))
    })
  }

  async #enter(login: LoggedIn): Promise<void> {
    const receiver = await this.#host.enter(login, this)
    this.#receiver = receiver
    this.#login = null
    login.framer.frameBytesMax = this.#host.limits.frameBytesMax
    if (login.transport.socket.destroyed) receiver.close()
  }
}
