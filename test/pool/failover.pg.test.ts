// The monitor and real servers that change their roles: killed, promoted, started anew as what they
// were, and told of by others. A promoted server is never announced with its old timeline.
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from 'vitest'
import { PostgresServer } from '../../demo/postgres-server.ts'
import { openRun, type Run } from '../../demo/run.ts'
import { superuser } from '../../demo/roles.ts'
import { giveToServers } from '../../demo/server-user.ts'
import { present, until } from '../support/clients.ts'
import { installationOf } from '../support/postgres-installation.ts'
import {
  addRoles,
  announcements,
  ask,
  closeMonitors,
  monitorOf,
  portOf,
  portsOf,
} from './monitors.ts'

afterEach(closeMonitors)

describe.each(inject('servers').map(({ version }) => version))(
  'failover of servers of PostgreSQL %i',
  (version) => {
    let run: Run
    let first: PostgresServer
    let second: PostgresServer
    let third: PostgresServer
    const ports = () => [first.port, second.port, third.port]

    beforeAll(async () => {
      const installation = await installationOf(version)
      run = await openRun(null)
      first = await PostgresServer.create({ installation, dir: join(run.dir, '1') })
      second = await PostgresServer.createReplica(first, { dir: join(run.dir, '2') })
      third = await PostgresServer.createReplica(first, { dir: join(run.dir, '3') })
      await first.start()
      await Promise.all([second.start(), third.start()])
      await addRoles(first)
      const sql = "SELECT count(*)::text FROM pg_roles WHERE rolname = 'watcher'"
      for (const server of [second, third]) {
        await until('it has the roles', async () => (await ask(server, sql)) === '1')
      }
    })
    afterAll(async () => {
      await Promise.all([first, second, third].map((server) => server.stop('immediate')))
      await run.end()
    })

    const follow = async (server: PostgresServer, leader: PostgresServer) => {
      const place = `host=127.0.0.1 port=${leader.port}`
      const conninfo = `${place} user=${superuser} password=${leader.password}`
      await ask(server, `ALTER SYSTEM SET primary_conninfo = '${conninfo}'`)
      await ask(server, 'SELECT pg_reload_conf()')
    }

    it('announces a primary that is started anew as gone, then as back', async () => {
      const monitor = monitorOf(ports())
      await monitor.start()
      const heard = announcements(monitor)
      await first.kill()
      await until('it is gone', () => monitor.primary === null)
      expect(portsOf(monitor.replicas)).toEqual([second.port, third.port])
      await first.start()
      await until('it is back', () => portOf(monitor.primary) === first.port)
      expect(heard).toEqual(['none', `${first.port} on 1`])
    })

    it('announces a promoted replica with its new timeline, and who follows it as a replica', async () => {
      const monitor = monitorOf(ports())
      // Others see the same, at other moments.
      const others = [1, 2, 3].map((sampleMsMin) => monitorOf(ports(), { sampleMsMin }))
      await Promise.all([monitor, ...others].map((each) => each.start()))
      const stops = others.map((other) => other.watch(() => {}))
      const heard = [monitor, ...others].map(announcements)
      const position = present(monitor.hosts[0]?.newest ?? undefined)
      // One that has more than the promoted one never follows it.
      const equal = `SELECT (count(*) = 2)::text FROM pg_stat_replication
        WHERE state = 'streaming' AND flush_lsn = pg_current_wal_flush_lsn()`
      await until('both have everything', async () => (await ask(first, equal)) === 'true')
      await first.kill()
      await ask(second, 'SELECT pg_promote()')
      const promoted = `${second.port} on 2`
      const last = () => heard.map((each) => each.at(-1))
      await expect.poll(last, { timeout: 10_000 }).toEqual(heard.map(() => promoted))
      // A server that says nothing for a second is gone for that long, on a busy machine.
      for (const each of heard) {
        expect(each[0]).toBe('none')
        expect(new Set(each)).toEqual(new Set(['none', promoted]))
      }
      expect(monitor.timeline).toBe(2)
      expect(monitor.replicas).toEqual([])
      expect(present(monitor.hosts[1]?.newest ?? undefined)).toMatchObject({
        role: 'primary',
        timeline: 2,
        systemId: position.systemId,
      })
      await follow(third, second)
      await until('the other follows', () => portsOf(monitor.replicas).includes(third.port))
      expect(monitor.hosts[2]?.newest).toMatchObject({ role: 'replica', timeline: 2 })
      for (const stop of stops) stop()
    })

    it('refuses the old primary when it comes back as one', async () => {
      const monitor = monitorOf(ports())
      await monitor.start()
      const heard = announcements(monitor)
      await first.start()
      await until('it is seen', () => monitor.hosts[0]?.status.kind === 'refused')
      expect(monitor.hosts[0]?.status).toMatchObject({
        reason: 'it is a primary on timeline 1, but timeline 2 was seen (split brain)',
      })
      expect(portOf(monitor.primary)).toBe(second.port)
      expect(heard).toEqual([])
    })

    it('prefers the higher timeline, whatever the order of the configuration', async () => {
      const monitor = monitorOf(ports())
      await monitor.start()
      expect(portOf(monitor.primary)).toBe(second.port)
      expect(monitor.hosts[0]?.status.kind).toBe('refused')
      const alone = monitorOf([first.port])
      await alone.start()
      expect(portOf(alone.primary)).toBe(first.port)
    })

    it('gives up a primary as soon as a higher timeline is heard of', async () => {
      const monitor = monitorOf([first.port])
      await monitor.start()
      const heard = announcements(monitor)
      const { systemId } = present(monitor.hosts[0]?.newest ?? undefined)
      monitor.noteTimeline('1', 9)
      expect(portOf(monitor.primary)).toBe(first.port)
      monitor.noteTimeline(systemId, 2)
      expect(monitor.primary).toBe(null)
      expect(monitor.timeline).toBe(2)
      expect(heard).toEqual(['none'])
    })

    it('sees that a primary was made a replica', async () => {
      const monitor = monitorOf([second.port, third.port])
      await monitor.start()
      const heard = announcements(monitor)
      await second.stop()
      const signal = join(second.dataDir, 'standby.signal')
      await writeFile(signal, '')
      await giveToServers(signal)
      await second.start()
      await until('it is a replica', () => monitor.replicas.length === 2)
      expect(heard).toEqual(['none'])
      await ask(second, 'SELECT pg_promote()')
      await until('it is a primary again', () => heard.length === 2)
      expect(heard).toEqual(['none', `${second.port} on 3`])
      await until('the other follows', () => portsOf(monitor.replicas).includes(third.port))
    })

    it('does without a primary that Patroni goes on calling a replica, until it does not', async () => {
      let role = 'leader'
      const member = () => ({ name: 'b', role, host: '127.0.0.1', port: second.port })
      const api = createServer((_, response) => {
        response.end(JSON.stringify({ members: [member()], scope: 's1' }))
      }).listen(0, '127.0.0.1')
      await once(api, 'listening')
      const address = api.address()
      const port = typeof address === 'object' ? address?.port : 0
      const monitor = monitorOf([second.port, third.port], {
        probeMs: 300,
        patroniUrls: [`http://127.0.0.1:${port}`],
      })
      await monitor.start()
      await until('it is followed', () => portOf(monitor.primary) === second.port)
      role = 'replica'
      await until('it is refused', () => monitor.hosts[0]?.status.kind === 'refused')
      expect(monitor.primary).toBe(null)
      role = 'leader'
      await until('it is the primary', () => portOf(monitor.primary) === second.port)
      await monitor.close()
      api.closeAllConnections()
      api.close()
    })
  },
)
