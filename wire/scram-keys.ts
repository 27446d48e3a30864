// What SCRAM-SHA-256 keeps of a password (RFC 5802, section 3): the verifier on a server, the keys of a client, and
// the arithmetic that both sides of an exchange share. Salts come from the caller.
import { createHash, createHmac, pbkdf2, pbkdf2Sync, timingSafeEqual } from 'node:crypto'
import { saslprep } from './saslprep.ts'

/** What a server keeps instead of the password; both keys have 32 bytes. */
export type ScramVerifier = {
  readonly iterations: number
  readonly salt: Uint8Array
  readonly storedKey: Uint8Array
  readonly serverKey: Uint8Array
}

/** What logs in wherever the verifier of `salt` and `iterations` is stored, as the password would. */
export type ScramKeys = {
  readonly iterations: number
  readonly salt: Uint8Array
  readonly clientKey: Uint8Array
  readonly serverKey: Uint8Array
}

/** Bytes of a key, a signature, a proof. */
export const scramKeyBytes = 32
/** Most that we compute ourselves: a hostile peer could otherwise keep this process busy for minutes. */
export const scramIterationsMax = 1_000_000
const iterationsDefault = 4096
/** Of a verifier, as PostgreSQL's scram_iterations: the client does the work. */
const storedIterationsMax = 2 ** 31 - 1
const verifierPattern = /^SCRAM-SHA-256\$(\d{1,10}):([^:$]*)\$([^:$]*):([^:$]*)$/

/** Verifier text as PostgreSQL stores it: `SCRAM-SHA-256$4096:salt$StoredKey:ServerKey`. */
export function createVerifier(
  password: string,
  options: { readonly iterations?: number; readonly salt: Uint8Array },
): string {
  const iterations = options.iterations ?? iterationsDefault
  const { storedKey, serverKey } = verifierOf(deriveKeys(password, options.salt, iterations))
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
  if (salt === undefined || storedKey?.length !== scramKeyBytes) return undefined
  if (serverKey?.length !== scramKeyBytes) return undefined
  if (iterations < 1 || iterations > storedIterationsMax || salt.length === 0) return undefined
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

/** Keys of a password. Some milliseconds, and more with more iterations. */
export function deriveKeys(password: string, salt: Uint8Array, iterations: number): ScramKeys {
  const prepared = Buffer.from(saslprep(password))
  return keysOf(pbkdf2Sync(prepared, salt, iterations, scramKeyBytes, 'sha256'), salt, iterations)
}

/** What a server keeps of these keys. */
export function verifierOf({ clientKey, ...rest }: ScramKeys): ScramVerifier {
  return { ...rest, storedKey: sha256(clientKey) }
}

/** True when `password` is the one of `verifier`; computed beside the event loop. */
export async function fitsVerifier(password: string, verifier: ScramVerifier): Promise<boolean> {
  const { salt, iterations, storedKey } = verifier
  const salted = await new Promise<Buffer>((resolve, reject) => {
    const prepared = Buffer.from(saslprep(password))
    pbkdf2(prepared, salt, iterations, scramKeyBytes, 'sha256', (error, key) =>
      error === null ? resolve(key) : reject(error),
    )
  })
  return timingSafeEqual(sha256(keysOf(salted, salt, iterations).clientKey), storedKey)
}

function keysOf(salted: Uint8Array, salt: Uint8Array, iterations: number): ScramKeys {
  const clientKey = hmac(salted, 'Client Key')
  return { iterations, salt, clientKey, serverKey: hmac(salted, 'Server Key') }
}

/** HMAC-SHA-256. */
export function hmac(key: Uint8Array, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

/** SHA-256. */
export function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest()
}

/** Byte by byte; both have the same length. */
export function xor(left: Uint8Array, right: Uint8Array): Uint8Array {
  return left.map((byte, i) => byte ^ (right[i] ?? 0))
}

/** Base64 with padding. */
export function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}

/** Strict base64: undefined unless the text is what base64() gives for its bytes. */
export function fromBase64(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  return bytes.toString('base64') === text ? bytes : undefined
}
