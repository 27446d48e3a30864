// Generated sessions that define tables and use them at once, in transactions that are committed,
// rolled back, and taken back in part: shards and oracle end with the same tables and rows.
import { assert, asyncProperty } from 'fast-check'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { type Arena, openArena } from './arena.ts'
import type { WatchedTable } from './contents.ts'
import { parameters, runSeed, timeoutMs } from './run-seeds.ts'
import { Tape, tapes } from './tape.ts'

const madeTables = `SELECT c.relname FROM pg_class c
  WHERE c.relname LIKE 'made%' AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace`
const shapes = `SELECT n.nspname, c.relname, c.relkind, a.attname, a.attnotnull, a.attnum,
    format_type(a.atttypid, a.atttypmod) AS type
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
  WHERE n.nspname IN ('public', 'shop') AND c.relkind <> 'S' ORDER BY 1, 2, 6`

/** One statement about made1 or made2. */
function statement(tape: Tape): string {
  const table = tape.pick(['made1', 'made1', 'made2'])
  const other = table === 'made1' ? 'made2' : 'made1'
  const key = tape.below(8)
  const id = tape.below(5)
  return tape.pick([
    `INSERT INTO ${table} (tenant_id, id) VALUES (${key}, ${id})`,
    `CREATE TABLE ${table} (tenant_id bigint NOT NULL, id integer)`,
    `SELECT * FROM ${table}`,
    `CREATE TABLE ${table} (id integer, tenant_id integer NOT NULL, PRIMARY KEY (tenant_id, id))`,
    `CREATE TABLE ${table} (id integer PRIMARY KEY, word text DEFAULT 'none')`,
    `CREATE TABLE IF NOT EXISTS ${table} (LIKE shop.orders INCLUDING ALL)`,
    `INSERT INTO ${table} (id) VALUES (${id})`,
    `INSERT INTO ${table} SELECT tenant_id, id FROM users WHERE tenant_id = ${key}`,
    `UPDATE ${table} SET id = id + 10 WHERE tenant_id = ${key}`,
    `DELETE FROM ${table} WHERE tenant_id = ${key} RETURNING id`,
    `ALTER TABLE ${table} ADD COLUMN extra integer DEFAULT ${id}`,
    `ALTER TABLE ${table} DROP COLUMN id`,
    `ALTER TABLE ${table} RENAME COLUMN id TO tenant_id`,
    `ALTER TABLE ${table} RENAME COLUMN extra TO id`,
    `ALTER TABLE ${table} RENAME TO ${other}`,
    `ALTER TABLE ${table} ALTER COLUMN id TYPE bigint`,
    `ALTER TABLE ${table} ADD CHECK (id <> 3)`,
    `CREATE INDEX ON ${table} (id)`,
    `CREATE UNIQUE INDEX ON ${table} (id, tenant_id)`,
    `DROP TABLE IF EXISTS ${table}`,
    `DROP TABLE ${table}`,
    `TRUNCATE ${table}`,
    `SELECT a.id FROM ${table} a JOIN users u USING (tenant_id) WHERE tenant_id = ${key}`,
    `CREATE VIEW seen AS SELECT id FROM ${table}`,
    'SELECT * FROM seen',
    'DROP VIEW seen',
    `UPDATE products SET price = ${key}`,
    `CREATE TABLE ${table} (tenant_id bigint); INSERT INTO ${table} VALUES (${key}); SELECT 1 / 0`,
    `CREATE TABLE ${table} (tenant_id bigint, id int); INSERT INTO ${table} VALUES (${key}, 1)`,
  ])
}

const controls = [
  'SAVEPOINT a',
  'ROLLBACK TO a',
  'COMMIT',
  'ROLLBACK',
  'BEGIN',
  'SELECT 1 / 0',
] as const

function session(tape: Tape): string[] {
  const steps: string[] = tape.oneIn(2) ? ['BEGIN'] : []
  steps.push(
    tape.pick([
      'CREATE TABLE made1 (tenant_id bigint NOT NULL, id integer)',
      'CREATE TABLE made1 (id integer, tenant_id bigint NOT NULL, PRIMARY KEY (id, tenant_id))',
      'CREATE TABLE made1 (id integer, extra text)',
    ]),
  )
  while (!tape.ended && steps.length < 9) {
    steps.push(tape.oneIn(4) ? tape.pick(['BEGIN', ...controls]) : statement(tape))
  }
  return steps
}

describe.each(inject('servers'))('definitions on PostgreSQL $version', (servers) => {
  let arena: Arena
  beforeAll(async () => {
    arena = await openArena(servers)
  })
  afterAll(async () => arena.close())

  async function watched(): Promise<WatchedTable[]> {
    const tables: WatchedTable[] = []
    for (const name of await arena.contents.column(madeTables)) {
      const columns = await arena.contents.column(
        `SELECT attname FROM pg_attribute WHERE attrelid = '${name}'::regclass
         AND attnum > 0 AND NOT attisdropped`,
      )
      const sharded = columns.includes('tenant_id')
      if (sharded) tables.push({ name, placement: 'sharded', key: 'tenant_id', columns })
      else tables.push({ name, placement: 'home', columns })
    }
    return tables
  }

  /** @throws Error that tells the session up to the step that went wrong. */
  async function play(steps: readonly string[], counts: Record<string, number>): Promise<void> {
    const { pair, contents } = arena
    const story: string[] = []
    const fail = (what: string) => new Error(`${story.join('\n')}\n${what}`)
    for (const sql of steps) {
      const verdict = await pair.run({ sql, params: null }).catch((thrown: unknown) => {
        throw fail(`${sql}\n${String(thrown)}`)
      })
      const { kind } = verdict
      story.push(`${sql}; -- ${kind === 'refused' ? verdict.message : kind}`)
      if (kind === 'different') throw fail(verdict.what)
      const outcome = kind === 'same' && verdict.reply.error !== null ? 'failed' : kind
      counts[outcome] = (counts[outcome] ?? 0) + 1
      if (verdict.reply.status !== 'I') continue
      const shape = await contents.differing(shapes)
      if (shape.length > 0) throw fail(shape.join('\n'))
      const faults = await contents.faults(await watched())
      if (faults.length > 0) throw fail(faults.join('\n'))
    }
  }

  it('are the same everywhere, and so are the rows of what they define', {
    timeout: timeoutMs,
  }, async () => {
    const counts: Record<string, number> = {}
    const property = asyncProperty(tapes(60), async (numbers) => {
      await arena.reset()
      await arena.pair.run({ sql: 'DROP VIEW IF EXISTS seen', params: null })
      await arena.pair.run({ sql: 'DROP TABLE IF EXISTS made1, made2 CASCADE', params: null })
      await play(session(new Tape(numbers)), counts)
    })
    await assert(property, parameters(60))
    process.stdout.write(`definitions: seed ${runSeed}: ${JSON.stringify(counts)}\n`)
    expect(counts['same']).toBeGreaterThan(0)
  })
})
