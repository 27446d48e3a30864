// `ringfence bench` against a real server: what was run was run, and what failed is told.
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { LatencyHistogram } from '../../cli/bench/latency.ts'
import { keyValueWorkload, ownWorkload } from '../../cli/bench/workload.ts'
import { askServer, present } from '../support/clients.ts'
import { createDatabases, type TestDatabases } from '../support/databases.ts'
import { startStack } from '../support/stack.ts'
import { runProgram } from './program.ts'

describe('latencies', () => {
  it('are within a percent of what was measured', () => {
    const histogram = new LatencyHistogram()
    for (let ms = 1; ms <= 1_000; ms += 1) histogram.add(ms / 10)
    expect(histogram).toMatchObject({ count: 1_000, max: 100 })
    expect(histogram.mean).toBeCloseTo(50.05)
    for (const [part, ms] of [
      [0.5, 50],
      [0.95, 95],
      [0.99, 99],
      [1, 100],
    ] as const) {
      expect(Math.abs(histogram.quantile(part) / ms - 1)).toBeLessThan(0.0101)
    }
  })

  it('are 0 when nothing was measured, and have a longest and a shortest', () => {
    const histogram = new LatencyHistogram()
    expect([histogram.mean, histogram.max, histogram.quantile(0.5)]).toEqual([0, 0, 0])
    histogram.add(0)
    histogram.add(1e12)
    expect(histogram.quantile(1)).toBeGreaterThan(10_000)
  })
})

describe('statements', () => {
  it('have the number in place of ":n" alone', () => {
    const text = "SELECT :n::numeric, ':nn' FROM t WHERE a = :n"
    const [simple] = ownWorkload([text], 'simple')
    expect(simple?.(7)).toEqual({ text: "SELECT 7::numeric, ':nn' FROM t WHERE a = 7" })
    const [prepared, plain] = ownWorkload([text, 'SELECT 1'], 'prepared')
    expect(prepared?.(7)).toMatchObject({
      text: text.replaceAll(/:n\b/g, '$1'),
      values: [7],
    })
    expect(plain?.(7)).toMatchObject({ text: 'SELECT 1', values: [] })
  })

  it.each([0, 1, 20, 50, 100])('are updates to %i percent', (writes) => {
    const workload = keyValueWorkload({ table: 't', key: 'k', writes, protocol: 'simple' })
    const updates = workload.filter((statement) => statement(1).text.startsWith('UPDATE'))
    expect(updates).toHaveLength(writes)
  })
})

describe('ringfence bench', () => {
  let databases: TestDatabases
  let url = ''
  beforeAll(async () => {
    databases = await createDatabases(present(inject('servers')[0]), 'bench')
    url = databases.urls[0] ?? ''
  })
  afterAll(() => databases.drop())
  const bench = async (...args: string[]) => {
    const { code, stdout } = await runProgram([
      'bench',
      url,
      '--duration',
      '300ms',
      '--json',
      ...args,
    ])
    return { code, report: JSON.parse(stdout) }
  }

  it('runs its own table, and leaves nothing of it', async () => {
    const { code, report } = await bench('--clients', '3', '--rows', '50', '--key', 'some id')
    expect(code).toBe(0)
    expect(report).toMatchObject({ clients: 3, errors: {} })
    expect(report.statements).toBeGreaterThan(10)
    expect(report.perSecond).toBeCloseTo(report.statements / report.seconds)
    const { mean, p50, p95, p99, max } = report.latency
    expect(p50).toBeGreaterThan(0)
    expect([p50, p95, p99, max]).toEqual([p50, p95, p99, max].toSorted((a, b) => a - b))
    expect(mean).toBeLessThanOrEqual(max)
    expect(await askServer(url, `SELECT to_regclass('ringfence_bench')`)).toEqual([null])
  })

  it('keeps the table when it is told to, updated as often as was said', async () => {
    const { report } = await bench('--clients', '1', '--rows', '20', '--writes', '100', '--keep')
    expect(report.statements).toBeGreaterThan(0)
    const found = await askServer(
      url,
      `SELECT count(*) FROM ringfence_bench WHERE value = 'changed'`,
    )
    expect(Number(found[0])).toBeGreaterThan(0)
    expect(await askServer(url, 'SELECT count(*) FROM ringfence_bench')).toEqual(['20'])
    await askServer(url, 'DROP TABLE ringfence_bench')
  })

  it.each(['simple', 'prepared'])(
    'counts what it has run with the %s protocol',
    async (protocol) => {
      await askServer(url, 'DROP TABLE IF EXISTS seen')
      await askServer(url, 'CREATE TABLE seen (n bigint)')
      const sql = ['--sql', 'INSERT INTO seen VALUES (:n)', '--rows', '5', '--protocol', protocol]
      const { code, report } = await bench('--clients', '2', ...sql)
      expect(code).toBe(0)
      const [rows, least, most] = await Promise.all(
        ['count(*)', 'min(n)', 'max(n)'].map((what) => askServer(url, `SELECT ${what} FROM seen`)),
      )
      expect(rows).toEqual([String(report.statements)])
      expect([least, most]).toEqual([['1'], ['5']])
    },
  )

  it('spreads its rows over the shards when a proxy is asked', async () => {
    const stack = await startStack(present(inject('servers')[0]), { shards: 2 })
    try {
      const { user, password, port, database } = stack.proxy
      const proxy = `postgres://${user}:${password}@127.0.0.1:${port}/${database}`
      const args = ['bench', proxy, '--duration', '200ms', '--rows', '40', '--keep', '--json']
      const { code, stdout } = await runProgram(args)
      expect({ code, ...JSON.parse(stdout) }).toMatchObject({ code: 0, errors: {} })
      const count = 'SELECT count(*) FROM ringfence_bench'
      const counts = await Promise.all(stack.shardUrls.map((shard) => askServer(shard, count)))
      const [first = 0, second = 0] = counts.flat().map(Number)
      expect(first + second).toBe(40)
      expect(Math.min(first, second)).toBeGreaterThan(0)
    } finally {
      await stack.close()
    }
  })

  it('counts errors by their SQLSTATE and ends with 1', async () => {
    const { code, report } = await bench('--sql', 'SELECT 1/0', '--sql', 'SELECT 1')
    expect(code).toBe(1)
    expect(report.errors).toEqual({ '22012': expect.any(Number) })
    expect(report.statements).toBeGreaterThan(0)
  })

  it('shows people a table', async () => {
    const args = ['bench', url, '--duration', '100ms', '--sql', 'SELECT :n', '--protocol', 'simple']
    const { code, stdout } = await runProgram(args)
    expect(code).toBe(0)
    expect(stdout).toMatch(
      /^clients +seconds +statements +per second +mean ms +p50 +p95 +p99 +max\n10 +0\.\d +\d+ +\d+ /,
    )
  })

  it.each([
    [['postgres://a:b@127.0.0.1:1/x', '--sql', 'SELECT 1'], 'not all 10 clients could connect'],
    [['postgres://a:b@127.0.0.1:1/x'], 'ECONNREFUSED'],
  ])('ends with 1 for %j', async (args, message) => {
    const { code, stderr } = await runProgram(['bench', ...args])
    expect(code).toBe(1)
    expect(stderr).toContain(message)
  })
})
