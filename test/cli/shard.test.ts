// `ringfence shard pause` and `resume` against running proxies: all of them pause, or none stays paused.
import { createServer, type AddressInfo } from 'node:net'
import { writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { connected, pause, present } from '../support/clients.ts'
import { type ConfigFile, createConfig } from './config-file.ts'
import { Program, runProgram } from './program.ts'

let file: ConfigFile
let ports: readonly number[] = []
const proxies: Program[] = []
beforeAll(async () => {
  file = await createConfig(present(inject('servers')[0]), 2)
  const { code, stderr } = await runProgram(['init', '--config', file.path])
  if (code !== 0) throw new Error(stderr)
  ports = await Promise.all([serve(), serve()])
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

const client = (port = ports[0]) =>
  connected({ host: '127.0.0.1', port, user: 'app', password: 'pencil', database: 'app' })

const proxyFlags = (which = ports) => which.flatMap((port) => ['--proxy', `127.0.0.1:${port}`])
const shard = (args: readonly string[], which = ports) =>
  runProgram(['shard', ...args, '--config', file.path, ...proxyFlags(which)])

/** A port on which nobody listens. */
async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

describe('ringfence shard', () => {
  it('holds the statements of a paused shard on all proxies until it resumes', async () => {
    const clients = await Promise.all(ports.map(client))
    const paused = await shard(['pause', 's1', '--database', 'app'])
    expect(paused).toMatchObject({ code: 0, stderr: '' })
    expect(paused.stdout).toMatch(/^waiting for the transactions on shard "s1" of "app" to end/)
    for (const port of ports) {
      expect(paused.stdout).toMatch(new RegExp(`^127.0.0.1:${port} +paused +\\d`, 'm'))
    }
    let answered = 0
    const held = clients.map((one) => one.query('SELECT 1').then(() => (answered += 1)))
    await pause(100)
    expect(answered).toBe(0)
    const resumed = await shard(['resume', 's1', '--json'])
    expect(resumed).toMatchObject({ code: 0, stderr: '' })
    const report: unknown = JSON.parse(resumed.stdout)
    expect(report).toMatchObject({ ok: true, database: 'app', shard: 's1' })
    await Promise.all(held)
    await Promise.all(clients.map((one) => one.end()))
  })

  it('leaves no proxy paused when a transaction does not end in time', async () => {
    const busy = await client()
    await busy.query('BEGIN')
    await busy.query('SELECT 1')
    const { code, stdout } = await shard(['pause', 's1', '--timeout', '400ms', '--json'])
    expect(code).toBe(1)
    const { ok, proxies: rows } = JSON.parse(stdout)
    expect(ok).toBe(false)
    expect(rows).toMatchObject([
      { state: 'resumed', note: 'transactions were still open after 0.4 s' },
      { state: 'resumed', note: 'had paused' },
    ])
    await busy.query('COMMIT')
    await busy.query('SELECT 2')
    await busy.end()
  })

  it('leaves no proxy paused when one cannot be reached', async () => {
    const nobody = await freePort()
    const { code, stdout } = await shard(['pause', 's2'], [...ports, nobody])
    expect(code).toBe(1)
    expect(stdout).toMatch(new RegExp(`^127.0.0.1:${nobody} +not paused .*ECONNREFUSED`, 'm'))
    expect(stdout).toContain('none stays paused')
    for (const port of ports) {
      expect(stdout).toMatch(new RegExp(`:${port} +(?:resumed|not paused) `))
      const one = await client(port)
      await one.query('SELECT 1')
      await one.end()
    }
  })

  it.each(['SIGINT', 'SIGHUP'] as const)('leaves no proxy paused at %s', async (signal) => {
    const busy = await client()
    await busy.query('BEGIN')
    await busy.query('SELECT 1')
    const args = ['shard', 'pause', 's1', '--config', file.path]
    const program = new Program([...args, ...proxyFlags()])
    await program.printed('stdout', new RegExp(`:${ports[1]} paused after`))
    program.signal(signal)
    const { code, stdout } = await program.ended()
    expect(code).toBe(1)
    for (const port of ports) expect(stdout).toMatch(new RegExp(`:${port} +resumed `))
    expect(stdout).toContain('interrupted')
    await busy.query('COMMIT')
    await busy.query('SELECT 2')
    await busy.end()
  })

  it('says which proxy did not resume', async () => {
    const nobody = await freePort()
    const { code, stdout } = await shard(['resume', 's1'], [nobody, ...ports])
    expect(code).toBe(1)
    expect(stdout).toMatch(new RegExp(`:${nobody} +unknown .*not resumed: .*ECONNREFUSED`))
    for (const port of ports) expect(stdout).toMatch(new RegExp(`:${port} +resumed `))
  })

  it.each([
    [['pause', 's9'], 'has no shard "s9"; it has s1, s2'],
    [['resume', 's1', '--database', 'other'], 'choose one database with --database: app'],
  ])('ends with 1 for %j', async (args, message) => {
    const { code, stdout, stderr } = await shard(args)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toContain(message)
  })

  it('asks for proxies where the file names no port, and for an admin where it has none', async () => {
    const unnamed = await shard(['pause', 's1'], [])
    expect(unnamed.code).toBe(1)
    expect(unnamed.stderr).toContain('name the proxies with --proxy')
    const path = `${file.path}.plain`
    await writeFile(path, file.text.replace(', admin: true', ''))
    const args = ['shard', 'pause', 's1', '--config', path, '--proxy', '127.0.0.1:1']
    expect((await runProgram(args)).stderr).toContain('no user with "admin: true"')
  })

  it.each([
    [['pause'], "missing required argument 'shard'"],
    [['pause', 's1', '--proxy', 'a:b'], 'Write it like 10.0.0.1:6432'],
    [['pause', 's1', '--timeout', '30'], 'Write it like 30s'],
    [['stop', 's1'], "unknown command 'stop'"],
  ])('ends with 2 for %j', async (args, message) => {
    const { code, stdout, stderr } = await runProgram(['shard', ...args])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(message)
  })
})
