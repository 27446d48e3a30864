// EXPLAIN (ROUTE): what a user reads of a statement's way.
import { beforeAll, describe, expect, it } from 'vitest'
import { explainRoute } from '../../router/explain.ts'
import { loadParser } from '../../router/parser.ts'
import { Router } from '../../router/router.ts'
import { sampleContext } from './sample.ts'

beforeAll(loadParser)

const explain = (sql: string) =>
  explainRoute(sql, new Router({ cacheEntriesMax: 10 }), sampleContext())

describe('EXPLAIN (ROUTE)', () => {
  it('tells key, vnode, shard and epoch of a one-shard statement', () => {
    expect(explain('SELECT * FROM orders WHERE tenant_id = 5')).toEqual([
      ['class', 'one shard'],
      ['shard', 's3'],
      ['SQL on s3', 'SELECT * FROM orders WHERE tenant_id = 5'],
      ['key', 'tenant_id = 5'],
      ['vnode', '2066 on s3'],
      ['server', 'replica or primary (a read)'],
      ['epoch', '7'],
    ])
  })

  it('names the parameter that a key comes from', () => {
    expect(explain('DELETE FROM orders o WHERE o.tenant_id = $2::bigint')).toEqual([
      ['class', 'one shard'],
      ['key', 'o.tenant_id = $2'],
      ['reason', 'the parameters choose the shard'],
      ['server', 'primary (DELETE writes)'],
      ['epoch', '7'],
    ])
  })

  it('lists the SQL of every shard that a scattered statement asks', () => {
    const rows = explain("SELECT * FROM orders WHERE tenant_id IN (1, -2, '14')")
    expect(rows).toContainEqual(['class', 'few shards'])
    expect(rows).toContainEqual(['key', "tenant_id IN (1, -2, '14')"])
    expect(rows.filter(([aspect]) => aspect.startsWith('SQL on'))).toHaveLength(2)
    expect(explain('SELECT * FROM orders')).toContainEqual(['class', 'scatter, streamed'])
  })

  it('tells what is computed once for a reference table', () => {
    const rows = explain("INSERT INTO badges (label) VALUES ('a')")
    expect(rows).toContainEqual(['class', 'write to a reference table'])
    expect(rows.find(([aspect]) => aspect === 'computed once')?.[1]).toContain('nextval')
  })

  it('gives message, SQLSTATE and hint of what would be refused', () => {
    expect(explain('SELECT count(*) FROM orders')).toEqual([
      ['class', 'refused'],
      ['error', 'the aggregate count is not supported across shards'],
      ['sqlstate', '0A000'],
      [
        'hint',
        'Tie every sharded table to one shard key value, for example with WHERE tenant_id = ….',
      ],
    ])
    expect(explain('SELEC')).toContainEqual(['sqlstate', '42601'])
  })

  it.each([
    ['SELECT * FROM products', 'replica or primary (a read)'],
    ['COPY products TO STDOUT', 'replica or primary (a read)'],
    ["SELECT nextval('orders_id_seq')", 'primary (the function nextval() is volatile)'],
    ['SELECT * FROM orders WHERE tenant_id = 5 FOR SHARE', 'primary (row locks)'],
    ['SELECT * FROM pg_class', 'primary (a system catalog)'],
    ['SELECT pg_advisory_lock(1)', 'primary (it leaves state on its server: advisory lock)'],
    ['INSERT INTO orders (tenant_id) VALUES (5)', 'primary (INSERT writes)'],
    ['SHOW work_mem', 'primary (SHOW tells of the server that it runs on)'],
    ['BEGIN', 'primary (a session command)'],
  ])('tells which servers may run %s, and why: %s', (sql, server) => {
    expect(explain(sql)).toContainEqual(['server', server])
  })

  it('takes the statements of a string one by one', () => {
    const rows = explain(
      'BEGIN; SELECT * FROM products; SELECT * FROM migrations; COPY orders FROM STDIN',
    )
    expect(rows.filter(([aspect]) => aspect === 'class').map(([, value]) => value)).toEqual([
      'session (begin)',
      'any shard (reference tables)',
      'home shard',
      'COPY split by row',
    ])
  })
})
