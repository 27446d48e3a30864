// What an adversarial reading of moves has found, each as a test of its own on real servers.
import { Client } from 'pg'
import { afterEach, describe, expect, inject, it } from 'vitest'
import { openCatalogConnection } from '../../catalog/connection.ts'
import { placeFence } from '../../catalog/fence.ts'
import { parseLsn } from '../../core/lsn.ts'
import { vnode } from '../../core/ids.ts'
import { openShard } from '../../rebalancer/copy/connection.ts'
import { type Stack, startStack } from '../support/stack.ts'

let stack: Stack
afterEach(async () => await stack.close())

const setupSql =
  'CREATE TABLE orders (tenant_id bigint, id bigint, note text, PRIMARY KEY (tenant_id, id))'

/** Runs SQL on a shard itself. */
async function onShard<Row extends object>(
  url: string | undefined,
  ...texts: readonly string[]
): Promise<readonly Row[]> {
  const client = new Client(url)
  await client.connect()
  try {
    let rows: readonly Row[] = []
    for (const text of texts) rows = (await client.query<Row>(text)).rows
    return rows
  } finally {
    await client.end()
  }
}

describe.each(inject('servers'))('moves on PostgreSQL $version', (servers) => {
  it('wait for what was committed asynchronously before the fence', async () => {
    stack = await startStack(servers, { shards: 2, setupSql })
    const [url = ''] = stack.shardUrls
    await onShard(
      url,
      `DO $$ BEGIN
         EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());
       END $$`,
    )
    const signal = AbortSignal.timeout(20_000)
    await using mover = await openShard(url, signal)
    const [before] = await onShard<{ lsn: string }>(
      url,
      `INSERT INTO orders SELECT g, 1, 'not flushed' FROM generate_series(1, 100) g`,
      'SELECT pg_current_wal_insert_lsn() AS lsn',
    )
    const fenced = await placeFence(mover.client, {
      moveId: 1,
      tables: [{ schema: 'public', name: 'orders', key: 'tenant_id' }],
      set: { vnodes: [vnode(1)], keys: [], except: [] },
      keyType: 'bigint',
      timeoutMs: 5_000,
      now: () => performance.now(),
    })
    expect(fenced).toBeGreaterThanOrEqual(parseLsn(before?.lsn ?? '') ?? 0n)
    // What the catalog says is acted on elsewhere: it must not be lost in a crash either.
    const catalog = await openCatalogConnection(url, 5_000)
    const { rows } = await catalog.client.query('SHOW synchronous_commit')
    await catalog.end()
    expect(rows).toEqual([{ synchronous_commit: 'on' }])
  })
})
