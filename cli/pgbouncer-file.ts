// The ringfence.yaml that stands for a PgBouncer's settings, line by line with its comments. Pure.
import {
  type IniEntry,
  type IniFile,
  type ListedUser,
  parseConnection,
} from '../config/pgbouncer.ts'
import {
  type Unmapped,
  unknownSetting,
  unmappedConnection,
  unmappedSettings,
} from '../config/pgbouncer-settings.ts'

/** The file, what whoever imports has to know, and the variables that the file refers to. */
export type Converted = {
  readonly yaml: string
  readonly warnings: readonly string[]
  readonly environment: readonly string[]
}

/** A database of the ini that can be served. */
type Database = {
  readonly name: string
  readonly place: string
  readonly connection: ReadonlyMap<string, string>
}

/** Gathers warnings and variables while lines are written. */
type Notes = {
  readonly warn: (place: string, text: string) => void
  readonly variable: (user: string) => string
}

/** `source` is named at the top of the file. */
export function convertPgbouncer(
  ini: IniFile,
  listed: readonly ListedUser[],
  source: string,
): Converted {
  const warnings: string[] = []
  const environment = new Set<string>()
  const notes: Notes = {
    warn: (place, text) => warnings.push(`${place}: ${text}`),
    variable: (user) => {
      const name = `${user
        .toUpperCase()
        .replaceAll(/[^A-Z0-9]+/g, '_')
        .replace(/^(?=\d)/, '_')}_PASSWORD`
      environment.add(name)
      return `\${${name}}`
    },
  }
  const settings = new Map(
    (ini.get('pgbouncer') ?? []).map((entry) => [entry.name.toLowerCase(), entry]),
  )
  const databases = databasesOf(ini.get('databases') ?? [], notes)
  const sections = [
    `# Made from ${source} by "ringfence import-pgbouncer". Look through it, then: ringfence check\n`,
    listenLines(settings, notes),
    userLines(settings, listed, databases, notes),
    authLines(settings, notes),
    limitLines(settings),
    databaseLines(databases, settings, listed, notes),
    restLines(ini, settings, notes),
  ]
  const yaml = sections.filter((lines) => lines !== '').join('\n')
  return { yaml, warnings, environment: [...environment].sort() }
}

type Settings = ReadonlyMap<string, IniEntry>

function databasesOf(entries: readonly IniEntry[], notes: Notes): readonly Database[] {
  const databases = entries.flatMap((entry): Database[] => {
    const { name, place } = entry
    const connection = parseConnection(entry)
    if (name !== '*') return [{ name, place, connection }]
    notes.warn(
      place,
      'the database "*" stands for all others; Ringfence serves those that are named',
    )
    return []
  })
  return [...new Map(databases.map((database) => [database.name, database])).values()]
}

function listenLines(settings: Settings, { warn }: Notes): string {
  const address = settings.get('listen_addr')
  const [first = '', ...more] = (address?.value ?? '').split(',').map((each) => each.trim())
  if (address === undefined || first === '') {
    warn('listen_addr', 'PgBouncer listens on a Unix socket alone; Ringfence listens on 127.0.0.1')
  }
  if (more.length > 0)
    warn(address?.place ?? '', `it listens on one address, not on ${more.join(', ')}`)
  const host = first === '' ? '127.0.0.1' : first === '*' ? '0.0.0.0' : first
  const port = settings.get('listen_port')?.value ?? '6432'
  return `listen: { host: ${text(host)}, port: ${port} }\n`
}

function userLines(
  settings: Settings,
  listed: readonly ListedUser[],
  databases: readonly Database[],
  notes: Notes,
): string {
  const admins = (settings.get('admin_users')?.value ?? '').split(',').map((name) => name.trim())
  // Without a role of its own the proxy logs in as the client, which takes the client's password itself.
  const passesOn = databases.some(({ connection }) => !connection.has('user'))
  const known = new Map(listed.map((user) => [user.name, user.secret]))
  for (const admin of admins) if (admin !== '' && !known.has(admin)) known.set(admin, '')
  if (known.size === 0) {
    notes.warn('users', 'no users are known, so nobody can log in: list them with their passwords')
    return 'users: []\n'
  }
  const lines = [...known].map(([name, secret]) => {
    const admin = admins.includes(name) ? ', admin: true' : ''
    return `  - { name: ${text(name)}, ${secretText(name, secret, passesOn, notes)}${admin} }`
  })
  return `users:\n${lines.join('\n')}\n`
}

