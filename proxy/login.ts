// One accepted connection until it is somebody: startup packet, authentication (authentication.ts), then a
// session or the admin console takes the socket over. Everything here is bounded in bytes and in time.
//
// States: startup → authenticating → opening (settings are validated) → done
import type { Socket } from 'node:net'
import type { Timer } from '../core/clock.ts'
import { PgError, pgError, toPgError } from '../core/errors.ts'
import type { Outbox } from '../pool/outbox.ts'
import { writeErrorResponse, writeNegotiateProtocolVersion } from '../wire/backend.ts'
import { frontend } from '../wire/codes.ts'
import { Framer } from '../wire/framer.ts'
import { decodeStartupPacket, startupPacketLength } from '../wire/startup.ts'
import { Writer } from '../wire/writer.ts'
import type { Account, Accounts } from './accounts.ts'
import { Authentication } from './authentication.ts'
import type { ProxyContext } from './context.ts'
import { type ClientStartup, readStartup } from './startup-parameters.ts'

/** What a client has become: the owner of the socket from now on. */
export type LoggedIn = {
  readonly account: Account
  readonly startup: ClientStartup
  readonly framer: Framer
}

export type LoginOptions = {
  readonly socket: Socket
  readonly outbox: Outbox
  readonly accounts: Accounts
  readonly address: string
  readonly frameBytesMax: number
  readonly loginTimeoutMs: number
  /** Answers a CancelRequest; the connection is closed afterwards. */
  readonly cancel: (pid: number, secret: Uint8Array) => Promise<void>
  /** Takes over. Bytes that came too early stay in the framer. @throws PgError refusal */
  readonly enter: (login: LoggedIn) => Promise<void>
}

type State =
  | { readonly kind: 'startup' }
  | { readonly kind: 'authenticating'; readonly authentication: Authentication }
  | { readonly kind: 'done' }

const latestMinor = 2
const tlsHandshake = 0x16
const declined = Uint8Array.of(0x4e) // N

export class Login {
  readonly #options: LoginOptions
  readonly #context: ProxyContext
  readonly #framer: Framer
  readonly #deadline: Timer
  #state: State = { kind: 'startup' }
  #early: Buffer = Buffer.alloc(0)

  constructor(options: LoginOptions, context: ProxyContext) {
    this.#options = options
    this.#context = context
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
      else {
        this.#framer.push(chunk)
        this.#pump()
      }
      this.#framer.own()
    } catch (error) {
      this.refuse(toPgError(error))
    }
  }

  /** The socket is gone, or was handed over. */
  finish(): void {
    this.#deadline.cancel()
    this.#state = { kind: 'done' }
  }

  /** Ends the connection with a FATAL error. */
  refuse(error: PgError): void {
    const { outbox, socket } = this.#options
    this.finish()
    this.#context.metrics.logins.inc({ outcome: error.sqlstate })
    this.#send((writer) => writeErrorResponse(writer, fatalOf(error)))
    outbox.flush()
    socket.destroySoon()
  }

  /** Startup packets have no type byte: they are gathered by their length alone. */
  #collect(chunk: Uint8Array): void {
    this.#early = Buffer.concat([this.#early, chunk])
    while (this.#state.kind === 'startup' && this.#early.length >= 4) {
      if (this.#early[0] === tlsHandshake) return this.#hangUp()
      const length = startupPacketLength(this.#early)
      if (this.#early.length < length) return
      const packet = this.#early.subarray(0, length)
      this.#early = this.#early.subarray(length)
      this.#take(packet)
    }
    if (this.#state.kind === 'done' || this.#early.length === 0) return
    if (this.#state.kind === 'startup') return
    this.#framer.push(this.#early)
    this.#early = Buffer.alloc(0)
    this.#pump()
  }

  #take(bytes: Uint8Array): void {
    const packet = decodeStartupPacket(bytes)
    switch (packet.kind) {
      case 'ssl':
      case 'gssenc':
        return this.#options.outbox.append(declined)
      case 'cancel':
        return this.#cancel(packet.pid, packet.secret)
      case 'startup':
        return this.#begin(packet.major, packet.minor, packet.parameters)
    }
  }

  #begin(major: number, minor: number, parameters: ReadonlyMap<string, string>): void {
    if (major !== 3) throw pgError('unsupportedProtocol', [`${major}.${minor}`])
    const startup = readStartup(parameters, Math.min(minor, latestMinor))
    if (minor > latestMinor || startup.unknownOptions.length > 0) {
      this.#send((w) => writeNegotiateProtocolVersion(w, startup.minor, startup.unknownOptions))
    }
    const { accounts, address } = this.#options
    const authentication = new Authentication({
      accounts,
      user: startup.user,
      database: startup.database,
      address,
      send: (write) => this.#send(write),
      accepted: (account) => this.#accept(account, startup),
    })
    this.#state = { kind: 'authenticating', authentication }
    authentication.begin()
  }

  #pump(): void {
    while (this.#state.kind === 'authenticating') {
      const frame = this.#framer.next()
      if (frame === undefined) return
      if (frame.code !== frontend.password) {
        throw pgError('protocolViolation', [`expected password response, got type ${frame.code}`])
      }
      this.#state.authentication.received(frame.bytes)
    }
  }

  #accept(account: Account, startup: ClientStartup): void {
    const { socket, enter } = this.#options
    this.#state = { kind: 'done' }
    // What comes before ReadyForQuery waits in the socket.
    socket.pause()
    this.#framer.own()
    enter({ account, startup, framer: this.#framer }).then(
      () => {
        this.#deadline.cancel()
        this.#context.metrics.logins.inc({ outcome: 'ok' })
        socket.resume()
      },
      (error: unknown) => this.refuse(toPgError(error)),
    )
  }

  /** The client takes the end of this connection for the sign that the cancel was delivered. */
  #cancel(pid: number, secret: Uint8Array): void {
    this.finish()
    const hangUp = () => this.#hangUp()
    this.#options.cancel(pid, secret).then(hangUp, hangUp)
  }

  #hangUp(): void {
    this.finish()
    this.#options.outbox.flush()
    this.#options.socket.destroySoon()
  }

  #send(write: (writer: Writer) => void): void {
    const writer = new Writer(128)
    write(writer)
    this.#options.outbox.append(writer.bytes())
  }
}

/** Before ReadyForQuery every error ends the connection. */
function fatalOf(error: PgError): PgError {
  const { sqlstate, detail, hint } = error
  return new PgError(error.message, { sqlstate, severity: 'FATAL', detail, hint })
}
