// What is told of clients and statements: slow statements and logins in the log, spans to a collector.
import { cancel, cancelKeyOf } from '../support/cancel.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { silentObservation } from '../../proxy/observation.ts'
import { SlowLog } from '../../proxy/slow-log.ts'
import type { SeenStatement } from '../../proxy/statement-watch.ts'
import { connected, present, rawClient, refusal, until, withClient } from '../support/clients.ts'
import { type Stack, startStack } from '../support/stack.ts'

type Line = Readonly<Record<string, unknown>>

/** A log whose lines are kept. */
function keptLog() {
  const lines: Line[] = []
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const line of chunk.toString().trim().split('\n')) lines.push(JSON.parse(line))
      done()
    },
  })
  return { log: pino({ level: 'info', base: null }, sink), lines }
}

const places = () => present(inject('servers')[0])

describe('the log', () => {
  const { log, lines } = keptLog()
  let stack: Stack
  beforeAll(async () => {
    const observation = {
      ...silentObservation,
      slowStatementMs: 100,
      logsConnections: true,
      logsDisconnections: true,
      logsErrors: true,
    }
    stack = await startStack(places(), {
      shards: 2,
      setupSql: 'CREATE TABLE orders (tenant_id bigint, note text)',
      more: { log, observation },
    })
  })
  afterAll(async () => {
    await stack?.close()
  })
  const slow = () => lines.filter(({ msg }) => msg === 'slow statement')

  it('names slow statements without their values, and says where their time went', async () => {
    lines.length = 0
    const place = { ...stack.proxy, application_name: 'shop' }
    await withClient(place, async (client) => {
      await client.query("SELECT 'fast', 4711")
      await client.query("SELECT pg_sleep(0.15), 'secret-1' -- secret-2")
      await client.query({ name: 'p', text: 'SELECT pg_sleep($1), 4712', values: [0.15] })
      await client.query(`SELECT pg_sleep(0.15) FROM orders WHERE tenant_id = 4713`)
      await client
        .query(`SELECT count(*) FROM (SELECT pg_sleep(0.15)) s, nowhere`)
        .catch(() => null)
    })
    await until('they are logged', () => slow().length >= 2)
    expect(slow()[0]).toMatchObject({
      database: stack.proxy.database,
      user: stack.proxy.user,
      application_name: 'shop',
      class: 'single',
      shard: 's1',
      rows: 1,
      failed: false,
      statement: 'SELECT pg_sleep($1), $2',
    })
    expect(Number(slow()[0]?.['duration_ms'])).toBeGreaterThanOrEqual(100)
    expect(slow()[1]).toMatchObject({ statement: 'SELECT pg_sleep($1), $2' })
    const text = JSON.stringify(lines)
    for (const value of ['secret', '4711', '4712', '4713', 'fast'])
      expect(text).not.toContain(value)
  })

  /** Takes all servers; the result gives them back. */
  async function holdServers(): Promise<() => Promise<unknown>> {
    const { pool } = present([...stack.instance.databases.values()][0]).options
    const holders = await Promise.all(
      Array.from({ length: pool.size }, () => connected(stack.proxy)),
    )
    await Promise.all(holders.map((holder) => holder.query('BEGIN; SELECT 1')))
    return () =>
      Promise.all(holders.map((holder) => holder.query('ROLLBACK').then(() => holder.end())))
  }

  it('counts the wait for a server to a statement’s time', async () => {
    lines.length = 0
    const free = await holdServers()
    await withClient(stack.proxy, async (client) => {
      const waiting = client.query('SELECT 5')
      await new Promise((resolve) => setTimeout(resolve, 200))
      await free()
      await waiting
    })
    const line = slow().find(({ statement }) => statement === 'SELECT $1')
    expect(Number(line?.['wait_ms'])).toBeGreaterThanOrEqual(150)
  })

  it('names a slow statement whose client has not waited for its end', async () => {
    lines.length = 0
    const client = await rawClient(stack.proxy)
    client.connection.send(textBytes('Q', 'SELECT pg_sleep(8)'))
    await until('it runs', () => stack.poolStats().leased === 1)
    await new Promise((resolve) => setTimeout(resolve, 200))
    client.connection.destroy()
    await until('it is logged', () => slow().length > 0)
    expect(slow()).toMatchObject([{ statement: 'SELECT pg_sleep($1)', failed: true, rows: 0 }])
    const ms = Number(slow()[0]?.['duration_ms'])
    expect(ms).toBeGreaterThanOrEqual(200)
    expect(ms).toBeLessThan(8_000)
  })

  it('names a statement that was granted no server, and how long it waited', async () => {
    lines.length = 0
    const free = await holdServers()
    await withClient(stack.proxy, async (client) => {
      const waiting = refusal(client.query('SELECT 6'))
      await new Promise((resolve) => setTimeout(resolve, 200))
      await cancel(stack.proxy, cancelKeyOf(client))
      expect(await waiting).toMatchObject({ code: '57014' })
    })
    await free()
    const [line] = slow().filter(({ statement }) => statement === 'SELECT $1')
    expect(line).toMatchObject({ failed: true, rows: 0 })
    expect(Number(line?.['wait_ms'])).toBeGreaterThanOrEqual(150)
  })

  it('tells of logins, ends, and clients that the proxy has ended', async () => {
    lines.length = 0
    await withClient({ ...stack.proxy, application_name: 'visitor' }, () => Promise.resolve())
    await until('both are logged', () => lines.some(({ msg }) => msg === 'client disconnected'))
    const names = { application_name: 'visitor', user: stack.proxy.user }
    expect(lines.find(({ msg }) => msg === 'client connected')).toMatchObject({ user: names.user })
    expect(lines.find(({ msg }) => msg === 'client disconnected')).toMatchObject(names)
    await withClient({ ...stack.proxy, database: 'ringfence' }, async (admin) => {
      await withClient(stack.proxy, async (victim) => {
        const { rows } = await admin.query<{ id: number }>('SHOW CLIENTS')
        const waits = refusal(victim.query('SELECT pg_sleep(9)'))
        await admin.query(`KILL_CLIENT ${present(rows[0]).id}`)
        await waits
      })
    })
    const ended = lines.find(({ msg }) => msg === 'client was ended')
    expect(ended).toMatchObject({ sqlstate: '57P01' })
  })

  it('leaves out what comes too fast, and says how much', () => {
    const { log: small, lines: kept } = keptLog()
    let nowMs = 0
    const slowLog = new SlowLog(1, small, {
      nowMs: () => nowMs,
      after: () => ({ cancel: () => {} }),
    })
    const statement: SeenStatement = {
      database: 'd',
      user: 'u',
      application: '',
      address: '',
      class: 'single',
      shard: null,
      ms: 5,
      waitMs: 0,
      rows: 0,
      failed: false,
      text: () => 'SELECT $1',
      traceparent: null,
    }
    for (let at = 0; at < 1_000; at += 1) slowLog.take(statement)
    expect(kept.length).toBeLessThan(60)
    nowMs = 1_000
    slowLog.take(statement)
    expect(kept.at(-1)).toMatchObject({ left_out: 950 })
  })
})

