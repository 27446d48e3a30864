// Who may log in: users of the configuration, then those of the user list, then those that a server is asked for.
// An unknown name has an account, too, so that it is answered with the same work; no password fits it.
import { LoginSecret } from '../pool/login-secret.ts'
import { mockVerifier } from '../wire/scram-keys.ts'
import type { Credentials } from './database-options.ts'
import { StoredPassword } from './stored-password.ts'

export type UserOptions = {
  readonly name: string
  readonly secret:
    | { readonly kind: 'password'; readonly password: string }
    /** As in pg_authid.rolpassword: `SCRAM-SHA-256$…` or `md5…`. */
    | { readonly kind: 'verifier'; readonly verifier: string }
  readonly admin: boolean
}

/** One user, or what stands in for an unknown one. */
export type Account = {
  readonly name: string
  readonly known: boolean
  readonly admin: boolean
  readonly stored: StoredPassword
  /** Wall clock, milliseconds: from then on no password is right. */
  readonly validUntilMs: number
  /** With what the user is logged in to servers. */
  readonly login: Credentials & { readonly secret: LoginSecret }
  /** Asked for again at the next login: what was proven did not fit. */
  readonly forget: () => void
}

/** What a server says of a user, see auth-query.ts. */
export type FoundUser = {
  /** As in pg_authid.rolpassword; '' is none. */
  readonly password: string
  readonly validUntilMs: number
}

/** Users that are listed nowhere. */
export type UserLookup = {
  /** Null: there is no such user. @throws PgError when nobody could be asked */
  find(user: string, database: string): Promise<FoundUser | null>
  forget(user: string, database: string): void
  /** What its answers are about: the same user of two such places may have two passwords. */
  realmOf(database: string): string
}

const forgetNothing = () => {}

export class Accounts {
  readonly #mockSecret: Uint8Array
  readonly #secrets = new SharedSecrets()
  #users: ReadonlyMap<string, Account> = new Map()
  #listed: ReadonlyMap<string, Account> = new Map()
  #lookup: UserLookup | null = null

  /**
   * `mockSecret`: what the salts of unknown users are made of. The same in all processes that clients can reach under one
   * name, and after a restart: who is asked with changing salts does not exist.
   */
  constructor(mockSecret: Uint8Array) {
    this.#mockSecret = mockSecret
  }

  /** Users of the configuration. Who is in stays in; the next server connection shows the new password. */
  configure(users: readonly UserOptions[]): void {
    this.#users = new Map(
      users.map(({ name, secret, admin }) => {
        const mock = mockVerifier(name, this.#mockSecret)
        const stored =
          secret.kind === 'password'
            ? StoredPassword.plain(secret.password, mock)
            : StoredPassword.read(secret.verifier, mock)
        return [name, this.#accountOf(name, stored, { admin })]
      }),
    )
  }

  /** Users of the user list, by name with what it says of their password. */
  list(passwords: ReadonlyMap<string, string>): void {
    this.#listed = new Map(
      [...passwords].map(([name, text]) => {
        const stored = StoredPassword.read(text, mockVerifier(name, this.#mockSecret))
        return [name, this.#accountOf(name, stored)]
      }),
    )
  }

  /** Null: who is listed nowhere does not exist. */
  lookUpWith(lookup: UserLookup | null): void {
    this.#lookup = lookup
  }

  /** Password of a listed user for the proxy's own logins; null when it is not known in plain. */
  passwordOf(name: string): string | null {
    return (this.#users.get(name) ?? this.#listed.get(name))?.stored.password ?? null
  }

  /** The user's account, or one that no password fits. @throws PgError when a server cannot be asked */
  find(name: string, database: string): Account | Promise<Account> {
    const account = this.#users.get(name) ?? this.#listed.get(name)
    if (account !== undefined) return account
    return this.#lookup === null ? this.#unknown(name) : this.#lookUp(this.#lookup, name, database)
  }

  async #lookUp(lookup: UserLookup, name: string, database: string): Promise<Account> {
    const found = await lookup.find(name, database)
    const forget = () => lookup.forget(name, database)
    if (found === null) return { ...this.#unknown(name), forget }
    const stored = StoredPassword.read(found.password, mockVerifier(name, this.#mockSecret))
    const realm = lookup.realmOf(database)
    return { ...this.#accountOf(name, stored, { realm }), validUntilMs: found.validUntilMs, forget }
  }

  #unknown(name: string): Account {
    const stored = StoredPassword.none(mockVerifier(name, this.#mockSecret))
    const secret = new LoginSecret(null)
    return {
      name,
      known: false,
      admin: false,
      stored,
      validUntilMs: Number.POSITIVE_INFINITY,
      login: { name, password: null, secret },
      forget: forgetNothing,
    }
  }

  #accountOf(
    name: string,
    stored: StoredPassword,
    { admin = false, realm = '' }: { readonly admin?: boolean; readonly realm?: string } = {},
  ): Account {
    const { password } = stored
    const secret = this.#secrets.of(name, realm)
    if (password !== null) secret.take({ kind: 'password', password })
    return {
      name,
      known: true,
      admin,
      stored,
      validUntilMs: Number.POSITIVE_INFINITY,
      login: { name, password, secret },
      forget: forgetNothing,
    }
  }
}

/** One secret per user as long as an account, a session or a pool has it. */
class SharedSecrets {
  readonly #secrets = new Map<string, WeakRef<LoginSecret>>()
  readonly #collected = new FinalizationRegistry<string>((key) => {
    if (this.#secrets.get(key)?.deref() === undefined) this.#secrets.delete(key)
  })

  of(name: string, realm: string): LoginSecret {
    const key = `${realm}\0${name}`
    const known = this.#secrets.get(key)?.deref()
    if (known !== undefined) return known
    const secret = new LoginSecret(null)
    this.#secrets.set(key, new WeakRef(secret))
    this.#collected.register(secret, key)
    return secret
  }
}
