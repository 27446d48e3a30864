// `ringfence advise`: what is read out of logs, and what a real server's traffic is told, whichever way it is told.
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  csvRecords,
  jsonRecords,
  type LogRecord,
  stderrRecords,
} from '../../cli/advise/log-records.ts'
import { loggedStatements } from '../../cli/advise/log-statements.ts'
import { detectFormat, type Observation } from '../../cli/advise/observation.ts'
import { readings } from '../../cli/advise/readings.ts'
import { fileStatements } from '../../cli/advise/sql-file.ts'
import { findInstallation } from '../../demo/installation.ts'
import { PostgresServer } from '../../demo/postgres-server.ts'
import { withClient } from '../support/clients.ts'
import { runProgram } from './program.ts'

async function* linesOf(text: string): AsyncGenerator<string> {
  yield* text.split('\n')
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = []
  for await (const item of items) found.push(item)
  return found
}

const observed = (
  text: string,
  read: (lines: AsyncIterable<string>) => AsyncGenerator<LogRecord>,
) => all(loggedStatements(read(linesOf(text)), 'app'))

describe('a log on stderr', () => {
  it.each([
    ['%m [%p] ', '2026-01-02 03:04:05.678 UTC [4711] '],
    ['%t:%r:%u@%d:[%p]: ', '2026-01-02 03:04:05 UTC:10.0.0.1(5432):app@app:[4711]: '],
    ['%m %u@%d %p ', '2026-01-02 03:04:05.678 CET app@app 4711 '],
    ['%c %l ', '5f3d.1a2b 17 '],
    ['nothing', ''],
  ])('is read with the prefix %j', async (_, prefix) => {
    const text = `${prefix}LOG:  duration: 12.5 ms  statement: SELECT 'a: b',
\t  2
${prefix}ERROR:  relation "x" does not exist
${prefix}STATEMENT:  SELECT * FROM x
${prefix}LOG:  duration: 0.25 ms  parse <unnamed>: SELECT $1
${prefix}LOG:  duration: 1.0 ms  execute S_1/portal: SELECT $1
${prefix}DETAIL:  Parameters: $1 = '7'
${prefix}LOG:  checkpoint starting: time`
    expect(await observed(text, stderrRecords)).toEqual([
      { sql: "SELECT 'a: b',\n  2", calls: 1, timeMs: 12.5 },
      { sql: 'SELECT $1', calls: 0, timeMs: 0.25 },
      { sql: 'SELECT $1', calls: 1, timeMs: 1 },
    ])
  })

  it('gives a duration that follows to the statement of its session', async () => {
    const text = `[1] LOG:  statement: SELECT 1
[2] LOG:  execute <unnamed>: SELECT 2
[1] LOG:  duration: 3 ms
[2] LOG:  duration: 4 ms
[1] LOG:  statement: SELECT 3
[1] LOG:  statement: SELECT 4`
    expect(await observed(text, stderrRecords)).toEqual([
      { sql: 'SELECT 1', calls: 1, timeMs: 3 },
      { sql: 'SELECT 2', calls: 1, timeMs: 4 },
      { sql: 'SELECT 3', calls: 1, timeMs: null },
      { sql: 'SELECT 4', calls: 1, timeMs: null },
    ])
  })
})

it('a csvlog is read with quotes and lines inside of values, without other databases', async () => {
  const row = (database: string, level: string, message: string) =>
    `2026-01-02 03:04:05.678 UTC,"u","${database}",7,"::1:5",6.7,1,"SELECT",2026-01-02 UTC,1/2,0,${level},00000,"${message}",,,,,,,,,"psql","client backend",,0`
  const text = [
    row('app', 'LOG', 'duration: 2 ms  statement: SELECT ""a"",\n\'\'\n, 2'),
    row('other', 'LOG', 'duration: 2 ms  statement: SELECT 5'),
    row('app', 'ERROR', 'statement: no'),
  ].join('\n')
  expect(detectFormat(text)).toBe('csv')
  expect(await observed(text, csvRecords)).toEqual([
    { sql: 'SELECT "a",\n\'\'\n, 2', calls: 1, timeMs: 2 },
  ])
})

