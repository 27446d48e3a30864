// How the catalog's own connections log in to a shard's primary.
import type { DatabaseOptions, ShardOptions } from './database-options.ts'

/** Connection URL with the shard's own login, else the server user, else the one chosen for the catalog. */
export function catalogUrl(
  shard: ShardOptions,
  logins: Pick<DatabaseOptions, 'serverUser' | 'catalogUser'>,
): string {
  const { name, password } = shard.login ?? logins.serverUser ?? logins.catalogUser
  const secret = password === null ? '' : `:${encodeURIComponent(password)}`
  const host = shard.host.includes(':') ? `[${shard.host}]` : shard.host
  const place = `${host}:${shard.port}/${encodeURIComponent(shard.database)}`
  return `postgres://${encodeURIComponent(name)}${secret}@${place}`
}