function secretText(user: string, secret: string, passesOn: boolean, notes: Notes): string {
  const hashed = /^(?:md5[0-9a-f]{32}$|SCRAM-SHA-256\$)/.test(secret)
  if (secret !== '' && !hashed) return `password: ${text(secret)}`
  if (hashed && !passesOn) return `verifier: ${text(secret)}`
  const why = hashed
    ? 'is stored hashed, with which Ringfence cannot log in to the servers'
    : 'is not known'
  notes.warn('users', `the password of "${user}" ${why}: give it in the environment`)
  return `password: ${notes.variable(user)}`
}

function authLines(settings: Settings, { warn }: Notes): string {
  const entry = settings.get('auth_type')
  const type = entry?.value ?? 'md5'
  const place = entry?.place ?? 'auth_type'
  const rule = (method: string) => `auth: { rules: [{ method: ${method} }] }\n`
  if (type === 'scram-sha-256') return ''
  if (type === 'md5') return rule('md5')
  if (type === 'trust') return rule('trust')
  if (type === 'any') {
    warn(place, 'with auth_type any every name logs in; Ringfence takes those that are listed')
    return rule('trust')
  }
  warn(place, `auth_type ${type} is not taken over: users log in with SCRAM-SHA-256`)
  return `# auth_type = ${type}: see auth.rules\n`
}

function limitLines(settings: Settings): string {
  const login = settings.get('client_login_timeout')
  if (login === undefined || Number(login.value) === 0) return ''
  return `limits: { login_timeout: ${duration(login.value)} }\n`
}

function databaseLines(
  databases: readonly Database[],
  settings: Settings,
  listed: readonly ListedUser[],
  notes: Notes,
): string {
  if (databases.length === 0) {
    notes.warn(
      '[databases]',
      'no database is named, and Ringfence needs one: add it with its shard',
    )
  }
  const parts = databases.map((database) => {
    const { name, connection } = database
    const lines = [`  ${text(name)}:`, ...poolLines(database, settings, notes)]
    const user = connection.get('user')
    if (user !== undefined) {
      const own = connection.get('password') ?? plainSecret(listed, user)
      const password = own === undefined ? notes.variable(user) : text(own)
      lines.push(`    server_user: { name: ${text(user)}, password: ${password} }`)
    }
    lines.push('    shards:', `      - { id: s1, primary: ${text(primaryUrl(database, notes))} }`)
    return [...lines, ...unmappedLines(database, notes)].join('\n')
  })
  return `databases:\n${parts.join('\n')}\n`
}

function plainSecret(listed: readonly ListedUser[], user: string): string | undefined {
  const secret = listed.find(({ name }) => name === user)?.secret ?? ''
  return secret === '' || /^(?:md5|SCRAM-SHA-256\$)/.test(secret) ? undefined : secret
}

function poolLines({ connection, place }: Database, settings: Settings, { warn }: Notes): string[] {
  const mode = connection.get('pool_mode') ?? settings.get('pool_mode')?.value ?? 'session'
  if (mode !== 'transaction') {
    const kept = 'session state follows the client, or keeps it on its server'
    warn(place, `pool_mode ${mode}: this version pools by transaction; ${kept}`)
  }
  const given = (name: string) => settings.get(name)?.value
  const pool = [
    ['size', connection.get('pool_size') ?? given('default_pool_size')],
    // PgBouncer's own default, for all databases together; here it is each database's.
    ['max_client_conn', given('max_client_conn') ?? '100'],
    ['query_wait_timeout', endless(given('query_wait_timeout'))],
    ['server_lifetime', atLeastOne(connection.get('server_lifetime') ?? given('server_lifetime'))],
    ['server_idle_timeout', seconds(given('server_idle_timeout'))],
    ['idle_transaction_timeout', seconds(given('idle_transaction_timeout'))],
  ].filter((pair): pair is [string, string] => pair[1] !== undefined)
  return ['    pool:', ...pool.map(([name, value]) => `      ${name}: ${value}`)]
}

