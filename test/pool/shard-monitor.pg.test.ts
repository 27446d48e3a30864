// The monitor and real servers that keep their roles: who is who, how far, how often it looks, and
// what it makes of servers that crash, fall silent or belong to somebody else.
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import { type Clock, systemClock } from '../../core/clock.ts'
import { PostgresServer } from '../../demo/postgres-server.ts'
import { childrenOf, commandLine } from '../../demo/process.ts'
import { openRun, type Run } from '../../demo/run.ts'
import { withClient } from '../../demo/sql.ts'
import { present, until } from '../support/clients.ts'
import { installationOf } from '../support/postgres-installation.ts'
import {
  addRoles,
  ask,
  closeMonitors,
  lineTo,
  monitorOf,
  plain,
  portOf,
  portsOf,
  strangerIn,
} from './monitors.ts'

afterEach(closeMonitors)

describe.each(inject('servers').map(({ version }) => version))(
  'the monitor of servers of PostgreSQL %i',
  (version) => {
    let run: Run
    let primary: PostgresServer
    let replica: PostgresServer
    let other: PostgresServer
    const ports = () => [primary.port, replica.port, other.port]

    beforeAll(async () => {
      const installation = await installationOf(version)
      run = await openRun(null)
      primary = await PostgresServer.create({ installation, dir: join(run.dir, 'p') })
      replica = await PostgresServer.createReplica(primary, { dir: join(run.dir, 'r') })
      other = await PostgresServer.createReplica(primary, { dir: join(run.dir, 'o') })
      await primary.start()
      await Promise.all([replica.start(), other.start()])
      await addRoles(primary)
      await ask(primary, 'CREATE TABLE t (n int)')
      for (const server of [replica, other]) {
        const sql = "SELECT count(*)::text FROM pg_roles WHERE rolname = 'watcher'"
        await until('it has the roles', async () => (await ask(server, sql)) === '1')
      }
    })
    afterAll(async () => {
      await Promise.all([primary, replica, other].map((server) => server.stop('immediate')))
      await run.end()
    })

    it('sees who is who as a role that may only log in', async () => {
      const monitor = monitorOf(ports(), { login: plain })
      await monitor.start()
      expect(portOf(monitor.primary)).toBe(primary.port)
      expect(portsOf(monitor.replicas)).toEqual([replica.port, other.port])
      expect(monitor.timeline).toBe(1)
      const started = await ask(
        primary,
        'SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint::text',
      )
      expect(monitor.primary?.status).toMatchObject({
        kind: 'up',
        sample: {
          role: 'primary',
          timeline: 1,
          systemId: await ask(primary, 'SELECT system_identifier::text FROM pg_control_system()'),
          incarnation: expect.stringMatching(new RegExp(`^${started}\\.\\d+$`)),
        },
      })
    })

    it('sees who is who as a role whose transactions are serializable', async () => {
      await ask(primary, "ALTER ROLE plain SET default_transaction_isolation = 'serializable'")
      const sql =
        "SELECT count(*)::text FROM pg_roles WHERE rolname = 'plain' AND rolconfig <> '{}'"
      await until('the replica knows', async () => (await ask(replica, sql)) === '1')
      const monitor = monitorOf(ports(), { login: plain })
      await monitor.start()
      expect(monitor.hosts.map(({ status }) => status.kind)).toEqual(['up', 'up', 'up'])
      await ask(primary, 'ALTER ROLE plain RESET default_transaction_isolation')
    })

    it('has no position after a read until it has asked for one since', async () => {
      const monitor = monitorOf(ports())
      await monitor.start()
      const host = present(monitor.replicas[0])
      await ask(primary, 'INSERT INTO t VALUES (1)')
      const read = BigInt(await ask(replica, "SELECT pg_last_wal_replay_lsn() - '0/0'"))
      const readAtMs = systemClock.nowMs()
      expect(host.positionAfter(readAtMs)).toBe(null)
      let calls = 0
      const stop = monitor.watch(() => (calls += 1))
      await until('a sample', () => host.positionAfter(readAtMs) !== null)
      stop()
      expect(calls).toBeGreaterThan(0)
      const position = present(host.positionAfter(readAtMs) ?? undefined)
      expect(position.lsn >= read).toBe(true)
      expect(position).toMatchObject({ timeline: 1, systemId: host.newest?.systemId })
    })

    it('tells a replica that does not replay its lag in bytes and time, until it goes on', async () => {
      const monitor = monitorOf(ports())
      await monitor.start()
      const host = present(monitor.replicas[0])
      const stop = monitor.watch(() => {})
      await until('no lag at first', () => monitor.lag(host).bytes === 0n)
      await ask(replica, 'SELECT pg_wal_replay_pause()')
      await ask(primary, 'INSERT INTO t SELECT generate_series(1, 1000)')
      await until('it is behind', () => monitor.lag(host).bytes > 50_000n)
      await until('for longer and longer', () => monitor.lag(host).ms > 200)
      expect(portsOf(monitor.replicas)).toContain(replica.port)
      await ask(replica, 'SELECT pg_wal_replay_resume()')
      await until('it has caught up', () => monitor.lag(host).bytes === 0n)
      stop()
    })

    it('samples more often while somebody waits for it, and less and less while nobody does', async () => {
      const monitor = monitorOf(ports())
      await monitor.start()
      const host = present(monitor.replicas[0])
      const gap = async () => {
        const before = present(host.newest ?? undefined)
        await until('another sample', () => host.newest !== before)
        return (host.newest?.askedAtMs ?? 0) - before.askedAtMs
      }
      await until('a long gap', async () => (await gap()) > 150)
      expect(await gap()).toBeGreaterThan(30)
      const stop = monitor.watch(() => {})
      // Without a watcher there are at least 40 ms between two samples.
      await until('a short gap', async () => (await gap()) < 30)
      stop()
      await until('a long gap again', async () => (await gap()) > 150)
    })

    it('ends a pause early when somebody begins to wait', async () => {
      // Under this clock a pause of the longest kind has no end of its own.
      const after: Clock['after'] = (delayMs, fire) =>
        delayMs > 250 ? { cancel: () => {} } : systemClock.after(delayMs, fire)
      const monitor = monitorOf(ports(), { clock: { ...systemClock, after } })
      await monitor.start()
      const askedAtMs = () => monitor.hosts.map(({ newest }) => newest?.askedAtMs ?? 0)
      await until('all of them rest', () =>
        askedAtMs().every((atMs) => systemClock.nowMs() - atMs > 600),
      )
      const restingSince = askedAtMs()
      const stop = monitor.watch(() => {})
      await until('all are asked', () =>
        askedAtMs().every((atMs, index) => atMs > (restingSince[index] ?? 0)),
      )
      stop()
      expect(monitor.hosts.map(({ trusted }) => trusted)).toEqual([true, true, true])
    })

    it('calls a replica another incarnation once one of its processes has crashed', async () => {
      const monitor = monitorOf(ports(), { login: plain })
      await monitor.start()
      const host = present(monitor.replicas[0])
      const before = present(host.newest ?? undefined)
      const ours = childrenOf(replica.pid ?? 0).filter((pid) => commandLine(pid).includes('plain'))
      process.kill(present(ours[0]), 'SIGKILL')
      await until('it is read from again', () => {
        return host.newest?.incarnation !== before.incarnation && monitor.replicas.includes(host)
      })
      const startOf = (incarnation = '') => incarnation.split('.')[0]
      expect(startOf(host.newest?.incarnation)).toBe(startOf(before.incarnation))
    })

    it('looks into a suspicion over a new connection, and has nobody read there meanwhile', async () => {
      const monitor = monitorOf(ports(), { login: plain })
      await monitor.start()
      const host = present(monitor.replicas[0])
      const before = present(host.newest ?? undefined)
      const sql = `SELECT coalesce(string_agg(pid::text, ' '), '') FROM pg_stat_activity
        WHERE usename = 'plain'`
      const first = await ask(replica, sql)
      monitor.suspect(host, 'connection reset')
      expect(portsOf(monitor.replicas)).toEqual([other.port])
      await until('it is trusted again', () => monitor.replicas.includes(host))
      expect(host.newest?.incarnation).toBe(before.incarnation)
      await until('by another connection alone', async () => {
        const now = await ask(replica, sql)
        return now !== first && /^\d+$/.test(now)
      })
    })

    it('leaves nothing behind when it is closed', async () => {
      const monitor = monitorOf(ports(), { login: plain })
      await monitor.start()
      await monitor.close()
      const newest = monitor.hosts.map((host) => host.newest)
      const sql = "SELECT count(*)::text FROM pg_stat_activity WHERE usename = 'plain'"
      await until('no connection', async () => (await ask(primary, sql)) === '0')
      expect(monitor.hosts.map((host) => host.newest)).toEqual(newest)
    })

    it('calls a server down that stops answering without a word, until it answers', async () => {
      const line = await lineTo(replica.port)
      const monitor = monitorOf([primary.port, line.port], { probeMs: 300 })
      await monitor.start()
      await until('it is a replica', () => monitor.replicas.length === 1)
      const host = present(monitor.replicas[0])
      line.cut()
      await until('it is down', () => host.status.kind === 'down')
      expect(host.status).toMatchObject({ reason: expect.stringContaining('no answer within') })
      expect(monitor.replicas).toEqual([])
      line.mend()
      await until('it is back', () => monitor.replicas.includes(host))
      await monitor.close()
      line.close()
    })

    it('starts although no server answers, and finds them later', async () => {
      const line = await lineTo(primary.port)
      line.cut()
      const monitor = monitorOf([line.port], { probeMs: 300 })
      await monitor.start()
      expect(monitor.primary).toBe(null)
      expect(monitor.hosts[0]?.status).toMatchObject({ kind: 'down' })
      line.mend()
      await until('there is a primary', () => portOf(monitor.primary) === line.port)
      await monitor.close()
      line.close()
    })

    it('repeats what a server says that does not let it in', async () => {
      const monitor = monitorOf([primary.port], { login: { ...plain, password: 'wrong' } })
      await monitor.start()
      expect(monitor.hosts[0]?.status).toMatchObject({
        kind: 'down',
        reason: 'password authentication failed for user "plain"',
      })
    })

    it('calls a server down that takes no new connections, though it still answers', async () => {
      const dir = join(run.dir, 'leaving')
      const leaving = await PostgresServer.createReplica(primary, { dir })
      await leaving.start()
      const monitor = monitorOf([primary.port, leaving.port])
      await monitor.start()
      const host = present(monitor.replicas[0])
      await withClient(leaving.url(), async (client) => {
        // A smart shutdown: open sessions go on, new ones are refused (57P03).
        process.kill(leaving.pid ?? 0, 'SIGTERM')
        await until('it refuses', () =>
          ask(leaving, 'SELECT 1').then(
            () => false,
            () => true,
          ),
        )
        await client.query('SELECT 1')
        expect(host.status.kind).toBe('up')
        monitor.suspect(host, 'a client was refused')
        await until('it is down', () => host.status.kind === 'down')
        expect(host.status).toMatchObject({ reason: 'the database system is shutting down' })
      })
      await until('it is gone', () => !leaving.running)
    })

    it('refuses a server of another cluster', async () => {
      const stranger = await strangerIn(join(run.dir, 'stranger'), await installationOf(version))
      const monitor = monitorOf([primary.port, stranger.port])
      await monitor.start()
      expect(portOf(monitor.primary)).toBe(primary.port)
      expect(monitor.hosts[1]?.status).toMatchObject({
        kind: 'refused',
        reason: expect.stringContaining('it belongs to another cluster'),
      })
      await stranger.stop('immediate')
    })
  },
)
