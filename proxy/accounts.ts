// Who may log in, and how: users of the configuration and the rules for where they come from.
import { randomBytes } from 'node:crypto'
import { BlockList, isIPv6 } from 'node:net'
import { createVerifier, mockVerifier, parseVerifier, type ScramVerifier } from '../wire/scram.ts'

export type UserOptions = {
  readonly name: string
  readonly secret:
    | { readonly kind: 'password'; readonly password: string }
    /** As in pg_authid.rolpassword: `SCRAM-SHA-256$…` or `md5…`. */
    | { readonly kind: 'verifier'; readonly verifier: string }
  readonly admin: boolean
}

export type AuthMethod = 'trust' | 'scram' | 'md5' | 'reject'

type NetworkOptions = {
  readonly family: 'ipv4' | 'ipv6'
  readonly address: string
  readonly prefixBits: number
}

/** Null means all. */
export type AuthRuleOptions = {
  readonly database: string | null
  readonly user: string | null
  readonly address: NetworkOptions | null
  readonly method: AuthMethod
}

/** One user, or what stands in for an unknown one so that the answer takes the same work. */
export type Account = {
  readonly name: string
  readonly known: boolean
  readonly admin: boolean
  /** Plain password where the configuration has it: it logs in to the servers. */
  readonly password: string | null
  readonly scram: ScramVerifier
  /** Stored form for md5: plain password or `md5…`; null when neither is known. */
  readonly md5: string | null
}

type Rule = AuthRuleOptions & { readonly list: BlockList | null }

export class Accounts {
  readonly #accounts = new Map<string, Account>()
  readonly #rules: readonly Rule[]
  readonly #mockSecret = randomBytes(32)

  constructor(users: readonly UserOptions[], rules: readonly AuthRuleOptions[]) {
    for (const user of users) this.#accounts.set(user.name, this.#accountOf(user))
    this.#rules = rules.map((rule) => ({ ...rule, list: listOf(rule.address) }))
  }

  /** The user's account; for an unknown name one that no password fits. */
  find(name: string): Account {
    const scram = mockVerifier(name, this.#mockSecret)
    const unknown = { name, known: false, admin: false, password: null, scram, md5: null }
    return this.#accounts.get(name) ?? unknown
  }

  /** First rule that matches decides; no rule, no login. `address` is the peer's, '' on a Unix socket. */
  methodFor(database: string, user: string, address: string): AuthMethod {
    const rule = this.#rules.find(
      (candidate) =>
        (candidate.database === null || candidate.database === database) &&
        (candidate.user === null || candidate.user === user) &&
        matches(candidate.list, address),
    )
    return rule?.method ?? 'reject'
  }

  #accountOf({ name, secret, admin }: UserOptions): Account {
    const mock = mockVerifier(name, this.#mockSecret)
    if (secret.kind === 'password') {
      const { password } = secret
      const scram = parseVerifier(createVerifier(password, { salt: randomBytes(16) })) ?? mock
      return { name, known: true, admin, password, scram, md5: password }
    }
    const scram = parseVerifier(secret.verifier)
    const md5 = scram === undefined ? secret.verifier : null
    return { name, known: true, admin, password: null, scram: scram ?? mock, md5 }
  }
}

function listOf(network: AuthRuleOptions['address']): BlockList | null {
  if (network === null) return null
  const list = new BlockList()
  list.addSubnet(network.address, network.prefixBits, network.family)
  return list
}

function matches(list: BlockList | null, address: string): boolean {
  if (list === null) return true
  if (address === '') return false
  // An IPv4 peer of a dual-stack socket.
  const plain = address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address
  return list.check(plain, isIPv6(plain) ? 'ipv6' : 'ipv4')
}
