// The ringfence.yaml that stands for a PgBouncer's settings, line by line with its comments. Pure.
import type { IniEntry, IniFile, ListedUser } from '../config/pgbouncer.ts'
import { type Unmapped, unknownSetting, unmappedSettings } from '../config/pgbouncer-settings.ts'
import {
  type Database,
  databaseLines,
  databasesOf,
  userSettingLines,
} from './pgbouncer-database.ts'
import {
  duration,
  durationOrNone,
  flag,
  type Notes,
  oneLine,
  section,
  type Settings,
  text,
} from './pgbouncer-values.ts'

/** The file, what whoever imports has to know, and the variables that the file refers to. */
export type Converted = {
  readonly yaml: string
  readonly warnings: readonly string[]
  readonly environment: readonly string[]
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
    warn: (place, message) => warnings.push(`${place}: ${message}`),
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
  const databases = databasesOf(ini.get('databases') ?? [])
  const sections = [
    `# Made from ${source} by "ringfence import-pgbouncer". Look through it, then: ringfence check\n`,
    processLines(settings),
    listenLines(settings, notes),
    tlsLines(settings, notes),
    userLines(settings, listed, notes),
    authLines(settings, databases, listed, notes),
    userSettingLines(ini.get('users') ?? [], notes),
    limitLines(settings),
    logLines(settings),
    databaseLines(databases, settings, listed, notes),
    restLines(ini, settings, notes),
  ]
  const yaml = sections.filter((lines) => lines !== '').join('\n')
  return { yaml, warnings, environment: [...environment].sort() }
}

const given = (settings: Settings, name: string) => settings.get(name)?.value
const mapped = <T>(value: string | undefined, map: (value: string) => T) =>
  value === undefined || value === '' ? undefined : map(value)
const names = (list: string) =>
  list.split(',').flatMap((name) => (name.trim() === '' ? [] : [name.trim()]))

function processLines(settings: Settings): string {
  const pidFile = given(settings, 'pidfile')
  return pidFile === undefined || pidFile === '' ? '' : `pid_file: ${text(pidFile)}\n`
}

function listenLines(settings: Settings, { warn }: Notes): string {
  const hosts = names(given(settings, 'listen_addr') ?? '')
  const directory = given(settings, 'unix_socket_dir')
  if (hosts.length === 0) {
    warn('listen_addr', 'PgBouncer listens on a Unix socket alone; Ringfence on 127.0.0.1, too')
  }
  if (directory?.startsWith('@') === true) {
    warn(settings.get('unix_socket_dir')?.place ?? '', 'sockets have files: name a directory')
  }
  const host = hosts.length === 0 ? '127.0.0.1' : hosts.join(',')
  const keepAlive = given(settings, 'tcp_keepalive')
  const silent = mapped(given(settings, 'tcp_keepidle'), duration)
  return section('listen', [
    ['host', text(hosts.includes('*') ? '0.0.0.0' : host)],
    ['port', given(settings, 'listen_port') ?? '6432'],
    ['backlog', given(settings, 'listen_backlog')],
    ['tcp_keepalive', keepAlive !== undefined && flag(keepAlive) === 'false' ? '0' : silent],
    ['unix_socket_dir', directory?.startsWith('@') === true ? undefined : mapped(directory, text)],
    ['unix_socket_mode', mapped(given(settings, 'unix_socket_mode'), text)],
  ])
}

function tlsLines(settings: Settings, notes: Notes): string {
  const sides = ['client', 'server'].flatMap((side) => {
    const of = (name: string) => settings.get(`${side}_tls_${name}`)
    const lines: readonly (readonly [string, string | undefined])[] = [
      ['mode', of('sslmode')?.value],
      ['cert', mapped(of('cert_file')?.value, text)],
      ['key', mapped(of('key_file')?.value, text)],
      ['ca', mapped(of('ca_file')?.value, text)],
      ['protocols', protocols(of('protocols'), notes)],
      ['ciphers', ciphers(of('ciphers')?.value)],
    ]
    const found = lines.flatMap(([name, value]) => (value === undefined ? [] : `${name}: ${value}`))
    return found.length === 0 ? [] : [`  ${side}: { ${found.join(', ')} }`]
  })
  return sides.length === 0 ? '' : `tls:\n${sides.join('\n')}\n`
}

