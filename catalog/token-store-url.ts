// What a Redis URL says: redis://, rediss://, redis+sentinel://host:port,host:port/master[/db],
// redis+cluster://host:port,host:port; the latter two with rediss, too. Passwords stand in the URL; that of the
// sentinels, where they have one, as ?sentinel_password=….

/** Where and as whom to connect. */
export type RedisTarget = {
  readonly kind: 'single' | 'sentinel' | 'cluster'
  /** Of the server, the sentinels, or some of the cluster's nodes. */
  readonly hosts: readonly RedisHost[]
  /** Name of the master that the sentinels watch; empty otherwise. */
  readonly master: string
  readonly db: number
  readonly encrypted: boolean
  readonly username: string | undefined
  readonly password: string | undefined
  readonly sentinelPassword: string | undefined
}

type RedisHost = { readonly host: string; readonly port: number }

const shape = /^redis(s?)(?:\+(sentinel|cluster))?:\/\/(?:([^@/?]*)@)?([^@/?]+)(\/[^?]*)?(\?.*)?$/
const hostShape = /^(?:\[([\da-fA-F:.]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/

/** @throws Error that repeats nothing of the URL, which may hold a password. */
export function parseRedisUrl(url: string): RedisTarget {
  const [, secure, form, login = '', hosts, path = '', query = ''] = shape.exec(url) ?? []
  if (hosts === undefined) throw new Error('the URL of Redis is malformed')
  const kind = form === 'sentinel' || form === 'cluster' ? form : 'single'
  const parts = path.split('/').slice(1).map(decodeURIComponent)
  const master = kind === 'sentinel' ? (parts.shift() ?? '') : ''
  if (kind === 'sentinel' && master === '') {
    throw new Error('the URL of Redis Sentinel does not name the master')
  }
  const list = hosts.split(',').map((text) => parseHost(text, kind === 'sentinel' ? 26379 : 6379))
  if (kind === 'single' && list.length > 1) throw new Error('the URL of Redis names several hosts')
  const db = Number(parts[0] ?? '0')
  if (!Number.isInteger(db)) throw new Error('the database in the URL of Redis is not a number')
  const colon = login.indexOf(':')
  const username = decodeURIComponent(colon < 0 ? login : login.slice(0, colon))
  const password = colon < 0 ? '' : decodeURIComponent(login.slice(colon + 1))
  return {
    kind,
    hosts: list,
    master,
    db,
    encrypted: secure === 's',
    username: username === '' ? undefined : username,
    password: password === '' ? undefined : password,
    sentinelPassword: new URLSearchParams(query).get('sentinel_password') ?? undefined,
  }
}

function parseHost(text: string, portDefault: number): RedisHost {
  const [, address, name, port] = hostShape.exec(text) ?? []
  const host = address ?? name
  if (host === undefined) throw new Error('the URL of Redis names a host that is none')
  return { host, port: port === undefined ? portDefault : Number(port) }
}
