// `ringfence demo` in a process of its own: one line when it is ready, a sharded database that works,
// nothing left behind.
import { access } from 'node:fs/promises'
import { dirname } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { childrenOf, processIdentity } from '../../demo/process.ts'
import type { DemoReady } from '../../cli/demo.ts'
import { column, refusal, until, value, withClient } from '../support/clients.ts'
import { Program } from './program.ts'

let program: Program
afterEach(() => program.signal('SIGKILL'))

async function startDemo(...more: readonly string[]): Promise<DemoReady> {
  const args = ['demo', '--json', '--shards', '2', '--replicas', '0', '--port', '0', ...more]
  program = new Program(args)
  const [line] = await program.printed('stdout', /^.*\n/)
  return JSON.parse(line)
}

describe('ringfence demo', () => {
  it('prints one line, serves the sample, and leaves nothing when it is told to stop', async () => {
    const ready = await startDemo()
    expect(ready).toMatchObject({ ready: true, pid: program.pid })
    expect(ready.redis).toMatch(/^redis:\/\/127\.0\.0\.1:\d+$/)
    expect(ready.shards.map(({ id, replicas }) => ({ id, replicas }))).toEqual([
      { id: 's1', replicas: [] },
      { id: 's2', replicas: [] },
    ])
    await withClient({ connectionString: ready.proxy }, async (client) => {
      const tenants = (await column(client, 'SELECT tenant_id FROM tenants')).length
      expect(tenants).toBeGreaterThan(10)
      const stored = await Promise.all(
        ready.shards.map(({ primary }) =>
          withClient({ connectionString: primary }, (shard) =>
            value(shard, 'SELECT count(*) FROM tenants'),
          ),
        ),
      )
      expect(stored.map(Number).every((count) => count > 0)).toBe(true)
      expect(stored.map(Number).reduce((sum, count) => sum + count)).toBe(tenants)
      const joined = 'SELECT count(*) FROM orders JOIN users USING (tenant_id) WHERE tenant_id = $1'
      expect(Number(await value(client, joined, [1]))).toBeGreaterThan(0)
      const { rows } = await client.query(
        'EXPLAIN (ROUTE) SELECT * FROM orders WHERE tenant_id = 1',
      )
      expect(JSON.stringify(rows)).toMatch(/"shard"[^}]*"s[12]"/)
    })
    await withClient({ connectionString: ready.admin }, async (admin) => {
      expect(await column(admin, 'SHOW VERSION')).toEqual([expect.stringContaining('Ringfence')])
    })
    expect((await fetch(`${ready.http}/readyz`)).status).toBe(200)
    const processes = childrenOf(program.pid)
    expect(processes.length).toBeGreaterThanOrEqual(2)
    const startedMs = performance.now()
    program.signal('SIGTERM')
    const { code, stdout } = await program.ended()
    const tookMs = Math.round(performance.now() - startedMs)
    process.stdout.write(`demo: stopped in ${tookMs} ms\n`)
    expect(code).toBe(0)
    expect(stdout.split('\n')).toHaveLength(2)
    await until('its processes are gone', () =>
      processes.every((pid) => processIdentity(pid) === null),
    )
    await expect(access(dirname(ready.config))).rejects.toThrow('ENOENT')
    const refused = await refusal(
      withClient({ connectionString: ready.proxy }, () => Promise.resolve()),
    )
    expect(refused.message).toContain('ECONNREFUSED')
  })

  it('has no tables when asked for none, and does not wait for a client in a transaction', async () => {
    const ready = await startDemo('--empty')
    await withClient({ connectionString: ready.proxy }, async (client) => {
      expect(await refusal(client.query('SELECT 1 FROM tenants'))).toMatchObject({ code: '42P01' })
      await client.query('CREATE TABLE orders (tenant_id bigint PRIMARY KEY)')
      await client.query('BEGIN')
      await client.query('INSERT INTO orders VALUES (1)')
      program.signal('SIGTERM')
      expect((await program.ended()).code).toBe(0)
    })
    await expect(access(dirname(ready.config))).rejects.toThrow('ENOENT')
  })
})
