// The cluster as `npm run demo` starts it: primaries, replicas that follow, the demo's role and
// database.
import { access, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { createLog } from '../../core/log.ts'
import { cacheDirectory } from '../../demo/cache-dir.ts'
import { demoUrl, startCluster, type Cluster } from '../../demo/cluster.ts'
import { processIdentity, waitUntil } from '../../demo/process.ts'
import { withClient } from '../../demo/sql.ts'
import { installationOf } from '../support/postgres-installation.ts'

const log = createLog('warn')

async function start(version: number, shards: number, dir: string | null): Promise<Cluster> {
  const installation = await installationOf(version)
  const begin = performance.now()
  const cluster = await startCluster({ shards, replicas: 1, installation, dir, log })
  const servers = shards * 2
  console.log(
    `PostgreSQL ${version}: ${servers} servers in ${Math.round(performance.now() - begin)} ms`,
  )
  return cluster
}

async function queryOne(url: string, sql: string): Promise<unknown> {
  return withClient(url, async (client) => {
    const { rows } = await client.query<unknown[]>({ text: sql, rowMode: 'array' })
    return rows[0]?.[0]
  })
}

describe.each(inject('servers').map(({ version }) => version))(
  'a cluster of PostgreSQL %i',
  (version) => {
    let cluster: Cluster
    beforeAll(async () => {
      cluster = await start(version, 2, null)
    })
    afterAll(() => cluster.stop())

    it('has the shards that were asked for, each with its replica', () => {
      expect(cluster.shards.map(({ id, replicas }) => [id, replicas.length])).toEqual([
        ['s1', 1],
        ['s2', 1],
      ])
      expect(cluster.fresh).toBe(true)
    })

    it.each([0, 1])('shows on the replica what shard %i was told', async (index) => {
      const shard = cluster.shards[index]
      const [replica] = shard?.replicas ?? []
      if (shard === undefined || replica === undefined) throw new Error('no such shard')
      await queryOne(demoUrl(shard.primary), `CREATE TABLE seen AS SELECT ${index + 40} AS n`)
      // The table itself has to arrive first.
      const seen = () => queryOne(demoUrl(replica), 'TABLE seen').catch(() => null)
      const arrived = async () => (await seen()) === index + 40
      expect(await waitUntil(arrived, 5000)).toBe(true)
      const write = queryOne(demoUrl(replica), 'CREATE TABLE refused ()')
      await expect(write).rejects.toThrow('read-only transaction')
    })

    it('lets the demo role do what the proxy does on a shard, and is no superuser', async () => {
      const [shard] = cluster.shards
      if (shard === undefined) throw new Error('no shard')
      await withClient(demoUrl(shard.primary), async (client) => {
        await client.query('CREATE SCHEMA ringfence')
        await client.query('LISTEN ringfence_topology')
        await client.query("BEGIN; CREATE TABLE t (); PREPARE TRANSACTION 'ringfence:1'")
        expect((await client.query('SELECT gid FROM pg_prepared_xacts')).rows).toEqual([
          { gid: 'ringfence:1' },
        ])
        await client.query("COMMIT PREPARED 'ringfence:1'")
        const own = await client.query('SELECT rolsuper FROM pg_roles WHERE rolname = current_user')
        expect(own.rows).toEqual([{ rolsuper: false }])
      })
    })

    it.each([
      'wal_level=logical',
      'max_prepared_transactions=100',
      'password_encryption=scram-sha-256',
    ])('runs with %s', async (setting) => {
      const [name, value] = setting.split('=')
      for (const { primary, replicas } of cluster.shards) {
        for (const server of [primary, ...replicas]) {
          expect(await queryOne(server.url(), `SHOW ${name}`)).toBe(value)
        }
      }
    })

    it('lets nobody in without the password', async () => {
      const port = cluster.shards[0]?.primary.port
      const attempt = queryOne(`postgres://postgres:wrong@127.0.0.1:${port}/postgres`, 'SELECT 1')
      await expect(attempt).rejects.toThrow('password authentication failed')
    })
  },
)

describe('a cluster in a temporary directory', () => {
  it('leaves no process and no file behind', async () => {
    const [version = 18] = inject('servers').map((servers) => servers.version)
    const cluster = await start(version, 1, null)
    const servers = cluster.shards.flatMap(({ primary, replicas }) => [primary, ...replicas])
    const pids = [...servers.map(({ pid }) => pid ?? 0), cluster.watchdogPid]
    expect(pids.map(processIdentity)).not.toContain(null)
    const begin = performance.now()
    await cluster.stop()
    console.log(`stopped in ${Math.round(performance.now() - begin)} ms`)
    const gone = () => pids.every((pid) => processIdentity(pid) === null)
    expect(await waitUntil(gone, 2000)).toBe(true)
    await expect(access(cluster.dir)).rejects.toThrow('ENOENT')
  })
})

describe('a cluster in a directory that is kept', () => {
  let dir: string
  const [version = 18] = inject('servers').map((servers) => servers.version)
  beforeAll(async () => {
    dir = await mkdtemp(join(await cacheDirectory(), 'test-'))
    await rm(dir, { recursive: true })
  })
  afterAll(() => rm(dir, { recursive: true, force: true }))

  it('has its rows and ports after a stop and after a crash, and grows a replica', async () => {
    const first = await start(version, 1, dir)
    const port = first.shards[0]?.primary.port
    await queryOne(
      `postgres://demo:demo@127.0.0.1:${port}/app`,
      'CREATE TABLE kept AS SELECT 1 AS n',
    )
    await first.stop()
    const second = await start(version, 1, dir)
    const url = `postgres://demo:demo@127.0.0.1:${port}/app`
    expect(second.fresh).toBe(false)
    expect(second.shards[0]?.primary.port).toBe(port)
    expect(await queryOne(url, 'UPDATE kept SET n = 2 RETURNING n')).toBe(2)
    // The primary dies: stop() has only the replica to stop, and the files are those of a crash.
    await second.shards[0]?.primary.kill()
    await second.stop()
    const third = await startCluster({
      shards: 1,
      replicas: 2,
      installation: await installationOf(version),
      dir,
      log,
    })
    const replicas = third.shards[0]?.replicas ?? []
    expect(replicas).toHaveLength(2)
    for (const server of replicas) expect(await queryOne(demoUrl(server), 'TABLE kept')).toBe(2)
    await third.stop()
    expect((await readdir(dir)).sort()).toEqual(['s1-primary', 's1-replica-1', 's1-replica-2'])
  })

  it('is refused while another process uses it', async () => {
    const owner = processIdentity(process.pid) ?? ''
    await writeFile(join(dir, 'owner.pid'), owner)
    await expect(start(version, 1, dir)).rejects.toThrow(`is in use by process ${process.pid}`)
    await rm(join(dir, 'owner.pid'))
  })

  it('is refused when it was made with more shards', async () => {
    const made = await start(version, 2, dir)
    await made.stop()
    await expect(start(version, 1, dir)).rejects.toThrow('was made with more than 1 shards')
  })
})
