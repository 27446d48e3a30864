// Mutated conversations at a running proxy. Whatever clients send, the proxy goes on: others get
// their own right answers in time, no server connection stays in use, memory stays bounded,
// nothing crashes. RINGFENCE_FUZZ=100000 sets the number of conversations, RINGFENCE_FUZZ_SEED
// repeats a run, RINGFENCE_FUZZ_ONLY=17 plays one conversation of it.
import { readdirSync, readFileSync } from 'node:fs'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { runCanary } from '../support/canary.ts'
import { createFuzzRun, fuzzConversation, type FuzzRun } from '../support/fuzz-conversation.ts'
import type { Seeds } from '../support/mutations.ts'
import { createRandom, seedOf } from '../support/random.ts'
import type { Endpoint } from '../support/raw-connection.ts'
import type { TestServers } from '../support/servers.ts'
import { startStack, type Stack } from '../support/stack.ts'
import { runSetup } from '../support/wire-run.ts'
import { parseWireScript } from '../support/wire-script.ts'

const conversations = Number(process.env['RINGFENCE_FUZZ'] ?? 3_000)
const runSeed = Number(process.env['RINGFENCE_FUZZ_SEED'] ?? Date.now() % 1_000_000_000)
const only = process.env['RINGFENCE_FUZZ_ONLY']
const parallel = 32
const complaintsMax = 20
const growthBytesMax = 256 * 1024 * 1024
const calmDownMs = 10_000

const scriptsDir = `${import.meta.dirname}/../scripts`
const scripts = readdirSync(scriptsDir)
  .filter((file) => file.endsWith('.wire'))
  .map((file) => parseWireScript(file, readFileSync(`${scriptsDir}/${file}`, 'utf8')))
  .filter((script) => script.fuzz)

function seedsOf(chosen: typeof scripts): Seeds {
  const [first = [], ...others] = chosen
    .map(({ steps }) => steps.flatMap((step) => (step.kind === 'message' ? [step.bytes] : [])))
    .filter((messages) => messages.length > 0)
  return [first, ...others]
}

const [servers] = inject('servers')
if (servers === undefined) throw new Error('the tests have no servers')

// Over one shard with all that makes statements faster: reads of several clients on one server, queries run prepared.
const fast = { pool: { laneServersMax: 2 }, database: { autoPrepare: true } }
const setups = [
  { shards: 1, sharded: false, servers, chosen: scripts, more: fast },
  {
    shards: 3,
    sharded: true,
    servers,
    chosen: scripts.filter((script) => script.sharded),
    more: {},
  },
]

describe.each(setups)(
  'a proxy over $shards shard(s) under fire',
  ({ shards, sharded, servers, chosen, more }) => {
    let stack: Stack | undefined
    const rejections: unknown[] = []
    const noteRejection = (reason: unknown) => void rejections.push(reason)

    beforeAll(async () => {
      stack = await startStack(servers, { shards, sharded, ...more })
      for (const { setup } of chosen) await runSetup(setup, stack.proxy)
      process.on('unhandledRejection', noteRejection)
    })
    afterAll(async () => {
      process.off('unhandledRejection', noteRejection)
      await stack?.close()
    })

    it('answers everybody else rightly and leaks nothing', { timeout: 3_600_000 }, async () => {
      if (stack === undefined) throw new Error('no stack')
      const complaints: string[] = []
      const complain = (index: number, what: string): void => {
        if (complaints.length < complaintsMax) complaints.push(`conversation ${index}: ${what}`)
      }
      const run = createFuzzRun(stack.proxy, seedsOf(chosen), complain)
      const count = Math.ceil(conversations / setups.length)
      const startedMs = performance.now()
      let over = false
      const canaries = [1_000_000_000, 2_000_000_000].map((firstToken) =>
        runCanary(run.endpoint, {
          firstToken,
          stopped: () => over,
          complain: (what) => complain(-1, what),
        }),
      )
      const growthBytes = await playAll(run, count, () => complaints.length >= complaintsMax)
      over = true
      const answers = await Promise.all(canaries)
      const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
      const story = `seed ${runSeed}, ${shards} shard(s): ${count} conversations in ${seconds} s`
      process.stdout.write(
        `fuzz: ${story}, ${answers.join(' + ')} canary answers, memory +${growthBytes >> 20} MiB\n`,
      )
      expect(complaints, `RINGFENCE_FUZZ_SEED=${runSeed}`).toEqual([])
      expect(rejections).toEqual([])
      expect(answers.every((count) => count > 0)).toBe(true)
      expect(growthBytes).toBeLessThan(growthBytesMax)
      const running = stack
      expect(await settled(() => busyInProxy(running))).toEqual([])
      expect(await settled(() => busyOnServers(servers, running))).toEqual([])
    })
  },
)

/**
 * Plays conversations 0 … count − 1, some at a time; gives how much memory grew after the first
 * fifth.
 */
async function playAll(run: FuzzRun, count: number, enough: () => boolean): Promise<number> {
  const first = only === undefined ? 0 : Number(only)
  const last = only === undefined ? count : first + 1
  let index = first
  let warmBytes = process.memoryUsage().rss
  const lane = async (): Promise<void> => {
    while (index < last && !enough()) {
      const own = index
      index += 1
      if (own === Math.floor(count / 5)) warmBytes = process.memoryUsage().rss
      await fuzzConversation(run, own, createRandom(seedOf(runSeed, own)))
    }
  }
  await Promise.all(Array.from({ length: parallel }, lane))
  return Math.max(0, process.memoryUsage().rss - warmBytes)
}

/** Polls until `look` gives nothing; what it gave last when the proxy does not calm down. */
async function settled<T>(look: () => Promise<readonly T[]> | readonly T[]): Promise<readonly T[]> {
  const deadlineMs = performance.now() + calmDownMs
  let found = await look()
  while (found.length > 0 && performance.now() < deadlineMs) {
    await new Promise((resolve) => setTimeout(resolve, 50))
    found = await look()
  }
  return found
}

/**
 * What the proxy itself says: clients that are still there, connections in use, clients that wait.
 */
function busyInProxy(stack: Stack): string[] {
  const { leased, opening, waiting } = stack.poolStats()
  const clients = stack.instance.sessions.size
  if (clients + leased + opening + waiting === 0) return []
  return [`${clients} clients, ${leased} leased, ${opening} opening, ${waiting} waiting`]
}

/**
 * What the servers say: sessions on the proxy's database that run something or hold a transaction.
 */
async function busyOnServers(servers: TestServers, stack: Stack): Promise<string[]> {
  const database = await oneValue(stack.proxy, 'SELECT current_database()')
  const busy = await Promise.all(
    servers.shards.map(async ({ id, url }) => {
      const client = new Client({ connectionString: url })
      await client.connect()
      const { rows } = await client.query<{ state: string; query: string }>(
        `SELECT state, query FROM pg_stat_activity
         WHERE datname = $1 AND backend_type = 'client backend' AND state <> 'idle'`,
        [database],
      )
      await client.end()
      return rows.map(({ state, query }) => `${id}: ${state}: ${query}`)
    }),
  )
  return busy.flat()
}

async function oneValue(endpoint: Endpoint, sql: string): Promise<string> {
  const client = new Client(endpoint)
  await client.connect()
  const { rows } = await client.query<string[]>({ text: sql, rowMode: 'array' })
  await client.end()
  return rows[0]?.[0] ?? ''
}
