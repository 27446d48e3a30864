// The text of a statement for a shard with rows that it does not own: what is added, where, and for which tables.
import { readdirSync, readFileSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { vnode } from '../../core/ids.ts'
import { PgError } from '../../core/errors.ts'
import { HiddenRows } from '../../router/hidden-rows.ts'
import type { MovedSet } from '../../router/moved-set.ts'
import { loadParser } from '../../router/parser.ts'
import { Router } from '../../router/router.ts'
import { sampleContext } from './sample.ts'

beforeAll(loadParser)

const context = sampleContext()

function setOf(vnodes: readonly number[], rest: Partial<MovedSet> = {}): MovedSet {
  return { vnodes: vnodes.map(vnode), keys: [], except: [], ...rest }
}

const seven = [setOf([7])]
const condition =
  / JOIN \(SELECT\) AS ringfence_visible_*_\d+ ON CASE WHEN pg_catalog\.substring\(X'01', ringfence\.vnode\((.*?)\) \+ 1, 1\) = B'1' THEN false ELSE true END/g

/** The rewritten text, `⋈ key` for the join that hides rows of virtual node 7. */
function shown(sql: string): string {
  return new HiddenRows().withoutHidden(sql, context, seven).sql.replaceAll(condition, ' ⋈ $1')
}

function hide(sql: string, hidden: readonly MovedSet[]): string {
  return new HiddenRows().withoutHidden(sql, context, hidden).sql
}

function refusal(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (error instanceof PgError) return `${error.sqlstate} ${error.message}`
    throw error
  }
  return 'not refused'
}

const rewritings: readonly (readonly [string, string])[] = [
  ['SELECT * FROM orders', 'SELECT * FROM (orders ⋈ "orders"."tenant_id")'],
  ['SELECT * FROM tenants', 'SELECT * FROM (tenants ⋈ "tenants"."id")'],
  [
    'SELECT o FROM public.orders AS o WHERE o.id = $1',
    'SELECT o FROM (public.orders AS o ⋈ "o"."tenant_id") WHERE o.id = $1',
  ],
  [
    'SELECT * FROM orders o (k, id), items i',
    'SELECT * FROM (orders o (k, id) ⋈ "o"."k"), (items i ⋈ "i"."tenant_id")',
  ],
  ['SELECT * FROM ONLY orders', 'SELECT * FROM (ONLY orders ⋈ "orders"."tenant_id")'],
  [
    'SELECT * FROM only /* one */ ( /* two */ orders -- x /* y\n ) AS "O""o"',
    'SELECT * FROM (only /* one */ ( /* two */ orders -- x /* y\n ) AS "O""o" ⋈ "O""o"."tenant_id")',
  ],
  [
    'SELECT * FROM orders * /* a /* b */ c */ assets',
    'SELECT * FROM (orders * /* a /* b */ c */ assets ⋈ "assets"."tenant_id")',
  ],
  ['TABLE orders', 'SELECT * FROM (orders ⋈ "orders"."tenant_id")'],
  [
    '(TABLE only "orders") UNION ALL table items',
    '(SELECT * FROM (only "orders" ⋈ "orders"."tenant_id")) UNION ALL SELECT * FROM (items ⋈ "items"."tenant_id")',
  ],
  ['SELECT * FROM /* table */ orders', 'SELECT * FROM /* table */ (orders ⋈ "orders"."tenant_id")'],
  [
    'SELECT * FROM orders o LEFT JOIN items i USING (tenant_id)',
    'SELECT * FROM (orders o ⋈ "o"."tenant_id") LEFT JOIN (items i ⋈ "i"."tenant_id") USING (tenant_id)',
  ],
  [
    'SELECT \'Ünüß\', (SELECT max(i.id) FROM items i) FROM "orders"ö, products p NATURAL JOIN users',
    `SELECT 'Ünüß', (SELECT max(i.id) FROM (items i ⋈ "i"."tenant_id")) FROM ("orders"ö ⋈ "ö"."tenant_id"), products p NATURAL JOIN (users ⋈ "users"."tenant_id")`,
  ],
  [
    'WITH orders AS (SELECT * FROM orders) SELECT * FROM orders JOIN public.orders o USING (id)',
    'WITH orders AS (SELECT * FROM (orders ⋈ "orders"."tenant_id")) SELECT * FROM orders JOIN (public.orders o ⋈ "o"."tenant_id") USING (id)',
  ],
  [
    'WITH RECURSIVE orders AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM orders) SELECT * FROM orders, items',
    'WITH RECURSIVE orders AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM orders) SELECT * FROM orders, (items ⋈ "items"."tenant_id")',
  ],
  [
    'SELECT * FROM (WITH items AS (SELECT 1) SELECT * FROM items) x, items',
    'SELECT * FROM (WITH items AS (SELECT 1) SELECT * FROM items) x, (items ⋈ "items"."tenant_id")',
  ],
  [
    'WITH a AS (SELECT * FROM items), items AS (SELECT 1) SELECT * FROM a, items',
    'WITH a AS (SELECT * FROM (items ⋈ "items"."tenant_id")), items AS (SELECT 1) SELECT * FROM a, items',
  ],
  [
    'SELECT 1 FROM orders o WHERE EXISTS (SELECT FROM items i WHERE i.id = o.id FOR UPDATE OF i)',
    'SELECT 1 FROM (orders o ⋈ "o"."tenant_id") WHERE EXISTS (SELECT FROM (items i ⋈ "i"."tenant_id") WHERE i.id = o.id FOR UPDATE OF i)',
  ],
  [
    'SELECT ARRAY(SELECT id FROM items) || CASE WHEN 1 IN (SELECT id FROM users) THEN 1 END FROM countries GROUP BY (SELECT 1 FROM orders)',
    'SELECT ARRAY(SELECT id FROM (items ⋈ "items"."tenant_id")) || CASE WHEN 1 IN (SELECT id FROM (users ⋈ "users"."tenant_id")) THEN 1 END FROM countries GROUP BY (SELECT 1 FROM (orders ⋈ "orders"."tenant_id"))',
  ],
  [
    'SELECT * FROM products TABLESAMPLE system (10), orders',
    'SELECT * FROM products TABLESAMPLE system (10), (orders ⋈ "orders"."tenant_id")',
  ],
  ['SELECT * FROM products', 'SELECT * FROM products'],
]

