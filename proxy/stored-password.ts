// What is known of a user's password: itself, its md5 hash or its SCRAM verifier, in whichever form the configuration, a
// user list or a server gives it. Knows how a client's proof is compared with it.
import { createHash, timingSafeEqual } from 'node:crypto'
import { verifyMd5 } from '../wire/md5.ts'
import {
  deriveKeys,
  fitsVerifier,
  parseVerifier,
  scramIterationsMax,
  type ScramVerifier,
  verifierOf,
} from '../wire/scram-keys.ts'

/** `text` as in pg_authid.rolpassword or in plain; null: no password lets this user in. */
type Known =
  | { readonly kind: 'plain'; readonly password: string; readonly salt: Uint8Array }
  | { readonly kind: 'scram'; readonly verifier: ScramVerifier }
  | { readonly kind: 'md5'; readonly hash: string }
  | { readonly kind: 'none' }

const md5Pattern = /^md5[0-9a-f]{32}$/
const iterations = 4096

export class StoredPassword {
  readonly #known: Known
  readonly #mock: ScramVerifier
  #verifier: ScramVerifier | null = null

  private constructor(known: Known, mock: ScramVerifier) {
    this.#known = known
    this.#mock = mock
  }

  /** No password: every exchange takes the work of a real one, against `mock`, and fails. */
  static none(mock: ScramVerifier): StoredPassword {
    return new StoredPassword({ kind: 'none' }, mock)
  }

  /** A password as it is; the same salt as the user's mock has. */
  static plain(password: string, mock: ScramVerifier): StoredPassword {
    return new StoredPassword({ kind: 'plain', password, salt: mock.salt }, mock)
  }

  /**
   * `SCRAM-SHA-256$…`, `md5…`, or a password in plain; '' is none, as in PgBouncer. What begins like a verifier and cannot
   * be used is none either: it is no password that somebody has chosen, and whoever has seen it could log in with it.
   */
  static read(text: string, mock: ScramVerifier): StoredPassword {
    const verifier = parseVerifier(text)
    if (verifier !== undefined) return new StoredPassword({ kind: 'scram', verifier }, mock)
    if (text.startsWith('SCRAM-SHA-256$')) return StoredPassword.none(mock)
    if (md5Pattern.test(text)) return new StoredPassword({ kind: 'md5', hash: text }, mock)
    return text === '' ? StoredPassword.none(mock) : StoredPassword.plain(text, mock)
  }

  /** In plain, when it is known so. */
  get password(): string | null {
    return this.#known.kind === 'plain' ? this.#known.password : null
  }

  /** `md5…`, when only that is known. */
  get md5Hash(): string | null {
    return this.#known.kind === 'md5' ? this.#known.hash : null
  }

  /** For SCRAM; one that nothing fits where there is none. Of a plain password it is computed once: some milliseconds. */
  get scram(): ScramVerifier {
    const known = this.#known
    if (known.kind === 'scram') return known.verifier
    if (known.kind !== 'plain') return this.#mock
    this.#verifier ??= verifierOf(deriveKeys(known.password, known.salt, iterations))
    return this.#verifier
  }

  /** False when the client must be asked for SCRAM although md5 will do, as PostgreSQL does. */
  get takesMd5(): boolean {
    return this.#known.kind !== 'scram'
  }

  /** True when the answer to AuthenticationMD5Password is right. */
  fitsMd5(login: {
    readonly user: string
    readonly salt: Uint8Array
    readonly answer: string
  }): boolean {
    const stored = this.password ?? this.md5Hash
    const fits = verifyMd5(stored ?? noHash, login)
    return fits && stored !== null
  }

  /** True when that is the password; takes the time of a SCRAM verifier for all of them. */
  async fits(user: string, password: string): Promise<boolean> {
    const { scram } = this
    // A role may have stored one that would keep a thread busy for minutes.
    if (scram.iterations > scramIterationsMax) return false
    const fitsScram = await fitsVerifier(password, scram)
    const hash = createHash('md5').update(password).update(user).digest('hex')
    const fitsHash = timingSafeEqual(Buffer.from(`md5${hash}`), Buffer.from(this.md5Hash ?? noHash))
    return this.md5Hash === null ? fitsScram : fitsHash
  }
}

const noHash = `md5${'x'.repeat(32)}`
