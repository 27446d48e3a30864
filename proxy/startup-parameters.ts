// The startup packet's parameters: who, which database, and the settings that the session begins with.
import { pgError } from '../core/errors.ts'
import { quoteLiteral, SettingsProfile } from '../pool/settings-profile.ts'
import { checkOwnSetting, ownNames, ownPrefix } from './own-settings.ts'
import { parseOptions } from '../wire/startup.ts'

export type ClientStartup = {
  readonly user: string
  readonly database: string
  /** Protocol 3.`minor` is spoken. */
  readonly minor: number
  readonly settings: SettingsProfile
  /** Of a replication connection what its server is to be asked for; else empty. */
  readonly replication: ReadonlyMap<string, string>
  /** application_name when the server would report it unchanged; else null: then a server is asked. */
  readonly applicationName: string | null
  /** `_pq_.` options that we do not know: the client is told so. */
  readonly unknownOptions: readonly string[]
}

const notSettings = new Set(['user', 'database', 'options', 'replication'])
const protocolOptionPrefix = '_pq_.'
/** They end with the transaction that PostgreSQL logs a client in by, and no RESET takes them back. */
const ofOneTransaction = new Set([
  'transaction_isolation',
  'transaction_read_only',
  'transaction_deferrable',
])

/** @throws PgError 28000 without a user, 42601 and 22023 for what cannot be read */
export function readStartup(parameters: ReadonlyMap<string, string>, minor: number): ClientStartup {
  const user = parameters.get('user') ?? ''
  if (user === '') throw pgError('userMissing')
  const named = [...parameters].filter(
    ([name]) => !notSettings.has(name) && !name.startsWith(protocolOptionPrefix),
  )
  // As in PostgreSQL, a parameter of its own name comes after the command-line options.
  const all = [...parseOptions(parameters.get('options') ?? ''), ...named].map(
    ([name, value]) => [name.toLowerCase(), value] as const,
  )
  if (all.some(([name]) => name === 'seed'))
    throw pgError('unsupported', ['seed in a startup packet'])
  const lasting = all.filter(([name]) => !ofOneTransaction.has(name))
  const [own, servers] = [true, false].map((isOwn) =>
    lasting.filter(([name]) => name.startsWith(ownPrefix) === isOwn),
  )
  let settings = SettingsProfile.of(
    (servers ?? []).map(([name, value]) => [name, startupSetting(name, value)]),
  )
  for (const [name, value] of own ?? []) settings = settings.withOwn(name, ownStartup(name, value))
  return {
    user,
    // As in PostgreSQL, an empty name is none.
    database: parameters.get('database') || user,
    minor,
    settings,
    replication: replicationOf(parameters),
    applicationName: plainName(new Map(all).get('application_name')),
    unknownOptions: [...parameters.keys()].filter((name) => name.startsWith(protocolOptionPrefix)),
  }
}

/** @throws PgError 22023 for a value that PostgreSQL does not take */
function replicationOf(parameters: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const wanted = parameters.get('replication')
  if (wanted === undefined) return new Map()
  const isWanted = wanted === ofDatabase ? true : boolean(wanted)
  if (isWanted === null) {
    throw pgError('settingInvalid', ['replication', wanted.slice(0, 64), 'true, false, database'])
  }
  if (!isWanted) return new Map()
  const own = (name: string) => name === 'user' || name === 'database'
  const passedOn = [...parameters].filter(([name]) => {
    return !own(name) && !name.startsWith(protocolOptionPrefix)
  })
  return new Map(passedOn)
}

const ofDatabase = 'database'

/** As parse_bool() of PostgreSQL, which takes beginnings of the words; null for what is none. */
function boolean(text: string): boolean | null {
  const word = text.toLowerCase()
  const begins = (words: readonly string[]) => words.some((whole) => whole.startsWith(word))
  if (word === '' || word === 'o') return null
  if (begins(['true', 'yes', 'on', '1'])) return true
  return begins(['false', 'no', 'off', '0']) ? false : null
}

/** True for physical replication, which names no database. */
export function isPhysical({ replication }: ClientStartup): boolean {
  return replication.size > 0 && replication.get('replication') !== ofDatabase
}

/** A token is read when the session begins. @throws PgError 22023, 42704 */
function ownStartup(name: string, value: string): string {
  return name === ownNames.sessionToken ? value : checkOwnSetting(name, value)
}

/** The statement that puts a startup setting in force; lists such as search_path are one string there. */
export function startupSetting(name: string, value: string): string {
  return `SELECT pg_catalog.set_config(${quoteLiteral(name)}, ${quoteLiteral(value)}, false)`
}

/** PostgreSQL cuts application_name at 63 bytes and replaces what is not printable ASCII. */
function plainName(name: string | undefined): string | null {
  return name !== undefined && /^[ -~]{0,63}$/.test(name) ? name : null
}
