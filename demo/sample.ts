// Loads the demo's sample straight into the shards, side by side and without the proxy. Where a
// tenant's rows go is the caller's knowledge: the topology is read from the catalog, which this
// folder does not know.
import type { Client } from 'pg'
import { firstFreeId, sampleProductsSql, sampleRowsSql, sampleTenants } from './sample-rows.ts'
import { sampleSchemaSql } from './sample-schema.ts'
import { withClient } from './sql.ts'

/** The shards to fill. */
export type SampleTarget = {
  /** One per shard, for the role that is to own the tables; home shard first. */
  readonly urls: readonly string[]
  /** Index into `urls` of the shard on which the tenant lives. */
  readonly shardOf: (tenantId: bigint) => number
}

/** Identity columns of sharded tables. */
const sequencedTables = ['users', 'orders', 'order_items', 'events']

/**
 * Creates tables and rows, in one transaction per shard. Throws when a shard has one of the tables.
 */
export async function loadSample({ urls, shardOf }: SampleTarget): Promise<void> {
  await Promise.all(
    urls.map((url, index) => {
      const tenants = sampleTenants.filter((tenant) => shardOf(tenant) === index)
      return withClient(url, (client) => loadShard(client, index, tenants))
    }),
  )
}

async function loadShard(client: Client, index: number, tenants: readonly bigint[]): Promise<void> {
  await client.query('BEGIN')
  await client.query(sampleSchemaSql)
  await client.query(sampleProductsSql)
  for (const sql of sampleRowsSql) await client.query(sql, [tenants])
  // The schema lets sequences step by 1,024; beginning with its own ordinal, no shard gives an id
  // of another's.
  for (const table of sequencedTables) await setSequence(client, table, firstFreeId + index)
  await setSequence(client, 'products', 51)
  await client.query('COMMIT')
}

async function setSequence(client: Client, table: string, next: number): Promise<void> {
  await client.query("SELECT setval(pg_get_serial_sequence($1, 'id'), $2, false)", [table, next])
}
