// Rules for who may log in from where, and how: those of the configuration or of a pg_hba.conf. The first that matches
// decides, no match is a refusal (PostgreSQL manual, "The pg_hba.conf File").
import { BlockList, isIPv6 } from 'node:net'
import { networkInterfaces } from 'node:os'

/** `plain`: the password itself is asked for; `any`: every name is taken; `cert`: a certificate names the user. */
export type AuthMethod = 'trust' | 'any' | 'scram' | 'md5' | 'plain' | 'cert' | 'reject'

/** A network, or the ones that this machine is in: its addresses, or all of their networks. */
export type NetworkOptions =
  | {
      readonly family: 'ipv4' | 'ipv6'
      readonly address: string
      readonly prefixBits: number
    }
  | { readonly family: 'samehost' | 'samenet' }

/** `replication`: for physical replication, which names no database; `all`: any but that. */
export type DatabaseMatch = string | { readonly special: 'all' | 'sameuser' | 'replication' }

/** Null stands for all. */
export type AuthRuleOptions = {
  /** Absent: `all`. */
  readonly type?: 'all' | 'local' | 'host' | 'hostssl' | 'hostnossl'
  readonly database: readonly DatabaseMatch[] | null
  readonly user: readonly string[] | null
  readonly address: NetworkOptions | null
  readonly method: AuthMethod
  /** Name of the user map that says whom certificates name; absent or null: they name the user themselves. */
  readonly map?: string | null
}

/** Where a connection comes from. */
export type Origin = {
  /** Of the peer; '' on a Unix socket. */
  readonly address: string
  readonly encrypted: boolean
}

/** What a client asks for. */
export type Wish = {
  readonly user: string
  readonly database: string
  /** Physical replication. */
  readonly replication: boolean
}

/** Of ::ffff:0:0/96, where IPv6 has IPv4. */
const mappedBits = 96

type Network = { readonly family: 'ipv4' | 'ipv6'; readonly list: BlockList }
type Rule = AuthRuleOptions & { readonly network: Network | null }

/** Rules in their order. */
export class AuthRules {
  readonly #rules: readonly Rule[]
  readonly #realNameOf: (database: string) => string

  /** `realNameOf`: of a database by one of its names; absent: there are no aliases. */
  constructor(
    rules: readonly AuthRuleOptions[],
    realNameOf: (database: string) => string = (name) => name,
  ) {
    this.#rules = rules.map((rule) => ({ ...rule, network: networkOf(rule.address) }))
    this.#realNameOf = realNameOf
  }

  /** Method of the first rule that matches; `reject` when none does. */
  methodFor(wish: Wish, origin: Origin): AuthMethod {
    return this.ruleFor(wish, origin)?.method ?? 'reject'
  }

  /** The first rule that matches; null when none does. */
  ruleFor(wish: Wish, origin: Origin): AuthRuleOptions | null {
    // A rule for a database is one for all of its names: an alias is no way round it.
    const realName = wish.replication ? '' : this.#realNameOf(wish.database)
    const rule = this.#rules.find(
      (candidate) =>
        matchesType(candidate.type ?? 'all', origin) &&
        matchesDatabase(candidate.database, wish, realName) &&
        (candidate.user === null || candidate.user.includes(wish.user)) &&
        matchesAddress(candidate, origin.address),
    )
    return rule ?? null
  }
}

function matchesType(type: NonNullable<AuthRuleOptions['type']>, origin: Origin): boolean {
  const local = origin.address === ''
  switch (type) {
    case 'all':
      return true
    case 'local':
      return local
    case 'host':
      return !local
    case 'hostssl':
      return !local && origin.encrypted
    case 'hostnossl':
      return !local && !origin.encrypted
  }
}

function matchesDatabase(
  names: AuthRuleOptions['database'],
  { database, user, replication }: Wish,
  realName: string,
): boolean {
  if (names === null) return !replication
  return names.some((name) => {
    if (typeof name === 'string') return !replication && (name === database || name === realName)
    if (name.special === 'replication') return replication
    return !replication && (name.special === 'all' || user === database)
  })
}

function matchesAddress({ address: wanted, network }: Rule, address: string): boolean {
  if (wanted === null) return true
  if (address === '') return false
  const [plain, family] = plainAddress(address)
  if (network === null) return ownNetworks(wanted).check(plain, family)
  // A BlockList finds an IPv4 address in ::/0 as well.
  return network.family === family && network.list.check(plain, family)
}

/** An IPv4 peer of a dual-stack socket as IPv4; without the zone of a link-local address. */
export function plainAddress(address: string): [address: string, family: 'ipv4' | 'ipv6'] {
  const [bare = ''] = address.split('%')
  const plain = /^::ffff:\d+\./i.test(bare) ? bare.slice('::ffff:'.length) : bare
  return [plain, isIPv6(plain) ? 'ipv6' : 'ipv4']
}

/** Null for those of this machine. IPv4 as a part of IPv6 is IPv4: such clients are seen as that. */
function networkOf(network: NetworkOptions | null): Network | null {
  if (network === null || !('prefixBits' in network)) return null
  const [address, family] = plainAddress(network.address)
  const prefixBits =
    family === network.family ? network.prefixBits : network.prefixBits - mappedBits
  const list = new BlockList()
  // Wider than all of IPv4: no client has such an address.
  if (prefixBits >= 0) list.addSubnet(address, prefixBits, family)
  return { family, list }
}

/** Asked each time, as PostgreSQL does: interfaces come and go. */
function ownNetworks(network: NetworkOptions): BlockList {
  const list = new BlockList()
  for (const { address, cidr } of Object.values(networkInterfaces()).flatMap(
    (each) => each ?? [],
  )) {
    const [plain, family] = plainAddress(address)
    const bits = Number(cidr?.split('/')[1] ?? Number.NaN)
    if (network.family === 'samenet' && Number.isInteger(bits)) list.addSubnet(plain, bits, family)
    else list.addAddress(plain, family)
  }
  return list
}
