// How the catalog's own connections reach a shard's servers: as the pools do, with the same TLS.
import { tlsQuery } from '../catalog/connect-by-url.ts'
import type { ServerTlsMode } from '../pool/server-tls.ts'
import type { DatabaseOptions, ShardOptions } from './database-options.ts'

type Place = { readonly host: string; readonly port: number }

/** Connection URL, to whichever server of the shard `host` and `port` name, with the shard's own login, else the server user, else the one chosen for the catalog. */
export function catalogUrl(
  shard: ShardOptions,
  database: Pick<DatabaseOptions, 'serverUser' | 'catalogUser' | 'serverTls'>,
): string {
  const { serverUser, catalogUser, serverTls } = database
  const { host, port } = shard
  const { name, password } = shard.login ?? serverUser ?? catalogUser
  const secret = password === null ? '' : `:${encodeURIComponent(password)}`
  const place = `${urlHost(host)}:${port}/${encodeURIComponent(shard.database)}`
  const mode = tlsModeAt(shard, shard) ?? serverTls?.mode ?? 'disable'
  const query = serverTls === undefined ? '' : tlsQuery({ ...serverTls, mode })
  return `postgres://${encodeURIComponent(name)}${secret}@${place}${query}`
}

/** What the URL of that server of `shard` says of TLS; null: nothing. */
export function tlsModeAt(shard: ShardOptions, place: Place): ServerTlsMode | null {
  const replica = shard.replicas.find(({ host, port }) => {
    return host === place.host && port === place.port
  })
  return (replica ?? shard).tlsMode ?? null
}

function urlHost(host: string): string {
  if (host.startsWith('/')) return encodeURIComponent(host)
  return host.includes(':') ? `[${host}]` : host
}
