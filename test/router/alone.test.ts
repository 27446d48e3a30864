// A sharded database that has one shard yet, as after "ringfence import": what several shards could
// not answer exactly, one that has all rows answers; what the cluster could not keep once it has
// more is refused from the start.
import { beforeAll, describe, expect, it } from 'vitest'
import { epoch, shardId } from '../../core/ids.ts'
import { loadParser } from '../../router/parser.ts'
import { Router } from '../../router/router.ts'
import { restingTopology } from '../../router/topology.ts'
import { sampleContext } from './sample.ts'

beforeAll(loadParser)

const home = shardId('s1')
const topology = restingTopology(epoch(1), [home], new Uint16Array(4096))

function planOf(sql: string, context = sampleContext({ topology })) {
  const router = new Router({ cacheEntriesMax: 10 })
  return router.plan(router.statements(Buffer.from(sql), context), 0, null, context)
}

describe('with one shard', () => {
  it.each([
    ['SELECT * FROM orders', false],
    ['SELECT count(*) FROM orders', false],
    ['SELECT sum(o.tenant_id) OVER () FROM orders o', false],
    ['SELECT DISTINCT tenant_id FROM orders ORDER BY 1 LIMIT 3', false],
    ['SELECT * FROM orders a JOIN orders b ON a.id = b.id', false],
    ['EXPLAIN SELECT * FROM orders', false],
    ['COPY (SELECT * FROM orders) TO STDOUT', false],
    [
      'SELECT * FROM orders WHERE tenant_id = 1 UNION SELECT * FROM orders WHERE tenant_id = 2',
      false,
    ],
    ['UPDATE orders SET id = id', true],
    ['DELETE FROM orders WHERE id = 4', true],
    ['SELECT * FROM orders FOR UPDATE', true],
  ])('%s goes to it', (sql, writes) => {
    expect(planOf(sql)).toMatchObject({ kind: 'single', shard: home, writes, anyShard: false })
    const several = planOf(sql, sampleContext())
    expect(['scatter', 'refuse']).toContain(several.kind)
  })

  it.each([
    'CREATE UNIQUE INDEX ON orders (id)',
    'UPDATE orders SET tenant_id = 3',
    'INSERT INTO orders (tenant_id) VALUES (NULL)',
    'SELECT * FROM no_such_table',
    'CREATE TEMPORARY TABLE t (a int)',
  ])('%s is refused all the same', (sql) => {
    expect(planOf(sql).kind).toBe('refuse')
  })

  it('writes of reference tables stay statements for every shard: one that joins must not miss them', () => {
    const sql = `INSERT INTO products (id) VALUES (1)`
    const joining = { ...topology, joining: true }
    expect(planOf(sql, sampleContext({ topology: joining }))).toMatchObject({
      kind: 'everywhere',
      shards: [home],
      joining: true,
    })
  })
})
