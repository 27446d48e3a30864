// Spans reach a collector once it can take them: what it has no time for is sent again, what it refuses is dropped.
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { createLog } from '../../core/log.ts'
import { SpanExport } from '../../proxy/trace-export.ts'
import type { Span } from '../../proxy/trace.ts'
import { until } from '../support/clients.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

const span = (name: string): Span => ({
  traceId: 'ab'.repeat(16),
  spanId: 'cd'.repeat(8),
  flags: 1,
  name,
  kind: 3,
  startTimeUnixNano: '1',
  endTimeUnixNano: '2',
  attributes: [],
  status: { code: 0 },
})

/** A collector that answers its first requests with `statuses`; gives the names of what was taken. */
async function startCollector(statuses: number[], port = 0): Promise<[Server, string[]]> {
  const taken: string[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      response.statusCode = statuses.shift() ?? 200
      const text = Buffer.concat(chunks).toString()
      if (response.statusCode === 200) {
        taken.push(...Array.from(text.matchAll(/"name":"(span \d+)"/g), ([, name = '']) => name))
      }
      response.end()
    })
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  closing.push(() => server.close())
  return [server, taken]
}

function exportTo(server: Server): SpanExport {
  const { port } = server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}/v1/traces`
  const log = createLog('silent')
  const spans = new SpanExport({ url, version: '0', instance: 'test', log })
  closing.unshift(() => spans.close())
  return spans
}

describe('spans', () => {
  it('are sent again, in their order, to a collector that was busy', async () => {
    const [server, taken] = await startCollector([503, 429])
    const spans = exportTo(server)
    spans.add(span('span 1'))
    spans.add(span('span 2'))
    await until('they were taken', () => taken.length > 0)
    spans.add(span('span 3'))
    await until('all were taken', () => taken.length === 3)
    expect(taken).toEqual(['span 1', 'span 2', 'span 3'])
    // The collector's word is on its way for a moment.
    await until('that is known', () => spans.counts.sent === 3)
    expect(spans.counts).toEqual({ sent: 3, dropped: 0 })
  })

  it('are dropped, and counted, by a collector that refuses them', async () => {
    const [server, taken] = await startCollector([400])
    const spans = exportTo(server)
    spans.add(span('span 1'))
    await until('it was dropped', () => spans.counts.dropped === 1)
    spans.add(span('span 2'))
    await until('the next was taken', () => taken.length === 1 && spans.counts.sent === 1)
    expect(spans.counts).toEqual({ sent: 1, dropped: 1 })
  })

  it('wait in a bounded queue while nobody is there, and are counted when they are given up', async () => {
    const [server] = await startCollector([])
    const spans = exportTo(server)
    await new Promise((resolve) => server.close(resolve))
    for (let at = 0; at < 5_000; at += 1) spans.add(span(`span ${at}`))
    await spans.close()
    expect(spans.counts).toEqual({ sent: 0, dropped: 5_000 })
  })
})
