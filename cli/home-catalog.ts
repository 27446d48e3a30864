// One question to the catalog on the home shard, for commands that read it without being a proxy.
import { type Client, DatabaseError } from 'pg'
import type { Config, DatabaseConfig } from '../config/config.ts'
import { withServer } from '../catalog/connect-by-url.ts'
import { catalogUrl } from '../proxy/catalog-url.ts'
import { CommandFailure } from './load-config.ts'
import { databaseOptions } from './proxy-options.ts'

/** @throws CommandFailure when the database has no catalog, or an older one than this program reads */
export async function withCatalog<T>(
  config: Config,
  database: DatabaseConfig,
  use: (client: Client) => Promise<T>,
): Promise<T> {
  const options = databaseOptions(database, config)
  const [home] = options.shards
  if (home === undefined || options.rules === null) {
    throw new CommandFailure(`database "${database.name}" is not sharded, so it has no catalog`)
  }
  try {
    return await withServer(catalogUrl(home, options), use)
  } catch (thrown) {
    const lacking = thrown instanceof DatabaseError && lackOf.has(thrown.code ?? '')
    if (!lacking) throw thrown
    const message = `the catalog on shard "${home.id}" is missing or older than this program`
    throw new CommandFailure(`${message}: run "ringfence init"`, { cause: thrown })
  }
}

/** Undefined schema, table and column. */
const lackOf: ReadonlySet<string> = new Set(['3F000', '42P01', '42703'])
