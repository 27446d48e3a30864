// The conversation with a client whose startup packet has been read: which method, the exchange, the verdict. Knows no
// socket: messages in, messages out.
//
// States: looking (a turn, the account, the verdict are waited for) → scramFirst → scramFinal | md5 | plain → done
import { randomBytes } from 'node:crypto'
import type { Clock, Timer } from '../core/clock.ts'
import { type PgError, pgError, toPgError } from '../core/errors.ts'
import type { LoginProof } from '../pool/login-secret.ts'
import {
  writeAuthenticationCleartextPassword,
  writeAuthenticationMd5Password,
  writeAuthenticationOk,
  writeAuthenticationSasl,
  writeAuthenticationSaslContinue,
  writeAuthenticationSaslFinal,
} from '../wire/backend.ts'
import { decodePassword, decodeSaslInitial, decodeSaslResponse } from '../wire/frontend.ts'
import { ScramServer, scramPlain, scramPlus } from '../wire/scram.ts'
import type { Writer } from '../wire/writer.ts'
import type { Account, Accounts } from './accounts.ts'
import { isConsole } from './admin/open.ts'
import type { AuthMethod, AuthRules, Origin, Wish } from './auth-rules.ts'
import { type ClientCertificate, namesUser, type UserMapEntry } from './client-certificate.ts'
import type { LoginFailures } from './login-failures.ts'

/** What logins are judged by. */
type JudgedBy = {
  readonly accounts: Accounts
  readonly rules: AuthRules
  readonly failures: LoginFailures
  /** Whom client certificates name, by maps. */
  readonly userMap: readonly UserMapEntry[]
}

/** How the client is connected. */
type LoginOrigin = Origin & {
  /** tls-server-end-point of the certificate that the client was shown; null: nothing to bind to. */
  readonly channelBinding: Uint8Array | null
  /** Of the client, by a trusted authority; null: none. */
  readonly certificate: ClientCertificate | null
  /** The certificate has to name the user, whatever the method is. */
  readonly mustBeNamed: boolean
}

type AuthenticationOptions = {
  readonly policy: JudgedBy
  readonly wish: Wish
  readonly origin: LoginOrigin
  readonly clock: Clock
  readonly send: (write: (writer: Writer) => void) => void
  /** AuthenticationOk has been sent. */
  readonly accepted: (account: Account) => void
  readonly refused: (error: PgError) => void
  /** Nothing is read of the client from `hold` until `go`. */
  readonly hold: () => void
  readonly go: () => void
}

type State =
  | { readonly kind: 'looking' }
  | { readonly kind: 'scramFirst'; readonly account: Account }
  | { readonly kind: 'scramFinal'; readonly account: Account; readonly exchange: ScramServer }
  | { readonly kind: 'md5'; readonly account: Account; readonly salt: Uint8Array }
  | { readonly kind: 'plain'; readonly account: Account }
  | { readonly kind: 'done' }

export class Authentication {
  readonly #options: AuthenticationOptions
  #state: State = { kind: 'looking' }
  #turn: Timer | null = null

  constructor(options: AuthenticationOptions) {
    this.#options = options
  }

  /** True while a message of the client would come too early. */
  get waits(): boolean {
    return this.#state.kind === 'looking'
  }

