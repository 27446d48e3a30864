// A move on real servers while clients read and write through a proxy: nothing is lost, doubled or left behind.
import { Client } from 'pg'
import { afterEach, describe, expect, inject, it } from 'vitest'
import { createMove } from '../../catalog/move-store.ts'
import { createLog } from '../../core/log.ts'
import { type ShardId, shardId, vnode } from '../../core/ids.ts'
import { defaultMoveOptions, type MoverDatabase, openCatalog, runMove } from '../../rebalancer/run-move.ts'
import { type Stack, startStack } from '../support/stack.ts'

let stack: Stack
afterEach(async () => await stack.close())

const setupSql = `
  CREATE TABLE orders (tenant_id bigint, id bigint, note text, PRIMARY KEY (tenant_id, id))

  INSERT INTO orders SELECT 1, g, 'first' FROM generate_series(1, 5) g`

function moverOf({ instance, shardUrls }: Stack): MoverDatabase {
  const [database] = instance.databases.values()
  if (database === undefined || database.options.rules === null) throw new Error('not sharded')
  const { options, home } = database
  const shards = new Map<ShardId, { urls: string[] }>()
  for (const [at, { id }] of options.shards.entries()) shards.set(id, { urls: [shardUrls[at] ?? ''] })
  return { name: options.name, rules: database.options.rules, home, shards }
}

describe.each(inject('servers'))('a move on PostgreSQL $version', (servers) => {
  it('takes all rows of a shard to another one while clients write', async () => {
    stack = await startStack(servers, { shards: 2, setupSql })
    const mover = moverOf(stack)
    const client = new Client(stack.proxy)
    await client.connect()
    for (let tenant = 1; tenant <= 200; tenant += 1) {
      await client.query('INSERT INTO orders VALUES ($1, 100, $2)', [tenant, 'before'])
    }
    const errors: string[] = []
    let written = 0
    let stopped = false
    const writing = Array.from({ length: 4 }, async (_, at) => {
      const writer = new Client(stack.proxy)
      await writer.connect()
      for (let n = 0; !stopped; n += 1) {
        try {
          const tenant = 1 + ((n * 7 + at) % 200)
          await writer.query('INSERT INTO orders VALUES ($1, $2, $3)', [tenant, 1000 + n * 4 + at, 'w'])
          written += 1
        } catch (error) {
          errors.push(String(error))
        }
      }
      await writer.end()
    })
    const catalog = await openCatalog(mover)
    const { rows } = await catalog.client.query<{ vnode: number }>(
      `SELECT vnode FROM ringfence.vnode WHERE shard = 's1' ORDER BY vnode LIMIT 1024`,
    )
    const move = await createMove(catalog.client, {
      from: shardId('s1'),
      to: shardId('s2'),
      vnodes: rows.map((row) => vnode(row.vnode)),
      keys: [],
      options: defaultMoveOptions,
    })
    const seen: string[] = []
    const ended = await runMove({
      database: mover,
      moveId: move.id,
      log: createLog('warn'),
      signal: AbortSignal.timeout(60_000),
      onMove: ({ state, error }) => {
        if (seen.at(-1) !== state) seen.push(error === null ? state : `${state}: ${error}`)
      },
    })
    stopped = true
    await Promise.all(writing)
    expect(ended.state, seen.join(', ')).toBe('done')
    expect(errors).toEqual([])
    const total = await client.query<{ n: string }>('SELECT id AS n FROM orders')
    expect(total.rows).toHaveLength(5 + 200 + written)
    console.log(seen, written, ended.progress)
    await client.end()
    await catalog.end()
  }, 120_000)
})
