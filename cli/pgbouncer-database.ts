// PgBouncer's databases and users as ringfence.yaml has them: pools, servers, what single users have of their own.
import { type IniEntry, type ListedUser, parseConnection } from '../config/pgbouncer.ts'
import { unknownSetting, unmappedConnection } from '../config/pgbouncer-settings.ts'
import {
  duration,
  durationOrNone,
  flag,
  type Notes,
  oneLine,
  type Settings,
  text,
} from './pgbouncer-values.ts'

/** A database of the ini. */
export type Database = {
  readonly name: string
  readonly place: string
  readonly connection: ReadonlyMap<string, string>
}

/** The last one of a name counts. @throws Error at a line that is none */
export function databasesOf(entries: readonly IniEntry[]): readonly Database[] {
  const databases = entries.map((entry): Database => {
    const { name, place } = entry
    return { name, place, connection: parseConnection(entry) }
  })
  return [...new Map(databases.map((database) => [database.name, database])).values()]
}

/** The section `databases`. */
export function databaseLines(
  databases: readonly Database[],
  settings: Settings,
  listed: readonly ListedUser[],
  notes: Notes,
): string {
  if (databases.length === 0) {
    const message = 'no database is named, and Ringfence needs one: add it with its shard'
    notes.warn('[databases]', message)
  }
  const parts = databases.map((database) => {
    const { name, connection } = database
    const lines = [`  ${text(name)}:`, ...poolLines(database, settings)]
    const user = connection.get('user')
    if (user !== undefined && user !== '') {
      const own = connection.get('password') ?? plainSecret(listed, user)
      const password = own === undefined ? notes.variable(user) : text(own)
      lines.push(`    server_user: { name: ${text(user)}, password: ${password} }`)
    }
    const begins = ['client_encoding', 'datestyle', 'timezone'].flatMap((setting) => {
      const value = connection.get(setting)
      return value === undefined ? [] : `${setting}: ${text(value)}`
    })
    if (begins.length > 0) lines.push(`    server_settings: { ${begins.join(', ')} }`)
    const query = connection.get('connect_query')
    if (query !== undefined) lines.push(`    connect_query: ${text(query)}`)
    lines.push('    shards:', `      - { id: s1, primary: ${text(primaryUrl(database, notes))} }`)
    return [...lines, ...unmappedLines(database, notes)].join('\n')
  })
  return `databases:\n${parts.join('\n')}\n`
}

function plainSecret(listed: readonly ListedUser[], user: string): string | undefined {
  const secret = listed.find(({ name }) => name === user)?.secret ?? ''
  return secret === '' || /^(?:md5|SCRAM-SHA-256\$)/.test(secret) ? undefined : secret
}

/** Limits of a database, where its line says nothing those of all. */
function poolLines({ connection }: Database, settings: Settings): string[] {
  const given = (name: string) => settings.get(name)?.value
  const either = (name: string) => connection.get(name) ?? given(name)
  const reserve = connection.get('reserve_pool') ?? either('reserve_pool_size')
  const reserveTimeout = given('reserve_pool_timeout')
  const noReserve = reserveTimeout !== undefined && Number(reserveTimeout) === 0
  const pool: readonly (readonly [string, string | undefined])[] = [
    // PgBouncer's own default.
    ['mode', (either('pool_mode') ?? 'session').toLowerCase()],
    ['size', connection.get('pool_size') ?? given('default_pool_size')],
    ['min', either('min_pool_size')],
    // 0 switches the reserve off.
    ['reserve', noReserve ? '0' : reserve],
    ['reserve_timeout', positive(reserveTimeout)],
    ['max_client_conn', unlimited(either('max_db_client_connections') ?? '0')],
    ['max_db_connections', either('max_db_connections')],
    ['query_wait_timeout', times(either('query_wait_timeout'))],
    ['query_wait_notify', times(given('query_wait_notify'))],
    ['server_lifetime', atLeastOne(either('server_lifetime'))],
    ['server_idle_timeout', times(given('server_idle_timeout'))],
    ['server_connect_timeout', positive(given('server_connect_timeout') ?? '15')],
    ['server_login_retry', positive(given('server_login_retry'))],
    ['server_round_robin', flags(given('server_round_robin'))],
    ['server_reset_query', resetQuery(given('server_reset_query'))],
    ['query_timeout', times(given('query_timeout'))],
    ['transaction_timeout', times(given('transaction_timeout'))],
    ['idle_transaction_timeout', times(given('idle_transaction_timeout'))],
    ['client_idle_timeout', times(given('client_idle_timeout'))],
    ['cancel_wait_timeout', positive(given('cancel_wait_timeout'))],
    ['application_name_add_host', flags(given('application_name_add_host'))],
  ]
  const lines = pool.flatMap(([name, value]) => {
    return value === undefined ? [] : [`      ${name}: ${value}`]
  })
  return ['    pool:', ...lines]
}

