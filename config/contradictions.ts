// Settings that are fine alone and wrong together. Each check is a pure function over typed settings
// and names every path it looked at: what is already reported there is not reported twice.
import { authContradictions } from './auth-contradictions.ts'
import { databaseNameContradictions, poolContradictions } from './pool-contradictions.ts'
import type { FileSettings } from './settings.ts'
import { type Contradiction, error, warning } from './contradiction.ts'
import type { Path } from './setting.ts'
import type { ServerAddress } from './server-url.ts'
import { tlsContradictions } from './tls-config.ts'
import { workerContradictions } from './worker-contradictions.ts'

type FileDatabase = FileSettings['databases'][string]

/** Everything in `file` that cannot be meant that way. */
export function contradictions(file: FileSettings): readonly Contradiction[] {
  const found = [
    ...userContradictions(file),
    ...authContradictions(file),
    ...tokenContradictions(file),
    ...databaseNameContradictions(file),
    ...tlsContradictions(file),
    ...workerContradictions(file),
  ]
  const databases = Object.entries(file.databases)
  if (databases.length === 0) {
    found.push(error(['databases'], 'names no database', 'add one with its shards'))
  }
  for (const [name, database] of databases) {
    const at = ['databases', name]
    found.push(
      ...nameContradictions(at, name),
      ...aliasContradictions(at, name, file),
      ...poolContradictions(at, database),
      ...shardContradictions(at, database),
      ...loginContradictions(at, database, file),
      ...shardingContradictions(at, database),
      ...readContradictions(at, database),
    )
  }
  return found
}

function userContradictions(file: FileSettings): Contradiction[] {
  const found: Contradiction[] = []
  const { file: list, query } = file.auth
  if (file.users.length === 0 && list === null && query === null && !takesAnybody(file)) {
    found.push(warning(['users'], 'no users are listed: nobody can log in', 'list users'))
  }
  for (const [index, user] of file.users.entries()) {
    const { name } = user
    const at = ['users', index]
    const sources = ['password', 'password_file', 'verifier'] as const
    const about = sources.map((source) => [...at, source])
    const first = file.users.findIndex((other) => other.name === name)
    if (first < index) {
      const earlier = [['users', first, 'name']]
      found.push(error([...at, 'name'], `user "${name}" is listed twice`, 'keep one', earlier))
    }
    const given = sources.filter((source) => user[source] !== null)
    const [one, other] = given
    if (one !== undefined && other !== undefined) {
      const message = `user "${name}" has both a ${one} and a ${other}`
      found.push(error([...at, other], message, 'keep one of them', about))
    }
    if (given.length === 0) {
      const message = `user "${name}" has neither a password nor a verifier`
      found.push(error(at, message, 'add "password: ${ENV}" or "verifier"', about))
    }
  }
  return found
}

/** Some rule takes names that are listed nowhere. */
function takesAnybody({ auth }: FileSettings): boolean {
  return auth.hba_file !== null || auth.rules?.some(({ method }) => method === 'any') === true
}

function nameContradictions(at: Path, name: string): Contradiction[] {
  if (name === 'ringfence') {
    const message = '"ringfence" is reserved for the admin console'
    return [error(at, message, 'choose another name')]
  }
  if (name === '' || Buffer.byteLength(name) > 63) {
    return [error(at, 'a database name has 1 to 63 bytes', 'choose another name')]
  }
  return []
}

function aliasContradictions(database: Path, name: string, file: FileSettings): Contradiction[] {
  const alias = file.databases[name]?.read_only_alias ?? null
  if (alias === null) return []
  const at = [...database, 'read_only_alias']
  const remedy = 'choose a name of its own'
  if (alias === 'ringfence') {
    return [error(at, '"ringfence" is reserved for the admin console', remedy)]
  }
  if (Object.hasOwn(file.databases, alias)) {
    const message = `"${alias}" is the name of a database`
    return [error(at, message, remedy, [['databases', alias]])]
  }
  const other = Object.entries(file.databases).find(([, each]) => each.read_only_alias === alias)
  if (other === undefined || other[0] === name) return []
  const message = `"${alias}" is also the alias of database "${other[0]}"`
  return [error(at, message, remedy, [['databases', other[0], 'read_only_alias']])]
}

function shardContradictions(database: Path, { shards, sharding }: FileDatabase): Contradiction[] {
  const found: Contradiction[] = []
  const servers = new Map<string, Path>()
  for (const [index, shard] of shards.entries()) {
    const at = [...database, 'shards', index]
    const first = shards.findIndex(({ id }) => id === shard.id)
    if (first < index) {
      const earlier = [[...database, 'shards', first, 'id']]
      const message = `shard id "${shard.id}" is given twice`
      found.push(error([...at, 'id'], message, 'give every shard an id of its own', earlier))
    }
    for (const [address, path] of addressesOf(shard, at)) {
      const server = `${address.host}:${address.port}/${address.database}`
      const earlier = servers.get(server)
      servers.set(server, path)
      if (earlier !== undefined) {
        found.push(error(path, `server ${server} is listed twice`, 'keep one', [earlier]))
      }
      if (address.database !== shard.primary.database) {
        const message = `a replica has its primary's database "${shard.primary.database}"`
        found.push(error(path, message, `correct the URL's end`, [[...at, 'primary']]))
      }
    }
  }
  if (shards.length > 1 && sharding === undefined) {
    const message = `${shards.length} shards, but no "sharding" section says which rows go where`
    const about = [[...database, 'sharding']]
    found.push(error([...database, 'shards'], message, 'add "sharding: { key: … }"', about))
  }
  return found
}

