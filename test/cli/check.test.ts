// `ringfence check` against real servers: what it finds, where it says it is, and how it ends.
import { once } from 'node:events'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { initialise } from '../../catalog/migrate.ts'
import { checkCommand } from '../../cli/check.ts'
import { shardId } from '../../core/ids.ts'
import { findInstallation } from '../../demo/installation.ts'
import { PostgresServer } from '../../demo/postgres-server.ts'
import type { ShardingRules } from '../../router/schema.ts'
import { createDatabases, type TestDatabases } from '../support/databases.ts'

type Found = { severity: string; where: string; subject: string; message: string; remedy: string }
type Report = { code: number; ok: boolean; servers: number; findings: Found[] }

let dir = ''
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rf-check-'))
  await chmod(dir, 0o755)
})
afterAll(() => rm(dir, { recursive: true, force: true }))

async function check(text: string): Promise<Report> {
  const file = join(dir, 'ringfence.yaml')
  await writeFile(file, text)
  let output = ''
  const code = await checkCommand(file, { json: true }, (written) => {
    output += written
  })
  const { ok, servers, findings } = JSON.parse(output)
  return { code, ok, servers, findings }
}

/** `line: subject without its address: message` of the errors, or of everything. */
function briefly({ findings }: Report, which: 'errors' | 'all' = 'errors'): string[] {
  return findings
    .filter(({ severity }) => which === 'all' || severity === 'error')
    .map(({ where, subject, message }) => {
      const line = where.replace(/^.*\.yaml:/, '').replace(/:\d+$/, '')
      return `${line}: ${subject.replace(/ \S+:\d+\/.*$/, '')}: ${message}`
    })
}

async function run(url: string, sql: string): Promise<void> {
  const client = new Client({ connectionString: url })
  client.on('error', () => undefined)
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}

function fileFor(urls: readonly string[], rest = ''): string {
  const shards = urls.map((url, index) => `      - { id: s${index + 1}, primary: "${url}" }`)
  return `users: [{ name: app, password: x }]
databases:
  app:
    shards:
${shards.join('\n')}
    sharding: { key: tenant_id, tables: { products: { placement: reference } } }
${rest}`
}

const rules: ShardingRules = {
  key: 'tenant_id',
  keyType: 'bigint',
  vnodeCount: 4096,
  tables: new Map([['products', { placement: 'reference' }]]),
}
const sound = `
  CREATE TABLE users (tenant_id bigint, id bigint, email text NOT NULL, PRIMARY KEY (tenant_id, id));
  CREATE TABLE products (id int PRIMARY KEY, name text)`

