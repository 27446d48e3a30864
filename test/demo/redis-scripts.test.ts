// The token store's scripts as the stand-in does them in TypeScript, and redis-server in Lua: the same arguments have
// the same result.
import { Redis } from 'ioredis'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import {
  beatScript,
  leaveScript,
  type Script,
  storeScript,
} from '../../catalog/token-store-scripts.ts'
import { freePort } from '../../demo/ports.ts'
import { command, redisKinds, type RunningRedis } from '../catalog/redis-servers.ts'
import { createRandom } from '../support/random.ts'

// Where redis-server is installed, its results are the expectation.
describe('the scripts', () => {
  let servers: readonly RunningRedis[]
  let clients: readonly Redis[]
  beforeAll(async () => {
    const ports = await Promise.all(redisKinds().map(() => freePort()))
    servers = await Promise.all(redisKinds().map((kind, at) => kind.start(ports[at] ?? 0)))
    clients = servers.map(({ port }) => new Redis({ port, host: '127.0.0.1' }))
  })
  afterAll(async () => {
    for (const client of clients) client.disconnect()
    await Promise.all(servers.map((server) => server.kill()))
  })
  beforeEach(() => Promise.all(clients.map((client) => client.flushall())))

  const onEach = (script: Script, args: readonly string[]) =>
    Promise.all(clients.map((client) => client.eval(script.lua, 1, 'key', ...args)))
  const same = (results: readonly unknown[]) => {
    for (const result of results) expect(result).toEqual(results.at(-1))
    return results.at(-1)
  }

  it('store the same tokens everywhere, whatever comes in whatever order', async () => {
    const random = createRandom(11)
    const part = (limit: number) => String(random.below(limit))
    for (let round = 0; round < 400; round += 1) {
      const pairs = Array.from({ length: random.below(3) }, () => [
        `s${random.below(3)}`,
        `${random.oneIn(9) ? '8' : '7'}:${part(12)}:${random.bytes(8).toString('hex')}`,
      ])
      same(await onEach(storeScript, ['60000', ...pairs.flat()]))
      const stored = await Promise.all(clients.map((client) => client.hgetall('key')))
      same(stored.map((token) => ({ ...token, '#born': '' })))
      const left = await Promise.all(clients.map((client) => client.pttl('key')))
      expect(left.every((ms) => ms > 50_000 && ms <= 60_000)).toBe(true)
    }
  })

  it('agree on who is registered, alive, forgotten, and when all begins anew', async () => {
    const random = createRandom(12)
    const outcomes = new Set<string>()
    const generations = clients.map(() => ['', ''])
    for (let round = 0; round < 600; round += 1) {
      const own = random.pick(['a', 'b', 'c'])
      const incarnation = random.pick(['x', 'x', 'x', 'y'])
      const aheadMs = random.pick([0, 500_000, 500_000, -500_000, 900_000, 2_000_000])
      const forced = random.oneIn(20) ? '1' : '0'
      const nodes = random.oneIn(20) ? '/other' : ''
      const forgetMs = random.pick(['1000000', '1000000', '100000'])
      const believes = !random.oneIn(5)
      const others = random.oneIn(4) ? ['d', 'x', 'a', 'y'] : []
      if (random.oneIn(10)) {
        const clock = String(Date.now() + random.pick([-900_000, 900_000]))
        await Promise.all(clients.map((client) => client.hset('key', '#clock', clock)))
      }
      if (random.oneIn(4)) {
        const other = random.pick(['c', 'e'])
        const entry = `${Date.now() + random.pick([-5_000_000, -500_000, 500_000])} x`
        await Promise.all(clients.map((client) => client.hset('key', `p:${other}`, entry)))
      }
      const deadline = aheadMs === 0 ? '0' : String(Date.now() + aheadMs)
      const answers = await Promise.all(
        clients.map(async (client, at) => {
          const [generation = '', era = ''] = believes ? (generations[at] ?? []) : []
          const args = [
            own,
            incarnation,
            deadline,
            generation,
            nodes,
            '900000',
            forgetMs,
            forced,
            era,
          ]
          const answer = await client.eval(beatScript.lua, 1, 'key', ...args, ...others)
          const view = viewOf(answer, generations[at] ?? [])
          generations[at] = [view.generation, view.era]
          return view.comparable
        }),
      )
      outcomes.add(JSON.stringify(same(answers)).replaceAll(/"proxies".*/g, ''))
      if (random.oneIn(6)) same(await onEach(leaveScript, [own, incarnation]))
    }
    // The arguments did reach the script's branches.
    expect(outcomes.size).toBeGreaterThan(20)
  })

  it('are the only ones, and refuse arguments that they were not made for', async () => {
    const { port } = servers[0] ?? { port: 0 }
    await expect(command(port, 'EVAL', 'return 1', '0')).rejects.toThrow('only the scripts')
    await expect(command(port, 'SCRIPT', 'LOAD', 'return 1')).rejects.toThrow('only the scripts')
    expect(await command(port, 'SCRIPT', 'LOAD', storeScript.lua)).toBe(storeScript.sha)
    const wrong = [['x'], ['1', 's'], ['1', 's', 'x', 's', 'y'], []]
    for (const args of wrong) {
      const storing = command(port, 'EVALSHA', storeScript.sha, '1', 'k', ...args)
      await expect(storing).rejects.toThrow('ERR')
    }
    await expect(command(port, 'EVALSHA', storeScript.sha, '9', 'k')).rejects.toThrow('greater')
    await expect(command(port, 'EVALSHA', storeScript.sha, '-1', 'k')).rejects.toThrow('negative')
  })
})

/** Of a beat's answer what does not depend on the clock to the millisecond. */
function viewOf(answer: unknown, before: readonly string[]) {
  if (!Array.isArray(answer)) throw new Error('a beat is answered by an array')
  const [now, generation, era, born, accepted, registered, removed, fields] = answer
  const flat: readonly string[] = fields
  const entries = flat.flatMap((field, at) =>
    at % 2 === 0 && field.startsWith('p:') ? [[field, flat[at + 1] ?? '']] : [],
  )
  const proxies = entries
    .map(([field = '', entry = '']) => {
      const [deadline, incarnation] = entry.split(' ')
      const aheadMs = Math.round((Number(deadline) - Number(now)) / 20_000)
      return `${field} ${incarnation} ${aheadMs}`
    })
    .sort(compareText)
  const comparable = {
    renewed: generation !== before[0],
    newEra: era !== before[1],
    young: Number(now) - Number(born) < 20_000,
    accepted,
    registered,
    removed: removed.map(String).sort(compareText),
    proxies,
  }
  return { generation: String(generation), era: String(era), comparable }
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : 1
}
