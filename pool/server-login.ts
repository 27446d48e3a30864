// The login as a client of a server: startup packet, SCRAM-SHA-256, md5, cleartext or trust, up to the first
// ReadyForQuery.
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { PgError, pgError, toPgError } from '../core/errors.ts'
import {
  decodeAuthentication,
  decodeBackendKeyData,
  decodeErrorFields,
  decodeParameterStatus,
} from '../wire/backend.ts'
import { backend } from '../wire/codes.ts'
import { FrameScanner } from '../wire/framer.ts'
import { writePassword, writeSaslInitial, writeSaslResponse } from '../wire/frontend.ts'
import { md5Answer, md5Password } from '../wire/md5.ts'
import { type ClientBinding, ScramClient, scramPlus } from '../wire/scram.ts'
import { writeStartup } from '../wire/startup.ts'
import { Writer } from '../wire/writer.ts'
import { LoginSecret } from './login-secret.ts'
import { notAccepting } from './outage.ts'
import type { ServerTarget } from './server-connection.ts'

const unproven = 'the server did not prove that it knows the password'
const unbound = 'channel binding is required, but the server does not offer it'
const hashOnly = 'of whom only another form of the password is known'
const frameBytesMax = 1024 * 1024

/** Whether logins are tied to the TLS connection that they run in; as libpq's channel_binding. */
export type ChannelBinding = 'disable' | 'prefer' | 'require'

/** What the socket has become by the time the login begins. */
export type LoginChannel = {
  readonly channelBinding: ChannelBinding
  /** tls-server-end-point of the server's certificate; null without TLS, or where it has none. */
  readonly endPoint: Uint8Array | null
}

type LoggedIn = {
  readonly processId: number
  readonly secret: Uint8Array
  readonly parameters: Map<string, string>
}

const plainChannel: LoginChannel = { channelBinding: 'prefer', endPoint: null }

/** The conversation on a socket that is connected, to the first ReadyForQuery. */
export class ServerLogin {
  /** @throws PgError 08001 with the server's own words */
  readonly done: Promise<LoggedIn>
  readonly #socket: Socket
  readonly #target: ServerTarget
  readonly #secret: LoginSecret
  readonly #channel: () => LoginChannel
  readonly #scanner: FrameScanner
  readonly #writer = new Writer(256)
  readonly #parameters = new Map<string, string>()
  #resolve: (identity: LoggedIn) => void = () => {}
  #reject: (error: PgError) => void = () => {}
  #key = { pid: 0, secret: new Uint8Array(0) as Uint8Array }
  #scram: ScramClient | null = null
  #serverProven = true
  readonly #failed = (error: Error) => this.fail(error.message)
  readonly #closed = () => this.fail('the server closed the connection during login')

  /** `channel` is asked once the server asks for a proof. */
  constructor(
    socket: Socket,
    target: ServerTarget,
    channel: () => LoginChannel = () => plainChannel,
  ) {
    this.#socket = socket
    this.#target = target
    this.#secret = target.secret ?? LoginSecret.of(target.password)
    this.#channel = channel
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.#scanner = new FrameScanner(
      { header: () => 'whole', slice: () => {}, frame: (code, bytes) => this.#frame(code, bytes) },
      frameBytesMax,
    )
    socket.on('error', this.#failed).on('close', this.#closed)
    const { user, database } = target
    const parameters = new Map([
      ['user', user],
      ['database', database],
      ['client_encoding', 'UTF8'],
      ...(target.settings ?? []),
    ])
    writeStartup(this.#writer, { minor: 0, parameters })
    this.#flush()
  }

  /** Somebody else hears from now on what becomes of the socket. */
  leave(): void {
    this.#socket.off('error', this.#failed).off('close', this.#closed)
  }

  /** Bytes from the server; `chunk` may be reused when the call returns. */
  received(chunk: Uint8Array): void {
    try {
      this.#scanner.push(chunk)
    } catch (error) {
      this.fail(error instanceof Error ? error.message : String(error))
    }
  }

  /** Ends the login and the socket. */
  fail(reason: string, cause?: unknown): void {
    this.#reject(pgError('serverUnreachable', [this.#target.shard, reason], { cause }))
    this.#socket.destroy()
  }

  /** We cannot log in there, nor later: nobody need wait for it. */
  #refuse(reason: string, cause?: unknown): void {
    const { shard, user } = this.#target
    this.#reject(pgError('serverLoginImpossible', [shard, user, reason], { cause }))
    this.#socket.destroy()
  }

  /** A server that starts, stops or recovers may let us in later; anything else the client is told as it is. */
  #refused(fields: ReadonlyMap<string, string>): void {
    const message = fields.get('M') ?? 'login refused'
    const sqlstate = fields.get('C') ?? '08001'
    const cause = new PgError(message, { sqlstate })
    if (notAccepting.has(sqlstate) || sqlstate === '08001') return this.fail(message, cause)
    const { shard, user } = this.#target
    const detail = fields.get('D') ?? `Shard "${shard}" refused the login as "${user}".`
    this.#reject(new PgError(message, { sqlstate, detail, hint: fields.get('H'), cause }))
    this.#socket.destroy()
  }

