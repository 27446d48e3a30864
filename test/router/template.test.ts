// A plan made from a cached template must be the plan that the text itself would get.
import { readdirSync, readFileSync } from 'node:fs'
import * as fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { PgError } from '../../core/errors.ts'
import { Lexer } from '../../router/lexer.ts'
import { loadParser } from '../../router/parser.ts'
import { Router, type RouterContext } from '../../router/router.ts'
import { sampleContext } from './sample.ts'

beforeAll(loadParser)

const folder = `${import.meta.dirname}/../plans`
/** Every statement of the golden files; those of other databases are plain text here as well. */
const statements = readdirSync(folder)
  .filter((name) => name.endsWith('.txt'))
  .flatMap((name) => readFileSync(`${folder}/${name}`, 'utf8').split(/\n{2,}/))
  .map((block) =>
    block
      .split('\n')
      .filter((line) => !/^(?:#|→|with | {2})/.test(line))
      .join('\n'),
  )
  .filter((sql) => sql !== '')

const byKind: Readonly<Record<number, fc.Arbitrary<string>>> = {
  1: fc.oneof(fc.integer({ min: 0, max: 20 }).map(String), fc.constantFrom('0x5', '1_0', '0b1')),
  2: fc.constantFrom(
    '5.0',
    '5.5',
    '.5',
    '1e1',
    '14.',
    '1e400',
    '0.00',
    '3000000000',
    '9223372036854775808',
  ),
  3: fc.oneof(
    fc.integer({ min: -20, max: 20 }).map((value) => `'${value}'`),
    fc.constantFrom(
      "'x'",
      "''",
      "E'\\x35'",
      '$$5$$',
      "'now'",
      "'{5,6}'",
      "'{5}'",
      "'orders_id_seq'",
      "'it''s'",
      "'é'",
    ),
  ),
  4: fc.constantFrom("B'1'", "x'5'"),
}

function withOtherLiterals(sql: string): fc.Arbitrary<string> {
  const { literals, raw } = new Lexer().scan(Buffer.from(sql, 'utf8'))
  const spans = Array.from({ length: literals.length / 3 }, (_, at) =>
    literals.slice(at * 3, at * 3 + 3),
  )
  const fresh = spans.map(([, , kind = 0]) => byKind[kind] ?? fc.constant('0'))
  return fc.tuple(...fresh).map((texts) => {
    let rebuilt = ''
    let from = 0
    for (const [at, [start = 0, end = 0]] of spans.entries()) {
      rebuilt += raw.slice(from, start) + Buffer.from(texts[at] ?? '', 'utf8').toString('latin1')
      from = end
    }
    return Buffer.from(rebuilt + raw.slice(from), 'latin1').toString('utf8')
  })
}

/** Everything that a plan says; `once.rewrite` by what it gives. */
function observed(router: Router, sql: string, context: RouterContext): unknown {
  try {
    const prepared = router.statements(Buffer.from(sql, 'utf8'), context)
    return prepared.statements.map((statement, at) => {
      const plan = router.plan(prepared, at, null, context)
      const error = plan.kind === 'refuse' ? errorFields(plan.error) : null
      const once = plan.kind === 'everywhere' ? plan.once : null
      const { sql: text, start, pin, isReadOnly, paramCount, command, ddl, replica } = statement
      const own = { text, start, pin, isReadOnly, paramCount, command, ddl, replica }
      return { ...plan, ...own, error, once: once === null ? null : [once.sql, once.rewrite([])] }
    })
  } catch (thrown) {
    if (thrown instanceof PgError) return { thrown: thrown.message, position: thrown.position }
    throw thrown
  }
}

function errorFields({ message, sqlstate, hint, position }: PgError) {
  return { message, sqlstate, hint, position }
}

describe('template cache', () => {
  it('gives every text the plan of its own values', () => {
    const context = sampleContext()
    const warm = new Router({ cacheEntriesMax: 10_000 })
    for (const sql of statements) observed(warm, sql, context)
    const text = fc.constantFrom(...statements).chain(withOtherLiterals)
    fc.assert(
      fc.property(text, (sql) => {
        const fresh = observed(new Router({ cacheEntriesMax: 1 }), sql, context)
        expect(observed(warm, sql, context)).toEqual(fresh)
      }),
      { numRuns: 3000 },
    )
  }, 60_000)

  it('keeps the statements of a string apart, whatever length their values have', () => {
    const context = sampleContext()
    const router = new Router({ cacheEntriesMax: 10 })
    const of = (sql: string) =>
      router.statements(Buffer.from(sql), context).statements.map(({ sql, start }) => [sql, start])
    expect(of("SELECT 'a'; /* c */ SELECT 1;SELECT 2 ")).toEqual([
      ["SELECT 'a'", 0],
      [' /* c */ SELECT 1', 11],
      ['SELECT 2 ', 29],
    ])
    expect(of("SELECT 'äöü;x'; /* ; */ SELECT 123;SELECT 22 ")).toEqual([
      ["SELECT 'äöü;x'", 0],
      [' /* ; */ SELECT 123', 15],
      ['SELECT 22 ', 35],
    ])
  })

  it('plans anew for another schema, another search path and another topology', () => {
    const router = new Router({ cacheEntriesMax: 10 })
    const sql = 'SELECT * FROM orders WHERE tenant_id = 5'
    const before = sampleContext()
    expect(observed(router, sql, before)).toMatchObject([{ kind: 'single', shard: 's3' }])
    const moved = { ...before.topology, owners: new Uint16Array(4096) }
    expect(observed(router, sql, { ...before, topology: moved })).toMatchObject([{ shard: 's1' }])
    const { schema } = before
    const relations = new Map(schema?.relations)
    relations.delete('public.orders')
    const dropped = schema === null ? null : { ...schema, version: 2, relations }
    expect(observed(router, sql, { ...before, schema: dropped })).toMatchObject([
      { kind: 'refuse', unresolved: true },
    ])
    expect(observed(router, sql, { ...before, searchPath: ['nosuch'] })).toMatchObject([
      { kind: 'refuse' },
    ])
    expect(observed(router, sql, before)).toMatchObject([{ kind: 'single', shard: 's3' }])
  })
})
