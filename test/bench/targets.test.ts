// What is said of the targets, and the page that figures are written to. Nothing is timed here.
import { readFileSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Sample } from '../../bench/measure.ts'
import { placed, renderPage, writePage } from '../../bench/page.ts'
import type { PeerResult, RowResult } from '../../bench/report.ts'
import { readResults, type Results, writeResults } from '../../bench/results-file.ts'
import { allRows } from '../../bench/rows.ts'
import { judge } from '../../bench/targets.ts'

const sample = (figures: Partial<Sample>): Sample => {
  const none = { proxyMicros: null, serverMicros: 50, replicaShare: null }
  return { tps: 1, p50Ms: 1, p99Ms: 2, maxMs: 3, ...none, ...figures }
}

const peer = (name: string, tps: readonly number[], failure: string | null = null): PeerResult => {
  return { name, samples: tps.map((each) => sample({ tps: each })), failure }
}

const row = (name: string, peers: readonly PeerResult[]): RowResult => {
  return { name, base: 'PgBouncer', ratePerSecond: null, peers }
}

/** Of throughput at 64 clients, which has to be 1.3 times PgBouncer's. */
function verdictOf(ours: readonly number[], theirs: readonly number[]): object {
  const peers = [peer('PgBouncer', theirs), peer('Ringfence', ours)]
  const [verdict] = judge([row('select simple 64', peers)], [])
  return { ...verdict }
}

describe('a target', () => {
  it('is met by the median, and says whether every round reached it', () => {
    expect(verdictOf([140, 150, 160], [100, 100, 100])).toEqual({
      target: 'throughput, simple',
      row: 'select simple 64',
      must: '≥ 1.30 ×',
      measured: '1.50',
      between: '1.40–1.60',
      verdict: 'met',
    })
    expect(verdictOf([120, 150, 160], [100, 100, 100])).toMatchObject({
      verdict: 'met, not in every round',
    })
    expect(verdictOf([120, 120, 160], [100, 100, 100])).toMatchObject({
      verdict: 'missed, not in every round',
    })
    expect(verdictOf([120, 110, 100], [100, 100, 100])).toMatchObject({ verdict: 'missed' })
  })

  it('of which less is better is missed when it is more', () => {
    const with99 = (name: string, p99Ms: number) => {
      return { name, samples: [sample({ p99Ms })], failure: null }
    }
    const peers = [with99('PgBouncer', 10), with99('Ringfence', 13)]
    const verdicts = judge([row('32 fast beside 2 slow', peers)], [])
    expect(verdicts).toMatchObject([
      { must: '≤ 1.25 ×', measured: '1.30', verdict: 'missed' },
      { target: 'fast clients’ maximum beside slow ones', verdict: 'met' },
    ])
  })

  it('without one of the two is not said to be met', () => {
    const alone = [peer('PgBouncer', [], 'too old'), peer('Ringfence', [100])]
    const verdicts = judge([row('select prepared 64', alone)], [])
    expect(verdicts[0]).toMatchObject({ why: 'PgBouncer: too old' })
    expect(judge([row('select prepared 64', alone.slice(1))], [])[0]).toMatchObject({
      why: 'PgBouncer was not there',
    })
    expect(judge([row('select simple 16', alone)], [])).toEqual([])
  })

  it('of idle clients stands on the last count', () => {
    const steps = [
      { clients: 0, residentBytes: 0 },
      { clients: 10, residentBytes: 1024 * 10 },
      { clients: 100, residentBytes: 1024 * 100 * 16 },
    ]
    expect(judge([], [{ peer: 'Ringfence', version: '1', steps }])).toMatchObject([
      { row: '100 idle clients', measured: '16.0 KiB', verdict: 'missed' },
    ])
  })

  it('is about rows that there are, with peers that take part in them', () => {
    const results = allRows(1).map(({ name, peers }) => {
      return row(
        name,
        peers.map((each) => ({
          name: each,
          samples: [sample({ proxyMicros: 1 })],
          failure: null,
        })),
      )
    })
    const verdicts = judge(results, [])
    expect(new Set(verdicts.map(({ target }) => target)).size).toBe(10)
    expect(verdicts.filter((verdict) => 'why' in verdict)).toEqual([])
  })
})

describe('the page', () => {
  let dir = ''
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'ringfence-bench-'))
  })
  afterAll(() => rm(dir, { recursive: true, force: true }))

  const run = (rows: readonly RowResult[]): Results => {
    const machine = { cpu: 'a CPU', cores: 2, memoryMiB: 1024, kernel: '6.1', node: 'v24' }
    const more = { pgbench: 'pgbench 15', commit: 'abc', load1: 0.25, peers: { PgBouncer: '1.25' } }
    return {
      startedAt: '2026-01-02T03:04:05.678Z',
      machine: { ...machine, ...more },
      rounds: 3,
      seconds: 2,
      rows: structuredClone(rows).map((each) => {
        const peers = each.peers.map((one) => ({ ...one, samples: [...one.samples] }))
        return { ...each, peers }
      }),
      idle: [],
    }
  }
  const once = row('select simple 64', [peer('PgBouncer', [100]), peer('Ringfence', [150])])
  const again = row('select simple 64', [peer('PgBouncer', [100]), peer('Ringfence', [170])])
  const failed = row('select prepared 64', [peer('PgBouncer', [], 'a | b\nc')])

  it('keeps what stands around the figures and takes the last run of a row', async () => {
    const page = join(dir, 'page.md')
    const files = [join(dir, 'one.json'), join(dir, 'two.json')]
    await writeResults(files[0] ?? '', { ...run([once, failed]), moves: 'of no interest here' })
    await writeResults(files[1] ?? '', run([again]))
    const real = readFileSync(new URL('../../docs/performance.md', import.meta.url), 'utf8')
    await writeFile(page, placed(real, 'figures of long ago'))
    await writePage(page, await Promise.all(files.map(readResults)))
    const text = await readFile(page, 'utf8')
    expect(text).not.toContain('figures of long ago')
    expect(placed(text, '')).toBe(placed(real, ''))
    expect(text).toContain('2026-01-02 03:04 UTC, commit abc: 3 × 2 s, load 0.3 before it')
    expect(text).toMatch(/\| select simple 64 \| Ringfence \| 170 \| 1\.70 \|/)
    expect(text).not.toMatch(/\| Ringfence \| 150 \|/)
    expect(text).toContain('- select prepared 64, PgBouncer: a \\| b c\n')
  })

  it('has tables whose lines have as many cells as their heads', () => {
    const lines = renderPage([run([once])]).split('\n')
    const widths = lines
      .filter((line) => line.startsWith('|'))
      .map((line) => line.split('|').length)
    expect(new Set(widths).size).toBe(2)
  })

  it('is left alone by a file that holds something else', async () => {
    const file = join(dir, 'other.json')
    await writeFile(file, '{"rows": []}')
    await expect(readResults(file)).rejects.toThrow('holds no results of this benchmark')
  })

  it('without the marks is refused', () => {
    expect(() => placed('# Performance\n', 'figures')).toThrow('the page has no')
  })
})
