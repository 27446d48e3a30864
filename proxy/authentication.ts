// The password conversation with a client whose startup packet has been read: which method, the exchange,
// the verdict. Knows no socket: messages in, messages out.
//
// States: begin → (scramFirst → scramFinal | md5) → done
import { randomBytes } from 'node:crypto'
import { pgError } from '../core/errors.ts'
import {
  writeAuthenticationMd5Password,
  writeAuthenticationOk,
  writeAuthenticationSasl,
  writeAuthenticationSaslContinue,
  writeAuthenticationSaslFinal,
} from '../wire/backend.ts'
import { decodePassword, decodeSaslInitial, decodeSaslResponse } from '../wire/frontend.ts'
import { verifyMd5 } from '../wire/md5.ts'
import { ScramServer } from '../wire/scram.ts'
import type { Writer } from '../wire/writer.ts'
import type { Account, Accounts } from './accounts.ts'

type AuthenticationOptions = {
  readonly accounts: Accounts
  readonly user: string
  readonly database: string
  /** The peer's; '' on a Unix socket. */
  readonly address: string
  readonly send: (write: (writer: Writer) => void) => void
  /** AuthenticationOk has been sent. */
  readonly accepted: (account: Account) => void
}

type State =
  | { readonly kind: 'begin' }
  | { readonly kind: 'scramFirst' }
  | { readonly kind: 'scramFinal'; readonly exchange: ScramServer }
  | { readonly kind: 'md5'; readonly salt: Uint8Array }
  | { readonly kind: 'done' }

export class Authentication {
  readonly #options: AuthenticationOptions
  readonly #account: Account
  #state: State = { kind: 'begin' }

  constructor(options: AuthenticationOptions) {
    this.#options = options
    this.#account = options.accounts.find(options.user)
  }

  /** Asks the client for its proof, or accepts it at once. @throws PgError 28000, 28P01 refusal */
  begin(): void {
    const { accounts, address, user, database, send } = this.#options
    const account = this.#account
    const method = accounts.methodFor(database, user, address)
    if (method === 'reject') throw pgError('loginRejected', [address, user, database])
    // Trusted is who has an account: as in PostgreSQL, not every name that somebody thinks of.
    if (method === 'trust') return this.#judge(account.known)
    if (method === 'md5' && (account.md5 !== null || !account.known)) {
      const salt = randomBytes(4)
      this.#state = { kind: 'md5', salt }
      return send((writer) => writeAuthenticationMd5Password(writer, salt))
    }
    this.#state = { kind: 'scramFirst' }
    send((writer) => writeAuthenticationSasl(writer, ['SCRAM-SHA-256']))
  }

  /** The client's answer, a whole PasswordMessage. @throws PgError 28P01, 08P01 refusal */
  received(frame: Uint8Array): void {
    const account = this.#account
    const state = this.#state
    switch (state.kind) {
      case 'md5': {
        const answer = decodePassword(frame)
        const stored = account.md5 ?? randomBytes(16).toString('hex')
        const fits = verifyMd5(stored, { user: account.name, salt: state.salt, answer })
        return this.#judge(fits && account.known)
      }
      case 'scramFirst': {
        const { mechanism, data } = decodeSaslInitial(frame)
        if (mechanism !== 'SCRAM-SHA-256' || data === null) {
          throw pgError('protocolViolation', ['client selected an invalid SASL mechanism'])
        }
        const exchange = new ScramServer(account.scram, randomBytes(18).toString('base64'))
        const reply = exchange.first(Buffer.from(data).toString())
        this.#state = { kind: 'scramFinal', exchange }
        return this.#options.send((writer) => writeAuthenticationSaslContinue(writer, reply))
      }
      case 'scramFinal': {
        const proof = Buffer.from(decodeSaslResponse(frame)).toString()
        const { ok, serverFinal } = state.exchange.final(proof)
        if (ok && account.known) {
          this.#options.send((writer) => writeAuthenticationSaslFinal(writer, serverFinal))
        }
        return this.#judge(ok && account.known)
      }
      default:
        throw pgError('protocolViolation', ['unexpected password message'])
    }
  }

  #judge(proven: boolean): void {
    this.#state = { kind: 'done' }
    if (!proven) throw pgError('passwordWrong', [this.#account.name])
    this.#options.send(writeAuthenticationOk)
    this.#options.accepted(this.#account)
  }
}
