// `ringfence init`: brings the catalog on the home shard and the functions on every shard to this version, and
// registers the configured shards. Each step is a transaction that a second run finds done, so a run that was
// cut short is finished by the next one. Everything that can be refused is refused before anything changes.
import type { Client } from 'pg'
import { assert } from '../core/assert.ts'
import type { ShardId } from '../core/ids.ts'
import type { Log } from '../core/log.ts'
import { vnodeBitsOf } from '../router/key-hash.ts'
import type { ShardingRules } from '../router/schema.ts'
import { CatalogError } from './catalog-error.ts'
import { advisoryLocks, openCatalogConnection, sqlstateOf } from './connection.ts'
import { applyMigration, missingMigrations, readMigrations, type Migration } from './migrations.ts'
import { checkRegistration, registerLocally, registerShards } from './registration.ts'
import { strideSequencesSql } from './sequences.ts'

export type InitialiseOptions = {
  /** Home shard first. The logins own what is created: use one role everywhere. */
  readonly shards: readonly {
    readonly id: ShardId
    readonly url: string
    readonly weight: number
  }[]
  readonly rules: ShardingRules
  readonly log?: Log
}

type OpenShard = {
  readonly id: ShardId
  readonly weight: number
  readonly client: Client
  readonly end: () => Promise<void>
}

const statementTimeoutMs = 120_000
const lockTimeoutMs = 30_000

/**
 * Creates or upgrades the catalog; gives the migrations applied, such as `s1: home/001-catalog`, none the second
 * time. Virtual nodes are placed at the first run only: a shard that joins later owns none until some are moved.
 * @throws CatalogError for what an operator has to settle, else what pg throws.
 */
export async function initialise(
  options: InitialiseOptions,
): Promise<{ readonly applied: readonly string[] }> {
  const shards: OpenShard[] = []
  try {
    for (const { id, url, weight } of options.shards) {
      const { client, end } = await open(id, url)
      shards.push({ id, weight, client, end })
    }
    return await initialiseOpen(shards, options)
  } finally {
    // Ends the session, and with it the advisory lock.
    await Promise.all(shards.map(({ end }) => end()))
  }
}

async function open(id: ShardId, url: string) {
  try {
    const connection = await openCatalogConnection(url, statementTimeoutMs)
    // Names in migrations mean the system's own, and waits for locks have an end.
    await connection.client.query(
      `SET search_path = pg_catalog; SET lock_timeout = ${lockTimeoutMs};
       SET client_min_messages = warning`,
    )
    return connection
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new CatalogError(`could not connect to shard "${id}": ${reason}`)
  }
}

async function initialiseOpen(
  shards: readonly OpenShard[],
  { rules, log }: InitialiseOptions,
): Promise<{ readonly applied: readonly string[] }> {
  const home = shards[0]
  assert(home !== undefined, 'a database has a home shard')
  await lock(home.client)
  const migrations = await readMigrations()
  const missing: (readonly Migration[])[] = []
  for (const shard of shards) {
    const lacking = await missingMigrations(shard.client, shard.id, migrations)
    missing.push(lacking.filter(({ scope }) => scope === 'shard' || shard === home))
  }
  await checkRegistration(shards, rules)
  const applied: string[] = []
  const bits = vnodeBitsOf(rules.vnodeCount)
  const variables = { vnode_shift: 64 - bits, vnode_mask: rules.vnodeCount - 1 }
  for (const [index, shard] of shards.entries()) {
    for (const migration of missing[index] ?? []) {
      await applyMigration(shard.client, migration, variables)
      applied.push(`${shard.id}: ${migration.name}`)
      log?.info({ shard: shard.id, migration: migration.name }, 'migration applied')
    }
  }
  const registered = await registerShards(home.client, shards, rules)
  for (const shard of shards) {
    await registerLocally(shard.client, shard.id, registered)
    await shard.client.query(strideSequencesSql(rules))
  }
  return { applied }
}

/** One runner at a time; held until the session ends. */
async function lock(client: Client): Promise<void> {
  try {
    await client.query(`SELECT pg_advisory_lock(${advisoryLocks.initialise})`)
  } catch (cause) {
    if (sqlstateOf(cause) !== '55P03') throw cause
    throw new CatalogError('another "ringfence init" is running on the home shard')
  }
}
