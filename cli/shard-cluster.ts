// A database of the file for the commands that add and remove shards. They log in as `init` does,
// so that one role owns what is made on every shard.
import type { DatabaseConfig } from '../config/config.ts'
import { type ShardId, shardId } from '../core/ids.ts'
import { catalogUrl } from '../proxy/catalog-url.ts'
import type { ShardAddress } from '../rebalancer/shard-address.ts'
import type { ShardingRules } from '../router/schema.ts'
import { chooseDatabase } from './choose-database.ts'
import { CommandFailure, readConfig } from './load-config.ts'
import { databaseOptions } from './proxy-options.ts'

/** Options of all of these commands. */
export type ShardFlags = {
  readonly config: string
  readonly database?: string
  readonly json: boolean
}

export type ShardCluster = {
  readonly name: string
  readonly config: DatabaseConfig
  readonly rules: ShardingRules
  readonly home: ShardAddress
  /** In the order of the file. */
  readonly shards: ReadonlyMap<ShardId, ConfiguredShard>
}

export type ConfiguredShard = {
  readonly address: ShardAddress
  /** Of the primary as written, `host:port/database`. */
  readonly place: string
  readonly weight: number
}

/** @throws CommandFailure when the database is not sharded */
export async function readCluster(flags: ShardFlags): Promise<ShardCluster> {
  const config = await readConfig(flags.config)
  const database = chooseDatabase(config.databases, flags.database)
  const options = databaseOptions(database, config)
  if (options.rules === null) {
    throw new CommandFailure(
      `database "${database.name}" is not sharded: give it a section "sharding" first`,
    )
  }
  const shards = new Map(
    options.shards.map((shard, at): [ShardId, ConfiguredShard] => {
      const hosts = [shard, ...shard.replicas]
      const urls = hosts.map(({ host, port }) => catalogUrl({ ...shard, host, port }, options))
      const place = `${shard.host}:${shard.port}/${shard.database}`
      return [shard.id, { address: { urls }, place, weight: database.shards[at]?.weight ?? 1 }]
    }),
  )
  const [home] = shards.values()
  if (home === undefined) throw new CommandFailure('the file names no shard')
  const { rules } = options
  return { name: database.name, config: database, rules, home: home.address, shards }
}

/** The shard of that name in the file. @throws CommandFailure saying how it gets there */
export function configured(cluster: ShardCluster, name: string): ConfiguredShard {
  const shard = cluster.shards.get(shardId(name))
  if (shard !== undefined) return shard
  const known = [...cluster.shards.keys()].join(', ')
  throw new CommandFailure(
    `database "${cluster.name}" has no shard "${name}" in the file; it has ${known}. ` +
      'Add it to the file of every proxy and reload them (SIGHUP, or RELOAD in the admin console)',
  )
}
