// docs/adopt.md: one PostgreSQL becomes four shards by the five commands of the page, while clients write and read.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ClientConfig } from 'pg'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import { Program, runProgram } from '../cli/program.ts'
import { askServer, connected, present } from '../support/clients.ts'
import { createDatabases, type TestDatabases } from '../support/databases.ts'
import { readPage } from './markdown.ts'

let databases: TestDatabases
let more: TestDatabases
let dir = ''
let proxy: Program | null = null
beforeEach(async () => {
  const servers = present(inject('servers')[0])
  databases = await createDatabases(servers, 'adopt')
  more = await createDatabases({ ...servers, shards: servers.shards.slice(1, 2) }, 'adopt')
  dir = await mkdtemp(join(tmpdir(), 'rf-adopt-'))
})
afterEach(async () => {
  proxy?.signal('SIGKILL')
  await databases.drop()
  await more.drop()
  await rm(dir, { recursive: true, force: true })
})

const tenants = 300
const schema = `
  CREATE TABLE products (id int PRIMARY KEY, title text);
  CREATE TABLE orders (tenant_id bigint, id bigint, product int REFERENCES products (id),
    PRIMARY KEY (tenant_id, id));
  INSERT INTO products SELECT n, 'product ' || n FROM generate_series(1, 20) n;
  INSERT INTO orders SELECT n % ${tenants} + 1, n, n % 20 + 1 FROM generate_series(1, 6000) n`

/** The commands of the page's second section, one line each. */
function fiveCommands(): readonly string[] {
  const section = readPage('docs/adopt.md')
    .text.split('## The five commands')[1]
    ?.split('## And back')[0]
  const blocks = [...(section ?? '').matchAll(/```sh\n([^`]*)```/g)].map(([, block]) => block ?? '')
  return blocks.flatMap((block) => block.trim().split('\n'))
}

describe('from one PostgreSQL to four shards', () => {
  it('takes five commands, and no client notices', async () => {
    const commands = fiveCommands()
    expect(commands).toHaveLength(5)
    const [imports, serves, reloads, adds, runs] = commands.map((line) => line.split(' '))
    const file = join(dir, 'ringfence.yaml')
    const first = present(databases.urls[0])
    const before = await connected({ connectionString: first })
    await before.query(schema)
    await before.end()
    // As on the page, with this machine's addresses.
    const here = (args: readonly string[] | undefined) =>
      (args ?? []).slice(1).map((word) => {
        if (word.startsWith('postgres://')) return first
        return word === 'ringfence.yaml' ? file : word
      })
    const env = { RINGFENCE_CONFIG: file }
    expect(await runProgram(here(imports))).toMatchObject({ code: 0 })
    const written = await readFile(file, 'utf8')
    await writeFile(
      file,
      written.replace('port: 6432 }', 'port: 0 }\nhttp: { port: 0 }\nlog: { level: info }'),
    )
    proxy = new Program(here(serves))
    const [line] = await proxy.printed('stderr', /^.*"msg":"ready".*$/m)
    const { port }: { port: number } = JSON.parse(line)
    const { username: user, password } = new URL(first)
    const place = { host: '127.0.0.1', port, user, password, database: databases.name }

    const traffic = startTraffic(place)
    const text = await readFile(file, 'utf8')
    const shards = [...databases.urls.slice(1), ...more.urls].map(
      (url, at) => `      - { id: s${at + 2}, primary: "${url}" }\n`,
    )
    await writeFile(file, text.replace('    sharding:', `${shards.join('')}    sharding:`))
    const admin = await connected({ ...place, database: 'ringfence' })
    await admin.query(present(reloads?.at(-1)))
    await admin.end()
    expect(await runProgram(here(adds), env)).toMatchObject({ code: 0 })
    expect(await runProgram(here(runs), env)).toMatchObject({ code: 0 })
    const { written: rows, errors } = await traffic.stop()
    expect(errors).toEqual([])

    const owners = await askServer(first, 'SELECT DISTINCT shard FROM ringfence.vnode ORDER BY 1')
    expect(owners).toEqual(['s1', 's2', 's3', 's4'])
    const urls = [...databases.urls, ...more.urls]
    const counts = await Promise.all(
      urls.map((url) => askServer(url, 'SELECT count(*)::int FROM orders')),
    )
    const all = counts.flat().map(Number)
    expect(all.every((count) => count > 500)).toBe(true)
    expect(all.reduce((sum, count) => sum + count, 0)).toBe(6_000 + rows)
    const doctor = await runProgram(['rebalance', 'doctor'], env)
    expect(doctor).toMatchObject({ code: 0 })
  }, 240_000)
})

/** Clients that write and read by key, and over all shards, until they are stopped. */
function startTraffic(place: ClientConfig) {
  const going = { on: true }
  const errors: string[] = []
  let written = 0
  const run = async (at: number) => {
    const client = await connected(place)
    for (let n = 0; going.on; n += 1) {
      const tenant = 1 + ((n * 11 + at) % tenants)
      try {
        await client.query('INSERT INTO orders VALUES ($1, $2, 1)', [tenant, 10_000 + n * 2 + at])
        written += 1
        const { rows } = await client.query('SELECT id FROM orders WHERE tenant_id = $1', [tenant])
        if (rows.length < 20) errors.push(`tenant ${tenant} has ${rows.length} rows`)
        if (n % 50 === 0) {
          const before = written
          const all = await client.query('SELECT id FROM orders')
          if (all.rows.length < 6_000 + before - 1) errors.push(`${all.rows.length} rows in all`)
        }
      } catch (error) {
        errors.push(String(error))
      }
    }
    await client.end()
  }
  const running = [run(0), run(1)]
  return {
    stop: async () => {
      going.on = false
      await Promise.all(running)
      return { written, errors }
    },
  }
}
