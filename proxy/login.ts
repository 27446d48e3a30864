// One accepted connection until it is somebody: startup packet, authentication, then a session or the admin
// console takes the socket over. Everything here is bounded in bytes and in time.
//
// States: startup → (scram | md5) → opening (settings are validated) → done
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import type { Timer } from '../core/clock.ts'
import { PgError, pgError, toPgError } from '../core/errors.ts'
import type { Outbox } from '../pool/outbox.ts'
import {
  writeAuthenticationMd5Password,
  writeAuthenticationOk,
  writeAuthenticationSasl,
  writeAuthenticationSaslContinue,
  writeAuthenticationSaslFinal,
  writeErrorResponse,
  writeNegotiateProtocolVersion,
} from '../wire/backend.ts'
import { frontend } from '../wire/codes.ts'
import { Framer } from '../wire/framer.ts'
import { decodePassword, decodeSaslInitial, decodeSaslResponse } from '../wire/frontend.ts'
import { verifyMd5 } from '../wire/md5.ts'
import { ScramServer } from '../wire/scram.ts'
import { decodeStartupPacket, startupPacketLength } from '../wire/startup.ts'
import { Writer } from '../wire/writer.ts'
import type { Account, Accounts } from './accounts.ts'
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
  readonly cancel: (pid: number, secret: Uint8Array) => void
  /** Takes over. Bytes that came too early stay in the framer. @throws PgError refusal */
  readonly enter: (login: LoggedIn) => Promise<void>
}

type State =
  | { readonly kind: 'startup' }
  | { readonly kind: 'scramFirst' }
  | { readonly kind: 'scramFinal'; readonly exchange: ScramServer }
  | { readonly kind: 'md5'; readonly salt: Uint8Array }
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
  #startup: ClientStartup | null = null
  #account: Account | null = null

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
        this.#options.cancel(packet.pid, packet.secret)
        return this.#hangUp()
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
    this.#startup = startup
    const { accounts, address } = this.#options
    const account = accounts.find(startup.user)
    this.#account = account
    const method = accounts.methodFor(startup.database, startup.user, address)
    if (method === 'reject')
      throw pgError('loginRejected', [address, startup.user, startup.database])
    // Trusted is who has an account: as in PostgreSQL, not every name that somebody thinks of.
    if (method === 'trust') return account.known ? this.#accept() : this.#wrongPassword()
    if (method === 'md5' && (account.md5 !== null || !account.known)) {
      const salt = randomBytes(4)
      this.#state = { kind: 'md5', salt }
      return this.#send((writer) => writeAuthenticationMd5Password(writer, salt))
    }
    this.#state = { kind: 'scramFirst' }
    this.#send((writer) => writeAuthenticationSasl(writer, ['SCRAM-SHA-256']))
  }

  #pump(): void {
    while (this.#state.kind !== 'done') {
      const frame = this.#framer.next()
      if (frame === undefined) return
      if (frame.code !== frontend.password) {
        throw pgError('protocolViolation', [`expected password response, got type ${frame.code}`])
      }
      this.#authenticate(frame.bytes)
    }
  }

  #authenticate(frame: Uint8Array): void {
    const account = this.#account
    if (account === null) throw pgError('protocolViolation', ['password before startup'])
    const state = this.#state
    switch (state.kind) {
      case 'md5': {
        const answer = decodePassword(frame)
        const stored = account.md5 ?? randomBytes(16).toString('hex')
        const fits = verifyMd5(stored, { user: account.name, salt: state.salt, answer })
        return fits && account.known ? this.#accept() : this.#wrongPassword()
      }
      case 'scramFirst': {
        const { mechanism, data } = decodeSaslInitial(frame)
        if (mechanism !== 'SCRAM-SHA-256' || data === null) {
          throw pgError('protocolViolation', ['client selected an invalid SASL mechanism'])
        }
        const exchange = new ScramServer(account.scram, randomBytes(18).toString('base64'))
        const reply = exchange.first(Buffer.from(data).toString())
        this.#state = { kind: 'scramFinal', exchange }
        return this.#send((writer) => writeAuthenticationSaslContinue(writer, reply))
      }
      case 'scramFinal': {
        const proof = Buffer.from(decodeSaslResponse(frame)).toString()
        const { ok, serverFinal } = state.exchange.final(proof)
        if (!ok || !account.known) return this.#wrongPassword()
        this.#send((writer) => writeAuthenticationSaslFinal(writer, serverFinal))
        return this.#accept()
      }
      default:
        throw pgError('protocolViolation', ['unexpected password message'])
    }
  }

  #wrongPassword(): void {
    this.refuse(pgError('passwordWrong', [this.#account?.name ?? '']))
  }

  #accept(): void {
    const { socket, enter } = this.#options
    const account = this.#account
    const startup = this.#startup
    if (account === null || startup === null) return this.#hangUp()
    this.#state = { kind: 'done' }
    this.#send(writeAuthenticationOk)
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
