// `ringfence import-pgbouncer`: the file that it writes is accepted, says what PgBouncer's said, and serves.
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { Config } from '../../config/config.ts'
import { loadConfig } from '../../config/load.ts'
import { type IniEntry, parseConnection, parseIni, parseUserList } from '../../config/pgbouncer.ts'
import { unmappedConnection, unmappedSettings } from '../../config/pgbouncer-settings.ts'
import { present, withClient } from '../support/clients.ts'
import { Program, runProgram } from './program.ts'

const fixture = join(import.meta.dirname, 'fixtures/pgbouncer/pgbouncer.ini')
let dir = ''
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rf-pgbouncer-'))
})
afterAll(() => rm(dir, { recursive: true, force: true }))

const nothing = () => Promise.reject(new Error('nothing is included'))
const entry = (value: string): IniEntry => ({ name: 'app', value, place: 'f:1' })

describe('the files of PgBouncer', () => {
  it('a database is read with quotes, blanks and empty values', () => {
    expect([...parseConnection(entry(`host = a  password='b ''c''' user=`))]).toEqual([
      ['host', 'a'],
      ['password', "b 'c'"],
      ['user', ''],
    ])
    expect([...parseConnection(entry(''))]).toEqual([])
    expect(() => parseConnection(entry('host=a nonsense'))).toThrow('f:1: expected "name=value"')
  })

  it('users are read with quotes in them, other lines passed over', () => {
    expect(parseUserList('; x\n"a" ""\n"b""c" "d""e" trailing\nnot "a user"')).toEqual([
      { name: 'a', secret: '' },
      { name: 'b"c', secret: 'd"e' },
    ])
  })

  it.each([
    ['name = 1', 'f:1: expected'],
    ['[a]\nnonsense', 'f:2: expected'],
  ])('%j is refused with its line', async (text, message) => {
    await expect(parseIni(text, 'f', nothing)).rejects.toThrow(message)
  })

  it('files that include each other are refused', async () => {
    const again = () => Promise.resolve('%include f')
    await expect(parseIni('%include f', 'f', again)).rejects.toThrow('too deeply')
  })

  it('gives a reason for every setting that is not taken over', () => {
    expect(unmappedSettings.size).toBeGreaterThan(30)
    const all = [...unmappedSettings.values(), ...unmappedConnection.values()]
    for (const { reason } of all) expect(reason).not.toBe('')
  })
})

