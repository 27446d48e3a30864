// Patroni's word against that of the servers: a small HTTP server answers GET /cluster as Patroni's
// REST API does (patroni.readthedocs.io, "REST API"), and sometimes not at all.
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../core/clock.ts'
import { createLog } from '../../core/log.ts'
import { PatroniWatch, readCluster } from '../../pool/patroni.ts'
import { until } from '../support/clients.ts'

type Role = readonly [name: string, role: string, port: number]

const cluster = (...members: readonly Role[]) => ({
  members: members.map(([name, role, port]) => ({
    name,
    role,
    state: role === 'leader' ? 'running' : 'streaming',
    api_url: `http://10.0.0.1:${port + 3000}/patroni`,
    host: '10.0.0.1',
    port,
    timeline: 5,
    tags: { clonefrom: true },
    ...(role === 'leader' ? {} : { lag: 0 }),
  })),
  scope: 'demo',
})

describe('an answer to GET /cluster', () => {
  it('tells the roles by address, with those of every version', () => {
    const document = cluster(
      ['a', 'leader', 1],
      ['b', 'replica', 2],
      ['c', 'sync_standby', 3],
      ['d', 'quorum_standby', 4],
      ['e', 'standby_leader', 5],
      ['f', 'master', 6],
    )
    const roles = readCluster(document)?.map(({ id, role }) => `${id} ${role}`)
    expect(roles).toEqual([
      '10.0.0.1:1 leader',
      '10.0.0.1:2 replica',
      '10.0.0.1:3 replica',
      '10.0.0.1:4 replica',
      '10.0.0.1:5 other',
      '10.0.0.1:6 leader',
    ])
  })

  it('leaves out a member without an address, which is not running yet', () => {
    expect(readCluster({ members: [{ name: 'a', role: 'uninitialized' }, null, 7] })).toEqual([])
  })

  it.each([[null], [[]], ['text'], [{}], [{ members: 'none' }]])('is not %j', (document) => {
    expect(readCluster(document)).toBe(undefined)
  })
})

const closing: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

/** A REST API whose next answers are what `reply` does. */
async function api(reply: (response: ServerResponse, path: string) => void): Promise<string> {
  const server = createServer((request, response) => reply(response, request.url ?? ''))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  return `http://127.0.0.1:${typeof address === 'object' ? (address?.port ?? 0) : 0}`
}

function watchOf(urls: readonly string[]): { watch: PatroniWatch; leaders: (string | null)[] } {
  const leaders: (string | null)[] = []
  const watch = new PatroniWatch({
    urls,
    hostIds: ['10.0.0.1:1', '10.0.0.1:2'],
    clock: systemClock,
    log: createLog('silent'),
    limitMs: 200,
    pauseMs: () => 20,
    answered: (leader) => leaders.push(leader),
  })
  closing.push(() => watch.close())
  return { watch, leaders }
}

const json = (response: ServerResponse, document: unknown) => {
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify(document))
}

describe('the watch', () => {
  it('names the leader, and asks again and again', async () => {
    let document = cluster(['a', 'leader', 1], ['b', 'replica', 2])
    const paths: string[] = []
    const url = await api((response, path) => {
      paths.push(path)
      json(response, document)
    })
    const { watch, leaders } = watchOf([url])
    watch.look()
    await until('an answer', () => leaders.length > 0)
    expect(leaders[0]).toBe('10.0.0.1:1')
    document = cluster(['a', 'replica', 1], ['b', 'leader', 2])
    await until('another leader', () => leaders.at(-1) === '10.0.0.1:2')
    expect(new Set(paths)).toEqual(new Set(['/cluster']))
  })

  it('disowns a primary only when two answers after it became one call it a replica', async () => {
    const sinceMs = systemClock.nowMs()
    const document = cluster(['a', 'replica', 1], ['b', 'leader', 2])
    const url = await api((response) => json(response, document))
    const { watch, leaders } = watchOf([url])
    watch.look()
    await until('one answer', () => leaders.length === 1)
    expect(watch.disowns('10.0.0.1:1', sinceMs)).toBe(false)
    await until('two answers', () => watch.disowns('10.0.0.1:1', sinceMs))
    expect(leaders.length).toBeGreaterThanOrEqual(2)
    expect(watch.disowns('10.0.0.1:2', sinceMs)).toBe(false)
    expect(watch.disowns('10.0.0.1:1', systemClock.nowMs())).toBe(false)
  })

  it('names no leader that is not configured', async () => {
    const document = cluster(['x', 'leader', 9], ['a', 'replica', 1])
    const url = await api((response) => json(response, document))
    const { watch, leaders } = watchOf([url])
    watch.look()
    await until('an answer', () => leaders.length > 0)
    expect(leaders[0]).toBe(null)
  })

  it.each<[string, (response: ServerResponse) => void]>([
    ['does not answer', () => {}],
    ['says that it is not well', (response) => response.writeHead(503).end('{"members": []}')],
    ['sends something else', (response) => response.end('<html>')],
    ['sends too much', (response) => response.end(`"${'x'.repeat(300_000)}"`)],
    ['sends one elsewhere', (response) => response.writeHead(302, { location: '/' }).end()],
    ['hangs up', (response) => response.destroy()],
  ])('asks the next one when one %s', async (_, reply) => {
    const good = cluster(['a', 'leader', 1])
    const urls = [await api(reply), await api((response) => json(response, good))]
    const { watch, leaders } = watchOf(urls)
    watch.look()
    await until('an answer', () => leaders.length > 0)
    expect(leaders[0]).toBe('10.0.0.1:1')
  })

  it('says nothing while none can be reached, and goes on when one can', async () => {
    let silent = true
    let asked = 0
    const good = cluster(['a', 'leader', 1])
    const url = await api((response) => {
      asked += 1
      if (silent) response.destroy()
      else json(response, good)
    })
    const { watch, leaders } = watchOf(['http://127.0.0.1:1', url])
    watch.look()
    await until('it keeps asking', () => asked > 2)
    expect(leaders).toEqual([])
    expect(watch.disowns('10.0.0.1:1', 0)).toBe(false)
    silent = false
    await until('an answer', () => leaders.length > 0)
  })

  it('stops asking when it is closed, in the middle of a question too', async () => {
    let asked = 0
    const url = await api(() => (asked += 1))
    const { watch, leaders } = watchOf([url])
    watch.look()
    await until('it has asked', () => asked === 1)
    await watch.close()
    watch.look()
    expect(leaders).toEqual([])
    expect(asked).toBe(1)
  })
})
