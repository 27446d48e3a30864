// SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677) with the channel binding tls-server-end-point (RFC 5929),
// both sides: messages in, messages out. Nonces come from the caller. What a peer may not send is a
// protocolViolation (08P01), as in PostgreSQL's auth-scram.c and fe-auth-scram.c.
import { timingSafeEqual } from 'node:crypto'
import { pgError } from '../core/errors.ts'
import { violation } from './reader.ts'
import {
  base64,
  deriveKeys,
  fromBase64,
  hmac,
  scramIterationsMax,
  scramKeyBytes,
  type ScramKeys,
  type ScramVerifier,
  sha256,
  verifierOf,
  xor,
} from './scram-keys.ts'

/** The mechanism without channel binding. */
export const scramPlain = 'SCRAM-SHA-256' as const
/** The mechanism with it. */
export const scramPlus = 'SCRAM-SHA-256-PLUS' as const

type Mechanism = typeof scramPlain | typeof scramPlus

/** How an exchange is tied to the TLS connection that it runs in. */
export type ServerBinding = {
  /** What the client has chosen. */
  readonly mechanism: Mechanism
  /** tls-server-end-point of our certificate; null: the client was not offered to bind. */
  readonly endPoint: Uint8Array | null
}

/** Outcome of an exchange: the proof gives the client's keys away, for whoever has the verifier. */
export type ScramOutcome =
  | { readonly ok: true; readonly serverFinal: string; readonly keys: ScramKeys }
  | { readonly ok: false }

const unbound: ServerBinding = { mechanism: scramPlain, endPoint: null }
const bindingType = 'tls-server-end-point'

/** The server's side of one exchange: first(), then final(). */
export class ScramServer {
  readonly #verifier: ScramVerifier
  readonly #nonce: string
  readonly #binding: ServerBinding
  #exchange:
    | { readonly bound: string; readonly transcript: string; readonly nonce: string }
    | undefined

  /** `nonce`: fresh random printable characters without comma, such as base64 of 18 bytes. */
  constructor(verifier: ScramVerifier, nonce: string, binding: ServerBinding = unbound) {
    this.#verifier = verifier
    this.#nonce = nonce
    this.#binding = binding
  }

  /**
   * Takes client-first-message, gives server-first-message. The user name in it is ignored.
   * @throws PgError 08P01; 28000 when somebody has hidden our offer to bind from the client
   */
  first(clientFirst: string): string {
    const header = /^(?:[ny]|p=([A-Za-z0-9.-]+)),,/.exec(clientFirst)
    if (header === null) throw malformed('authorization identity is not supported')
    const gs2 = header[0]
    this.#checkBinding(gs2, header[1])
    const bare = clientFirst.slice(gs2.length)
    const [user = '', nonce = '', ...extensions] = bare.split(',')
    if (!user.startsWith('n=')) throw malformed('user name expected')
    const clientNonce = attribute(nonce, 'r')
    if (!isPrintable(clientNonce)) throw malformed('non-printable characters in nonce')
    if (extensions.some((extension) => !/^[A-Za-z]=/.test(extension))) {
      throw malformed('attribute expected')
    }
    const joined = clientNonce + this.#nonce
    const serverFirst = `r=${joined},s=${base64(this.#verifier.salt)},i=${this.#verifier.iterations}`
    const endPoint = gs2.startsWith('p=') ? this.#binding.endPoint : null
    const bound = base64(Buffer.concat([Buffer.from(gs2), endPoint ?? Buffer.alloc(0)]))
    this.#exchange = { bound, transcript: `${bare},${serverFirst}`, nonce: joined }
    return serverFirst
  }

  /** Takes client-final-message. @throws PgError 08P01; 28000 when the client saw another certificate */
  final(clientFinal: string): ScramOutcome {
    const exchange = this.#exchange
    if (exchange === undefined) throw malformed('client-final-message before client-first-message')
    this.#exchange = undefined
    const proofAt = clientFinal.lastIndexOf(',p=')
    if (proofAt < 0) throw malformed('proof expected')
    const withoutProof = clientFinal.slice(0, proofAt)
    const [binding = '', nonce = ''] = withoutProof.split(',')
    if (attribute(binding, 'c') !== exchange.bound) {
      if (this.#binding.mechanism === scramPlus) throw pgError('channelBindingFailed')
      throw malformed('unexpected channel-binding attribute')
    }
    if (attribute(nonce, 'r') !== exchange.nonce) throw malformed('nonce does not match')
    const proof = fromBase64(clientFinal.slice(proofAt + 3))
    if (proof?.length !== scramKeyBytes) throw malformed('malformed proof')

    const transcript = `${exchange.transcript},${withoutProof}`
    const { storedKey, serverKey, salt, iterations } = this.#verifier
    const clientKey = xor(proof, hmac(storedKey, transcript))
    const signature = hmac(serverKey, transcript)
    if (!timingSafeEqual(sha256(clientKey), storedKey)) return { ok: false }
    const keys = { iterations, salt, clientKey, serverKey }
    return { ok: true, serverFinal: `v=${base64(signature)}`, keys }
  }

  /** The flag of the message must be what mechanism and offer allow. */
  #checkBinding(gs2: string, type: string | undefined): void {
    const { mechanism, endPoint } = this.#binding
    if (type === undefined) {
      if (mechanism === scramPlus) throw malformed('channel binding data expected')
      if (gs2.startsWith('y') && endPoint !== null) throw pgError('channelBindingHidden')
      return
    }
    if (mechanism !== scramPlus || endPoint === null) {
      throw malformed('channel binding data without channel binding')
    }
    if (type !== bindingType) throw violation(`unsupported SCRAM channel-binding type "${type}"`)
  }
}