type Attribute = { readonly key: string; readonly value: Readonly<Record<string, unknown>> }
type Span = {
  readonly traceId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: readonly Attribute[]
  readonly status: { readonly code: number }
}
type Request = { readonly resourceSpans: { readonly scopeSpans: { readonly spans: Span[] }[] }[] }

describe('a collector of traces', () => {
  let stack: Stack
  let collector: Server
  const spans: Span[] = []
  beforeAll(async () => {
    collector = createServer((request, response) => {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        const { resourceSpans }: Request = JSON.parse(Buffer.concat(chunks).toString())
        spans.push(...resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((s) => s.spans)))
        response.setHeader('content-type', 'application/json').end('{}')
      })
    })
    await new Promise<void>((resolve) => collector.listen(0, '127.0.0.1', resolve))
    const { port } = collector.address() as AddressInfo
    const trace = { url: `http://127.0.0.1:${port}/v1/traces`, sample: 0 }
    stack = await startStack(places(), {
      shards: 1,
      more: { observation: { ...silentObservation, trace } },
    })
  })
  afterAll(async () => {
    await stack?.close()
    collector.close()
  })

  it('is sent the statements whose traces were sampled, joined to them, and no others', async () => {
    const traceId = 'ab'.repeat(16)
    const parent = 'cd'.repeat(8)
    const comment = (flags: string) =>
      `/*action='buy',traceparent='00-${traceId}-${parent}-${flags}'*/`
    await withClient(stack.proxy, async (client) => {
      await client.query(`SELECT 'secret' ${comment('01')}`)
      await client.query(`SELECT 'not sampled' ${comment('00')}`)
      await client.query('SELECT 2')
      await client.query({ text: `SELECT $1::int ${comment('01')}`, values: [42] })
      await client.query(`SELECT 1/0 ${comment('01')}`).catch(() => null)
    })
    // A request that a busy machine has not answered in 5 s is sent again.
    const names = () => spans.map(({ name }) => name)
    await expect.poll(names, { timeout: 20_000 }).toHaveLength(3)
    expect(spans.map(({ name }) => name)).toEqual(
      Array.from({ length: 3 }, () => `SELECT ${stack.proxy.database}`),
    )
    for (const span of spans) {
      expect(span).toMatchObject({ traceId, parentSpanId: parent })
      expect(BigInt(span.endTimeUnixNano)).toBeGreaterThanOrEqual(BigInt(span.startTimeUnixNano))
    }
    expect(spans.map(({ status }) => status.code)).toEqual([0, 0, 2])
    const texts = spans.map(({ attributes }) => {
      return attributes.find(({ key }) => key === 'db.query.text')?.value['stringValue']
    })
    expect(texts).toEqual(['SELECT $1', 'SELECT $1::int', 'SELECT $1/$2'])
    const [first] = spans
    expect(first?.attributes).toEqual(
      expect.arrayContaining([
        { key: 'db.system.name', value: { stringValue: 'postgresql' } },
        { key: 'db.namespace', value: { stringValue: stack.proxy.database } },
        { key: 'ringfence.shard', value: { stringValue: 's1' } },
        { key: 'ringfence.class', value: { stringValue: 'single' } },
        { key: 'db.response.returned_rows', value: { intValue: '1' } },
      ]),
    )
    expect(JSON.stringify(spans)).not.toContain('secret')
  })
})
