// What /metrics tells of replicas and failovers: where reads have gone, and why.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../core/clock.ts'
import { createLog } from '../../core/log.ts'
import { Proxy } from '../../proxy/proxy.ts'
import { present, until, withClient } from '../support/clients.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'

let stack: ReplicatedStack
let proxy: Proxy
beforeAll(async () => {
  stack = await startReplicatedStack({
    shards: 1,
    replicas: 1,
    proxies: 1,
    setupSql: 'CREATE TABLE notes (id int PRIMARY KEY)',
  })
  const { databases } = present(stack.proxy(0).instance ?? undefined)
  const { user, password } = stack.place(0)
  // Like the stack's own proxy, and with a port for metrics.
  proxy = await Proxy.start({
    version: 'test',
    listen: { host: '127.0.0.1', port: 0 },
    http: { host: '127.0.0.1', port: 0 },
    users: [{ name: user, secret: { kind: 'password', password }, admin: false }],
    authRules: [{ database: null, user: null, address: null, method: 'scram' }],
    databases: [...databases.values()].map(({ options }) => options),
    // Nobody listens there.
    redis: { url: 'redis://127.0.0.1:1', ttlMs: 60_000, timeoutMs: 100 },
    tokenKey: null,
    limits: {
      frameBytesMax: 1024 * 1024,
      frameBytesBeforeLoginMax: 16 * 1024,
      loginTimeoutMs: 10_000,
      connectTimeoutMs: 2_000,
    },
    clock: systemClock,
    log: createLog('error'),
  })
}, 60_000)
afterAll(async () => {
  await proxy?.close()
  await stack?.stop()
}, 60_000)

const place = () => ({ ...stack.place(0), port: proxy.port })

/** Lines of /metrics by name and labels, of which the database and the shard are left out. */
async function scrape(): Promise<ReadonlyMap<string, number>> {
  const answer = await fetch(`http://127.0.0.1:${proxy.httpPort}/metrics`)
  const lines = (await answer.text()).split('\n').filter((line) => !line.startsWith('#'))
  return new Map(
    lines.map((line) => {
      const at = line.lastIndexOf(' ')
      const name = line
        .slice(0, at)
        .replace(/database="app",?/, '')
        .replace(/shard="s1",?/, '')
      return [name.replace('ringfence_', '').replace('{}', ''), Number(line.slice(at + 1))]
    }),
  )
}

const reads = 'reads_total'
/** How much each counter of reads has grown since `before`; those that have not are left out. */
async function grown(before: ReadonlyMap<string, number>): Promise<Record<string, number>> {
  const after = [...(await scrape())].filter(([name]) => name.startsWith(reads))
  const growth = after.map(([name, count]): [string, number] => [
    name.replace(/^reads_total\{target="(\w+)",reason="(\w+)"\}$/, '$1 $2'),
    count - (before.get(name) ?? 0),
  ])
  return Object.fromEntries(growth.filter(([, count]) => count > 0))
}

const shard = () => present(stack.shards[0])
const replica = () => present(shard().replicas[0])

describe('the metrics of a shard with a replica', () => {
  it('count reads by the server that served them and the reason', async () => {
    await shard().untilReplayed(replica())
    const before = await scrape()
    await withClient(place(), async (client) => {
      await client.query('SELECT count(*) FROM notes')
      await client.query('/* ringfence:primary */ SELECT count(*) FROM notes')
      await client.query("SET ringfence.consistency = 'strong'")
      await client.query('SELECT count(*) FROM notes')
    })
    expect(await grown(before)).toEqual({ 'replica chosen': 1, 'primary asked': 2 })
  })

  it('count reads that no replica could serve in time, and those that waited for one', async () => {
    const before = await scrape()
    await shard().pauseReplay(replica())
    await withClient(place(), async (client) => {
      await client.query('INSERT INTO notes VALUES (1)')
      await client.query('SELECT count(*) FROM notes')
    })
    await shard().resumeReplay(replica())
    expect(await grown(before)).toEqual({ 'primary behind': 1 })
    const waits = (await scrape()).get('read_waits_total') ?? 0
    expect(waits - (before.get('read_waits_total') ?? 0)).toBeLessThanOrEqual(1)
  })

  it('count reads of session ids that cannot be looked up, and tell that Redis is away', async () => {
    const before = await scrape()
    await withClient(place(), async (client) => {
      await client.query("SET ringfence.session_id = 'nobody-knows-me'")
      await client.query('SELECT count(*) FROM notes')
    })
    expect(await grown(before)).toEqual({ 'primary unknown': 1 })
    expect((await scrape()).get('redis_connected')).toBe(0)
  })

  it('tell which server is up and the primary, how far behind replicas are, and failovers', async () => {
    const [old, next] = [shard().primary, replica()]
    const of = (name: string, { port }: { readonly port: number }) =>
      `${name}{host="127.0.0.1:${port}"}`
    await shard().untilReplayed(next)
    await until('the lag is known', async () => {
      return (await scrape()).get(of('replica_lag_bytes', next)) === 0
    })
    const before = await scrape()
    expect(before.get(of('replica_lag_seconds', next))).toBe(0)
    expect(before.has(of('replica_lag_bytes', old))).toBe(false)
    expect([of('host_up', old), of('host_up', next)].map((name) => before.get(name))).toEqual([
      1, 1,
    ])
    expect(before.get(of('host_primary', old))).toBe(1)
    expect(before.get(of('host_primary', next))).toBe(0)
    expect(before.get('failovers_total')).toBe(0)
    await shard().kill(old)
    await shard().promote(next)
    await until('it is noticed', async () => (await scrape()).get('failovers_total') === 1)
    const after = await scrape()
    expect([of('host_up', old), of('host_up', next)].map((name) => after.get(name))).toEqual([0, 1])
    expect(after.get(of('host_primary', next))).toBe(1)
    const gone = await scrape()
    await withClient(place(), (client) => client.query('SELECT count(*) FROM notes'))
    expect(await grown(gone)).toEqual({ 'primary none': 1 })
  }, 60_000)
})
