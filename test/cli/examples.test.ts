// Every example in the help of these commands runs as it stands, but for addresses: those are of servers that the tests
// started, and time, of which the tests take less.
import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { findInstallation } from '../../demo/installation.ts'
import { PostgresServer } from '../../demo/postgres-server.ts'
import { withClient } from '../support/clients.ts'
import { type ConfigFile, createConfig } from './config-file.ts'
import { Program, runProgram } from './program.ts'

const root = join(import.meta.dirname, '../..')
const commands = [
  'advise',
  'bench',
  'completion',
  'hash-password',
  'import-pgbouncer',
  'schema',
  'top',
  'topology',
]

/** Lines behind `$`, those that go on put together. */
function examplesOf(command: string): readonly string[] {
  const { stdout } = spawnSync(join(root, 'bin/ringfence'), [command, '--help'], {
    encoding: 'utf8',
  })
  const text = stdout.replaceAll(/\\\n +/g, '')
  return [...text.matchAll(/^ {2}\$ (.*)$/gm)].map(([, line = '']) => line)
}

const examples = commands.flatMap((command) =>
  examplesOf(command).map((example) => ({ command, example })),
)

it('are there for every command', () => {
  expect(new Set(examples.map(({ command }) => command))).toEqual(new Set(commands))
  expect(examples.length).toBeGreaterThan(15)
})

describe('examples in the help', () => {
  const dir = mkdtempSync(join(tmpdir(), 'rf-examples-'))
  let server: PostgresServer
  let file: ConfigFile
  let proxy: Program
  let port = 0
  let url = ''

  beforeAll(async () => {
    chmodSync(dir, 0o755)
    server = await PostgresServer.create({
      installation: await findInstallation('embedded'),
      dir: join(dir, 'pg'),
      settings: { shared_preload_libraries: 'pg_stat_statements' },
    })
    await server.start()
    const shards = [{ id: 's1', url: server.url('postgres') }]
    file = await createConfig({ version: 18, shards }, 1)
    url = file.urls[0] ?? ''
    port = await freePort()
    const text = file.text.replace(
      'listen: { host: 127.0.0.1, port: 0 }',
      `listen: { port: ${port} }`,
    )
    writeFileSync(join(dir, 'ringfence.yaml'), text)
    const config = ['--config', join(dir, 'ringfence.yaml')]
    const { code, stderr } = await runProgram(['init', ...config])
    if (code !== 0) throw new Error(stderr)
    await withClient({ connectionString: url }, async (client) => {
      await client.query('CREATE EXTENSION pg_stat_statements')
      await client.query('CREATE TABLE orders (tenant_id bigint NOT NULL, id int)')
      await client.query('SELECT * FROM orders WHERE tenant_id = 1')
    })
    proxy = new Program(['serve', ...config])
    await proxy.printed('stderr', /"msg":"ready"/)
    const fixtures = join(import.meta.dirname, 'fixtures/pgbouncer')
    for (const name of ['pgbouncer.ini', 'more.ini', 'userlist.txt']) {
      copyFileSync(join(fixtures, name), join(dir, name))
    }
    writeFileSync(join(dir, 'queries.sql'), 'SELECT * FROM orders WHERE tenant_id = 1;\n')
    const statement = 'duration: 1 ms  statement: SELECT * FROM orders'
    writeFileSync(join(dir, 'postgresql.log'), `2026-01-02 UTC [7] LOG:  ${statement}\n`)
    const row = `2026-01-02 03:04:05 UTC,"u","d",7,"::1:5",6.7,1,"SELECT",,1/2,0,LOG,00000,"${statement}",`
    writeFileSync(join(dir, 'postgresql.csv'), `${row.replace('"d"', '""')}\n`)
    for (const folder of ['.zfunc', '.config/fish/completions']) {
      mkdirSync(join(dir, folder), { recursive: true })
    }
  })
  afterAll(async () => {
    proxy?.signal('SIGKILL')
    await file?.remove()
    await server?.stop('immediate')
    rmSync(dir, { recursive: true, force: true })
  })

  it.each(examples)('$example', ({ example }) => {
    const line = example
      .replaceAll(/postgres:\/\/app:pencil@10\.0\.0\.1\/app/g, url)
      .replaceAll(
        /postgres:\/\/demo:demo@127\.0\.0\.1:6432/g,
        `postgres://app:pencil@127.0.0.1:${port}`,
      )
      .replaceAll(/10\.0\.1\.\d:6432/g, `127.0.0.1:${port}`)
      .replaceAll(/--duration \w+/g, '--duration 200ms')
    const path = `${join(root, 'bin')}:${dirname(process.execPath)}:${process.env['PATH']}`
    const run = spawnSync('bash', ['-o', 'pipefail', '-c', line], {
      cwd: dir,
      encoding: 'utf8',
      timeout: 25_000,
      env: { ...process.env, HOME: dir, PATH: path, REDIS_URL: '' },
    })
    expect({ status: run.status, stderr: /ringfence: .*/.exec(run.stderr)?.[0] }).toEqual({
      status: 0,
    })
  })
})

async function freePort(): Promise<number> {
  const listener = createServer()
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  const { port } = listener.address() as AddressInfo
  await new Promise((resolve) => listener.close(resolve))
  return port
}