function protocols(entry: IniEntry | undefined, { warn }: Notes): string | undefined {
  if (entry === undefined || entry.value === '' || entry.value === 'secure') return undefined
  if (entry.value === 'tlsv1.2' || entry.value === 'tlsv1.3') return entry.value
  warn(entry.place, `${entry.name}: TLS 1.2 and 1.3 are spoken, no older versions`)
  return undefined
}

function ciphers(value: string | undefined): string | undefined {
  const words = ['', 'default', 'secure', 'fast', 'normal', 'all']
  return value === undefined || words.includes(value) ? undefined : text(value)
}

function userLines(settings: Settings, listed: readonly ListedUser[], notes: Notes): string {
  const admins = names(given(settings, 'admin_users') ?? '')
  const known = new Map(listed.map((user) => [user.name, user.secret]))
  const lookedUp = given(settings, 'auth_user') !== undefined
  for (const admin of admins) if (!known.has(admin) && !lookedUp) known.set(admin, '')
  if (known.size === 0 && !lookedUp) {
    notes.warn('users', 'no users are known, so nobody can log in: list them with their passwords')
  }
  const lines = [...known].map(([name, secret]) => {
    const admin = admins.includes(name) ? ', admin: true' : ''
    return `  - { name: ${text(name)}, ${secretText(name, secret, notes)}${admin} }`
  })
  return lines.length === 0 ? 'users: []\n' : `users:\n${lines.join('\n')}\n`
}

function secretText(user: string, secret: string, notes: Notes): string {
  const hashed = /^(?:md5[0-9a-f]{32}$|SCRAM-SHA-256\$)/.test(secret)
  if (hashed) return `verifier: ${text(secret)}`
  if (secret !== '') return `password: ${text(secret)}`
  notes.warn('users', `the password of "${user}" is not known: give it in the environment`)
  return `password: ${notes.variable(user)}`
}

const methods: ReadonlyMap<string, string> = new Map([
  ['md5', 'md5'],
  ['plain', 'plain'],
  ['trust', 'trust'],
  ['cert', 'cert'],
])

function authLines(
  settings: Settings,
  databases: readonly Database[],
  listed: readonly ListedUser[],
  notes: Notes,
): string {
  const entry = settings.get('auth_type')
  const type = entry?.value ?? 'md5'
  const hba = type === 'hba' ? given(settings, 'auth_hba_file') : undefined
  const query = queryText(settings, listed, notes)
  const list = (name: string) => {
    const found = names(given(settings, name) ?? '')
    return found.length === 0 ? undefined : `[${found.map(text).join(', ')}]`
  }
  return section('auth', [
    ['hba_file', mapped(hba, text)],
    [
      'rules',
      hba === undefined ? ruleText(type, entry?.place ?? 'auth_type', databases, notes) : undefined,
    ],
    ['admin_users', query === undefined ? undefined : list('admin_users')],
    ['stats_users', list('stats_users')],
    ['query', query],
  ])
}

function ruleText(
  type: string,
  place: string,
  databases: readonly Database[],
  { warn }: Notes,
): string | undefined {
  if (type === 'scram-sha-256') return undefined
  const method = methods.get(type)
  if (method !== undefined) return `[{ method: ${method} }]`
  if (type === 'any') {
    if (databases.every(({ connection }) => connection.has('user'))) return '[{ method: any }]'
    warn(place, 'with auth_type any every name logs in; Ringfence takes those that are listed')
    return '[{ method: trust }]'
  }
  warn(place, `auth_type ${type} is not taken over: users log in with SCRAM-SHA-256`)
  return undefined
}

