// Where the users of a database are looked up: on the present primary of its home shard.
import type { LookupPlace } from './auth-query.ts'
import type { Databases } from './databases.ts'

/** Of the first database for ''; null: no database has that name. */
export function lookupPlace(databases: Databases, name: string): LookupPlace | null {
  const database = name === '' ? databases.all[0] : databases.find(name)?.database
  if (database === undefined) return null
  return {
    name: database.options.name,
    target: (login) => {
      const shard = database.options.shards[0]
      const address = database.serversOf(database.home).primaryAddress
      if (shard === undefined || address === null) return null
      const { host, port } = address
      return { shard: shard.id, role: 'primary', host, port, database: shard.database, ...login }
    },
  }
}