function addressesOf(shard: FileDatabase['shards'][number], at: Path): [ServerAddress, Path][] {
  const replicas = shard.replicas.map(({ url }, index): [ServerAddress, Path] => [
    url,
    [...at, 'replicas', index, 'url'],
  ])
  return [[shard.primary, [...at, 'primary']], ...replicas]
}

function loginContradictions(
  database: Path,
  { server_user: serverUser, shards, sharding }: FileDatabase,
  { users, auth }: FileSettings,
): Contradiction[] {
  const found: Contradiction[] = []
  const at = [...database, 'server_user']
  const urls = shards.flatMap((shard, index) => addressesOf(shard, [...database, 'shards', index]))
  for (const [address, path] of urls) {
    if (serverUser === undefined || address.user === null || address.user === serverUser.name)
      continue
    const message = `user "${address.user}" in the URL differs from server_user "${serverUser.name}"`
    found.push(error(path, message, 'keep one of the two', [[...at, 'name']]))
  }
  if (serverUser !== undefined) return found
  const about = [at, ...urls.map(([, path]) => path)]
  const remedy = 'add "server_user: { name: …, password: … }"'
  if (sharding !== undefined && shards[0]?.primary.user === null) {
    const message = 'no server_user, so the proxy itself cannot read the catalog on the home shard'
    return [...found, error(database, message, remedy, about)]
  }
  // What clients prove is of no use to who looks at the servers before they come.
  const known =
    (auth.query?.password ?? null) !== null ||
    users.some(({ password, password_file: file }) => password !== null || file !== null)
  const followed = shards.some(
    ({ primary, replicas }) => primary.user === null && replicas.length > 0,
  )
  if (known || !followed) return found
  const message = 'no server_user, so the proxy itself cannot look at the replicas'
  return [...found, error(database, message, remedy, [...about, ['users'], ['auth', 'query']])]
}

function shardingContradictions(database: Path, { sharding }: FileDatabase): Contradiction[] {
  if (sharding === undefined) return []
  const at = [...database, 'sharding']
  const found: Contradiction[] = []
  const { vnodes, tables } = sharding
  if (!Number.isInteger(Math.log2(vnodes))) {
    const near = 2 ** Math.round(Math.log2(vnodes))
    found.push(error([...at, 'vnodes'], `${vnodes} is not a power of two`, `write ${near}`))
  }
  for (const [name, { key, placement }] of Object.entries(tables)) {
    const table = [...at, 'tables', name]
    const about = [
      [...table, 'key'],
      [...table, 'placement'],
    ]
    if (key !== null && placement !== null) {
      const message = `table "${name}" has both a key and a placement`
      found.push(error(table, message, 'a table with a key is sharded: keep one of the two', about))
    }
    if (key === null && placement === null) {
      const message = `table "${name}" has neither a key nor a placement`
      found.push(error(table, message, 'add "key" or "placement", or remove the line', about))
    }
    const bare = name.replace(/^[^.]*\./, '')
    if (bare !== name && tables[bare] !== undefined) {
      const message = `table "${name}" is also listed as "${bare}"`
      found.push(error(table, message, 'keep one of them', [[...at, 'tables', bare]]))
    }
  }
  return found
}

function readContradictions(
  database: Path,
  { reads, shards, read_only_alias: alias }: FileDatabase,
): Contradiction[] {
  const found: Contradiction[] = []
  const at = [...database, 'reads']
  const bare = shards.filter(({ replicas }) => replicas.length === 0)
  const names = bare.map(({ id }) => `"${id}"`).join(', ')
  const lists = shards.map((_, index) => [...database, 'shards', index, 'replicas'])
  if (reads.target === 'replica' && bare.length > 0) {
    const message = `reads go to replicas only, but there are none of shard ${names}`
    found.push(error([...at, 'target'], message, 'add "replicas", or choose target: auto', lists))
  }
  if (alias !== null && bare.length > 0) {
    const message = `"${alias}" is served by replicas only, but there are none of shard ${names}`
    const path = [...database, 'read_only_alias']
    found.push(error(path, message, 'add "replicas", or remove the alias', lists))
  }
  const { allow, deny } = reads.functions
  for (const name of allow.filter((each) => deny.includes(each))) {
    const message = `function "${name}" is both allowed and denied`
    const about = [[...at, 'functions', 'allow']]
    found.push(error([...at, 'functions', 'deny'], message, 'keep one of the two', about))
  }
  return found
}

/** Redis is there for several proxies: tokens that are passed on should work on each of them. */
function tokenContradictions({ redis, session_tokens: tokens }: FileSettings): Contradiction[] {
  if (redis.url === null || tokens.key !== null) return []
  const message =
    'no session_tokens.key: session ids work on every proxy, but what SHOW ' +
    'ringfence.session_token gives only on the proxy that gave it, until it stops'
  const remedy = 'set "session_tokens: { key: ${ENV} }", the same for all proxies'
  return [warning(['redis', 'url'], message, remedy, [['session_tokens', 'key']])]
}
