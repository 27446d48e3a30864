// The login as a client of a server: startup packet, SCRAM-SHA-256, md5, cleartext or trust, up to the first
// ReadyForQuery.
import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import { PgError, pgError } from '../core/errors.ts'
import {
  decodeAuthentication,
  decodeBackendKeyData,
  decodeErrorFields,
  decodeParameterStatus,
} from '../wire/backend.ts'
import { backend } from '../wire/codes.ts'
import { FrameScanner } from '../wire/framer.ts'
import { writePassword, writeSaslInitial, writeSaslResponse } from '../wire/frontend.ts'
import { md5Password } from '../wire/md5.ts'
import { ScramClient } from '../wire/scram.ts'
import { writeStartup } from '../wire/startup.ts'
import { Writer } from '../wire/writer.ts'
import type { ServerTarget } from './server-connection.ts'

const unproven = 'the server did not prove that it knows the password'
const frameBytesMax = 1024 * 1024

type LoggedIn = {
  readonly processId: number
  readonly secret: Uint8Array
  readonly parameters: Map<string, string>
}

/** The conversation from the socket's connect to the first ReadyForQuery. */
export class ServerLogin {
  /** @throws PgError 08001 with the server's own words */
  readonly done: Promise<LoggedIn>
  readonly #socket: Socket
  readonly #target: ServerTarget
  readonly #scanner: FrameScanner
  readonly #writer = new Writer(256)
  readonly #parameters = new Map<string, string>()
  #resolve: (identity: LoggedIn) => void = () => {}
  #reject: (error: PgError) => void = () => {}
  #key = { pid: 0, secret: new Uint8Array(0) as Uint8Array }
  #scram: ScramClient | null = null
  #serverProven = true

  constructor(socket: Socket, target: ServerTarget) {
    this.#socket = socket
    this.#target = target
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.#scanner = new FrameScanner(
      { header: () => 'whole', slice: () => {}, frame: (code, bytes) => this.#frame(code, bytes) },
      frameBytesMax,
    )
    socket.on('error', (error) => this.fail(error.message))
    socket.on('close', () => this.fail('the server closed the connection during login'))
    socket.on('connect', () => {
      const { user, database } = target
      const parameters = new Map([
        ['user', user],
        ['database', database],
        ['client_encoding', 'UTF8'],
      ])
      writeStartup(this.#writer, { minor: 0, parameters })
      this.#flush()
    })
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
  #refuse(reason: string): void {
    this.fail(reason, new PgError(reason, { sqlstate: '28000' }))
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
        const fields = decodeErrorFields(bytes)
        this.fail(
          fields.get('M') ?? 'login refused',
          new PgError(fields.get('M') ?? '', {
            sqlstate: fields.get('C') ?? '08001',
          }),
        )
        return
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
    const { user, password } = this.#target
    if (request.kind === 'ok') return
    if (password === null) return this.#refuse(`the server asks for a password of user "${user}"`)
    switch (request.kind) {
      case 'cleartext':
        writePassword(this.#writer, password)
        break
      case 'md5':
        writePassword(this.#writer, md5Password(user, password, request.salt))
        break
      case 'sasl':
        if (!request.mechanisms.includes('SCRAM-SHA-256')) {
          return this.#refuse(`no common SASL mechanism (${request.mechanisms.join(', ')})`)
        }
        this.#scram = new ScramClient('', password, randomBytes(18).toString('base64'))
        this.#serverProven = false
        writeSaslInitial(this.#writer, 'SCRAM-SHA-256', this.#scram.first())
        break
      case 'saslContinue':
        if (this.#scram === null) return this.fail('SASL continuation without a beginning')
        writeSaslResponse(this.#writer, this.#scram.continue(text(request.data)))
        break
      case 'saslFinal':
        this.#serverProven = this.#scram?.verify(text(request.data)) ?? false
        if (!this.#serverProven) this.#refuse(unproven)
        return
      default:
        return this.#refuse(`authentication method ${request.kind} is not supported`)
    }
    this.#flush()
  }
}

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8')
