// `ringfence serve` as a supervisor runs it: ready, asked to stop, gone with exit code 0.
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import { askServer, connected, present, refusal, value } from '../support/clients.ts'
import { type ConfigFile, createConfig } from './config-file.ts'
import { Program, runProgram } from './program.ts'

let file: ConfigFile
let program: Program
beforeAll(async () => {
  file = await createConfig(present(inject('servers')[0]), 2)
  const { code, stderr } = await runProgram(['init', '--config', file.path])
  if (code !== 0) throw new Error(stderr)
  for (const url of file.urls) {
    await askServer(url, 'CREATE TABLE orders (tenant_id bigint PRIMARY KEY)')
  }
})
afterEach(() => program.signal('SIGKILL'))
afterAll(() => file.remove())

/** Starts the proxy; where a client connects once it says that it is ready. */
async function serve() {
  program = new Program(['serve', '--config', file.path])
  const [line] = await program.printed('stderr', /^.*"msg":"ready".*$/m)
  const { port, http }: { port: number; http: number } = JSON.parse(line)
  return {
    place: { host: '127.0.0.1', port, user: 'app', password: 'pencil', database: 'app' },
    http: `http://127.0.0.1:${http}`,
  }
}

describe('ringfence serve', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)(
    'lets transactions end at %s, then exits with 0',
    async (signal) => {
      const { place, http } = await serve()
      const idle = await connected(place)
      const closed = new Promise((resolve) => idle.once('error', resolve))
      const busy = await connected(place)
      await busy.query('BEGIN')
      await busy.query(`INSERT INTO orders VALUES (${signal.length})`)
      expect((await fetch(`${http}/readyz`)).status).toBe(200)
      program.signal(signal)
      expect(await closed).toMatchObject({ code: '57P01' })
      expect((await refusal(connected(place))).message).toContain('ECONNREFUSED')
      expect((await fetch(`${http}/readyz`)).status).toBe(503)
      const count = `SELECT tenant_id FROM orders WHERE tenant_id = ${signal.length}`
      expect(await value(busy, count)).toBe(String(signal.length))
      await busy.query('COMMIT')
      const { code, stdout } = await program.ended()
      expect({ code, stdout }).toEqual({ code: 0, stdout: '' })
      const kept = await Promise.all(file.urls.map((url) => askServer(url, count)))
      expect(kept.flat()).toEqual([String(signal.length)])
    },
  )

  it('stops at once at a second signal; what is open is rolled back', async () => {
    const { place } = await serve()
    const busy = await connected(place)
    const closed = new Promise((resolve) => busy.once('error', resolve))
    await busy.query('BEGIN')
    await busy.query('INSERT INTO orders VALUES (99)')
    program.signal('SIGTERM')
    await program.printed('stderr', /draining/)
    program.signal('SIGTERM')
    expect(await closed).toMatchObject({ code: '57P01' })
    expect((await program.ended()).code).toBe(0)
    const rows = 'SELECT count(*) FROM orders WHERE tenant_id = 99'
    const kept = await Promise.all(file.urls.map((url) => askServer(url, rows)))
    expect(kept.flat()).toEqual(['0', '0'])
  })

  it('logs no statement, no parameter and no password', async () => {
    const { place } = await serve()
    const client = await connected(place)
    await client.query("SELECT 'my secret'")
    await refusal(client.query('SELECT 1 / $1::int', [0]))
    await refusal(connected({ ...place, password: 'my secret' }))
    await client.end()
    program.signal('SIGTERM')
    const { stderr } = await program.ended()
    expect(stderr).not.toMatch(/secret|pencil/)
  })
})
