// One accepted connection until it is somebody: encryption, startup packet, authentication (authentication.ts), then a
// session or the admin console takes the socket over. Everything here is bounded in bytes and in time.
//
// States: startup ⇄ securing (TLS handshake) → authenticating → opening (settings are validated) → done
import type { Timer } from '../core/clock.ts'
import { PgError, pgError, toPgError } from '../core/errors.ts'
import { writeErrorResponse, writeNegotiateProtocolVersion } from '../wire/backend.ts'
import { frontend } from '../wire/codes.ts'
import { Framer } from '../wire/framer.ts'
import { beginsStartup, decodeStartupPacket, startupPacketLength } from '../wire/startup.ts'
import { Writer } from '../wire/writer.ts'
import type { Account } from './accounts.ts'
import { Authentication } from './authentication.ts'
import type { Transport } from './client-link.ts'
import type { ClientTlsMode } from './client-tls.ts'
import type { ProxyContext } from './context.ts'
import type { Way } from './listener.ts'
import type { LoginPolicy } from './login-policy.ts'
import { type ClientStartup, isPhysical, readStartup } from './startup-parameters.ts'
import { refusalByTls } from './tls-refusal.ts'

/** What a client has become: the owner of the socket from now on. */
export type LoggedIn = {
  readonly account: Account
  readonly startup: ClientStartup
  readonly framer: Framer
  readonly transport: Transport
}

export type LoginOptions = {
  readonly transport: Transport
  readonly way: Way
  readonly policy: LoginPolicy
  /** The peer's; '' on a Unix socket. */
  readonly address: string
  readonly frameBytesMax: number
  readonly loginTimeoutMs: number
  readonly tlsMode: ClientTlsMode
  /**
   * Goes on inside TLS, or closes the connection. `hello`: the client's first bytes of TLS, where it has not asked before.
   */
  readonly startTls: (hello: Uint8Array | null, then: (transport: Transport) => void) => void
  /** Answers a CancelRequest; the connection is closed once it has resolved. */
  readonly cancel: (pid: number, secret: Uint8Array) => Promise<void>
  /** Takes over. Bytes that came too early stay in the framer. @throws PgError refusal */
  readonly enter: (login: LoggedIn) => Promise<void>
}

type State =
  | { readonly kind: 'startup' }
  | { readonly kind: 'securing' }
  | { readonly kind: 'authenticating'; readonly authentication: Authentication }
  | { readonly kind: 'opening' }
  | { readonly kind: 'done' }

type Encryption = 'SSL' | 'GSSAPI encryption'

const latestMinor = 2
const tlsHandshake = 0x16
const [accepted, declined] = [Uint8Array.of(0x53), Uint8Array.of(0x4e)] // S, N
const nothing = new Uint8Array(0)
const injected =
  'This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.'

export class Login {
  readonly #options: LoginOptions
  readonly #context: ProxyContext
  readonly #framer: Framer
  readonly #deadline: Timer
  /** What the client has asked for and was refused; it may not ask again. */
  readonly #declined = new Set<Encryption>()
  #transport: Transport
  #state: State = { kind: 'startup' }
  #early: Buffer = Buffer.alloc(0)
  #untouched = true

