// The pure parts of the benchmark: pgbench's log, the figures of a window, ratios, the table.
// Nothing is timed here.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { cpuMicrosOf, residentBytesOf } from '../../bench/cpu.ts'
import { percentile, type Sample, summarize } from '../../bench/measure.ts'
import { preparesStatements } from '../../bench/pgbouncer.ts'
import { parseReadCounts } from '../../bench/replicas.ts'
import { firstError, parseLog } from '../../bench/pgbench.ts'
import {
  figuresOf,
  median,
  renderIdle,
  renderPromotions,
  renderRows,
  type RowResult,
  spreadOfRatios,
} from '../../bench/report.ts'
import { allRows, replicaRows } from '../../bench/rows.ts'

const sample = (tps: number, proxyMicros: number | null = null): Sample => ({
  tps,
  p50Ms: 1,
  p99Ms: 2,
  maxMs: 3,
  proxyMicros,
  serverMicros: 50,
  replicaShare: null,
})

const twoRounds: RowResult = {
  name: 'select simple 16',
  base: 'PgBouncer',
  ratePerSecond: null,
  peers: [
    { name: 'PostgreSQL', samples: [sample(300), sample(100)], failure: null },
    { name: 'PgBouncer', samples: [sample(100, 20), sample(200, 40)], failure: null },
    { name: 'Ringfence', samples: [sample(150, 10)], failure: 'connection refused' },
  ],
}

describe("pgbench's log", () => {
  it('gives client, latency and end of every transaction', () => {
    expect(parseLog('0 199 2241 0 1175850568 995598\n3 1 17 1 1175850569 608\n')).toEqual([
      { client: 0, latencyMicros: 2241, endedMicros: 1_175_850_568_995_598 },
      { client: 3, latencyMicros: 17, endedMicros: 1_175_850_569_000_608 },
    ])
  })

  it('keeps failed transactions apart, leaves out skipped ones, ignores the schedule lag', () => {
    const log = '0 5 failed 0 10 1\n0 6 skipped 0 10 2\n0 7 4000 0 10 3 250\n'
    expect(parseLog(log)).toEqual([
      { client: 0, latencyMicros: null, endedMicros: 10_000_001 },
      { client: 0, latencyMicros: 4000, endedMicros: 10_000_003 },
    ])
  })

  it('has its error found between the progress reports', () => {
    const said = `progress: 1.0 s, 10.0 tps
pgbench: error: client 0 script 0 aborted in command 1 query 0: ERROR:  no
pgbench: error: Run was aborted; the above results are incomplete.`
    expect(firstError(said)).toBe('client 0 script 0 aborted in command 1 query 0: ERROR:  no')
    expect(firstError('')).toBe('it was killed')
  })
})

describe('the figures of a window', () => {
  const transaction = (client: number, latencyMicros: number | null, endedMicros: number) => ({
    client,
    latencyMicros,
    endedMicros,
  })
  const from = { atMicros: 1_000_000, proxyMicros: 500, serverMicros: 1_000, reads: null }
  const to = { atMicros: 3_000_000, proxyMicros: 900, serverMicros: 2_000, reads: null }

  it('count what ended in it, but CPU time for the uncounted clients as well', () => {
    const transactions = [
      transaction(2, 9_000, 1_000_000),
      transaction(0, 50_000, 1_500_000),
      transaction(2, 2_000, 1_600_000),
      transaction(3, 1_000, 2_000_000),
      transaction(2, 4_000, 3_000_000),
      transaction(3, 9_000, 3_000_001),
    ]
    expect(summarize(transactions, { from, to, uncountedClients: 2 })).toEqual({
      tps: 1.5,
      p50Ms: 2,
      p99Ms: 4,
      maxMs: 4,
      proxyMicros: 100,
      serverMicros: 250,
      replicaShare: null,
    })
  })

  it('tell which share of the reads replicas have served', () => {
    const window = {
      from: { ...from, reads: { replica: 100, primary: 50 } },
      to: { ...to, reads: { replica: 190, primary: 60 } },
      uncountedClients: 0,
    }
    const once = [transaction(0, 1, 2_000_000)]
    expect(summarize(once, window).replicaShare).toBe(0.9)
    const idle = { ...window, to: { ...to, reads: window.from.reads } }
    expect(summarize(once, idle).replicaShare).toBeNull()
  })

  it('count reads by where they were served, of one database', () => {
    const metrics = `# TYPE ringfence_reads_total counter
ringfence_reads_total{database="a",shard="s1",target="replica",reason="chosen"} 7
ringfence_reads_total{database="a",shard="s2",target="replica",reason="waited"} 2
ringfence_reads_total{database="a",shard="s1",target="primary",reason="behind"} 3
ringfence_reads_total{database="b",shard="s1",target="replica",reason="chosen"} 100
`
    expect(parseReadCounts(metrics, 'a')).toEqual({ replica: 9, primary: 3 })
  })

  it('have no CPU time of a proxy where there is none', () => {
    const window = { from: { ...from, proxyMicros: null }, to, uncountedClients: 0 }
    expect(summarize([transaction(0, 1, 2_000_000)], window).proxyMicros).toBeNull()
  })

  it('are refused when a transaction failed, or none ended', () => {
    const window = { from, to, uncountedClients: 0 }
    const failed = [transaction(0, null, 2_000_000)]
    expect(() => summarize(failed, window)).toThrow('1 transactions failed')
    const slowOnly = [transaction(0, 1, 2_000_000)]
    expect(() => summarize(slowOnly, { ...window, uncountedClients: 2 })).toThrow('no transaction')
  })

  it('take percentiles by nearest rank', () => {
    const hundred = Float64Array.from({ length: 100 }, (_, index) => index + 1)
    expect([0.5, 0.99, 1].map((share) => percentile(hundred, share))).toEqual([50, 99, 100])
    expect(percentile(Float64Array.of(7), 0.5)).toBe(7)
  })
})

