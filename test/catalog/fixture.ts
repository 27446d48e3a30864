// Three databases of one's own and connections to them, for the tests of catalog/.
import { Client } from 'pg'
import { initialise } from '../../catalog/migrate.ts'
import { shardId, type ShardId } from '../../core/ids.ts'
import type { ShardingRules } from '../../router/schema.ts'
import { createDatabases } from '../support/databases.ts'
import type { TestServers } from '../support/servers.ts'

export type CatalogShard = {
  readonly id: ShardId
  readonly url: string
  readonly weight: number
  /** The superuser's. */
  readonly client: Client
}

/** Home, second and third shard of a cluster; `close` removes the databases. */
export type CatalogFixture = {
  readonly shards: readonly [CatalogShard, CatalogShard, CatalogShard]
  /** One more connection. */
  readonly open: (shard: CatalogShard) => Promise<Client>
  close(): Promise<void>
}

export const rules: ShardingRules = {
  key: 'tenant_id',
  keyType: 'bigint',
  vnodeCount: 4096,
  tables: new Map([
    ['products', { placement: 'reference' }],
    ['audit_log', { placement: 'home' }],
    ['accounts', { key: 'owner_id' }],
  ]),
}

/** Empty databases on three servers. */
export async function openFixture(servers: TestServers): Promise<CatalogFixture> {
  const databases = await createDatabases(servers, 'catalog')
  const clients: Client[] = []
  const openUrl = async (url: string) => {
    const client = new Client({ connectionString: url })
    client.on('error', () => undefined)
    await client.connect()
    clients.push(client)
    return client
  }
  const openShard = async (index: number): Promise<CatalogShard> => {
    const url = databases.urls[index] ?? ''
    return { id: shardId(`s${index + 1}`), url, weight: 1, client: await openUrl(url) }
  }
  return {
    shards: [await openShard(0), await openShard(1), await openShard(2)],
    open: async (shard) => await openUrl(shard.url),
    close: async () => {
      await Promise.all(clients.map((client) => client.end()))
      await databases.drop()
    },
  }
}

/** Databases on which `ringfence init` has run. */
export async function openCluster(servers: TestServers): Promise<CatalogFixture> {
  const fixture = await openFixture(servers)
  await initialise({ shards: fixture.shards, rules })
  return fixture
}

/** First column of the rows. */
export async function column<T>(client: Client, sql: string, values: unknown[] = []): Promise<T[]> {
  const { rows } = await client.query<[T]>({ text: sql, values, rowMode: 'array' })
  return rows.map(([value]) => value)
}
