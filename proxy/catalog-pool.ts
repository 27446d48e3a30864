// Through whose connections a database that is not sharded is asked what its functions do. A pooler may have no login of
// its own: then a client's connections serve, once there are some. All that is asked is in the system's catalogs, which
// everybody may read.
import { pgError } from '../core/errors.ts'
import type { Pool } from '../pool/pool.ts'
import type { Database } from './database.ts'

/** @throws PgError 57P03 while nobody's connections can be used */
export function catalogPool(database: Database): Pool {
  const { home, options } = database
  const { serverUser, catalogUser, rules, shards } = options
  const own = shards[0]?.login ?? serverUser
  if (rules !== null || own !== null || catalogUser.password !== null) {
    return database.poolFor(home, catalogUser)
  }
  const open = database.serversOf(home).pools.find(({ connections }) => connections.size > 0)
  if (open === undefined) throw pgError('catalogUnavailable', [home])
  return open
}
