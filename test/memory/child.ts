// The proxy whose memory is measured, in a process of its own: started by measured-proxy.ts with --expose-gc, told what to
// start in its argument, asked over the process channel.
import { pause } from '../support/clients.ts'
import { startStack } from '../support/stack.ts'
import { clientTls } from '../support/tls-client.ts'
import type { TestServers } from '../support/servers.ts'

/** What to start. */
export type ChildOrder = {
  readonly servers: TestServers
  readonly tls: boolean
  readonly lanes: number
  readonly poolSize: number
  readonly setupSql: string
}

const { servers, tls, lanes, poolSize, setupSql }: ChildOrder = JSON.parse(process.argv[2] ?? '')
const stack = await startStack(servers, {
  shards: 1,
  setupSql,
  authRules: [{ database: null, user: null, address: null, method: 'trust' }],
  database: { clientsMax: 30_000 },
  pool: { size: poolSize, laneServersMax: lanes, waitersMax: 30_000 },
  ...(tls ? { tls: clientTls({ mode: 'prefer' }) } : {}),
})

const turnsMax = 10

/** Again and again: what finalizers let go of, which run between turns of the event loop, is garbage then. */
async function collectGarbage(): Promise<void> {
  for (let turn = 0, before = Number.POSITIVE_INFINITY; turn < turnsMax; turn += 1) {
    globalThis.gc?.()
    const { heapUsed } = process.memoryUsage()
    if (heapUsed > before * 0.999) return
    before = heapUsed
    await pause(20)
  }
}

process.on('message', (question) => {
  if (question === 'close') void stack.close().then(() => process.disconnect())
  else if (question === 'held') void collectGarbage().then(tell)
  else tell()
})

function tell(): void {
  const { heapUsed, external, rss } = process.memoryUsage()
  process.send?.({
    heapBytes: heapUsed,
    outsideBytes: external,
    residentBytes: rss,
    ...stack.poolStats(),
    sessions: stack.instance.sessions.size,
  })
}
// Whoever started it is gone, or wants no more of it.
process.on('disconnect', () => process.exit())
process.send?.({ place: stack.proxy, shardUrls: stack.shardUrls })
