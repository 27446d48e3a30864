// Where the users of a database are looked up: on the present primary of its home shard.
import { isConsole } from './admin/open.ts'
import type { LookupPlace } from './auth-query.ts'
import { tlsModeAt } from './catalog-url.ts'
import type { DatabaseOptions, ShardOptions } from './database-options.ts'
import type { Databases } from './databases.ts'

type Address = { readonly host: string; readonly port: number }

/** Of the first database for ''; null: no database has that name. None is opened for it. */
export function lookupPlace(databases: Databases, name: string): LookupPlace | null {
  const database = name === '' ? databases.all[0] : databases.find(name)?.database
  if (database !== undefined) {
    const primary = () => database.serversOf(database.home).primaryAddress
    return placeIn(database.options, primary)
  }
  // The entry `*` has one server without replicas that could follow it, and the console is no database of it.
  const options = name === '' || isConsole(name) ? null : databases.autoOptions(name)
  return options === null ? null : placeIn(options, (home) => home)
}

function placeIn(
  { name, shards }: DatabaseOptions,
  addressOf: (home: ShardOptions) => Address | null,
): LookupPlace {
  return {
    name,
    target: (login) => {
      const [home] = shards
      const address = home === undefined ? null : addressOf(home)
      if (home === undefined || address === null) return null
      const { id: shard, database } = home
      const { host, port } = address
      const tlsMode = tlsModeAt(home, address)
      return { shard, role: 'primary', host, port, tlsMode, database, ...login }
    },
  }
}