describe('a statement for a shard with rows that it does not own', () => {
  it.each(rewritings)('%s', (sql, expected) => {
    expect(shown(sql)).toBe(expected)
  })

  it('names its joins as nothing in the statement is named', () => {
    const sql = 'SELECT ringfence_visible.id FROM orders ringfence_visible'
    const rewritten = hide(sql, seven)
    expect(rewritten).toContain('JOIN (SELECT) AS ringfence_visible__1 ON')
  })

  it('leaves out one list of the virtual nodes of all sets, and each key by itself', () => {
    const sets = [
      setOf([3, 4]),
      setOf([4, 5], { keys: ['42'] }),
      setOf([8], { except: ['-7'] }),
      setOf([], { keys: ['43'] }),
    ]
    expect(hide('SELECT 1 FROM orders', sets)).toContain(
      `CASE WHEN (pg_catalog.substring(X'1c', ringfence.vnode("orders"."tenant_id") + 1, 1) = B'1'` +
        ` OR "orders"."tenant_id" = ANY ('{"42","43"}'::bigint[]))` +
        ` OR (pg_catalog.substring(X'008', ringfence.vnode("orders"."tenant_id") + 1, 1) = B'1'` +
        ` AND "orders"."tenant_id" <> ALL ('{"-7"}'::bigint[])) THEN false ELSE true END`,
    )
  })

  it('is the same one when nothing is hidden', () => {
    const sql = 'SELECT * FROM orders'
    expect(hide(sql, [])).toBe(sql)
    expect(hide(sql, [setOf([])])).toBe(sql)
  })

  it.each([
    ['SELECT * FROM orders TABLESAMPLE system (10)', 'TABLESAMPLE'],
    ['SELECT * FROM order_view', 'the view "order_view"'],
    ['DELETE FROM orders', 'DELETE'],
    ['WITH x AS (UPDATE orders SET id = 1 RETURNING *) SELECT * FROM x', 'UPDATE'],
    ['SELECT 1; SELECT 2', 'several statements'],
    [
      'SELECT i.quantity FROM items i (tenant_id)',
      'a shard key column that shares its name with another',
    ],
    ['SELECT * FROM orders U&"d!0061t" UESCAPE \'!\'', 'this way of writing a table'],
    ['SELECT * FROM only /* a /* b */ */ orders', 'this way of writing a table'],
  ])('%s is refused', (sql, construct) => {
    expect(refusal(() => hide(sql, seven))).toBe(
      `55006 ${construct} cannot be read from several shards while virtual nodes are on the move`,
    )
  })

  it('tells positions of errors in the text that the client has sent', () => {
    const sql = 'TABLE "örders_ü" UNION ALL SELECT * FROM items ü WHERE "€".x = 5'
    const renamed = sql.replace('"örders_ü"', 'orders')
    const { sql: rewritten, originalPosition } = new HiddenRows().withoutHidden(
      renamed,
      context,
      seven,
    )
    const positionIn = (text: string, token: string) => Array.from(text).indexOf(token) + 1
    for (const token of ['€', 'U', '5']) {
      expect(originalPosition(positionIn(rewritten, token))).toBe(positionIn(renamed, token))
    }
    const table = Array.from(rewritten.slice(0, rewritten.indexOf('items'))).length + 1
    expect(originalPosition(table)).toBe(renamed.indexOf('items') + 1)
    const added = Array.from(rewritten.slice(0, rewritten.lastIndexOf('CASE'))).length + 1
    expect(originalPosition(added)).toBe(renamed.indexOf('items ü') + 'items ü'.length + 1)
  })

  it('is made once for a text, its sets and what names mean', () => {
    const rows = new HiddenRows()
    const sql = 'SELECT * FROM orders'
    const first = rows.withoutHidden(sql, context, seven)
    expect(rows.withoutHidden(sql, context, seven)).toBe(first)
    expect(rows.withoutHidden(sql, context, [setOf([7])])).not.toBe(first)
    const elsewhere = { ...context, searchPath: ['audit', 'public'] }
    expect(rows.withoutHidden('SELECT * FROM log', elsewhere, seven).sql).not.toContain('JOIN')
    expect(rows.withoutHidden(sql, elsewhere, seven)).not.toBe(first)
  })
})

