// SCRAM-SHA-256 (RFC 5802, RFC 7677) without channel binding, both sides: messages in, messages out.
// Nonces and salts come from the caller. What a peer may not send is a protocolViolation (08P01).
import { createHash, createHmac, pbkdf2Sync, timingSafeEqual } from 'node:crypto'
import { violation } from './reader.ts'
import { saslprep } from './saslprep.ts'

/** What a server keeps instead of the password; both keys have 32 bytes. */
export type ScramVerifier = {
  readonly iterations: number
  readonly salt: Uint8Array
  readonly storedKey: Uint8Array
  readonly serverKey: Uint8Array
}

const keyBytes = 32
const iterationsDefault = 4096
/** A hostile server could otherwise keep this process computing for minutes. */
const iterationsMax = 1_000_000
const verifierPattern = /^SCRAM-SHA-256\$(\d{1,7}):([^:$]*)\$([^:$]*):([^:$]*)$/

/** Verifier text as PostgreSQL stores it: `SCRAM-SHA-256$4096:salt$StoredKey:ServerKey`. */
export function createVerifier(
  password: string,
  options: { readonly iterations?: number; readonly salt: Uint8Array },
): string {
  const iterations = options.iterations ?? iterationsDefault
  const salted = saltPassword(password, options.salt, iterations)
  const storedKey = sha256(hmac(salted, 'Client Key'))
  const serverKey = hmac(salted, 'Server Key')
  const salt = base64(options.salt)
  return `SCRAM-SHA-256$${iterations}:${salt}$${base64(storedKey)}:${base64(serverKey)}`
}

/** Reads a verifier text; undefined when it is none, for example a plain password. */
export function parseVerifier(text: string): ScramVerifier | undefined {
  const match = verifierPattern.exec(text)
  if (match === null) return undefined
  const iterations = Number(match[1])
  const salt = fromBase64(match[2] ?? '')
  const storedKey = fromBase64(match[3] ?? '')
  const serverKey = fromBase64(match[4] ?? '')
  if (salt === undefined || storedKey?.length !== keyBytes || serverKey?.length !== keyBytes) {
    return undefined
  }
  if (iterations < 1 || iterations > iterationsMax || salt.length === 0) return undefined
  return { iterations, salt, storedKey, serverKey }
}

/**
 * Verifier for a user who does not exist: the same for the same user and secret, shaped like any other,
 * matched by no password. The exchange with it costs what a real one costs.
 */
export function mockVerifier(user: string, secret: Uint8Array): ScramVerifier {
  return {
    iterations: iterationsDefault,
    salt: hmac(secret, `salt ${user}`).subarray(0, 16),
    storedKey: hmac(secret, `stored key ${user}`),
    serverKey: hmac(secret, `server key ${user}`),
  }
}

/** The server's side of one exchange: first(), then final(). */
export class ScramServer {
  readonly #verifier: ScramVerifier
  readonly #nonce: string
  #exchange:
    | { readonly gs2: string; readonly transcript: string; readonly nonce: string }
    | undefined

  /** `nonce`: fresh random printable characters without comma, such as base64 of 18 bytes. */
  constructor(verifier: ScramVerifier, nonce: string) {
    this.#verifier = verifier
    this.#nonce = nonce
  }

  /** Takes client-first-message, gives server-first-message. The user name in it is ignored. */
  first(clientFirst: string): string {
    const header = /^([ny]),,/.exec(clientFirst)
    if (header === null)
      throw malformed('channel binding and authorization identity are not offered')
    const gs2 = header[0]
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
    this.#exchange = { gs2, transcript: `${bare},${serverFirst}`, nonce: joined }
    return serverFirst
  }

  /** Takes client-final-message; `serverFinal` is empty unless the proof is right. */
  final(clientFinal: string): { ok: boolean; serverFinal: string } {
    const exchange = this.#exchange
    if (exchange === undefined) throw malformed('client-final-message before client-first-message')
    this.#exchange = undefined
    const proofAt = clientFinal.lastIndexOf(',p=')
    if (proofAt < 0) throw malformed('proof expected')
    const withoutProof = clientFinal.slice(0, proofAt)
    const [binding = '', nonce = ''] = withoutProof.split(',')
    if (attribute(binding, 'c') !== base64(Buffer.from(exchange.gs2))) {
      throw malformed('unexpected channel-binding attribute')
    }
    if (attribute(nonce, 'r') !== exchange.nonce) throw malformed('nonce does not match')
    const proof = fromBase64(clientFinal.slice(proofAt + 3))
    if (proof?.length !== keyBytes) throw malformed('malformed proof')

    const transcript = `${exchange.transcript},${withoutProof}`
    const { storedKey, serverKey } = this.#verifier
    const clientKey = xor(proof, hmac(storedKey, transcript))
    const ok = timingSafeEqual(sha256(clientKey), storedKey)
    const signature = hmac(serverKey, transcript)
    return { ok, serverFinal: ok ? `v=${base64(signature)}` : '' }
  }
}

/** The client's side of one exchange: first(), continue(), verify(). */
export class ScramClient {
  readonly #bare: string
  readonly #password: string
  readonly #nonce: string
  #serverSignature: Buffer | undefined

  /** PostgreSQL ignores `user`: it takes the one of the startup packet. `nonce` as for ScramServer. */
  constructor(user: string | undefined, password: string, nonce: string) {
    const name = (user ?? '').replaceAll('=', '=3D').replaceAll(',', '=2C')
    this.#bare = `n=${name},r=${nonce}`
    this.#password = password
    this.#nonce = nonce
  }

  /** client-first-message. */
  first(): string {
    return `n,,${this.#bare}`
  }

  /** Takes server-first-message, gives client-final-message. Derives the key: some milliseconds. */
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
    if (!(iterations <= iterationsMax)) throw malformed('invalid iteration count')

    const salted = saltPassword(this.#password, saltBytes, iterations)
    const clientKey = hmac(salted, 'Client Key')
    const withoutProof = `c=biws,r=${joined}`
    const transcript = `${this.#bare},${serverFirst},${withoutProof}`
    const proof = xor(clientKey, hmac(sha256(clientKey), transcript))
    this.#serverSignature = hmac(hmac(salted, 'Server Key'), transcript)
    return `${withoutProof},p=${base64(proof)}`
  }

  /** True when server-final-message proves that the server knows the verifier. */
  verify(serverFinal: string): boolean {
    const [first = ''] = serverFinal.split(',')
    if (first.startsWith('e=')) return false
    const signature = fromBase64(attribute(first, 'v'))
    const expected = this.#serverSignature
    if (signature?.length !== keyBytes || expected === undefined) return false
    return timingSafeEqual(signature, expected)
  }
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

function saltPassword(password: string, salt: Uint8Array, iterations: number): Buffer {
  return pbkdf2Sync(Buffer.from(saslprep(password)), salt, iterations, keyBytes, 'sha256')
}

function hmac(key: Uint8Array, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest()
}

function xor(left: Uint8Array, right: Uint8Array): Uint8Array {
  return left.map((byte, i) => byte ^ (right[i] ?? 0))
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}

/** Strict base64: undefined unless the text is what base64() gives for its bytes. */
function fromBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}