  #flush(): void {
    this.#socket.write(this.#writer.take())
    this.#writer.reset()
  }

  #frame(code: number, bytes: Uint8Array): void {
    switch (code) {
      case backend.authentication:
        this.#authenticate(bytes)
        return
      case backend.parameterStatus: {
        const { name, value } = decodeParameterStatus(bytes)
        this.#parameters.set(name, value)
        return
      }
      case backend.backendKeyData: {
        const { pid, secret } = decodeBackendKeyData(bytes)
        this.#key = { pid, secret: Uint8Array.from(secret) }
        return
      }
      case backend.errorResponse: {
        return this.#refused(decodeErrorFields(bytes))
      }
      case backend.readyForQuery: {
        if (!this.#serverProven) return this.#refuse(unproven)
        const { pid, secret } = this.#key
        this.#resolve({ processId: pid, secret, parameters: this.#parameters })
        return
      }
      default:
        return
    }
  }

  #authenticate(bytes: Uint8Array): void {
    const request = decodeAuthentication(bytes)
    const { user } = this.#target
    const { proof } = this.#secret
    if (request.kind === 'ok') return this.#checkBound()
    if (request.kind === 'saslContinue') return this.#continueScram(request.data)
    if (request.kind === 'saslFinal') {
      this.#serverProven = this.#scram?.verify(text(request.data)) ?? false
      if (!this.#serverProven) this.#refuse(unproven)
      return
    }
    if (proof === null) return this.#refuse(`the server asks for a password of user "${user}"`)
    switch (request.kind) {
      case 'cleartext':
        if (this.#channel().channelBinding === 'require') return this.#refuse(unbound)
        if (proof.kind !== 'password') {
          return this.#refuse(`the server asks for the password of user "${user}", ${hashOnly}`)
        }
        writePassword(this.#writer, proof.password)
        return this.#flush()
      case 'md5':
        if (this.#channel().channelBinding === 'require') return this.#refuse(unbound)
        if (proof.kind === 'scram') {
          return this.#refuse(`the server asks for md5 of user "${user}", ${hashOnly}`)
        }
        writePassword(
          this.#writer,
          proof.kind === 'md5'
            ? md5Answer(proof.hash, request.salt)
            : md5Password(user, proof.password, request.salt),
        )
        return this.#flush()
      case 'sasl':
        return this.#beginScram(request.mechanisms)
      default:
        return this.#refuse(`authentication method ${request.kind} is not supported`)
    }
  }

  #beginScram(mechanisms: readonly string[]): void {
    if (!this.#secret.hasKeys) {
      const { user } = this.#target
      return this.#refuse(`the server asks for SCRAM of user "${user}", ${hashOnly}`)
    }
    const binding = this.#bindingFor(mechanisms)
    if (binding === null) return this.#refuse(unbound)
    const keys = (salt: Uint8Array, iterations: number) => this.#secret.keysFor(salt, iterations)
    const scram = new ScramClient('', keys, randomBytes(18).toString('base64'), binding)
    if (!mechanisms.includes(scram.mechanism)) {
      return this.#refuse(`no common SASL mechanism (${mechanisms.join(', ')})`)
    }
    this.#scram = scram
    this.#serverProven = false
    writeSaslInitial(this.#writer, scram.mechanism, scram.first())
    this.#flush()
  }

  /** Null: binding is required, and cannot be. */
  #bindingFor(mechanisms: readonly string[]): ClientBinding | null {
    const { channelBinding, endPoint } = this.#channel()
    const offered = mechanisms.includes(scramPlus)
    if (channelBinding !== 'disable' && offered && endPoint !== null) {
      return { kind: 'bound', endPoint }
    }
    if (channelBinding === 'require') return null
    if (channelBinding === 'disable' || endPoint === null) return { kind: 'never' }
    return { kind: 'unoffered' }
  }

  #continueScram(data: Uint8Array): void {
    if (this.#scram === null) return this.fail('SASL continuation without a beginning')
    try {
      writeSaslResponse(this.#writer, this.#scram.continue(text(data)))
    } catch (error) {
      const cause = toPgError(error)
      if (cause.sqlstate !== '28000') throw error
      return this.#refuse(cause.message, cause)
    }
    this.#flush()
  }

  /** Whoever lets us in without SCRAM over TLS has not shown who he is. */
  #checkBound(): void {
    const bound = this.#scram?.mechanism === scramPlus && this.#serverProven
    if (this.#channel().channelBinding === 'require' && !bound) this.#refuse(unbound)
  }
}

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8')
