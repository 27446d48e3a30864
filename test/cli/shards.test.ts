// Shards that join and leave a cluster at work, with real proxies and clients that write all the
// time.
import { readFile, writeFile } from 'node:fs/promises'
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest'
import { makeGid } from '../../catalog/gid.ts'
import { loadConfig } from '../../config/load.ts'
import { driftFrom } from '../../cli/schema-drift.ts'
import { probeServer } from '../../cli/server-probe.ts'
import { shardId } from '../../core/ids.ts'
import { askServer, connected, pause, present, until } from '../support/clients.ts'
import { type ConfigFile, createConfig } from './config-file.ts'
import { Program, runProgram } from './program.ts'

// Each test starts several processes.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

let file: ConfigFile
let ports: readonly number[] = []
const proxies: Program[] = []
const withoutS3 = (text: string) => text.replace(/^ +- \{ id: s3,.*\n/m, '')

beforeAll(async () => {
  file = await createConfig(present(inject('servers')[0]), 3)
  await writeFile(file.path, withoutS3(file.text))
  const { code, stderr } = await runProgram(['init', '--config', file.path])
  if (code !== 0) throw new Error(stderr)
  ports = await Promise.all([serve(), serve()])
  const one = await client(ports[0])
  for (const sql of setup) await one.query(sql)
  await one.end()
})
afterAll(async () => {
  for (const proxy of proxies) proxy.signal('SIGKILL')
  await file.remove()
})

const setup = [
  'CREATE TABLE products (id serial PRIMARY KEY, title text NOT NULL, made timestamptz DEFAULT now())',
  `CREATE TABLE orders (tenant_id bigint NOT NULL, id bigserial, product integer REFERENCES products,
     PRIMARY KEY (tenant_id, id))`,
  'CREATE INDEX ON orders (product)',
  'CREATE TABLE settings (name text PRIMARY KEY)',
  'CREATE VIEW titles AS SELECT id, title FROM products',
  `INSERT INTO products (title) VALUES ${Array.from({ length: 100 }, () => `('x')`).join(', ')}`,
]

async function serve(): Promise<number> {
  const program = new Program(['serve', '--config', file.path])
  proxies.push(program)
  const [line] = await program.printed('stderr', /^.*"msg":"ready".*$/m)
  const { port }: { port: number } = JSON.parse(line)
  return port
}

const client = (port = ports[0], database = 'app') =>
  connected({ host: '127.0.0.1', port, user: 'app', password: 'pencil', database })

const shard = (...args: readonly string[]) => runProgram(['shard', ...args, '--config', file.path])

async function reload(port: number | undefined): Promise<readonly string[]> {
  const admin = await client(port, 'ringfence')
  const notices: string[] = []
  admin.on('notice', ({ message }) => notices.push(message ?? ''))
  try {
    await admin.query('RELOAD')
  } finally {
    await admin.end()
  }
  return notices
}

const gid = makeGid(shardId('s2'), 'of this test', shardId('s1'))

/** What may commit yet keeps a shard from joining. */
async function prepareSomething(home: string): Promise<void> {
  const one = await connected({ connectionString: home })
  await one.query('BEGIN; CREATE TABLE unfinished ()')
  await one.query(`PREPARE TRANSACTION '${gid}'`)
  await one.end()
}

type Done = { products: number; orders: number; schema: number }

/** Writes and reads without a pause until it is told to stop. */
async function work(one: Client, number: number, done: Done, stop: AbortSignal) {
  for (let turn = 0; !stop.aborted; turn += 1) {
    const title = `${number}/${turn}`
    await one.query('INSERT INTO products (title) VALUES ($1)', [title])
    done.products += 1
    const { rows } = await one.query('SELECT id FROM titles WHERE title = $1', [title])
    expect(rows).toHaveLength(1)
    await one.query('INSERT INTO orders (tenant_id, product) VALUES ($1, 1)', [turn % 50])
    done.orders += 1
    if (turn % 20 === 10 && number === 0) {
      await one.query(`CREATE TABLE extra_${turn} (tenant_id bigint PRIMARY KEY, v text)`)
      done.schema += 1
    }
  }
}

describe('a shard', () => {
  it('is refused while it is not in the file', async () => {
    const { code, stderr } = await shard('add', 's3')
    expect(code).toBe(1)
    expect(stderr).toContain('has no shard "s3" in the file; it has s1, s2')
  })

  it('does not join while a proxy does not know it, and nothing stays held or left behind', async () => {
    await writeFile(file.path, file.text)
    const notices = await reload(ports[0])
    expect(notices).toEqual(['database "app" has shard s3 now'])
    const { code, stdout, stderr } = await shard('add', 's3', '--timeout', '8s')
    expect(stderr).toMatch(
      /^ringfence: proxy ".*" at 127.0.0.1:0 has not taken up epoch \d+: reload its configuration if that/,
    )
    expect(code).toBe(1)
    expect(stdout).toContain('is out of the catalog again')
    const [known, unknown] = await Promise.all(ports.map((port) => client(port)))
    for (const one of [present(known), present(unknown)]) {
      await one.query(`INSERT INTO products (title) VALUES ('after')`)
      await one.end()
    }
    const [, , third] = file.urls
    expect(
      await askServer(present(third), `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`),
    ).toEqual(['0'])
  })

  it('prints its steps, or all that is in the way, without changing anything', async () => {
    const dry = await shard('add', 's3', '--dry-run')
    expect(dry).toMatchObject({ code: 0, stderr: '' })
    expect(dry.stdout).toMatch(/copy reference table public\.products/)
    const third = present(file.urls[2])
    await askServer(third, 'CREATE TABLE orders (tenant_id text)')
    await askServer(third, 'CREATE TABLE more AS SELECT 1 AS a')
    const refused = await shard('add', 's3', '--json')
    expect(refused.code).toBe(1)
    const { ok, problems }: { ok: boolean; problems: string[] } = JSON.parse(refused.stdout)
    expect(ok).toBe(false)
    expect(problems).toEqual([
      'table public.orders on "s3" differs from the home shard\'s: make them the same, or remove it there',
      'table public.more is on "s3" but not on the home shard: remove it there',
      'table public.more on "s3" has rows: empty it, or name another database',
    ])
    await askServer(third, 'DROP TABLE orders, more')
  })

  it('is not registered by init: it would have neither schema nor reference tables', async () => {
    const { code, stdout } = await runProgram(['init', '--config', file.path])
    expect(code).toBe(0)
    expect(stdout).toContain('"s3" does not belong to the cluster yet: ringfence shard add s3')
    const { shards } = JSON.parse((await shard('list', '--json')).stdout)
    expect(shards).toMatchObject([{}, {}, { id: 's3', state: 'not joined', ordinal: null }])
  })

  it('joins while clients write through two proxies without a single error', async () => {
    expect(await reload(ports[1])).toEqual(['database "app" has shard s3 now'])
    const stop = new AbortController()
    const clients = await Promise.all([0, 1, 2, 3].map((at) => client(ports[at % 2])))
    const done = clients.map((): Done => ({ products: 0, orders: 0, schema: 0 }))
    const working = clients.map((one, number) =>
      work(one, number, present(done[number]), stop.signal),
    )
    const busy = (times: number) => () => done.every(({ orders }) => orders >= times)
    await until('all have begun', busy(5), 60_000)
    const added = await shard('add', 's3')
    expect(added).toMatchObject({ code: 0, stderr: '' })
    expect(added.stdout).toMatch(/done: what goes to every shard was held for \d+\.\d\d s/)
    const [{ orders: then }] = [present(done[0])]
    await until('all go on', busy(then + 10), 60_000)
    stop.abort()
    await Promise.all(working)
    await Promise.all(clients.map((one) => one.end()))
    const products = done.reduce((sum, each) => sum + each.products, 0)
    const copies = await Promise.all(
      file.urls.map((url) =>
        askServer(
          url,
          `SELECT count(*) || ' ' || sum(hashtextextended(p::text, 0)) FROM products p`,
        ),
      ),
    )
    expect(copies[0]?.[0]).toMatch(new RegExp(`^${products + 102} `))
    expect(copies[1]).toEqual(copies[0])
    expect(copies[2]).toEqual(copies[0])
    const tables = await Promise.all(
      file.urls.map((url) =>
        askServer(url, `SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`),
      ),
    )
    expect(tables[2]).toEqual(tables[0])
  })

  it('has the schema of the home shard as check sees it, and sequences of its own', async () => {
    const loaded = loadConfig(await readFile(file.path, 'utf8'), { file: file.path, env: {} })
    if (!loaded.ok) throw new Error('the file is sound')
    const [database] = loaded.config.databases
    const sharding = present(database?.sharding ?? undefined)
    const [home, , third] = await Promise.all(
      present(database).shards.map(async ({ id, primary }) => {
        const login = { user: primary.user ?? '', password: primary.password }
        const tls = loaded.config.tls.server
        const asked = { address: primary, login, tls, catalog: null, schema: true }
        const probed = await probeServer({ ...asked, deadlineMs: 5_000 })
        if (probed.kind !== 'answered') throw new Error(probed.kind)
        return { ...probed, id }
      }),
    )
    expect(driftFrom(present(home), present(third), sharding)).toEqual([])
    const [next] = await askServer(present(file.urls[2]), `SELECT nextval('orders_id_seq')`)
    const [used] = await askServer(present(file.urls[0]), 'SELECT last_value FROM orders_id_seq')
    expect(Number(next) % 1024).toBe(3)
    expect(Number(next)).toBeGreaterThan(Number(used) - 1024 * 1024)
  })

  it('joins once', async () => {
    const again = await shard('add', 's3')
    expect(again).toMatchObject({ code: 0, stderr: '' })
    expect(again.stdout).toContain('shard "s3" has joined already')
  })

  it('is listed with what it owns', async () => {
    const { code, stdout } = await shard('list', '--json')
    expect(code).toBe(0)
    const { shards } = JSON.parse(stdout)
    expect(shards).toMatchObject([
      { id: 's1', ordinal: 0, state: 'active' },
      { id: 's2', ordinal: 1, state: 'active' },
      { id: 's3', ordinal: 2, state: 'active', vnodes: 0, share: 0, pins: 0, moves: [] },
    ])
    const table = await shard('list')
    expect(table.stdout).toMatch(/^s3 .* active +1 +0 +0\.0 % +0 +- +\d+\.\d MB$/m)
  })

  it('drains and does not; nothing that owns virtual nodes is removed', async () => {
    expect((await shard('drain', 's2', '--dry-run')).stdout).toContain('would mark shard "s2"')
    const drained = await shard('drain', 's2')
    expect(drained.stdout).toContain('go on with: ringfence rebalance plan')
    expect((await shard('drain', 's2')).stdout).toContain('is draining already')
    const kept = await shard('remove', 's2')
    expect(kept.code).toBe(1)
    expect(kept.stderr).toMatch(/^ringfence: shard "s2" owns \d+ virtual nodes\nhint: Move every/)
    expect((await shard('remove', 's1')).stderr).toContain('is the home shard')
    expect((await shard('drain', 's2', '--undo')).stdout).toContain('is active: plans use it again')
  })

  it('leaves, and joins again with the number and the tables of before', async () => {
    const one = await client()
    const removed = await shard('remove', 's3')
    expect(removed).toMatchObject({ code: 0, stderr: '' })
    await one.query(`INSERT INTO products (title) VALUES ('without s3')`)
    const back = await shard('add', 's3', '--json')
    expect(back.stderr).toBe('')
    expect(JSON.parse(back.stdout)).toMatchObject({ ok: true, ordinal: 2 })
    await one.query(`INSERT INTO products (title) VALUES ('with s3')`)
    const counts = await Promise.all(
      file.urls.map((url) => askServer(url, 'SELECT count(*) FROM products')),
    )
    expect(counts[2]).toEqual(counts[0])
    await one.end()
  })

  it('that a killed run has left joining is taken up by the same command, or taken out', async () => {
    const one = await client()
    const home = present(file.urls[0])
    expect((await shard('remove', 's3')).code).toBe(0)
    await prepareSomething(home)
    const program = new Program(['shard', 'add', 's3', '--config', file.path])
    await program.printed('stdout', /waiting for 1 prepared transactions/)
    program.signal('SIGKILL')
    await program.ended()
    await askServer(home, `ROLLBACK PREPARED '${gid}'`)
    expect((await shard('list')).stdout).toMatch(/^s3 .* joining /m)
    let answered = false
    const held = one.query(`INSERT INTO products (title) VALUES ('held')`).then(() => {
      answered = true
    })
    await pause(200)
    expect(answered).toBe(false)
    const taken = await shard('add', 's3')
    expect(taken).toMatchObject({ code: 0, stderr: '' })
    await held
    await one.end()
    const counts = await Promise.all(
      file.urls.map((url) => askServer(url, 'SELECT count(*) FROM products')),
    )
    expect(counts[2]).toEqual(counts[0])
  })

  it('does not stay joining when the terminal goes away: what was held goes on', async () => {
    await shard('remove', 's3')
    const home = present(file.urls[0])
    await prepareSomething(home)
    const program = new Program(['shard', 'add', 's3', '--config', file.path])
    await program.printed('stdout', /waiting for 1 prepared/)
    program.signal('SIGHUP')
    const { code, stdout, stderr } = await program.ended()
    await askServer(home, `ROLLBACK PREPARED '${gid}'`)
    expect({ code, stderr }).toEqual({ code: 1, stderr: 'ringfence: interrupted\n' })
    expect(stdout).toContain('is out of the catalog again')
    expect(await askServer(home, `SELECT id FROM ringfence.shard WHERE id = 's3'`)).toEqual([])
    expect((await shard('add', 's3')).code).toBe(0)
  })

  it('does not join when it takes too long: what was held goes on', async () => {
    expect((await shard('remove', 's3')).code).toBe(0)
    const home = present(file.urls[0])
    await prepareSomething(home)
    const { code, stderr, stdout } = await shard('add', 's3', '--timeout', '3s')
    await askServer(home, `ROLLBACK PREPARED '${gid}'`)
    expect(code).toBe(1)
    expect(stderr).toMatch(/^ringfence: it took longer than 3 s \(--timeout\)\nhint: .*\n$/)
    expect(stdout).toContain('is out of the catalog again')
    const one = await client()
    await one.query(`INSERT INTO products (title) VALUES ('goes on')`)
    await one.end()
  })
})
