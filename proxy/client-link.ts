// An accepted connection from its first byte to its last: the socket, which TLS may come to wrap, and who receives its
// bytes: the login, then the session or the admin console.
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
  received(chunk: Uint8Array): void
}

/** Who has taken the connection over, and wants to know when it is gone. */
export type Entered = { readonly receiver: Receiver; readonly closed: () => void }

type ClientLinkOptions = {
  readonly sockets: ClientSockets
  readonly turn: FlushTurn
  readonly policy: LoginPolicy
  readonly tls: ClientTls
  readonly limits: {
    readonly frameBytesMax: number
    readonly frameBytesBeforeLoginMax: number
    readonly loginTimeoutMs: number
  }
  readonly cancel: (pid: number, secret: Uint8Array) => Promise<void>
  /** @throws PgError refusal */
  readonly enter: (login: LoggedIn) => Promise<Entered>
  readonly closed: (link: ClientLink) => void
}

export class ClientLink {
  readonly #options: ClientLinkOptions
  readonly #context: ProxyContext
  readonly #login: Login
  #socket: Socket
  #receiver: Receiver
  #left: () => void = () => {}

  constructor(accepted: Socket, way: Way, options: ClientLinkOptions, context: ProxyContext) {
    // Read before: one that has just been reset must not pass for a client of the Unix socket.
    const address = way === 'unix' ? '' : (accepted.remoteAddress ?? 'unknown')
    const socket = options.sockets.adopt(accepted, (chunk) => this.#receiver.received(chunk))
    this.#options = options
    this.#context = context
    this.#socket = socket
    const { limits, policy, tls, turn, cancel } = options
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
        cancel,
        enter: (login) => this.#enter(login),
      },
      context,
    )
    this.#receiver = this.#login
    this.#listen(socket)
    socket.on('close', () => {
      options.closed(this)
      this.#login.finish()
      this.#left()
    })
  }

  /** Before the login. */
  refuse(error: PgError): void {
    this.#login.refuse(error)
  }

  /** Closes the socket once what was sent is out. */
  end(): void {
    this.#socket.destroySoon()
  }

  destroy(): void {
    this.#socket.destroy()
  }

  #listen(socket: Socket): void {
    socket.on('end', () => socket.end())
    socket.on('error', (error) => this.#context.log.debug({ error }, 'client socket failed'))
  }

  /** A TLS socket closes the one beneath it, and the other way round. */
  #startTls(hello: Uint8Array | null, then: (transport: Transport) => void): void {
    const raw = this.#socket
    raw.removeAllListeners('data')
    this.#options.tls.secure(raw, hello, (socket, tls) => {
      this.#socket = socket
      then({ socket, outbox: new Outbox(socket, this.#options.turn), tls })
      this.#listen(socket)
      socket.on('data', (chunk) => this.#receiver.received(chunk))
    })
  }

  async #enter(login: LoggedIn): Promise<void> {
    const { receiver, closed } = await this.#options.enter(login)
    this.#receiver = receiver
    this.#left = closed
    login.framer.frameBytesMax = this.#options.limits.frameBytesMax
    if (login.transport.socket.destroyed) closed()
  }
}
