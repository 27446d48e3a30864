// `ringfence top` beside running proxies: one picture for programs and people, and the terminal given back as it was.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { composeSample } from '../../cli/top/sample.ts'
import { screenText } from '../../cli/top/screen.ts'
import { askServer, connected, present } from '../support/clients.ts'
import { type ConfigFile, createConfig } from './config-file.ts'
import { Program, runProgram } from './program.ts'

const entry = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
const catalog = { error: null, epoch: 7, loads: new Map(), moves: [], vnodes: [], keys: [] }

describe('a picture of several proxies', () => {
  const seen = (proxy: string, lag: string, waiting: string) => ({
    proxy,
    error: null,
    databases: [{ name: 'app', current_client_connections: '3' }],
    shards: [
      {
        database: 'app',
        shard: 's1',
        host: 'h',
        port: '1',
        vnodes: '9',
        paused: 'no',
        idle: '1',
        active: '2',
        opening: '0',
        waiting,
      },
    ],
    lanes: [{ database: 'app', shard: 's1', riders: '4' }],
    replicas: [
      {
        database: 'app',
        shard: 's1',
        host: 'r',
        port: '2',
        role: 'replica',
        state: 'up',
        reason: null,
        lag_ms: lag,
        lag_bytes: '2048',
        reads: '5',
      },
      {
        database: 'app',
        shard: 's1',
        host: 'h',
        port: '1',
        role: 'primary',
        state: 'up',
        reason: null,
        lag_ms: null,
        lag_bytes: null,
        reads: '0',
      },
    ],
  })
  const proxies = [seen('a:1', '4', '1'), seen('b:1', '40', '5')]
  const sample = composeSample('app', new Date(0), proxies, catalog)

  it('sums pools, and shows a replica as the proxy does that sees it furthest behind', () => {
    const pools = { idle: 2, active: 4, opening: 0, waiting: 6, riding: 8 }
    const shard = { shard: 's1', host: 'h:1', vnodes: 9, paused: false }
    expect(sample.shards).toEqual([{ ...shard, ...pools, statements: null, serverMs: null }])
    expect(sample.replicas).toMatchObject([{ host: 'r:2', lagMs: 40, lagBytes: 2048, reads: 10 }])
  })

  it('fits into the terminal, with colours only where they are wanted', () => {
    const lines = screenText(sample, { columns: 20, rows: 4 }, false).trimEnd().split('\n')
    expect(lines).toHaveLength(3)
    expect(lines[0]).toBe('app, epoch 7: 6 clie')
    expect(screenText(sample, null, false)).not.toContain('\u001b')
    expect(screenText(sample, null, true)).toContain('\u001b[1mshard ')
  })
})

