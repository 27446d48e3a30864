// `ringfence init`: the catalog on the home shard and the functions on every shard, for each sharded database.
import { initialise } from '../catalog/migrate.ts'
import type { Config } from '../config/config.ts'
import { catalogUrl } from '../proxy/catalog-url.ts'
import { readConfig } from './load-config.ts'
import { databaseOptions, shardingRules } from './proxy-options.ts'

/** Initialises every sharded database of the file; prints what was applied. Exit code 0. */
export async function initCommand(
  configFile: string,
  options: { readonly json: boolean },
  out: (text: string) => void,
): Promise<number> {
  const applied = await initialiseAll(await readConfig(configFile))
  if (options.json) {
    out(`${JSON.stringify({ applied })}\n`)
    return 0
  }
  for (const name of applied) out(`applied ${name}\n`)
  out(applied.length === 0 ? 'nothing to do: every shard is up to date\n' : 'done\n')
  return 0
}

/** Names of the migrations applied, such as `app s1: home/001-catalog`. */
export async function initialiseAll(config: Config): Promise<readonly string[]> {
  const applied: string[] = []
  for (const database of config.databases) {
    if (database.sharding === null) continue
    const { shards: places, ...login } = databaseOptions(database, config)
    const shards = places.map((place, at) => ({
      id: place.id,
      url: catalogUrl(place, login),
      weight: database.shards[at]?.weight ?? 1,
    }))
    const result = await initialise({ shards, rules: shardingRules(database.sharding) })
    applied.push(...result.applied.map((name) => `${database.name} ${name}`))
  }
  return applied
}
