// pgbench on a Ringfence of one shard: it initializes through the proxy (drop, create, COPY, vacuum, keys)
// and runs its built-in scripts in every query mode. The books must balance afterwards.
import { afterAll, assert, beforeAll, describe, expect, inject, it } from 'vitest'
import { Client } from 'pg'
import { startStack } from '../support/stack.ts'
import { urlOf } from './program.ts'
import { runProgram } from './run-program.ts'

type Stack = Awaited<ReturnType<typeof startStack>>

const clients = 4
const perClient = 50
const modes = ['simple', 'extended', 'prepared'] as const

describe.each(inject('servers'))('pgbench on PostgreSQL $version', (servers) => {
  let stack: Stack | undefined
  beforeAll(async () => {
    stack = await startStack(servers, { shards: 1 })
  })
  afterAll(() => stack?.close())

  /** Runs pgbench through the proxy; any error of it ends the test with what it said. */
  async function pgbench(argv: readonly string[], script = ''): Promise<string> {
    assert(stack !== undefined, 'the stack is up')
    const { stdout, stderr, exitCode } = await runProgram('pgbench', stack.proxy, argv, script)
    expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 })
    expect(stderr).not.toMatch(/error|abort|fail/i)
    return stdout
  }

  const loads = [
    ...modes.map((mode) => [`tpcb-like, ${mode} protocol`, ['-M', mode]] as const),
    ...modes.map((mode) => [`select only, ${mode} protocol`, ['-S', '-M', mode]] as const),
    ['simple update, prepared', ['-N', '-M', 'prepared']] as const,
  ]

  it('initializes its tables', async () => {
    await pgbench(['--initialize', '--scale=1', '--foreign-keys'])
    const [counted] = await query('SELECT count(*)::int AS rows FROM pgbench_accounts')
    expect(counted).toEqual({ rows: 100_000 })
  })

  it.each(loads)('runs %s, with several clients and no error', async (_name, options) => {
    const size = [`--client=${clients}`, '--jobs=2', `--transactions=${perClient}`]
    const said = await pgbench([...size, '--no-vacuum', ...options])
    const all = clients * perClient
    expect(said).toContain(`number of transactions actually processed: ${all}/${all}`)
    expect(said).toMatch(/number of failed transactions: 0 /)
  })

  it('logs in anew for every transaction', async () => {
    const said = await pgbench(['-C', '-S', '-n', `--client=${clients}`, '--transactions=5'])
    expect(said).toContain('number of transactions actually processed: 20/20')
  })

  it('sends a pipeline of prepared statements', async () => {
    const script = `\\set aid random(1, 100000)
      \\startpipeline
      SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
      SELECT bbalance FROM pgbench_branches WHERE bid = 1;
      SELECT 1;
      \\endpipeline
      `
    const said = await pgbench(['-n', '-M', 'prepared', '-c', '2', '-t', '25', '-f', '-'], script)
    expect(said).toContain('number of transactions actually processed: 50/50')
  })

  it('leaves books that balance', async () => {
    const [books] = await query(`SELECT
      (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history) AS a,
      (SELECT count(*)::int FROM pgbench_history) AS transactions,
      (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(tbalance) FROM pgbench_tellers) AS b`)
    const writing = loads.filter(([, options]) => !options.some((option) => option === '-S')).length
    expect(books).toEqual({ a: true, b: true, transactions: writing * clients * perClient })
  })

  async function query(sql: string): Promise<unknown[]> {
    assert(stack !== undefined, 'the stack is up')
    const client = new Client({ connectionString: urlOf(stack.proxy) })
    await client.connect()
    try {
      return (await client.query(sql)).rows
    } finally {
      await client.end()
    }
  }
})
