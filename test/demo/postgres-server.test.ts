// One server: starting, stopping, crashing, and replicas made of it.
import { once } from 'node:events'
import { mkdir } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { Installation } from '../../demo/installation.ts'
import { isFree } from '../../demo/ports.ts'
import { PostgresServer } from '../../demo/postgres-server.ts'
import { childrenOf, processIdentity, waitUntil } from '../../demo/process.ts'
import { openRun, type Run } from '../../demo/run.ts'
import { withClient } from '../../demo/sql.ts'
import { installationOf } from '../support/postgres-installation.ts'

describe.each(inject('servers').map(({ version }) => version))(
  'a server of PostgreSQL %i',
  (version) => {
    let run: Run
    let installation: Installation
    let server: PostgresServer
    beforeAll(async () => {
      installation = await installationOf(version)
      run = await openRun(null)
      server = await PostgresServer.create({ installation, dir: join(run.dir, 'p') })
      await server.start()
      await withClient(server.url(), (client) => client.query('CREATE TABLE t (n int)'))
    })
    afterAll(async () => {
      await server.stop('immediate')
      await run.end()
    })

    const insert = (n: number) =>
      withClient(server.url(), (client) => client.query('INSERT INTO t VALUES ($1)', [n]))
    const rows = (of: PostgresServer) =>
      withClient(of.url(), async (client) => {
        const answer = await client.query<{ n: number }>('SELECT n FROM t ORDER BY n')
        return answer.rows.map(({ n }) => n)
      })

    it('is of the version that was asked for', async () => {
      const answer = await withClient(server.url(), (client) =>
        client.query('SHOW server_version_num'),
      )
      expect(answer.rows).toEqual([
        { server_version_num: expect.stringMatching(new RegExp(`^${version}\\d{4}$`)) },
      ])
    })

    it('keeps what was committed when it is killed, and its port', async () => {
      await insert(1)
      const { pid, port } = server
      const family = [pid ?? 0, ...childrenOf(pid ?? 0)]
      expect(family.length).toBeGreaterThan(3)
      await server.kill()
      expect(server.running).toBe(false)
      expect(family.map(processIdentity)).toEqual(family.map(() => null))
      await server.start()
      expect(server.port).toBe(port)
      expect(server.pid).not.toBe(pid)
      expect(await rows(server)).toEqual([1])
    })

    it('ends open sessions when it restarts', async () => {
      const session = withClient(server.url(), (client) => client.query('SELECT pg_sleep(60)'))
      const ending = session.then(
        () => 'slept well',
        (error: Error) => error.message,
      )
      const sleeping = () =>
        withClient(server.url(), async (client) => {
          const sql = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
          return (await client.query(sql)).rowCount === 1
        })
      expect(await waitUntil(sleeping, 5000)).toBe(true)
      await server.restart()
      expect(await ending).toMatch(/terminating connection/)
      expect(await rows(server)).toEqual([1])
    })

    it('gives a replica while it runs, which follows it across restarts of both', async () => {
      const replica = await PostgresServer.createReplica(server, { dir: join(run.dir, 'r') })
      await replica.start()
      await insert(2)
      const follows = async (expected: number[]) =>
        waitUntil(
          async () => JSON.stringify(await rows(replica)) === JSON.stringify(expected),
          5000,
        )
      expect(await follows([1, 2])).toBe(true)
      await replica.kill()
      await server.restart()
      await insert(3)
      await replica.start()
      expect(await follows([1, 2, 3])).toBe(true)
      await replica.stop()
      expect(replica.running).toBe(false)
    })

    it('frees its port when it stops', async () => {
      await server.stop()
      expect(await isFree(server.port)).toBe(true)
      await server.start()
      expect(await isFree(server.port)).toBe(false)
    })

    it('says why it did not start', async () => {
      const dir = join(run.dir, 'wrong')
      const wrong = await PostgresServer.create({
        installation,
        dir,
        settings: { wal_level: 'sideways' },
      })
      await expect(wrong.start()).rejects.toThrow('invalid value for parameter "wal_level"')
      expect(wrong.running).toBe(false)
    })

    it('takes another port when somebody else took its own before the first start', async () => {
      const moved = await PostgresServer.create({ installation, dir: join(run.dir, 'moved') })
      const { port } = moved
      const squatter = createServer().listen(port, '127.0.0.1')
      await once(squatter, 'listening')
      await moved.start()
      squatter.close()
      expect(moved.port).not.toBe(port)
      await withClient(moved.url(), (client) => client.query('SELECT 1'))
      await moved.stop('immediate')
    })

    it('does not start on another port than the one asked for', async () => {
      const { port } = server
      const dir = join(run.dir, 'asked')
      const asked = await PostgresServer.create({ installation, dir, port })
      await expect(asked.start()).rejects.toThrow('in use')
    })

    it('does not open a directory of another major version', async () => {
      const other = { ...installation, version: version + 1 }
      const opening = PostgresServer.create({ installation: other, dir: server.dir })
      await expect(opening).rejects.toThrow(`belongs to PostgreSQL ${version}, not ${version + 1}`)
    })

    it('goes without a Unix socket where the path is too long for one', async () => {
      const parent = join(run.dir, 'long'.repeat(20))
      await mkdir(parent)
      const far = await PostgresServer.create({ installation, dir: join(parent, 'p') })
      expect(far.socketDir).toBe(null)
      await far.start()
      const answer = await withClient(far.url(), (client) =>
        client.query('SHOW unix_socket_directories'),
      )
      expect(answer.rows).toEqual([{ unix_socket_directories: '' }])
      await far.stop('immediate')
    })
  },
)
