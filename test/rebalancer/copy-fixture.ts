// Two shards for the tests of copying and comparing: databases of one's own, with Ringfence's
// functions in them.
import type { Client } from 'pg'
import { initialise } from '../../catalog/migrate.ts'
import { systemClock } from '../../core/clock.ts'
import { shardId, vnode, type Vnode } from '../../core/ids.ts'
import { openShard, type ShardConnection } from '../../rebalancer/copy/connection.ts'
import { type CopyOptions, copyTable } from '../../rebalancer/copy/copy-table.ts'
import { openSnapshot, type Snapshot } from '../../rebalancer/copy/snapshot.ts'
import { type MovedTable, readMovedTables, tableName } from '../../rebalancer/tables.ts'
import { Throttle } from '../../rebalancer/throttle.ts'
import { unlimited } from '../../rebalancer/throttle-verdict.ts'
import type { MovedSet } from '../../router/moved-set.ts'
import type { ShardingRules } from '../../router/schema.ts'
import { connected, present } from '../support/clients.ts'
import { createDatabases } from '../support/databases.ts'
import type { TestServers } from '../support/servers.ts'

/** One of the two. */
export type MoveShard = { readonly url: string; readonly client: Client }

/** Where rows come from and where they go; `close` removes the databases. */
export type MoveFixture = {
  readonly name: string
  readonly source: MoveShard
  readonly target: MoveShard
  /** Runs on both. */
  readonly both: (sql: string) => Promise<void>
  /** All sharded tables as the mover reads them. */
  readonly tables: (shard: MoveShard) => Promise<readonly MovedTable[]>
  /** One of the source's. */
  readonly table: (name: string) => Promise<MovedTable>
  close(): Promise<void>
}

export const rules: ShardingRules = {
  key: 'tenant_id',
  keyType: 'bigint',
  vnodeCount: 64,
  tables: new Map([
    ['products', { placement: 'reference' }],
    ['accounts', { key: 'owner_id' }],
  ]),
}

/** Every virtual node. */
export const all: MovedSet = { vnodes: vnodes(0, 64), keys: [], except: [] }

/** Half of them. */
export const half: MovedSet = { vnodes: vnodes(0, 32), keys: [], except: [] }

/** Brakes nothing. */
export const free = new Throttle(unlimited, systemClock)

export const never = new AbortController().signal

/** Every virtual node from `first` up to but not including `end`. */
function vnodes(first: number, end: number): readonly Vnode[] {
  return Array.from({ length: end - first }, (_, index) => vnode(first + index))
}

/** Servers of every version as source, with the same and with the other versions as target. */
export function pairsOf(
  all: readonly TestServers[],
): readonly { readonly name: string; readonly from: TestServers; readonly to: TestServers }[] {
  return all.flatMap((from) =>
    all.map((to) => ({ name: `${from.version} to ${to.version}`, from, to })),
  )
}

/** Empty but for Ringfence's own schema. */
export async function openMove(from: TestServers, to: TestServers): Promise<MoveFixture> {
  const databases = await createDatabases(from, 'move_from')
  const others = await createDatabases(to, 'move_to')
  const open = async (url: string): Promise<MoveShard> => {
    return { url, client: await connected({ connectionString: url }) }
  }
  const source = await open(present(databases.urls[0]))
  const target = await open(present(others.urls[1]))
  const shards = [source, target].map(({ url }, index) => {
    return { id: shardId(`s${index + 1}`), url, weight: 1 }
  })
  await initialise({ shards, rules })
  const tables = async ({ url }: MoveShard) => {
    await using connection: ShardConnection = await openShard(url, never)
    return await readMovedTables(connection.client, rules)
  }
  return {
    name: databases.name,
    source,
    target,
    tables,
    both: async (sql) => {
      await source.client.query(sql)
      await target.client.query(sql)
    },
    table: async (name) => {
      return present((await tables(source)).find((table) => tableName(table) === name))
    },
    close: async () => {
      await Promise.all([source.client.end(), target.client.end()])
      await databases.drop()
      await others.drop()
    },
  }
}

/** Copies one table out of a snapshot taken now. */
export async function copyNow(
  fixture: MoveFixture,
  table: MovedTable,
  options: Partial<CopyOptions> = {},
): Promise<{ readonly rows: number; readonly bytes: number }> {
  return await withSnapshot(fixture.source, async ({ name }) => {
    return await copyFrom(fixture, name, { table, ...options })
  })
}

/** Copies one table out of that snapshot: unless said otherwise, half of its rows. */
export async function copyFrom(
  fixture: MoveFixture,
  snapshot: string,
  options: Partial<CopyOptions> & Pick<CopyOptions, 'table'>,
): Promise<{ readonly rows: number; readonly bytes: number }> {
  return await copyTable({
    sourceUrl: fixture.source.url,
    targetUrl: fixture.target.url,
    snapshot,
    set: half,
    rules,
    workers: 2,
    throttle: free,
    signal: never,
    onProgress: () => undefined,
    ...options,
  })
}

/** A snapshot for the length of `use`. */
export async function withSnapshot<T>(
  shard: MoveShard,
  use: (snapshot: Snapshot) => Promise<T>,
): Promise<T> {
  const snapshot = await openSnapshot(shard.url, never)
  try {
    return await use(snapshot)
  } finally {
    await snapshot.close()
  }
}
