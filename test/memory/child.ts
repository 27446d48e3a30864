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

const turnsMax = 20
const sameTurns = 3

/**
 * Again and again, until it brings no more: what finalizers let go of, which run between turns of the event loop, is garbage
 * then. Twice in a turn: the memory of buffers is given back by another thread, for which the second one waits.
 */
async function collectGarbage(): Promise<void> {
  let least = Number.POSITIVE_INFINITY
  for (let turn = 0, same = 0; turn < turnsMax && same < sameTurns; turn += 1) {
    globalThis.gc?.()
    globalThis.gc?.()
    const { heapUsed, external } = process.memoryUsage()
    const held = heapUsed + external
    same = held < least * 0.999 ? 0 : same + 1
    least = Math.min(least, held)
    if (same < sameTurns) await pause(10)
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
