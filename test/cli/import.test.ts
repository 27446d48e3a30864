// One PostgreSQL becomes the first shard of a cluster, and a second one joins: as a user would,
// with real processes.
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import { loadConfig } from '../../config/load.ts'
import { importFile } from '../../cli/import-file.ts'
import { askServer, column, connected, present, value } from '../support/clients.ts'
import { createDatabases, type TestDatabases } from '../support/databases.ts'
import { Program, runProgram } from './program.ts'

let databases: TestDatabases
let dir = ''
let file = ''
const proxies: Program[] = []
beforeEach(async () => {
  const servers = present(inject('servers')[0])
  databases = await createDatabases({ ...servers, shards: servers.shards.slice(0, 2) }, 'import')
  dir = await mkdtemp(join(tmpdir(), 'rf-import-'))
  file = join(dir, 'ringfence.yaml')
})
afterEach(async () => {
  for (const proxy of proxies.splice(0)) proxy.signal('SIGKILL')
  await databases.drop()
  await rm(dir, { recursive: true, force: true })
})

const schema = `
  CREATE TABLE countries (code text PRIMARY KEY, title text);
  CREATE TABLE tenants (id bigserial PRIMARY KEY, name text);
  CREATE TABLE orders (tenant_id bigint NOT NULL REFERENCES tenants (id), id bigserial,
    country text REFERENCES countries (code), PRIMARY KEY (tenant_id, id));
  CREATE TABLE migrations (name text);
  INSERT INTO countries VALUES ('AT', 'Austria'), ('BR', 'Brazil');
  INSERT INTO tenants (name) SELECT 'tenant ' || n FROM generate_series(1, 50) n;
  INSERT INTO orders (tenant_id, country) SELECT n % 50 + 1, 'AT' FROM generate_series(1, 500) n;
  INSERT INTO migrations VALUES ('first')`

const first = () => present(databases.urls[0])
const run = (...args: readonly string[]) =>
  runProgram(['import', '--url', first(), '-o', file, ...args])
async function fill(): Promise<void> {
  const client = await connected({ connectionString: first() })
  await client.query(schema)
  await client.end()
}

async function serve(): Promise<number> {
  const program = new Program(['serve', '--config', file])
  proxies.push(program)
  const [line] = await program.printed('stderr', /^.*"msg":"ready".*$/m)
  const { port }: { port: number } = JSON.parse(line)
  return port
}

