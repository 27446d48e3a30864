// The HTTP port: alive, ready, counted.
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { present, refusal, value, withClient } from '../support/clients.ts'
import { type Stack, startStack } from '../support/stack.ts'

let stack: Stack
beforeAll(async () => {
  const setupSql = 'CREATE TABLE things (tenant_id bigint)'
  stack = await startStack(present(inject('servers')[0]), { shards: 2, http: true, setupSql })
})
afterAll(() => stack.close())

const url = (path: string) => `http://127.0.0.1:${stack.instance.httpPort}${path}`
const get = (path: string, method = 'GET') => fetch(url(path), { method })

/** Value of one line of /metrics. */
async function metric(line: string): Promise<number> {
  const text = await (await get('/metrics')).text()
  const found = text.split('\n').find((each) => each.startsWith(`${line} `))
  return Number(found?.slice(line.length + 1) ?? Number.NaN)
}

describe('the HTTP port', () => {
  it.each([
    ['/livez', 'GET', 200, 'alive\n'],
    ['/livez?from=probe', 'GET', 200, 'alive\n'],
    ['/livez', 'HEAD', 200, ''],
    ['/readyz', 'GET', 200, 'ready\n'],
    ['/nowhere', 'GET', 404, 'try /metrics, /livez or /readyz\n'],
    ['/livez', 'POST', 405, 'GET only\n'],
  ])('answers %s by %s with %i', async (path, method, status, body) => {
    const answer = await get(path, method)
    expect({ status: answer.status, body: await answer.text() }).toEqual({ status, body })
    expect(answer.headers.get('cache-control')).toBe('no-store')
  })

  it('counts clients, servers, logins and the errors that the proxy raised', async () => {
    const { database } = stack.proxy
    const clients = `ringfence_client_connections{database="${database}"}`
    const logins = 'ringfence_logins_total{outcome="ok"}'
    const errors = 'ringfence_errors_total{sqlstate="0A000"}'
    const wrong = 'ringfence_logins_total{outcome="28P01"}'
    const loginsBefore = await metric(logins)
    await withClient(stack.proxy, async (client) => {
      expect(await metric(clients)).toBe(1)
      await client.query('BEGIN')
      await value(client, 'SELECT 1')
      const active = `{database="${database}",shard="s1",state="active"}`
      // Whoever asked the server something of the proxy's own may not have given it back yet.
      const now = () => metric(`ringfence_server_connections${active}`)
      await expect.poll(now, { timeout: 5_000 }).toBe(1)
      await client.query('COMMIT')
      await refusal(client.query('UPDATE things SET tenant_id = 2 WHERE tenant_id = 1'))
      expect(await metric(errors)).toBe(1)
    })
    const nobody = { ...stack.proxy, password: 'wrong' }
    await refusal(withClient(nobody, () => Promise.resolve()))
    expect(await metric(logins)).toBe(loginsBefore + 1)
    expect(await metric(wrong)).toBe(1)
    expect((await get('/metrics')).headers.get('content-type')).toContain('text/plain')
  })

  it('has no lines of a database that is gone', async () => {
    const other = await startStack(present(inject('servers')[0]), { shards: 1, http: true })
    try {
      await withClient(other.proxy, (client) => client.query('SELECT 1'))
      const text = async () =>
        (await fetch(`http://127.0.0.1:${other.instance.httpPort}/metrics`)).text()
      const line = `ringfence_server_connections{database="${other.proxy.database}"`
      expect(await text()).toContain(line)
      await other.instance.configure({ ...other.options, databases: [] })
      expect(await text()).not.toContain(line)
    } finally {
      await other.close()
    }
  })
})
