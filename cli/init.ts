// `ringfence init`: the catalog on the home shard and the functions on every shard, for each
// sharded database.
import { initialise } from '../catalog/migrate.ts'
import { registeredShards } from '../catalog/shards.ts'
import type { Config } from '../config/config.ts'
import { catalogUrl } from '../proxy/catalog-url.ts'
import { CommandFailure, readConfig } from './load-config.ts'
import { databaseOptions, shardingRules } from './proxy-options.ts'

/** Initialises every sharded database of the file; prints what was applied. Exit code 0. */
export async function initCommand(
  configFile: string,
  options: { readonly json: boolean },
  out: (text: string) => void,
): Promise<number> {
  const { applied, waiting } = await initialiseEach(await readConfig(configFile))
  if (options.json) {
    out(`${JSON.stringify({ applied, waiting })}\n`)
    return 0
  }
  for (const name of applied) out(`applied ${name}\n`)
  out(applied.length === 0 ? 'nothing to do: every shard is up to date\n' : 'done\n')
  for (const id of waiting) {
    out(`shard "${id}" does not belong to the cluster yet: ringfence shard add ${id}\n`)
  }
  return 0
}

/** Names of the migrations applied, such as `app s1: home/001-catalog`. */
export async function initialiseAll(config: Config): Promise<readonly string[]> {
  return (await initialiseEach(config)).applied
}

/**
 * `waiting`: shards that are new to a cluster which is there. They join it by `shard add`, which
 * gives them schema and reference tables; registered here, they would be sent statements that they
 * cannot answer.
 */
async function initialiseEach(
  config: Config,
): Promise<{ readonly applied: readonly string[]; readonly waiting: readonly string[] }> {
  const applied: string[] = []
  const waiting: string[] = []
  for (const database of config.databases) {
    if (database.sharding === null) continue
    const { shards: places, ...login } = databaseOptions(database, config)
    const all = places.map((place, at) => ({
      id: place.id,
      url: catalogUrl(place, login),
      weight: database.shards[at]?.weight ?? 1,
    }))
    const known = await registeredShards(all[0]?.url ?? '').catch((cause: unknown) => {
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new CommandFailure(`could not connect to shard "${all[0]?.id}": ${reason}`, { cause })
    })
    const shards = all.filter(({ id }) => known === null || known.has(id))
    waiting.push(...all.filter((shard) => !shards.includes(shard)).map(({ id }) => id))
    const result = await initialise({ shards, rules: shardingRules(database.sharding) })
    applied.push(...result.applied.map((name) => `${database.name} ${name}`))
  }
  return { applied, waiting }
}