describe('ringfence import', () => {
  it('names everything that is in the way, with the option that settles it, and changes nothing', async () => {
    await fill()
    const { code, stdout, stderr } = await run('--key', 'tenant_id', '--reference', 'planets')
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
    expect(stdout).toMatch(/^error +table "planets" of sharding.tables does not exist/m)
    expect(stdout).toMatch(
      /^error .*"orders_country_fkey" of sharded table "public.orders" refers to home table "public.countries".*: --reference countries$/m,
    )
    expect(stdout).toMatch(/: --reference tenants, or --table-key tenants=id$/m)
    expect(stdout).toMatch(/nothing was written or changed\n$/)
    await expect(stat(file)).rejects.toThrow('ENOENT')
    expect(await askServer(first(), `SELECT to_regnamespace('ringfence')`)).toEqual([null])
    const other = await run('--key', 'no_such_column')
    expect(other.stdout).toContain('no table has a column "no_such_column"')
  })

  it('makes one shard with all virtual nodes, that serves at once and takes a second one', async () => {
    await fill()
    const before = await askServer(
      first(),
      'SELECT sum(hashtextextended(o::text, 0)) FROM orders o',
    )
    const imported = await run(
      '--key',
      'tenant_id',
      '--table-key',
      'tenants=id',
      '--reference',
      'countries',
    )
    expect(imported).toMatchObject({ code: 0, stderr: '' })
    expect(imported.stdout).toContain('2 sharded tables, 1 reference tables, 1 home tables')
    expect((await stat(file)).mode & 0o777).toBe(0o600)
    expect(
      await askServer(first(), 'SELECT sum(hashtextextended(o::text, 0)) FROM orders o'),
    ).toEqual(before)
    expect(await askServer(first(), 'SELECT DISTINCT shard FROM ringfence.vnode')).toEqual(['s1'])

    const text = await readFile(file, 'utf8')
    const local = text.replace('port: 6432 }', 'port: 0 }\nhttp: { port: 0 }\nlog: { level: info }')
    await writeFile(file, local)
    const port = await serve()
    const { username: user, password } = new URL(first())
    const place = { host: '127.0.0.1', port, user, password, database: databases.name }
    const one = await connected(place)
    expect(await value(one, 'SELECT count(*) FROM orders')).toBe('500')
    expect(
      await value(one, 'SELECT count(DISTINCT tenant_id) FROM orders o JOIN tenants t ON true'),
    ).toBe('50')
    expect(await value(one, `INSERT INTO orders (tenant_id) VALUES (7) RETURNING id % 1024`)).toBe(
      '1',
    )
    await one.query(`INSERT INTO countries VALUES ('CH', 'Switzerland')`)
    await one.query('BEGIN')
    await one.query('UPDATE orders SET country = NULL WHERE tenant_id = 1')
    await one.query('CREATE TABLE notes (tenant_id bigint PRIMARY KEY)')
    await one.query('COMMIT')
    expect(await column(one, 'EXPLAIN (ROUTE) SELECT count(*) FROM orders')).toContain('class')

    const shard = `      - { id: s2, primary: "${present(databases.urls[1])}" }\n    sharding:`
    await writeFile(file, local.replace('    sharding:', shard))
    proxies[0]?.signal('SIGHUP')
    await present(proxies[0]).printed('stderr', /has shard s2 now/)
    const added = await runProgram(['shard', 'add', 's2', '--config', file])
    expect(added).toMatchObject({ code: 0, stderr: '' })
    await one.query(`INSERT INTO countries VALUES ('DE', 'Germany')`)
    expect(await askServer(present(databases.urls[1]), 'SELECT count(*) FROM countries')).toEqual([
      '4',
    ])
    expect(await value(one, 'SELECT count(*) FROM countries')).toBe('4')
    expect(await value(one, 'SELECT count(*) FROM migrations')).toBe('1')
    await one.end()
    const again = await run(
      '--key',
      'tenant_id',
      '--force',
      '--reference',
      'countries',
      '--table-key',
      'tenants=id',
    )
    expect(again.stdout).toContain('this database is shard "s1" of a cluster already')
  }, 60_000)

  it('does not replace a file, and leaves the catalog to init where that is wanted', async () => {
    await fill()
    const flags = ['--key', 'tenant_id', '--reference', 'countries,tenants', '--no-init', '--json']
    const written = await run(...flags)
    expect(JSON.parse(written.stdout)).toMatchObject({ ok: true, applied: [], keyType: 'bigint' })
    expect(await askServer(first(), `SELECT to_regnamespace('ringfence')`)).toEqual([null])
    expect((await run(...flags)).stderr).toContain('is there already: --force replaces it')
    expect((await run(...flags, '--force')).code).toBe(0)
    const { code } = await runProgram(['init', '--config', file])
    expect(code).toBe(0)
  })

  it('changes nothing where its file cannot be written', async () => {
    await fill()
    const nowhere = join(dir, 'nowhere', 'ringfence.yaml')
    const flags = ['--key', 'tenant_id', '--reference', 'countries,tenants', '-o', nowhere]
    const { code, stdout, stderr } = await run(...flags)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toContain(`cannot write "${nowhere}"`)
    expect(await askServer(first(), `SELECT to_regnamespace('ringfence')`)).toEqual([null])
  })

  it.each([
    [['--url', 'http://x', '--key', 'a'], 1, '--url takes postgres://'],
    [['--url', 'postgres://app@127.0.0.1:1/app', '--key', 'a', '-o', '/tmp/nowhere.yaml'], 1, ''],
    [['--key', 'a'], 2, "required option '--url <url>'"],
    [
      ['--url', 'postgres://a@b/c', '--key', 'a', '--table-key', 'x'],
      2,
      'Write it like tenants=id',
    ],
  ])('ends with an exit code for %j', async (args, expected, message) => {
    const { code, stderr } = await runProgram(['import', ...args])
    expect(code).toBe(expected)
    expect(stderr).toContain(message)
  })

  it('writes a file that is read as it was meant, whatever stands in names and passwords', () => {
    const odd = 'a"b\\c ${HOME} #: \'x'
    const text = importFile({
      host: '::1',
      port: 5433,
      tlsMode: null,
      database: odd,
      user: odd,
      password: odd,
      clientPassword: odd,
      key: odd,
      keyType: 'uuid',
      tables: new Map([
        [odd, { key: odd }],
        ['b', { placement: 'reference' }],
      ]),
    })
    const loaded = loadConfig(text, { file: 'x.yaml', env: { HOME: 'wrong' } })
    if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems))
    const [database] = loaded.config.databases
    expect(loaded.config.users).toMatchObject([{ name: odd, secret: { password: odd } }])
    expect(database).toMatchObject({
      name: odd,
      serverUser: { name: odd, password: odd },
      shards: [{ id: 's1', primary: { host: '::1', port: 5433, database: odd } }],
      sharding: { key: odd, keyType: 'uuid' },
    })
    expect([...(database?.sharding?.tables ?? [])]).toEqual([
      [odd, { key: odd }],
      ['b', { placement: 'reference' }],
    ])
  })
})