describe.each(inject('servers'))('check on PostgreSQL $version', (servers) => {
  let databases: TestDatabases
  let first = ''
  beforeAll(async () => {
    databases = await createDatabases(servers, 'check')
    first = databases.urls[0] ?? ''
  })
  afterAll(() => databases.drop())

  it('asks for init, and is content after it', async () => {
    const before = await check(fileFor(databases.urls))
    expect(before.code).toBe(1)
    const errors = before.findings.filter(({ severity }) => severity === 'error')
    expect(errors.map(({ remedy }) => remedy)).toEqual(Array(3).fill('run "ringfence init"'))
    expect(briefly(before).join('\n')).toMatch(/^(.*: schema "ringfence" is missing.*\n?){3}$/)
    const shards = databases.urls.map((url, index) => ({
      id: shardId(`s${index + 1}`),
      url,
      weight: 1,
    }))
    await initialise({ shards, rules })
    for (const url of databases.urls) await run(url, sound)
    const after = await check(fileFor(databases.urls))
    expect(briefly(after)).toEqual([])
    expect(after).toMatchObject({ code: 0, ok: true, servers: 3 })
  })

  it('names what differs between the shards', async () => {
    const [, second = '', third = ''] = databases.urls
    await run(second, 'ALTER TABLE users ALTER email TYPE varchar(20), ADD note text')
    await run(second, 'ALTER TABLE users ALTER email DROP NOT NULL')
    await run(third, 'DROP TABLE products')
    await run(third, 'ALTER TABLE users DROP CONSTRAINT users_pkey')
    await run(second, 'CREATE INDEX users_email ON users (email)')
    const report = await check(fileFor(databases.urls))
    expect(briefly(report, 'all')).toContain(
      '6: s2 primary: index "users_email" of table "public.users" is here but not on shard "s1"',
    )
    expect(briefly(report)).toEqual([
      '6: s2 primary: table "public.users" differs: ' +
        'column "email" is character varying(20), on "s1" text; ' +
        'column "email" may be null, unlike on "s1"; column "note" is not on "s1"',
      '7: s3 primary: table "public.products" is missing; it is on shard "s1"',
      '7: s3 primary: table "public.users" differs: its primary key is missing, on "s1" (tenant_id, id)',
    ])
    expect(report.code).toBe(1)
  })

  it('names tables that do not suit their key', async () => {
    await run(
      first,
      `CREATE TABLE odd (tenant_id text, id int PRIMARY KEY, email text UNIQUE);
       CREATE TABLE plain (id int PRIMARY KEY)`,
    )
    const report = await check(fileFor([first]))
    expect(briefly(report, 'all').filter((text) => text.includes('public.odd'))).toEqual([
      '5: s1 primary: key "tenant_id" of table "public.odd" is text, but key_type is bigint',
      '5: s1 primary: key "tenant_id" of table "public.odd" may be null, and such a row has no shard',
      '5: s1 primary: primary key (id) of table "public.odd" lacks the key "tenant_id": ' +
        'it is unique on each shard only',
      '5: s1 primary: unique index "odd_email_key" (email) of table "public.odd" lacks the key ' +
        '"tenant_id": it is unique on each shard only',
    ])
    expect(briefly(report, 'all').join()).not.toContain('public.plain')
    await run(first, 'DROP TABLE odd, plain')
  })

  it('names one database under two ids, and a shard that the catalog does not know', async () => {
    const twin = first.replace('127.0.0.1', 'localhost')
    const errors = briefly(await check(fileFor([first, twin])))
    expect(errors).toContain('6: s2 primary: is the same database as shard "s1"')
    expect(errors).toContain(
      '6: s2 primary: this database is registered as shard "s1", not as "s2"',
    )
    expect(errors).toContain('5: s1 primary: shard "s3" of the catalog is not in the file')
  })

  it('names what is fixed for the life of a cluster and was changed', async () => {
    const text = fileFor(databases.urls).replace('key:', 'key_type: uuid, vnodes: 64, key:')
    const errors = briefly(await check(text))
    expect(errors).toContain('5: s1 primary: the cluster has 4096 virtual nodes, the file 64')
    expect(errors).toContain("5: s1 primary: the cluster's key is of type bigint, the file's uuid")
  })

  it('names servers that do not answer or refuse, beside mistakes in the file', async () => {
    const server = new URL(first)
    const elsewhere = (change: (url: URL) => void) => {
      const url = new URL(server)
      change(url)
      return url.href
    }
    const nobody = elsewhere((url) => (url.port = '1'))
    const noDatabase = elsewhere((url) => (url.pathname = '/no_such_database'))
    const noLogin = elsewhere((url) => (url.password = 'no-such-password'))
    const report = await check(fileFor([nobody, noDatabase, noLogin], 'limits: { queu: 1 }'))
    expect(report).toMatchObject({ code: 1, ok: false, servers: 3 })
    const user = decodeURIComponent(server.username)
    expect(briefly(report)).toEqual([
      '9: limits.queu: unknown setting "queu"',
      expect.stringMatching(/^5: s1 primary: could not connect: .*ECONNREFUSED/),
      `6: s2 primary: login as "${user}" was refused: database "no_such_database" does not exist`,
      `7: s3 primary: login as "${user}" was refused: ` +
        `password authentication failed for user "${user}"`,
    ])
    expect(JSON.stringify(report)).not.toContain('no-such-password')
  })

  it('tries every client whose own name is passed through', async () => {
    const { host, username, password, pathname } = new URL(first)
    const report = await check(`users:
  - { name: ${username}, password: ${password} }
  - { name: no_such_role, password: x }
databases: { app: { shards: [{ id: s1, primary: "postgres://${host}${pathname}" }] } }`)
    expect(briefly(report)).toEqual([
      '4: s1 primary: login as "no_such_role" was refused: ' +
        'password authentication failed for user "no_such_role"',
    ])
  })
})

