// What proves to servers that we are a user: a password, its md5 hash, or SCRAM keys. One object per user, shared by
// the sessions and the pools of that user, so that a pool opens its next connection with what the latest login has
// brought. It lives as long as one of them does; nothing of it is ever stored or logged.
import { pgError } from '../core/errors.ts'
import { deriveKeys, type ScramKeys } from '../wire/scram-keys.ts'

/** `hash`: `md5…` as in pg_authid. */
export type LoginProof =
  | { readonly kind: 'password'; readonly password: string }
  | { readonly kind: 'md5'; readonly hash: string }
  | { readonly kind: 'scram'; readonly keys: ScramKeys }

export class LoginSecret {
  #proof: LoginProof | null
  /** Of the password, for the salt that a server has asked with last. */
  #derived: ScramKeys | null = null

  /** Null: nothing is known, which will do where servers trust us. */
  constructor(proof: LoginProof | null) {
    this.#proof = proof
  }

  /** Of a password; null: none is known. */
  static of(password: string | null): LoginSecret {
    return new LoginSecret(password === null ? null : { kind: 'password', password })
  }

  get proof(): LoginProof | null {
    return this.#proof
  }

  /** From now on servers are shown this; the same as before changes nothing. */
  take(proof: LoginProof): void {
    if (this.#proof !== null && isSame(this.#proof, proof)) return
    this.#proof = proof
    this.#derived = null
  }

  /** True when a server that asks for SCRAM can be answered. */
  get hasKeys(): boolean {
    return this.#proof !== null && this.#proof.kind !== 'md5'
  }

  /**
   * Keys for a server with this salt. Those of a password are computed once: a pool opens many connections.
   * @throws PgError 28000 when there are keys of another verifier only
   */
  keysFor(salt: Uint8Array, iterations: number): ScramKeys {
    const proof = this.#proof
    const known = proof?.kind === 'scram' ? proof.keys : this.#derived
    if (known?.iterations === iterations && Buffer.compare(known.salt, salt) === 0) return known
    if (proof?.kind !== 'password') throw pgError('scramVerifierOther')
    this.#derived = deriveKeys(proof.password, Uint8Array.from(salt), iterations)
    return this.#derived
  }
}

function isSame(one: LoginProof, other: LoginProof): boolean {
  if (one.kind === 'password') return other.kind === 'password' && one.password === other.password
  if (one.kind === 'md5') return other.kind === 'md5' && one.hash === other.hash
  if (other.kind !== 'scram') return false
  const [a, b] = [one.keys, other.keys]
  return a.iterations === b.iterations && same(a.salt, b.salt) && same(a.clientKey, b.clientKey)
}

const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0
