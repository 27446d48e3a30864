// Rows of reference tables are deleted all through a real move, and sharded rows that refer to them
// follow by ON DELETE CASCADE and SET NULL: afterwards there is what one server has to which the
// same was done.
import type { Client } from 'pg'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { moverServers } from '../support/mover-servers.ts'
import { hasEnded, type MoveState } from '../../catalog/move-state.ts'
import { createMove } from '../../catalog/move-store.ts'
import { createLog } from '../../core/log.ts'
import { type ShardId, shardId, vnode } from '../../core/ids.ts'
import {
  defaultMoveOptions,
  type MoverDatabase,
  openCatalog,
  runMove,
} from '../../rebalancer/run-move.ts'
import { column, connected } from '../support/clients.ts'
import { type Stack, startStack } from '../support/stack.ts'

const tenants = 40
const setupSql = `
  CREATE TABLE products (id int PRIMARY KEY)

  CREATE TABLE marks (
    tenant_id bigint, id int, product_id int REFERENCES products ON DELETE CASCADE,
    PRIMARY KEY (tenant_id, id))

  CREATE TABLE notes (
    tenant_id bigint, id int, product_id int REFERENCES products ON DELETE SET NULL,
    PRIMARY KEY (tenant_id, id))`

function moverOf({ instance, shardUrls }: Stack): MoverDatabase {
  const [database] = instance.databases.values()
  if (database === undefined || database.options.rules === null) throw new Error('not sharded')
  const { options, home } = database
  const shards = new Map<ShardId, { urls: string[] }>()
  for (const [at, { id }] of options.shards.entries()) {
    shards.set(id, { urls: [shardUrls[at] ?? ''] })
  }
  return { name: options.name, rules: database.options.rules, home, shards }
}

describe.each(moverServers())('foreign keys on PostgreSQL $version', (servers) => {
  let stack: Stack
  let proxy: Client
  let oracle: Client

  beforeEach(async () => {
    stack = await startStack(servers, { shards: 2, setupSql })
    proxy = await connected(stack.proxy)
    oracle = await connected(stack.direct)
  })
  afterEach(async () => {
    await Promise.all([proxy.end(), oracle.end()])
    await stack.close()
  })

  const both = (sql: string) => Promise.all([proxy.query(sql), oracle.query(sql)])
  async function rowsOf(client: Client, table: string): Promise<ReadonlySet<string | null>> {
    const row = "tenant_id || '/' || id || '/' || coalesce(product_id, 0)"
    return new Set(await column(client, `SELECT ${row} FROM ${table}`))
  }

  const countOf = async (client: Client, table: string) =>
    (await column(client, `SELECT id FROM ${table}`)).length

  it('take rows along before, during and after the switch', async () => {
    let product = 0
    /** A new product with a row of every tenant in both tables; gives its number. */
    async function add(): Promise<number> {
      product += 1
      const id = product
      await both(`INSERT INTO products VALUES (${id})`)
      for (let tenant = 1; tenant <= tenants; tenant += 1) {
        await both(`INSERT INTO marks VALUES (${tenant}, ${id}, ${id})`)
        await both(`INSERT INTO notes VALUES (${tenant}, ${id}, ${id})`)
      }
      return id
    }
    const waiting: number[] = []
    for (let turn = 0; turn < 30; turn += 1) waiting.push(await add())
    const mover = moverOf(stack)
    const catalog = await openCatalog(mover)
    const { rows } = await catalog.client.query<{ vnode: number }>(
      `SELECT vnode FROM ringfence.vnode WHERE shard = 's1' ORDER BY vnode`,
    )
    const move = await createMove(catalog.client, {
      from: shardId('s1'),
      to: shardId('s2'),
      vnodes: rows.map((row) => vnode(row.vnode)),
      keys: [],
      // The oracle is what is compared with.
      options: { ...defaultMoveOptions, keepSourceMs: 1_500 },
    })
    const states: MoveState[] = ['planned']
    const deletedIn = new Map<MoveState, number>()
    const running = runMove({
      database: mover,
      moveId: move.id,
      log: createLog('warn'),
      signal: AbortSignal.timeout(90_000),
      onMove: (now) => {
        states.push(now.state)
      },
    })
    const ended = running.then((last) => last.state)
    for (let more = 2; more > 0; ) {
      const id = waiting.shift() ?? (await add())
      await both(`DELETE FROM products WHERE id = ${id}`)
      const state = states.at(-1) ?? 'planned'
      deletedIn.set(state, (deletedIn.get(state) ?? 0) + 1)
      if (hasEnded(state)) more -= 1
    }
    expect(await ended).toBe('done')
    for (const table of ['marks', 'notes']) {
      expect(await countOf(proxy, table)).toBe(await countOf(oracle, table))
      expect(await rowsOf(proxy, table)).toEqual(await rowsOf(oracle, table))
    }
    const left = await Promise.all(
      stack.shardUrls.map(async (connectionString) => {
        const shard = await connected({ connectionString })
        const counts = await column(
          shard,
          'SELECT count(*) FROM notes UNION ALL SELECT count(*) FROM marks',
        )
        await shard.end()
        return counts
      }),
    )
    expect(left[0]).toEqual(['0', '0'])
    const before = ['preparing', 'copying', 'catching_up', 'verifying'] as const
    expect(before.some((each) => deletedIn.has(each))).toBe(true)
    expect([...deletedIn.keys()]).toContain('switched')
    await catalog.end()
  }, 120_000)
})