describe('check of servers that are not set up for sharding', () => {
  const servers: PostgresServer[] = []
  afterAll(() => Promise.all(servers.map((server) => server.stop('immediate'))))

  it('names their settings, and replicas that are none', async () => {
    const installation = await findInstallation('embedded')
    const poor = await PostgresServer.create({
      installation,
      dir: join(dir, 'poor'),
      settings: { wal_level: 'replica', max_prepared_transactions: 0 },
    })
    servers.push(poor)
    await poor.start()
    const replica = await PostgresServer.createReplica(poor, { dir: join(dir, 'replica') })
    servers.push(replica)
    await replica.start()
    const [one, two] = [poor.url('postgres'), poor.url('template1')]
    const text = fileFor([one, two, replica.url('template1')])
      .replace(`s1, primary: "${one}"`, `$&, replicas: ["${replica.url('postgres')}"]`)
      .replace(
        `s2, primary: "${two}"`,
        `$&, replicas: ["${two.replace('127.0.0.1', 'localhost')}"]`,
      )
    const report = await check(text)
    const errors = briefly(report).filter((error) => !error.includes('schema "ringfence"'))
    const unfit = [
      'wal_level is replica: virtual nodes cannot be moved',
      'max_prepared_transactions is 0: DDL and reference tables cannot be written',
    ]
    expect(errors).toEqual([
      ...unfit.map((message) => `5: s1 primary: ${message}`),
      ...unfit.map((message) => `6: s2 primary: ${message}`),
      '6: s2 replica: is not a replica: it is not in recovery',
      '7: s3 primary: is a replica (in recovery), so nothing can be written to it',
    ])
    expect(briefly(report, 'all')).toContain('6: s2 primary: is on the same server as shard "s1"')
    expect(report.servers).toBe(5)
  })

  it('follows a failover of which the file does not know yet, with a warning', async () => {
    const installation = await findInstallation('embedded')
    const settings = { wal_level: 'logical', max_prepared_transactions: 100 }
    const old = await PostgresServer.create({ installation, dir: join(dir, 'old'), settings })
    servers.push(old)
    await old.start()
    const next = await PostgresServer.createReplica(old, { dir: join(dir, 'next') })
    servers.push(next)
    await next.start()
    await initialise({
      shards: [{ id: shardId('s1'), url: old.url('postgres'), weight: 1 }],
      rules,
    })
    const text = fileFor([old.url('postgres')]).replace(
      's1, primary: "',
      `s1, replicas: ["${next.url('postgres')}"], primary: "`,
    )
    expect(briefly(await check(text))).toEqual([])
    await old.stop('fast')
    await run(next.url('postgres'), 'SELECT pg_promote(wait => true)')
    const promoted = '5: s1 primary: is the primary now, though the file lists it as a replica'
    const down = await check(text)
    expect(briefly(down, 'all')).toContain(promoted)
    expect(briefly(down).map((error) => error.replace(/: connect .*/, ''))).toEqual([
      '5: s1 replica: could not connect',
    ])
    const again = await PostgresServer.createReplica(next, { dir: join(dir, 'again') })
    servers.push(again)
    await again.start()
    const exchanged = await check(text.replace(old.url('postgres'), again.url('postgres')))
    expect(briefly(exchanged, 'all')).toContain(promoted)
    expect(briefly(exchanged)).toEqual([])
  })
})

it('gives up on a server that accepts connections and never answers', async () => {
  const silent = createServer().listen(0, '127.0.0.1')
  await once(silent, 'listening')
  try {
    const address = silent.address()
    const port = typeof address === 'object' ? address?.port : undefined
    const report = await check(fileFor([`postgres://app:x@127.0.0.1:${port}/app`]))
    expect(briefly(report)).toEqual(['5: s1 primary: could not connect: no answer within 3000 ms'])
  } finally {
    silent.close()
  }
})

it('shows people one line per finding and a count at the end', async () => {
  const file = join(dir, 'people.yaml')
  await writeFile(file, 'databases: { app: { shards: [], pol: {} } }')
  let output = ''
  const code = await checkCommand(file, { json: false }, (written) => {
    output += written
  })
  expect(code).toBe(1)
  expect(output.replaceAll(file, 'f')).toMatch(
    /error +f:1:21 +databases\.app\.shards: needs at least one entry\nerror +f:1:33 +databases\.app\.pol: unknown setting "pol"; did you mean "pool"\?\n2 errors, 0 warnings, /,
  )
})

it('says so when there is no file', async () => {
  const report: string[] = []
  const code = await checkCommand(join(dir, 'none.yaml'), { json: false }, (written) => {
    report.push(written)
  })
  expect(code).toBe(1)
  expect(report.join('')).toContain('ENOENT')
})