/** How the client binds: to `endPoint`; `unoffered`: it could, the server does not offer it; `never`. */
export type ClientBinding =
  | { readonly kind: 'bound'; readonly endPoint: Uint8Array }
  | { readonly kind: 'unoffered' | 'never' }

/** Gives the keys for a server's salt and iterations. @throws PgError when there are none */
export type KeySource = (salt: Uint8Array, iterations: number) => ScramKeys

/** The client's side of one exchange: first(), continue(), verify(). */
export class ScramClient {
  readonly #gs2: string
  readonly #bare: string
  readonly #secret: string | KeySource
  readonly #nonce: string
  readonly #binding: ClientBinding
  #serverSignature: Buffer | undefined

  /**
   * `secret`: the password, or who has keys that fit the server's verifier. PostgreSQL ignores `user`: it takes the one of the
   * startup packet. `nonce` as for ScramServer.
   */
  constructor(
    user: string | undefined,
    secret: string | KeySource,
    nonce: string,
    binding: ClientBinding = { kind: 'never' },
  ) {
    const name = (user ?? '').replaceAll('=', '=3D').replaceAll(',', '=2C')
    this.#gs2 = gs2Of(binding)
    this.#bare = `n=${name},r=${nonce}`
    this.#secret = secret
    this.#nonce = nonce
    this.#binding = binding
  }

  /** Mechanism to ask the server for. */
  get mechanism(): Mechanism {
    return this.#binding.kind === 'bound' ? scramPlus : scramPlain
  }

  /** client-first-message. */
  first(): string {
    return `${this.#gs2}${this.#bare}`
  }

  /**
   * Takes server-first-message, gives client-final-message. Derives the keys of a password: some milliseconds.
   * @throws PgError 08P01, and what the source of the keys throws
   */
  continue(serverFirst: string): string {
    const [nonce = '', salt = '', count = ''] = serverFirst.split(',')
    const joined = attribute(nonce, 'r')
    if (!joined.startsWith(this.#nonce) || joined.length === this.#nonce.length) {
      throw malformed('nonce does not match')
    }
    if (!isPrintable(joined)) throw malformed('non-printable characters in nonce')
    const saltBytes = fromBase64(attribute(salt, 's'))
    const iterations = Number(/^[1-9]\d{0,9}$/.exec(attribute(count, 'i'))?.[0] ?? Number.NaN)
    if (saltBytes === undefined || saltBytes.length === 0) throw malformed('invalid salt')
    if (!(iterations <= scramIterationsMax)) throw malformed('invalid iteration count')

    const secret = this.#secret
    const keys =
      typeof secret === 'string'
        ? deriveKeys(secret, saltBytes, iterations)
        : secret(saltBytes, iterations)
    const { clientKey, serverKey } = keys
    const endPoint = this.#binding.kind === 'bound' ? this.#binding.endPoint : Buffer.alloc(0)
    const bound = base64(Buffer.concat([Buffer.from(this.#gs2), endPoint]))
    const withoutProof = `c=${bound},r=${joined}`
    const transcript = `${this.#bare},${serverFirst},${withoutProof}`
    const proof = xor(clientKey, hmac(verifierOf(keys).storedKey, transcript))
    this.#serverSignature = hmac(serverKey, transcript)
    return `${withoutProof},p=${base64(proof)}`
  }

  /** True when server-final-message proves that the server knows the verifier. */
  verify(serverFinal: string): boolean {
    const [first = ''] = serverFinal.split(',')
    if (first.startsWith('e=')) return false
    const signature = fromBase64(attribute(first, 'v'))
    const expected = this.#serverSignature
    if (signature?.length !== scramKeyBytes || expected === undefined) return false
    return timingSafeEqual(signature, expected)
  }
}

function gs2Of(binding: ClientBinding): string {
  if (binding.kind === 'bound') return `p=${bindingType},,`
  return binding.kind === 'unoffered' ? 'y,,' : 'n,,'
}

function malformed(reason: string): Error {
  return violation(`malformed SCRAM message (${reason})`)
}

function attribute(text: string, name: string): string {
  if (!text.startsWith(`${name}=`)) throw malformed(`attribute "${name}" expected`)
  return text.slice(2)
}

/** RFC 5802: printable ASCII but the comma, at least one. */
function isPrintable(text: string): boolean {
  return /^[\x21-\x2b\x2d-\x7e]+$/.test(text)
}