  constructor(options: LoginOptions, context: ProxyContext) {
    this.#options = options
    this.#context = context
    this.#transport = options.transport
    this.#framer = new Framer(options.frameBytesMax)
    const { loginTimeoutMs } = options
    this.#deadline = context.clock.after(loginTimeoutMs, () =>
      this.refuse(pgError('loginTimeout', [loginTimeoutMs])),
    )
  }

  /** Bytes from the client; `chunk` may be reused when the call returns. */
  received(chunk: Uint8Array): void {
    try {
      if (this.#state.kind === 'startup') this.#collect(chunk)
      // Nothing but the handshake may read now.
      else if (this.#state.kind === 'securing') this.#transport.socket.destroy()
      // Who has asked to cancel, or was refused, has nothing more to say.
      else if (this.#state.kind === 'done') return
      else {
        this.#framer.push(chunk)
        this.#pump()
      }
      this.#framer.own()
    } catch (error) {
      this.refuse(toPgError(error))
    }
  }

  /** Nothing of a login is so long that it has to wait. */
  drained(): void {}

  /** The connection is gone. */
  close(): void {
    this.#finish()
  }

  #finish(): void {
    this.#deadline.cancel()
    if (this.#state.kind === 'authenticating') this.#state.authentication.end()
    this.#state = { kind: 'done' }
  }

  /** Ends the connection, with a FATAL error where the client can read one. */
  refuse(error: PgError): void {
    const { outbox, socket } = this.#transport
    const readable = this.#state.kind !== 'securing'
    this.#finish()
    this.#context.metrics.logins.inc({ outcome: error.sqlstate })
    if (!readable) {
      socket.destroy()
      return
    }
    this.#send((writer) => writeErrorResponse(writer, fatalOf(error)))
    outbox.flush()
    socket.destroySoon()
  }

  /** Startup packets have no type byte: they are gathered by their length alone. */
  #collect(chunk: Uint8Array): void {
    if (this.#untouched && chunk[0] === tlsHandshake) return this.#directTls(chunk)
    this.#untouched = false
    this.#early = Buffer.concat([this.#early, chunk])
    while (this.#state.kind === 'startup' && this.#early.length >= 4) {
      if (!beginsStartup(this.#early)) {
        // Without a word, as PostgreSQL does.
        this.#context.metrics.logins.inc({ outcome: '08P01' })
        return this.#hangUp()
      }
      const length = startupPacketLength(this.#early)
      if (this.#early.length < length) return
      const packet = this.#early.subarray(0, length)
      this.#early = this.#early.subarray(length)
      this.#take(packet)
    }
    this.#pump()
  }

  #take(bytes: Uint8Array): void {
    const packet = decodeStartupPacket(bytes)
    switch (packet.kind) {
      case 'ssl':
        return this.#encrypt('SSL', '1234.5679')
      case 'gssenc':
        return this.#encrypt('GSSAPI encryption', '1234.5680')
      case 'cancel':
        return this.#cancel(packet.pid, packet.secret)
      case 'startup':
        this.#framer.push(this.#early)
        this.#early = Buffer.alloc(0)
        return this.#begin(packet.major, packet.minor, packet.parameters)
    }
  }

  /**
   * The client asks for encryption: once for each kind and never inside TLS. What follows in the same read was not
   * encrypted, so it may not be taken for what comes through TLS (CVE-2021-23222).
   */
  #encrypt(kind: Encryption, version: string): void {
    const { outbox, tls } = this.#transport
    if (tls !== null || this.#declined.has(kind)) throw pgError('unsupportedProtocol', [version])
    const detail = injected
    const smuggled = () =>
      pgError('protocolViolation', [`received unencrypted data after ${kind} request`], { detail })
    const { tlsMode, way } = this.#options
    if (kind === 'SSL' && tlsMode !== 'disable' && way === 'tcp') {
      if (this.#early.length > 0) throw smuggled()
      outbox.append(accepted)
      outbox.flush()
      return this.#startTls(null)
    }
    this.#declined.add(kind)
    outbox.append(declined)
    if (this.#early.length > 0) throw smuggled()
  }

  /** TLS without a question before it; whoever may have none of it is hung up on, as by PostgreSQL. */
  #directTls(hello: Uint8Array): void {
    const { tlsMode, way } = this.#options
    if (tlsMode === 'disable' || way === 'unix') return this.#hangUp()
    this.#startTls(hello)
  }

  #startTls(hello: Uint8Array | null): void {
    this.#untouched = false
    this.#state = { kind: 'securing' }
    this.#options.startTls(hello, (transport) => {
      if (this.#state.kind !== 'securing') return
      this.#transport = transport
      // Nobody says without ALPN that it is PostgreSQL's protocol which comes without a question.
      if (hello !== null && transport.tls?.protocolAgreed !== true) return this.#hangUp()
      this.#state = { kind: 'startup' }
    })
  }

  #begin(major: number, minor: number, parameters: ReadonlyMap<string, string>): void {
    if (major !== 3) throw pgError('unsupportedProtocol', [`${major}.${minor}`])
    const startup = readStartup(parameters, Math.min(minor, latestMinor))
    const { policy, address, way, tlsMode } = this.#options
    const { tls, socket } = this.#transport
    const refusal = refusalByTls({ tlsMode, way, tls, address, startup })
    if (refusal !== null) throw refusal
    if (minor > latestMinor || startup.unknownOptions.length > 0) {
      this.#send((w) => writeNegotiateProtocolVersion(w, startup.minor, startup.unknownOptions))
    }
    const { user, database } = startup
    const authentication = new Authentication({
      policy,
      wish: { user, database, replication: isPhysical(startup) },
      origin: {
        address,
        encrypted: tls !== null,
        channelBinding: tls?.serverEndPoint ?? null,
        certificate: tls?.certificate ?? null,
        mustBeNamed: tlsMode === 'verify-full' && way === 'tcp',
      },
      clock: this.#context.clock,
      send: (write) => this.#send(write),
      accepted: (account) => this.#accept(account, startup),
      refused: (error) => this.refuse(error),
      hold: () => socket.pause(),
      go: () => this.#goOn(),
    })
    this.#state = { kind: 'authenticating', authentication }
    authentication.begin()
  }

  #pump(): void {
    while (this.#state.kind === 'authenticating' && !this.#state.authentication.waits) {
      const frame = this.#framer.next()
      if (frame === undefined) return
      if (frame.code !== frontend.password) {
        throw pgError('protocolViolation', [`expected password response, got type ${frame.code}`])
      }
      this.#state.authentication.received(frame.bytes)
    }
  }

  /** The authentication has waited for something; now the client is listened to again. */
  #goOn(): void {
    if (this.#state.kind !== 'authenticating') return
    this.#transport.socket.resume()
    this.received(nothing)
  }

  #accept(account: Account, startup: ClientStartup): void {
    const { enter } = this.#options
    const transport = this.#transport
    this.#state = { kind: 'opening' }
    // What comes before ReadyForQuery waits in the socket.
    transport.socket.pause()
    this.#framer.own()
    enter({ account, startup, framer: this.#framer, transport }).then(
      () => {
        this.#deadline.cancel()
        this.#context.metrics.logins.inc({ outcome: 'ok' })
        transport.socket.resume()
      },
      (error: unknown) => {
        // Who is gone has been counted.
        if (!transport.socket.destroyed) this.refuse(toPgError(error))
      },
    )
  }

  /** The client takes the end of this connection for the sign that the cancel was delivered. */
  #cancel(pid: number, secret: Uint8Array): void {
    this.#finish()
    const hangUp = () => this.#hangUp()
    this.#options.cancel(pid, secret).then(hangUp, hangUp)
  }

  #hangUp(): void {
    this.#finish()
    this.#transport.outbox.flush()
    this.#transport.socket.destroySoon()
  }

  #send(write: (writer: Writer) => void): void {
    const writer = new Writer(128)
    write(writer)
    this.#transport.outbox.append(writer.bytes())
  }
}

/** Before ReadyForQuery every error ends the connection. */
function fatalOf(error: PgError): PgError {
  const { sqlstate, detail, hint } = error
  return new PgError(error.message, { sqlstate, severity: 'FATAL', detail, hint })
}
