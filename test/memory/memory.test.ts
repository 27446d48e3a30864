// A slice of the memory suite; `node test/memory/run.ts` has all of it. What a process has grown by for a client is
// asked for there alone: a thousand of them are too few to tell it from what the machine does beside.
import { afterAll, beforeAll, expect, inject, it } from 'vitest'
import { present } from '../support/clients.ts'
import { measureIdle } from './idle-clients.ts'
import { MeasuredProxy } from './measured-proxy.ts'
import { soak, soakSetup } from './soak.ts'
import { readSlowly, sendTooFast, slowTable } from './slow-clients.ts'

const mebibyte = 1024 * 1024
const kibibyte = 1024

const ways = [
  { way: 'simple', tls: false, extended: false },
  { way: 'extended', tls: false, extended: true },
  { way: 'simple, TLS', tls: true, extended: false },
  { way: 'extended, TLS', tls: true, extended: true },
  { way: 'COPY, extended, TLS', tls: true, extended: true, copies: true },
]

let proxy: MeasuredProxy
beforeAll(async () => {
  const servers = present(inject('servers')[0])
  proxy = await MeasuredProxy.start({
    servers,
    tls: true,
    lanes: 1,
    poolSize: 4,
    setupSql: `${slowTable}\n\n${soakSetup}`,
  })
  // What is made once does not count.
  const little = { totalBytes: 16 * mebibyte, readBytes: 8 * mebibyte }
  for (const way of ways) await readSlowly(proxy, { ...way, ...little })
})
afterAll(() => proxy.close())

const big = { totalBytes: 1024 * mebibyte, readBytes: 24 * mebibyte }
it.each(ways)('a client that reads 1 GiB slowly ($way) holds little in the proxy', async (way) => {
  const growth = await readSlowly(proxy, { ...way, ...big })
  expect(growth.samples).toBeGreaterThan(4)
  expect(growth.keptBytes).toBeLessThan(mebibyte)
})

it.each(ways.filter(({ tls, extended, copies }) => tls === extended && copies !== true))(
  'a client that sends a COPY too fast ($way) holds little in the proxy',
  async (way) => {
    const growth = await sendTooFast(proxy, { ...way, ...big })
    expect(growth.samples).toBeGreaterThan(0)
    expect(growth.keptBytes).toBeLessThan(mebibyte)
  },
)

it('an idle client costs the proxy at most 8 KiB of objects', { timeout: 60_000 }, async () => {
  // What is made once does not count.
  await measureIdle(proxy, 3_000)
  const cost = await measureIdle(proxy, 3_000)
  expect(cost.heapBytes).toBeLessThan(8 * kibibyte)
})

it('statement after statement of clients that come and go leaves nothing behind', {
  timeout: 600_000,
}, async () => {
  // In the slow tests a slice whose growth says more.
  const statements = process.env['RINGFENCE_SLOW'] === '1' ? 200_000 : 8_000
  const endMs = performance.now() + 300_000
  const progress = () => undefined
  const result = await soak(proxy, { statements, endMs, seed: 1, progress })
  process.stdout.write(`soak: ${result.what}\n`)
  expect(result.statements).toBeGreaterThanOrEqual(statements)
  expect(result.grownBytes).toBeLessThan(24 * mebibyte)
})
