// What /metrics tells of traffic, and that the dashboard asks for nothing that is not there.
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { Histogram } from '../../proxy/histogram.ts'
import { silentObservation } from '../../proxy/observation.ts'
import { present, until, withClient } from '../support/clients.ts'
import { type Stack, startStack } from '../support/stack.ts'

let stack: Stack
beforeAll(async () => {
  // Nobody listens there: what is traced is dropped, and counted.
  const trace = { url: 'http://127.0.0.1:1/v1/traces', sample: 1 }
  stack = await startStack(present(inject('servers')[0]), {
    shards: 2,
    http: true,
    setupSql: 'CREATE TABLE orders (tenant_id bigint, note text)',
    more: { observation: { ...silentObservation, trace } },
  })
})
afterAll(async () => {
  await stack?.close()
})

async function scrape(): Promise<ReadonlyMap<string, number>> {
  const answer = await fetch(`http://127.0.0.1:${stack.instance.httpPort}/metrics`)
  const lines = (await answer.text()).split('\n').filter((line) => /^[a-z]/.test(line))
  return new Map(
    lines.map((line) => {
      const at = line.lastIndexOf(' ')
      return [line.slice(0, at).replace(/database="[^"]*",?/, ''), Number(line.slice(at + 1))]
    }),
  )
}

describe('the metrics', () => {
  it('count statements by class, shard and outcome', async () => {
    const before = await scrape()
    await withClient(stack.proxy, async (client) => {
      await client.query('SELECT 1')
      await client.query('SELECT note FROM orders WHERE tenant_id = 1')
      await client.query('SELECT note FROM orders')
      await client.query('SELECT 1/0').catch(() => null)
      await client.query('SELECT pg_advisory_lock(1)')
      // It is looked for behind the reply.
      await until(
        'the pin is told of',
        async () => (await scrape()).get('ringfence_pinned_servers{reason="advisory lock"}') === 1,
      )
    })
    const after = await scrape()
    const grown = (name: string) => (after.get(name) ?? 0) - (before.get(name) ?? 0)
    expect(grown('ringfence_queries_total{}')).toBe(5)
    expect(grown('ringfence_client_duration_seconds_count{class="single"}')).toBe(4)
    expect(grown('ringfence_client_duration_seconds_count{class="scatter"}')).toBe(1)
    expect(grown('ringfence_server_errors_total{sqlstate="22012"}')).toBe(1)
    expect(grown('ringfence_server_duration_seconds_count{shard="s1"}')).toBeGreaterThanOrEqual(3)
    const buckets = [...after].filter(([name]) => {
      return (
        name.startsWith('ringfence_client_duration_seconds_bucket') && name.includes('"single"')
      )
    })
    const counts = buckets.map(([, count]) => count)
    expect(counts).toEqual(counts.toSorted((a, b) => a - b))
    expect(counts.at(-1)).toBe(after.get('ringfence_client_duration_seconds_count{class="single"}'))
  })

  it('never have a user or a text as a label', async () => {
    const names = [...(await scrape()).keys()].join('\n')
    const labels = new Set([...names.matchAll(/[{,](\w+)="/g)].map(([, label]) => label))
    for (const label of ['user', 'query', 'statement', 'application_name', 'client']) {
      expect(labels.has(label)).toBe(false)
    }
  })

  it('are all that the dashboard asks for', async () => {
    const answer = await fetch(`http://127.0.0.1:${stack.instance.httpPort}/metrics`)
    const known = new Set(
      [...(await answer.text()).matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name),
    )
    const file = new URL('../../deploy/grafana/ringfence.json', import.meta.url)
    const asked = [...readFileSync(file, 'utf8').matchAll(/\bringfence_[a-z_]+/g)].map(
      ([name]) => name,
    )
    expect(asked.length).toBeGreaterThan(20)
    const missing = asked.filter((name) => {
      return !known.has(name) && !known.has(name.replace(/_(bucket|count|sum)$/, ''))
    })
    expect(missing).toEqual([])
  })
})

describe('a histogram', () => {
  it('counts a time in the bucket of the next power of two', () => {
    const times = new Histogram()
    for (const us of [0, 1, 32, 32.5, 64, 65, 40_000_000]) times.add(us)
    expect(times.cumulative().slice(0, 3)).toEqual([3, 5, 6])
    expect(times.cumulative().at(-1)).toBe(6)
    expect(times.count).toBe(7)
  })
})