const folder = `${import.meta.dirname}/../plans`
const statements = readdirSync(folder)
  .filter((name) => name.endsWith('.txt'))
  .flatMap((name) => readFileSync(`${folder}/${name}`, 'utf8').split(/\n{2,}/))
  .map((block) =>
    block
      .split('\n')
      .filter((line) => !/^(?:#|→|with | {2})/.test(line))
      .join('\n'),
  )

/** FROM and its kin before a sharded table's name; CTEs of such names are counted as well. */
const mention =
  /(?:\b(?:from|join|only|table)|,)\s+\(?(?:public\.|audit\.)?(?:orders|items|users|tenants|loose)\b(?!\.)/gi

/** True for one statement that may go to several shards. */
function scattered(router: Router, sql: string): boolean {
  const prepared = tried(() => router.statements(Buffer.from(sql), context))
  const [statement, ...more] = prepared?.statements ?? []
  if (statement === undefined || more.length > 0) return false
  const { route } = statement
  return route.kind === 'scatter' || (route.kind === 'key' && route.scatter.kind === 'rows')
}

describe('statements that go to several shards', () => {
  it('are all rewritten, for every sharded table that they read', () => {
    const router = new Router({ cacheEntriesMax: 10 })
    const seen = [...new Set(statements)].filter((sql) => scattered(router, sql))
    const wrong = seen.filter((sql) => {
      const joins = hide(sql, seven).match(condition)?.length ?? 0
      const mentions = sql.match(mention)?.length ?? 0
      return /^with/i.test(sql) ? joins === 0 : joins !== mentions
    })
    expect(wrong).toEqual([])
    expect(seen.length).toBeGreaterThan(60)
  })
})

function tried<T>(act: () => T): T | null {
  try {
    return act()
  } catch (error) {
    if (error instanceof PgError) return null
    throw error
  }
}