  /** Asks the client for its proof, or accepts it; at once or later. @throws PgError 28000, 28P01 refusal */
  begin(): void {
    const { policy, wish, origin, clock, hold } = this.#options
    const { address } = origin
    const rule = policy.rules.ruleFor(wish, origin)
    const method = rule?.method ?? 'reject'
    // Who is let in under any name might choose an admin's: for the console that has to be meant.
    const isMeant = rule?.database?.some((name) => typeof name === 'string' && isConsole(name))
    const unmeant = method === 'any' && isConsole(wish.database) && isMeant !== true
    if (method === 'reject' || unmeant) {
      throw pgError('loginRejected', [address, wish.user, wish.database])
    }
    if (method === 'plain' && address !== '' && !origin.encrypted) {
      throw pgError('passwordInTheClear', [wish.user])
    }
    if (method === 'cert' || origin.mustBeNamed) this.#checkCertificate(rule?.map ?? null)
    const waitMs = policy.failures.waitFor(address, wish.user)
    if (waitMs === null) throw pgError('loginsPutOff', [address])
    if (waitMs === 0) return this.#lookUp(method)
    hold()
    this.#turn = clock.after(waitMs, () =>
      this.#later(() => {
        this.#lookUp(method)
        if (!this.waits) this.#options.go()
      }),
    )
  }

  /** Whose it is has been proven by the handshake. */
  #checkCertificate(map: string | null): void {
    const { origin, wish, policy } = this.#options
    const { certificate } = origin
    if (certificate === null) throw pgError('clientCertificateRequired')
    const entries = map === null ? null : policy.userMap.filter((entry) => entry.map === map)
    if (namesUser(certificate, wish.user, entries)) return
    throw pgError('certificateNamesNobody', [wish.user])
  }

  /** The connection has ended: nothing more is sent or reported. */
  end(): void {
    this.#turn?.cancel()
    this.#state = { kind: 'done' }
  }

  /** The client's answer, a whole PasswordMessage. @throws PgError 28P01, 28000, 08P01 refusal */
  received(frame: Uint8Array): void {
    const state = this.#state
    switch (state.kind) {
      case 'md5': {
        const { account, salt } = state
        const fits = account.stored.fitsMd5({
          user: account.name,
          salt,
          answer: decodePassword(frame),
        })
        const hash = account.stored.md5Hash
        return this.#judge(account, fits, hash === null ? null : { kind: 'md5', hash })
      }
      case 'plain':
        return this.#judgePassword(state.account, decodePassword(frame))
      case 'scramFirst':
        return this.#beginScram(state.account, frame)
      case 'scramFinal': {
        const { account, exchange } = state
        const outcome = exchange.final(Buffer.from(decodeSaslResponse(frame)).toString())
        if (!outcome.ok) return this.#judge(account, false, null)
        if (!this.#isOpen(account)) return this.#judge(account, true, null)
        this.#options.send((writer) => writeAuthenticationSaslFinal(writer, outcome.serverFinal))
        return this.#judge(account, true, { kind: 'scram', keys: outcome.keys })
      }
      default:
        throw pgError('protocolViolation', ['unexpected password message'])
    }
  }

  #lookUp(method: AuthMethod): void {
    const { policy, wish, hold, go } = this.#options
    const found = policy.accounts.find(wish.user, wish.database)
    if (!(found instanceof Promise)) return this.#ask(method, found)
    hold()
    found.then(
      (account) =>
        this.#later(() => {
          this.#ask(method, account)
          go()
        }),
      (error: unknown) => this.#later(() => this.#options.refused(toPgError(error))),
    )
  }

  #ask(method: AuthMethod, account: Account): void {
    const { send } = this.#options
    if (method === 'any') return this.#accept(account)
    // Trusted is who has an account: as in PostgreSQL, not every name that somebody thinks of.
    if (method === 'trust' || method === 'cert') {
      return account.known ? this.#accept(account) : this.#wrong(account)
    }
    if (method === 'plain') {
      this.#state = { kind: 'plain', account }
      return send(writeAuthenticationCleartextPassword)
    }
    if (method === 'md5' && account.stored.takesMd5) {
      const salt = randomBytes(4)
      this.#state = { kind: 'md5', account, salt }
      return send((writer) => writeAuthenticationMd5Password(writer, salt))
    }
    this.#state = { kind: 'scramFirst', account }
    const mechanisms = this.#endPoint === null ? [scramPlain] : [scramPlus, scramPlain]
    send((writer) => writeAuthenticationSasl(writer, mechanisms))
  }

  get #endPoint(): Uint8Array | null {
    return this.#options.origin.channelBinding
  }

  #beginScram(account: Account, frame: Uint8Array): void {
    const { mechanism, data } = decodeSaslInitial(frame)
    const known = mechanism === scramPlain || (mechanism === scramPlus && this.#endPoint !== null)
    if (!known || data === null) {
      throw pgError('protocolViolation', ['client selected an invalid SASL mechanism'])
    }
    const binding = { mechanism, endPoint: this.#endPoint }
    const nonce = randomBytes(18).toString('base64')
    const exchange = new ScramServer(account.stored.scram, nonce, binding)
    const reply = exchange.first(Buffer.from(data).toString())
    this.#state = { kind: 'scramFinal', account, exchange }
    this.#options.send((writer) => writeAuthenticationSaslContinue(writer, reply))
  }

  #judgePassword(account: Account, password: string): void {
    this.#state = { kind: 'looking' }
    this.#options.hold()
    account.stored.fits(account.name, password).then(
      (fits) => {
        this.#later(() =>
          this.#judge(account, fits && password !== '', { kind: 'password', password }),
        )
      },
      (error: unknown) => this.#later(() => this.#options.refused(toPgError(error))),
    )
  }

  /** `proof`: what servers can be shown from now on; a password that we know ourselves serves as well. */
  #judge(account: Account, fits: boolean, proof: LoginProof | null): void {
    if (!fits || !this.#isOpen(account)) return this.#wrong(account)
    if (account.stored.password === null && proof !== null) account.login.secret.take(proof)
    this.#accept(account)
  }

  #isOpen(account: Account): boolean {
    return account.known && Date.now() < account.validUntilMs
  }

  #wrong(account: Account): void {
    const { policy, origin, wish } = this.#options
    policy.failures.failed(origin.address, wish.user)
    account.forget()
    this.#options.refused(pgError('passwordWrong', [account.name]))
  }

  #accept(account: Account): void {
    const { policy, origin, wish, send, accepted } = this.#options
    policy.failures.succeeded(origin.address, wish.user)
    this.#state = { kind: 'done' }
    send(writeAuthenticationOk)
    accepted(account)
  }

  /** What comes after a wait, unless the connection has ended meanwhile. */
  #later(step: () => void): void {
    if (this.#state.kind !== 'looking') return
    try {
      step()
    } catch (error) {
      this.#options.refused(toPgError(error))
    }
  }
}
