// What the mover is told of a database of the configuration: its rules, and under which addresses its shards may be found.
import type { Client } from 'pg'
import type { Config } from '../config/config.ts'
import { catalogUrl } from '../proxy/catalog-url.ts'
import { type MoverDatabase, openCatalog } from '../rebalancer/run-move.ts'
import { chooseDatabase } from './choose-database.ts'
import { CommandFailure, readConfig } from './load-config.ts'
import { databaseOptions } from './proxy-options.ts'

/** Options that all commands share which work on the moves of one database. */
export type MoverFlags = {
  readonly config: string
  readonly database?: string
  readonly json: boolean
}

/** @throws CommandFailure when the database is not sharded */
export async function readMover(flags: MoverFlags): Promise<MoverDatabase> {
  const config = await readConfig(flags.config)
  return moverOf(config, flags.database)
}

/** The same of a configuration that has been read. */
export function moverOf(config: Config, name: string | undefined): MoverDatabase {
  const chosen = chooseDatabase(config.databases, name)
  const database = databaseOptions(chosen, config)
  const { rules, shards } = database
  const { moverUser } = chosen
  const [home] = shards
  if (rules === null || home === undefined) {
    throw new CommandFailure(`database "${database.name}" is not sharded: nothing can be moved`)
  }
  const addresses = shards.map((shard) => {
    const hosts = [shard, ...shard.replicas]
    const login = moverUser ?? shard.login
    const urls = hosts.map(({ host, port }) =>
      catalogUrl({ ...shard, login, host, port }, database),
    )
    return [shard.id, { urls }] as const
  })
  return { name: database.name, rules, home: home.id, shards: new Map(addresses) }
}

/** A connection to the catalog for as long as `use` takes. */
export async function withMoverCatalog<T>(
  database: MoverDatabase,
  use: (catalog: Client) => Promise<T>,
): Promise<T> {
  const connection = await openCatalog(database)
  try {
    return await use(connection.client)
  } finally {
    await connection.end()
  }
}
