// node test/memory/run.ts: what clients cost the proxy in memory, with servers of its own. --only idle,slow,soak;
// --clients 10000, --statements 10000000. Exit code 1 where a bound of the issue is not kept.
import { parseArgs } from 'node:util'
import { startProcesses } from '../support/servers-local.ts'
import { measureIdle } from './idle-clients.ts'
import { MeasuredProxy } from './measured-proxy.ts'
import { readSlowly, sendTooFast, slowTable } from './slow-clients.ts'
import { soak, soakSetup } from './soak.ts'

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: 'idle,slow,soak' },
    clients: { type: 'string', default: '10000' },
    statements: { type: 'string', default: '1000000' },
    minutes: { type: 'string', default: '600' },
    seed: { type: 'string', default: '1' },
    version: { type: 'string', default: '18' },
  },
})

const mebibyte = 1024 * 1024
const idleKibMax = 15
const slowBytesMax = mebibyte
const wholeBytes = 1024 * mebibyte
const chosen = values.only.split(',')

function say(what: string, kept: boolean): void {
  process.stdout.write(`${what}${kept ? '' : ': TOO MUCH'}\n`)
  if (!kept) process.exitCode = 1
}

async function slowly(proxy: MeasuredProxy, tls: boolean, extended: boolean): Promise<void> {
  const warm = { tls, extended, totalBytes: 32 * mebibyte, readBytes: 32 * mebibyte }
  const whole = { tls, extended, totalBytes: wholeBytes, readBytes: wholeBytes }
  const way = `${extended ? 'extended' : 'simple'}${tls ? ', TLS' : ''}`
  for (const copies of [false, true]) {
    await readSlowly(proxy, { ...warm, copies })
    const read = await readSlowly(proxy, { ...whole, copies })
    const what = `1 GiB ${copies ? 'of COPY ' : ''}read slowly (${way})`
    const figures = `${kib(read.keptBytes)} KiB held, ${kib(read.residentBytes)} KiB resident more`
    say(`${what}: ${figures}`, read.keptBytes < slowBytesMax)
  }
  const sent = await sendTooFast(proxy, whole)
  const what = `COPY sent too fast (${way})`
  say(`${what}: ${kib(sent.keptBytes)} KiB held`, sent.keptBytes < slowBytesMax)
}

const kib = (bytes: number) => (bytes / 1024).toFixed(1)
const started = await startProcesses(Number(values.version))
const { servers } = started
try {
  const order = { servers, lanes: 1, poolSize: 8, setupSql: `${slowTable}\n\n${soakSetup}` }
  if (chosen.includes('idle')) {
    const proxy = await MeasuredProxy.start({ ...order, tls: false })
    const { heapBytes, residentBytes } = await measureIdle(proxy, Number(values.clients))
    const what = `${values.clients} idle clients: ${kib(residentBytes)} KiB resident each`
    say(`${what}, ${kib(heapBytes)} KiB in objects`, residentBytes < idleKibMax * 1024)
    await proxy.close()
  }
  if (chosen.includes('slow')) {
    for (const tls of [false, true]) {
      const proxy = await MeasuredProxy.start({ ...order, tls: true })
      for (const extended of [false, true]) await slowly(proxy, tls, extended)
      await proxy.close()
    }
  }
  if (chosen.includes('soak')) {
    const proxy = await MeasuredProxy.start({ ...order, tls: false })
    const result = await soak(proxy, {
      statements: Number(values.statements),
      endMs: performance.now() + Number(values.minutes) * 60_000,
      seed: Number(values.seed),
      progress: (line) => process.stdout.write(`${line}\n`),
    })
    say(result.what, result.kept)
    await proxy.close()
  }
} finally {
  await started.stop()
}