describe('ringfence top', () => {
  let file: ConfigFile
  const proxies: Program[] = []
  let ports: readonly number[] = []
  beforeAll(async () => {
    file = await createConfig(present(inject('servers')[0]), 2)
    const { code, stderr } = await runProgram(['init', '--config', file.path])
    if (code !== 0) throw new Error(stderr)
    ports = await Promise.all([serve(), serve()])
    await askServer(
      file.urls[0] ?? '',
      `WITH v AS (INSERT INTO ringfence.vnode_load
                  SELECT vnode, 600, 60000, 0, 0, clock_timestamp() FROM generate_series(0, 4095) vnode),
            k AS (INSERT INTO ringfence.key_load VALUES ('tenant-42', 9, 6000, 60, clock_timestamp()))
       INSERT INTO ringfence.move (vnodes, keys, except_keys, from_shard, to_shard)
       VALUES ('{9}', '{}', '{}', 's1', 's2') RETURNING id`,
    )
  })
  afterAll(async () => {
    for (const proxy of proxies) proxy.signal('SIGKILL')
    await file.remove()
  })

  async function serve(): Promise<number> {
    const program = new Program(['serve', '--config', file.path])
    proxies.push(program)
    const [line] = await program.printed('stderr', /^.*"msg":"ready".*$/m)
    const { port }: { port: number } = JSON.parse(line)
    return port
  }
  const flags = (which = ports) => {
    const named = which.flatMap((port) => ['--proxy', `127.0.0.1:${port}`])
    return ['--config', file.path, ...named]
  }

  it('gives programs everything once', async () => {
    const place = { host: '127.0.0.1', user: 'app', password: 'pencil', database: 'app' }
    const clients = await Promise.all(ports.map((port) => connected({ ...place, port })))
    await Promise.all(clients.map((client) => client.query('SELECT 1')))
    const { code, stdout, stderr } = await runProgram(['top', '--json', ...flags()])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const sample = JSON.parse(stdout)
    await Promise.all(clients.map((client) => client.end()))
    expect(sample).toMatchObject({
      database: 'app',
      epoch: expect.any(Number),
      catalogError: null,
      proxies: ports.map((port) => ({ proxy: `127.0.0.1:${port}`, clients: 1, error: null })),
      shards: [{ shard: 's1', waiting: 0 }, { shard: 's2' }],
      moves: [{ id: 1, from: 's1', to: 's2', what: '1 virtual node (9)' }],
      keys: [{ key: 'tenant-42' }],
    })
    expect(sample.vnodes).toHaveLength(20)
    const [first, second] = sample.shards
    expect(first.vnodes + second.vnodes).toBe(4096)
    // 4,096 × 600 statements in sums that halve in 600 s.
    expect(first.statements + second.statements).toBeCloseTo(4096 * Math.LN2, -2)
  })

  it('gives people one picture where there is no terminal', async () => {
    const { code, stdout } = await runProgram(['top', ...flags()])
    expect(code).toBe(0)
    expect(stdout).toMatch(/^app, epoch \d+: 0 clients on 2 of 2 proxies, /)
    expect(stdout).toMatch(/^s1 +127\.0\.0\.1:\d+ +\d+ +\d+ +0 +0 +0 +0 +\d+\.\d +\d+\.\d/m)
    expect(stdout).toMatch(/^tenant-42 +s[12] +0\.1 +6\.\d$/m)
    expect(stdout).not.toContain('\u001b')
  })

  it('shows a proxy that is away, and ends with 1 when all are', async () => {
    const some = await runProgram(['top', '--once', ...flags([...ports, 1])])
    expect(some.code).toBe(0)
    expect(some.stdout).toMatch(/^127\.0\.0\.1:1: .*ECONNREFUSED/m)
    const none = await runProgram(['top', '--once', ...flags([1])])
    expect(none.code).toBe(1)
  })

  it.each([
    ['q', (child: ReturnType<typeof spawn>) => child.stdin?.write('q')],
    ['Ctrl-C', (child: ReturnType<typeof spawn>) => child.stdin?.write('\u0003')],
  ])('draws again and again on a terminal, and gives it back at %s', async (_, quit) => {
    const command = [process.execPath, entry, 'top', '--interval', '100ms', ...flags()].join(' ')
    const child = spawn(
      '/usr/bin/script',
      ['--quiet', '--return', '--echo', 'never', '-c', command, '/dev/null'],
      {
        env: { ...process.env, TERM: 'xterm', REDIS_URL: '' },
      },
    )
    let output = ''
    let quitted = false
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      if (quitted || output.split('\u001b[H').length < 4) return
      quitted = true
      quit(child)
    })
    const [code] = await once(child, 'close')
    expect(code).toBe(0)
    expect(output).toContain('clients on 2 of 2 proxies')
    expect(output.indexOf('\u001b[?1049h')).toBeLessThan(output.indexOf('\u001b[H'))
    expect(output.split('\u001b[?1049h')).toHaveLength(2)
    expect(output.split('\u001b[?1049l')).toHaveLength(2)
    expect(output.lastIndexOf('\u001b[?1049l')).toBeGreaterThan(output.lastIndexOf('\u001b[H'))
    expect(output).toContain('\u001b[?25h')
  })
})