describe('ringfence import-pgbouncer', () => {
  const env = { POSTGRES_PASSWORD: 'p', LOOKUP_PASSWORD: 'l' }
  const accepted = (yaml: string): Config => {
    const loaded = loadConfig(yaml, { file: 'f', env })
    expect(loaded.ok ? [] : loaded.problems).toEqual([])
    if (!loaded.ok) throw new Error('not accepted')
    return loaded.config
  }

  it('writes a file that is accepted and says the same', async () => {
    const { code, stdout } = await runProgram(['import-pgbouncer', fixture])
    expect(code).toBe(0)
    const config = accepted(stdout)
    expect(config).toMatchObject({
      listen: { hosts: ['0.0.0.0'], port: 7432 },
      limits: { loginTimeoutMs: 15_000 },
      sharedLimits: { clientConnectionsMax: 500 },
      userPools: new Map([['app', expect.objectContaining({ mode: 'transaction' })]]),
      tls: { server: { mode: 'require' } },
      authRules: [{ method: 'scram' }],
      users: [
        { name: 'app', secret: { kind: 'password', password: 'p"w ${y}' }, admin: false },
        { name: 'ops', secret: { kind: 'verifier' }, admin: true },
        { name: 'old', secret: { kind: 'verifier' }, admin: false },
        { name: 'postgres', secret: { kind: 'password', password: 'p' }, admin: true },
      ],
    })
    const [app, reports, local, any, ...others] = config.databases
    expect(others).toEqual([])
    expect(app).toMatchObject({
      name: 'app',
      pool: {
        sizeMax: 40,
        mode: 'transaction',
        queryWaitTimeoutMs: 0,
        serverLifetimeMs: 1_000,
        serverIdleTimeoutMs: 30_000,
      },
      serverUser: null,
      shards: [{ primary: { host: '10.0.0.1', port: 6543, database: 'app_production' } }],
    })
    expect(reports).toMatchObject({
      pool: { sizeMax: 25, mode: 'session' },
      connectQuery: 'SET work_mem = 1',
      serverUser: { name: 'report', password: "it's ${x}" },
      shards: [{ primary: { host: '10.0.0.2', port: 5432, database: 'reports' } }],
    })
    expect(local?.shards[0]?.primary).toMatchObject({ host: '/tmp', database: 'local' })
    expect(any).toMatchObject({ name: '*', shards: [{ primary: { host: '10.0.0.9' } }] })
  })

  it('warns of what is lost with its line, and comments on everything', async () => {
    const { stderr, stdout } = await runProgram(['import-pgbouncer', fixture])
    const warnings = stderr.split('\n').map((line) => line.replace(/^warning: \S*\/([^/]*:)/, '$1'))
    for (const start of [
      'pgbouncer.ini:4: of several hosts',
      'pgbouncer.ini:24: auth_query: without auth_user',
      'pgbouncer.ini:28: something_new: this import does not know it',
      'warning: users: the password of "postgres" is not known',
      'set in the environment before it starts: POSTGRES_PASSWORD',
    ]) {
      const found = warnings.some((line) => line.startsWith(start))
      expect({ start, found }).toEqual({ start, found: true })
    }
    expect(stderr).not.toContain('logfile')
    expect(stdout).toContain('# logfile = /var/log/pgbouncer.log: the log goes to stderr')
  })

  it('takes over limits, timeouts, users and TLS under their new names', async () => {
    const ini = join(dir, 'whole.ini')
    await writeFile(
      ini,
      `[databases]
a = host=/run/pg min_pool_size=2 max_db_connections=9 reserve_pool=3 timezone=UTC max_db_client_connections=7
[users]
app = pool_mode=session max_user_connections=4 query_timeout=1.5
[pgbouncer]
listen_addr=10.0.0.1,::1
unix_socket_dir=/run/ringfence
auth_type=md5
auth_user=lookup
auth_query=SELECT a, b FROM c WHERE a = $1
stats_users=watcher
client_tls_sslmode=prefer
client_tls_cert_file=c.pem
client_tls_key_file=k.pem
query_timeout=30
transaction_timeout=60
client_idle_timeout=90
cancel_wait_timeout=4
server_login_retry=2
query_wait_notify=3
max_user_connections=11
max_user_client_connections=12
autodb_idle_timeout=5
application_name_add_host=1
disable_pqexec=1`,
    )
    const { stdout, stderr } = await runProgram(['import-pgbouncer', ini])
    expect(stderr.match(/^warning: .*$/gm)).toEqual([
      expect.stringContaining('disable_pqexec: statements of one string'),
    ])
    expect(accepted(stdout)).toMatchObject({
      listen: { hosts: ['10.0.0.1', '::1'], unixSocket: { dir: '/run/ringfence' } },
      tls: { client: { mode: 'prefer' } },
      auth: { query: { user: 'lookup', sql: 'SELECT a, b FROM c WHERE a = $1' } },
      userPools: new Map([
        [
          'app',
          expect.objectContaining({
            mode: 'session',
            serverConnectionsMax: 4,
            queryTimeoutMs: 1_500,
          }),
        ],
      ]),
      sharedLimits: {
        clientConnectionsMax: 100,
        serverConnectionsPerUserMax: 11,
        clientConnectionsPerUserMax: 12,
        autoDatabaseIdleMs: 5_000,
      },
      databases: [
        {
          serverSettings: new Map([['timezone', 'UTC']]),
          pool: {
            mode: 'session',
            sizeMin: 2,
            reserve: 3,
            clientConnectionsMax: 7,
            serverConnectionsMax: 9,
            queryTimeoutMs: 30_000,
            transactionTimeoutMs: 60_000,
            clientIdleTimeoutMs: 90_000,
            cancelWaitTimeoutMs: 4_000,
            serverLoginRetryMs: 2_000,
            queryWaitNotifyMs: 3_000,
            addsHost: true,
          },
          shards: [{ primary: { host: '/run/pg' } }],
        },
      ],
    })
  })

  it('keeps hashed passwords where the proxy has a role of its own', async () => {
    const ini = join(dir, 'own.ini')
    await writeFile(
      ini,
      `[databases]\na = host=x user=b\n[pgbouncer]\nlisten_addr=::1\nauth_type=md5\nauth_file=${fixture.replace('pgbouncer.ini', 'userlist.txt')}`,
    )
    const { stdout } = await runProgram(['import-pgbouncer', ini, '--json'])
    const { yaml, environment, warnings } = JSON.parse(stdout)
    expect(environment).toEqual(['B_PASSWORD'])
    expect(warnings).toEqual([])
    const loaded = loadConfig(yaml, { file: 'f', env: { B_PASSWORD: 'x' } })
    expect(loaded).toMatchObject({
      ok: true,
      config: {
        authRules: [{ method: 'md5' }],
        users: [
          {},
          { name: 'ops', secret: { kind: 'verifier' } },
          { secret: { kind: 'verifier' } },
        ],
      },
    })
  })

  it('writes no file over another, unless told so, and lets nobody else read it', async () => {
    const output = join(dir, 'ringfence.yaml')
    const run = (...args: string[]) =>
      runProgram(['import-pgbouncer', fixture, '-o', output, ...args])
    expect((await run()).code).toBe(0)
    expect((await stat(output)).mode & 0o777).toBe(0o600)
    const again = await run()
    expect(again).toMatchObject({ code: 1, stdout: '' })
    expect(again.stderr).toContain('it exists; --force overwrites it')
    expect((await run('--force')).code).toBe(0)
    accepted(await readFile(output, 'utf8'))
  })

  it('ends with 1 for files that are not there', async () => {
    expect(await runProgram(['import-pgbouncer', '/nowhere.ini'])).toMatchObject({ code: 1 })
    const ini = join(dir, 'lost.ini')
    await writeFile(ini, '%include /nowhere/else.ini')
    const { code, stderr } = await runProgram(['import-pgbouncer', ini])
    expect(code).toBe(1)
    expect(stderr).toContain('cannot read "/nowhere/else.ini"')
  })

  it('makes a file that serves the same database', async () => {
    const server = new URL(present(present(inject('servers')[0]).shards[0]).url)
    const ini = join(dir, 'live.ini')
    const [user, password] = [server.username, server.password].map(decodeURIComponent)
    await writeFile(join(dir, 'live.txt'), `"${user}" "${password}"\n`)
    await writeFile(
      ini,
      `[databases]\nshop = host=${server.hostname} port=${server.port} dbname=postgres
[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = 0\nauth_type = scram-sha-256
auth_file = live.txt\npool_mode = transaction`,
    )
    const { stdout, stderr } = await runProgram(['import-pgbouncer', ini])
    expect(stderr).toBe('')
    const file = join(dir, 'live.yaml')
    await writeFile(file, `${stdout}http: { port: 0 }\n`)
    const proxy = new Program(['serve', '--config', file])
    try {
      const [line] = await proxy.printed('stderr', /^.*"msg":"ready".*$/m)
      const { port }: { port: number } = JSON.parse(line)
      const place = {
        host: '127.0.0.1',
        port,
        database: 'shop',
        user: user ?? '',
        password: password ?? '',
      }
      const { rows } = await withClient(place, (client) =>
        client.query('SELECT current_database() AS name'),
      )
      expect(rows).toEqual([{ name: 'postgres' }])
    } finally {
      proxy.signal('SIGKILL')
      await proxy.ended()
    }
  })
})