function queryText(
  settings: Settings,
  listed: readonly ListedUser[],
  { warn, variable }: Notes,
): string | undefined {
  const user = given(settings, 'auth_user')
  const sql = settings.get('auth_query')
  if (user === undefined || user === '') {
    if (sql !== undefined) warn(sql.place, 'auth_query: without auth_user nobody asks it')
    return undefined
  }
  const secret = listed.find(({ name }) => name === user)?.secret ?? ''
  const plain = secret !== '' && !/^(?:md5|SCRAM-SHA-256\$)/.test(secret)
  const password = plain ? text(secret) : variable(user)
  const database = mapped(given(settings, 'auth_dbname'), (name) => `, database: ${text(name)}`)
  const statement = mapped(sql?.value, (value) => `, sql: ${text(value)}`)
  return `{ user: ${text(user)}, password: ${password}${statement ?? ''}${database ?? ''} }`
}

// Of messages: what ringfence.yaml takes.
const frameBytesMin = 65_536
const frameBytesMax = 2 ** 30

function limitLines(settings: Settings): string {
  const login = given(settings, 'client_login_timeout')
  const packet = mapped(given(settings, 'max_packet_size'), Number)
  const frame = packet === undefined ? undefined : Math.max(frameBytesMin, packet)
  return section('limits', [
    ['login_timeout', login === undefined || Number(login) === 0 ? undefined : duration(login)],
    ['frame_bytes', frame === undefined ? undefined : String(Math.min(frameBytesMax, frame))],
    // PgBouncer's own default.
    ['max_client_conn', given(settings, 'max_client_conn') ?? '100'],
    ['max_user_connections', given(settings, 'max_user_connections')],
    ['max_user_client_connections', given(settings, 'max_user_client_connections')],
    ['autodb_idle_timeout', mapped(given(settings, 'autodb_idle_timeout'), duration)],
  ])
}

function logLines(settings: Settings): string {
  const switched = (name: string) => mapped(given(settings, name), flag)
  return section('log', [
    // On, where PgBouncer is not told otherwise.
    ['connections', switched('log_connections') ?? 'true'],
    ['disconnections', switched('log_disconnections') ?? 'true'],
    ['pooler_errors', switched('log_pooler_errors')],
    ['stats_period', mapped(given(settings, 'stats_period'), durationOrNone)],
  ])
}

const mappedSettings = new Set(
  `listen_addr listen_port listen_backlog unix_socket_dir unix_socket_mode tcp_keepalive tcp_keepidle pidfile
   client_tls_sslmode client_tls_cert_file client_tls_key_file client_tls_ca_file client_tls_protocols
   client_tls_ciphers server_tls_sslmode server_tls_cert_file server_tls_key_file server_tls_ca_file
   server_tls_protocols server_tls_ciphers admin_users stats_users auth_file auth_type auth_hba_file auth_user
   auth_query auth_dbname pool_mode default_pool_size min_pool_size reserve_pool_size reserve_pool_timeout
   max_client_conn max_db_connections max_db_client_connections max_user_connections
   max_user_client_connections query_wait_timeout query_wait_notify query_timeout transaction_timeout
   idle_transaction_timeout client_idle_timeout cancel_wait_timeout client_login_timeout server_lifetime
   server_idle_timeout server_connect_timeout server_login_retry server_round_robin server_reset_query
   application_name_add_host autodb_idle_timeout max_packet_size log_connections log_disconnections
   log_pooler_errors stats_period`.split(/\s+/),
)

/** Settings and peers that have no line. */
function restLines(ini: IniFile, settings: Settings, { warn }: Notes): string {
  const lines: string[] = []
  const note = ({ name, value, place }: IniEntry, { kind, reason }: Unmapped) => {
    if (kind === 'missing') warn(place, `${name}: ${reason}`)
    lines.push(`# ${name} = ${oneLine(value)}: ${reason}`)
  }
  for (const [name, entry] of settings) {
    if (!mappedSettings.has(name)) note(entry, unmappedSettings.get(name) ?? unknownSetting)
  }
  for (const entry of ini.get('peers') ?? []) note(entry, perPeer)
  return lines.length === 0 ? '' : `# Without a counterpart:\n${lines.join('\n')}\n`
}

const perPeer: Unmapped = {
  kind: 'missing',
  reason: 'workers of one Ringfence cancel for each other, several machines do not',
}