it('a jsonlog is read, other databases and broken lines left out', async () => {
  const line = (dbname: string, message: string) =>
    JSON.stringify({ timestamp: 'x', dbname, pid: 7, error_severity: 'LOG', message })
  const text = [
    line('app', 'duration: 2 ms  execute a: SELECT\n1'),
    '{"half":',
    line('other', 'statement: SELECT 5'),
  ].join('\n')
  expect(detectFormat(text)).toBe('json')
  expect(await observed(text, jsonRecords)).toEqual([{ sql: 'SELECT\n1', calls: 1, timeMs: 2 }])
})

it('a file of SQL is cut at its semicolons alone, psql’s commands and COPY’s rows left out', async () => {
  const text = `\\set x 1
SELECT 'a;
b'; SELECT 2;
-- a; comment;
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; $$;
COPY t (a) FROM stdin;
1;
\\.
SELECT 3`
  const found: Observation[] = await all(fileStatements(linesOf(text)))
  expect(detectFormat(text)).toBe('sql')
  expect(found.map(({ sql }) => sql.trim())).toEqual([
    "SELECT 'a;\nb'",
    'SELECT 2',
    '-- a; comment;\nCREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1; $$',
    'COPY t (a) FROM stdin',
    'SELECT 3',
  ])
})

it('a parameter where only a constant may stand is read as one', () => {
  expect(readings('SELECT 1')).toEqual(['SELECT 1'])
  // As PostgreSQL 18 shortens a list.
  expect(readings('a IN ($1 /*, ... */)')[0]).toBe('a IN ($1, $9999)')
  expect(readings('a = $1 AND b > now() - interval $2')).toContain(
    "a = $1 AND b > now() - interval '2'",
  )
})