const times = (value: string | undefined) =>
  value === undefined ? undefined : durationOrNone(value)
const flags = (value: string | undefined) => (value === undefined ? undefined : flag(value))
const positive = (value: string | undefined) =>
  value === undefined || Number(value) === 0 ? undefined : duration(value)
const resetQuery = (sql: string | undefined) =>
  sql === undefined || sql === '' ? undefined : text(sql)
const atLeastOne = (value: string | undefined) =>
  value !== undefined && Number(value) < 1 ? '1s' : times(value)
/** 0 stands for no limit. */
const unlimited = (count: string) => (Number(count) === 0 ? '1000000' : count)

function primaryUrl({ name, place, connection }: Database, { warn }: Notes): string {
  const [host = '', ...others] = (connection.get('host') ?? '').split(',')
  if (others.length > 0) {
    const list = others.join(', ')
    warn(place, `of several hosts the first is taken; list ${list} as replicas if they are`)
  }
  if (host.startsWith('@')) warn(place, 'sockets have files: name the directory of one')
  const directory = host === '' ? '/tmp' : host
  const isFile = directory.startsWith('/')
  const address = directory.includes(':') ? `[${directory}]` : directory
  const port = connection.get('port')?.split(',')[0] ?? '5432'
  const wanted = connection.get('dbname')
  if (name === '*' && wanted !== undefined) {
    warn(place, 'the entry * gives every client the database that it asks for, never "dbname"')
  }
  const database = encodeURIComponent(name === '*' ? 'postgres' : (wanted ?? name))
  return `postgres://${isFile ? encodeURIComponent(directory) : address}:${port}/${database}`
}

const mappedConnection = new Set(
  `host port dbname user password pool_size min_pool_size reserve_pool reserve_pool_size pool_mode
   max_db_connections max_db_client_connections server_lifetime query_wait_timeout connect_query
   client_encoding datestyle timezone`.split(/\s+/),
)

function unmappedLines({ connection, place }: Database, { warn }: Notes): readonly string[] {
  return [...connection].flatMap(([name, value]) => {
    if (mappedConnection.has(name)) return []
    const { kind, reason } = unmappedConnection.get(name) ?? unknownSetting
    if (kind === 'missing') warn(place, `${name}: ${reason}`)
    return [`    # ${name}=${oneLine(value)}: ${reason}`]
  })
}

const userTimes = new Set(
  `query_timeout query_wait_timeout transaction_timeout idle_transaction_timeout
   client_idle_timeout`.split(/\s+/),
)
const userCounts = new Set(
  `pool_mode pool_size reserve_pool_size max_user_connections
   max_user_client_connections`.split(/\s+/),
)

/** The section `user_settings`. */
export function userSettingLines(entries: readonly IniEntry[], { warn }: Notes): string {
  const lines = entries.flatMap((entry) => {
    const found = [...parseConnection(entry)].flatMap(([name, value]) => {
      if (userTimes.has(name)) return [`${name}: ${durationOrNone(value)}`]
      if (userCounts.has(name)) return [`${name}: ${value.toLowerCase()}`]
      warn(entry.place, `${entry.name}: ${name}: ${unknownSetting.reason}`)
      return []
    })
    return found.length === 0 ? [] : [`  ${text(entry.name)}: { ${found.join(', ')} }`]
  })
  return lines.length === 0 ? '' : `user_settings:\n${lines.join('\n')}\n`
}