describe('ratios', () => {
  it('are taken round by round, not from the medians', () => {
    expect(spreadOfRatios([100, 10, 30], [50, 20, 10])).toEqual({ median: 2, min: 0.5, max: 3 })
  })

  it('leave out rounds that one of the two did not run', () => {
    expect(spreadOfRatios([null, 10, 30], [50, 20])).toEqual({ median: 0.5, min: 0.5, max: 0.5 })
    expect(spreadOfRatios([1], [0])).toBeNull()
    expect(spreadOfRatios([], [1])).toBeNull()
  })

  it('are not given for the base itself, nor for what the base does not have', () => {
    const [direct, bouncer, ringfence] = twoRounds.peers.map((peer) => figuresOf(twoRounds, peer))
    expect(bouncer?.tps).toEqual({ median: 150, ratio: null })
    expect(direct?.proxyMicros).toEqual({ median: null, ratio: null })
    expect(direct?.tps.ratio).toEqual({ median: 1.75, min: 0.5, max: 3 })
    expect(ringfence?.proxyMicros).toEqual({
      median: 10,
      ratio: { median: 0.5, min: 0.5, max: 0.5 },
    })
  })

  it('stand on the median, of an even number of values the mean of the middle two', () => {
    expect([[3, 1, 2], [4, 1, 2, 3], []].map(median)).toEqual([2, 2.5, null])
  })
})

describe('the report', () => {
  it('has a line per peer and says why one stopped', () => {
    const [heads, direct, bouncer, ringfence, failure] = renderRows([twoRounds]).split('\n')
    expect(heads).toMatch(/^row +peer +tps +× +p50 ms/)
    expect(direct).toMatch(/^select simple 16 +PostgreSQL +200 +1\.75 .* 0\.50–3\.00$/)
    expect(bouncer).toMatch(/PgBouncer +150 +base +1\.00 +base .* 30\.0 +base +50\.0 +base/)
    expect(ringfence).toMatch(/Ringfence +150 +1\.50 .* 10\.0 +0\.50 +50\.0 +1\.00 +1\.50–1\.50$/)
    expect(failure).toBe('select simple 16, Ringfence: connection refused')
  })

  it('says which rate was offered', () => {
    const said = renderRows([{ ...twoRounds, ratePerSecond: 700 }])
    expect(said).toContain('select simple 16: 700 transactions per second offered\n')
  })

  it('has a column for the share of replicas only where a row has such a figure', () => {
    expect(renderRows([twoRounds])).not.toContain('on replicas')
    const samples = [{ ...sample(1), replicaShare: 0.95 }]
    const peers = [{ name: 'Ringfence, session', samples, failure: null }] as const
    expect(renderRows([{ ...twoRounds, peers }])).toMatch(/ on replicas .* 0\.950 *\n/s)
  })

  it('gives the times of every promotion', () => {
    const promotions = [{ acceptedMs: 320.4, firstWriteMs: 12, errors: 3 }]
    expect(renderPromotions(promotions)).toMatch(/\n1 +320 +12 +3\n$/)
    expect(renderPromotions([])).toBe('')
  })

  it('gives the memory of an idle client', () => {
    const mebibyte = 1024 * 1024
    const steps = [
      { clients: 0, residentBytes: mebibyte },
      { clients: 100, residentBytes: 2 * mebibyte },
      { clients: 512, residentBytes: 5 * mebibyte },
    ]
    expect(renderIdle([{ peer: 'Ringfence', version: '1', steps }])).toMatch(
      /Ringfence +1\.0 +2\.0 +5\.0 +8\.0\n$/,
    )
    expect(renderIdle([])).toBe('')
  })
})

describe('the rows', () => {
  it('have names of their own and a base that takes part', () => {
    const rows = [...allRows(1), ...replicaRows(1)]
    expect(new Set(rows.map(({ name }) => name)).size).toBe(rows.length)
    for (const { name, peers, base } of rows) {
      expect({ name, overlap: base.some((peer) => peers.includes(peer)) }).toMatchObject({
        overlap: true,
      })
    }
  })

  it('know which PgBouncer keeps prepared statements', () => {
    const versions = ['1.18.0', '1.20.1', '1.21.0', '1.25', '2.0.0']
    expect(versions.map(preparesStatements)).toEqual([false, false, true, true, true])
  })

  it('can be asked for by a pattern, and one that fits none is an error', () => {
    const script = fileURLToPath(new URL('../../bench/run.ts', import.meta.url))
    const none = ['--rows', 'no such row']
    const { status, stderr } = spawnSync(process.execPath, [script, ...none], { encoding: 'utf8' })
    expect({ status, stderr }).toEqual({ status: 1, stderr: 'bench: no row has such a name\n' })
  })
})

describe.runIf(process.platform === 'linux')("the kernel's figures", () => {
  it('count a child after its end with its parent', () => {
    const before = cpuMicrosOf(process.pid)
    const burn =
      'const end = process.cpuUsage().user + 200_000; ' +
      'while (process.cpuUsage().user < end) for (let i = 0; i < 1e6; i++);'
    spawnSync(process.execPath, ['--eval', burn])
    expect(cpuMicrosOf(process.pid) - before).toBeGreaterThanOrEqual(150_000)
  })

  it('tell the memory of a process, and fail for one that is gone', () => {
    expect(residentBytesOf(process.pid)).toBeGreaterThan(10 * 1024 * 1024)
    const { pid } = spawnSync('true')
    expect(() => residentBytesOf(pid)).toThrow('ENOENT')
  })
})