describe('ringfence advise on a server that is not sharded', () => {
  let dir = ''
  let server: PostgresServer
  let url = ''
  const advise = async (...args: string[]) => {
    const flags = ['--url', url, '--key', 'tenant_id', '--json']
    const { code, stdout, stderr } = await runProgram(['advise', ...args, ...flags])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    return JSON.parse(stdout)
  }
  const classes = (report: { statements: { sql: string; class: string; calls: number }[] }) =>
    Object.fromEntries(report.statements.map(({ sql, ...rest }) => [sql, [rest.class, rest.calls]]))

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'rf-advise-'))
    await chmod(dir, 0o755)
    server = await PostgresServer.create({
      installation: await findInstallation('embedded'),
      dir: join(dir, 'pg'),
      settings: {
        shared_preload_libraries: 'pg_stat_statements',
        logging_collector: 'on',
        log_destination: 'stderr,csvlog,jsonlog',
        log_directory: 'logs',
        log_filename: 'all.log',
        log_file_mode: '0644',
      },
    })
    await server.start()
    url = server.url('postgres')
    await withClient({ connectionString: url }, async (client) => {
      await client.query(schema)
      await client.query('SELECT pg_stat_statements_reset()')
      await client.query('SET log_min_duration_statement = 0')
      for (const sql of traffic) await client.query(sql)
      await client.query('SELECT * FROM orders WHERE tenant_id = $1', [7])
    })
  })
  afterAll(async () => {
    await server.stop('immediate')
    await rm(dir, { recursive: true, force: true })
  })

  const schema = `
    CREATE EXTENSION pg_stat_statements;
    CREATE TABLE tenants (id bigint PRIMARY KEY, name text);
    CREATE TABLE products (id int PRIMARY KEY, price numeric);
    CREATE TABLE orders (tenant_id bigint NOT NULL REFERENCES tenants, id int, product int, at timestamptz);
    CREATE TABLE lines (tenant bigint REFERENCES tenants, n int);
    CREATE TABLE migrations (v int);
    INSERT INTO tenants VALUES (1), (2); ANALYZE`
  const traffic = [
    'SELECT * FROM orders WHERE tenant_id = 5',
    'SELECT * FROM orders WHERE tenant_id = 6',
    'SELECT o.id, p.price FROM orders o JOIN products p ON p.id = o.product WHERE o.tenant_id = 1',
    'SELECT t.name FROM tenants t JOIN orders o ON o.tenant_id = t.id WHERE t.id = 3',
    'SELECT id FROM orders WHERE tenant_id IN (1, 2)',
    'INSERT INTO orders VALUES (1, 1), (2, 2)',
    "SELECT id FROM orders WHERE at > '2026-01-01'",
    'SELECT count(*) FROM orders',
    'INSERT INTO migrations VALUES (1)',
    'SELECT relname FROM pg_class LIMIT 1',
    'BEGIN',
    'COMMIT',
  ]

  it('judges a file of SQL, and what its own advice would change', async () => {
    const file = join(dir, 'traffic.sql')
    await writeFile(file, traffic.map((sql) => `${sql};\n`).join(''))
    const report = await advise(file)
    expect(classes(report)).toMatchObject({
      'SELECT * FROM orders WHERE tenant_id = ?': ['one shard', 2],
      'SELECT id FROM orders WHERE tenant_id IN (?, …)': ['few shards', 1],
      'INSERT INTO orders VALUES (?, …), …': ['depends', 1],
      'SELECT id FROM orders WHERE at > ?': ['scatter', 1],
      'SELECT count(*) FROM orders': ['refused', 1],
      'INSERT INTO migrations VALUES (?)': ['home shard', 1],
      'SELECT relname FROM pg_class LIMIT ?': ['catalogs', 1],
      BEGIN: ['session', 1],
    })
    expect(report).toMatchObject({ keyType: 'bigint', sharded: 1, calls: 9, timed: false })
    expect(report.onOneShard.share).toBeCloseTo(3 / 9)
    expect(report.advised.onOneShard.share).toBeCloseTo(5 / 9)
    const advice = report.tables.map(({ table, kind, column }: Record<string, string>) => {
      return `${table}: ${kind} ${column ?? ''}`.trim()
    })
    expect(advice).toEqual([
      'public.lines: home',
      'public.migrations: home',
      'public.products: reference',
      'public.tenants: own key id',
    ])
  })

  it('takes reference tables that are named', async () => {
    const report = await advise(join(dir, 'traffic.sql'), '--reference', 'products, migrations')
    expect(classes(report)).toMatchObject({
      'INSERT INTO migrations VALUES (?)': ['all shards', 1],
    })
    expect(report.onOneShard.share).toBeCloseTo(3 / 9)
    expect(report.advised.onOneShard.share).toBeCloseTo(4 / 9)
  })

  it('judges pg_stat_statements, whose values are parameters', async () => {
    const report = await advise()
    const found = classes(report)
    expect(found['SELECT * FROM orders WHERE tenant_id = $1']).toEqual(['one shard', 3])
    expect(found['SELECT count(*) FROM orders']).toEqual(['refused', 1])
    expect(report.timed).toBe(true)
    const list = Object.entries(found).find(([sql]) => /orders.* IN \(/.test(sql))
    expect(list?.[1]).toEqual(['few shards', 1])
  })

  it.each(['all.log', 'all.csv', 'all.json'])('judges the server’s own %s', async (name) => {
    const report = await advise(join(dir, 'pg/data/logs', name))
    const found = classes(report)
    expect(found['SELECT * FROM orders WHERE tenant_id = ?']).toEqual(['one shard', 2])
    expect(found['SELECT * FROM orders WHERE tenant_id = $1']).toEqual(['one shard', 1])
    expect(found['INSERT INTO orders VALUES (?, …), …']).toEqual(['depends', 1])
    expect(report.timed).toBe(true)
  })

  it('shows people sums, the section for the file, and what needs work', async () => {
    const args = ['advise', join(dir, 'traffic.sql'), '--url', url, '--key', 'tenant_id']
    const { code, stdout } = await runProgram(args)
    expect(code).toBe(0)
    expect(stdout).toMatch(
      /^shard key tenant_id \(bigint\): 1 tables have it\non one shard: 33\.3 % of calls/,
    )
    expect(stdout).toContain(
      '    "products": { placement: reference }\n    "tenants": { key: "id" }\n',
    )
    expect(stdout).toContain('  and 2 statements that the advice above changes\n')
    expect(stdout).toMatch(
      /^Refused \(1\):\n {2}SELECT count\(\*\) FROM orders\n {4}1 call; the aggregate/m,
    )
  })

  it.each([
    [['--key', 'nobody'], 'no table has a column "nobody"'],
    [[], 'name the proposed shard key with --key'],
    [['/nowhere.sql', '--key', 'tenant_id'], 'cannot read "/nowhere.sql"'],
    [['-', '--key', 'tenant_id'], 'no statements were found'],
  ])('ends with 1 for %j', async (args, message) => {
    const { code, stdout, stderr } = await runProgram(['advise', ...args, '--url', url])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toContain(message)
    expect(stderr).not.toContain('    at ')
  })
})