function primaryUrl({ name, place, connection }: Database, { warn }: Notes): string {
  const [host = '', ...others] = (connection.get('host') ?? '').split(',')
  if (others.length > 0) {
    warn(
      place,
      `of several hosts the first is taken; list ${others.join(', ')} as replicas if they are`,
    )
  }
  const local = host === '' || host.startsWith('/') || host.startsWith('@')
  if (local) warn(place, 'a Unix socket is not supported; 127.0.0.1 is taken instead')
  const bare = local ? '127.0.0.1' : host
  const address = bare.includes(':') ? `[${bare}]` : bare
  const port = connection.get('port')?.split(',')[0] ?? '5432'
  return `postgres://${address}:${port}/${encodeURIComponent(connection.get('dbname') ?? name)}`
}

const mappedConnection = new Set(
  'host port dbname user password pool_size pool_mode server_lifetime'.split(' '),
)
const mappedSettings = new Set(
  `listen_addr listen_port admin_users auth_file auth_type pool_mode default_pool_size max_client_conn
   query_wait_timeout server_lifetime server_idle_timeout idle_transaction_timeout client_login_timeout
   client_tls_sslmode server_tls_sslmode`.split(/\s+/),
)

function unmappedLines({ connection, place }: Database, { warn }: Notes): readonly string[] {
  return [...connection].flatMap(([name, value]) => {
    if (mappedConnection.has(name)) return []
    const { kind, reason } = unmappedConnection.get(name) ?? unknownSetting
    if (kind === 'missing') warn(place, `${name}: ${reason}`)
    return [`    # ${name}=${oneLine(value)}: ${reason}`]
  })
}

/** Settings, users and peers that have no line. */
function restLines(ini: IniFile, settings: Settings, { warn }: Notes): string {
  const lines: string[] = []
  const note = ({ name, value, place }: IniEntry, { kind, reason }: Unmapped) => {
    if (kind === 'missing') warn(place, `${name}: ${reason}`)
    lines.push(`# ${name} = ${oneLine(value)}: ${reason}`)
  }
  for (const [name, entry] of settings) {
    if (!mappedSettings.has(name)) note(entry, unmappedSettings.get(name) ?? unknownSetting)
    if (name.endsWith('_tls_sslmode') && entry.value !== 'disable') note(entry, noTls)
  }
  for (const entry of ini.get('users') ?? []) note(entry, perUser)
  for (const entry of ini.get('peers') ?? []) note(entry, perPeer)
  return lines.length === 0 ? '' : `# Without a counterpart:\n${lines.join('\n')}\n`
}

const noTls: Unmapped = { kind: 'missing', reason: 'this version speaks no TLS' }
const perUser: Unmapped = { kind: 'missing', reason: 'users have no pool settings of their own' }
const perPeer: Unmapped = {
  kind: 'missing',
  reason: 'proxies cancel for each other by nothing yet',
}

/** PgBouncer's times are seconds, with decimals. */
function duration(text: string): string {
  const ms = Math.round(Number(text) * 1_000)
  return ms % 1_000 === 0 ? `${ms / 1_000}s` : `${ms}ms`
}

function seconds(text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  return Number(text) === 0 ? '0' : duration(text)
}

/** 0 stands for no limit; the longest time there is comes near it. */
function endless(text: string | undefined): string | undefined {
  return text !== undefined && Number(text) === 0 ? '24d' : seconds(text)
}

function atLeastOne(text: string | undefined): string | undefined {
  return text !== undefined && Number(text) < 1 ? '1s' : seconds(text)
}

/** JSON's strings are YAML's, but for references to the environment. */
function text(value: string): string {
  return JSON.stringify(value).replaceAll('${', '$$${')
}

/** Nothing of a value may end the comment that it stands in. */
function oneLine(value: string): string {
  return value.replaceAll(/\s+/g, ' ')
}
