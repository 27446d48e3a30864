// The throttle on real servers: a replica that is held back, a line that has become slow, a server
// that dies.
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../core/clock.ts'
import { createLog } from '../../core/log.ts'
import { type Cluster, startCluster } from '../../demo/cluster.ts'
import { findInstallation } from '../../demo/installation.ts'
import { PostgresServer } from '../../demo/postgres-server.ts'
import { Throttle } from '../../rebalancer/throttle.ts'
import { type Probe, startProbe } from '../../rebalancer/throttle-probe.ts'
import { type ThrottleLimits, unlimited } from '../../rebalancer/throttle-verdict.ts'
import { askServer, connected, pause, present, refusal, until } from '../support/clients.ts'
import { startFaultProxy } from '../support/fault-proxy.ts'

describe('the throttle', () => {
  let cluster: Cluster
  let source: PostgresServer
  let target: PostgresServer
  let replica: PostgresServer
  beforeAll(async () => {
    const installation = await findInstallation('embedded')
    const options = { shards: 1, replicas: 1, installation, dir: null, log: createLog('warn') }
    cluster = await startCluster(options)
    const shard = present(cluster.shards[0])
    target = shard.primary
    replica = present(shard.replicas[0])
    source = await PostgresServer.create({ dir: join(cluster.dir, 'source'), installation })
    await source.start()
  })
  afterAll(async () => {
    await source.stop('immediate')
    await cluster.stop()
  })

  /** Probes for the length of `use`. */
  async function probing(
    limits: Partial<ThrottleLimits>,
    use: (throttle: Throttle, probe: Probe) => Promise<void>,
    sourceUrl = source.url(),
  ): Promise<void> {
    const throttle = new Throttle({ ...unlimited, ...limits }, systemClock)
    const stopping = new AbortController()
    const options = { sourceUrl, targetUrl: target.url(), throttle, clock: systemClock }
    const probe = await startProbe({ ...options, signal: stopping.signal })
    try {
      await use(throttle, probe)
    } finally {
      stopping.abort()
      await probe.ended
      expect(throttle.state).toEqual({ kind: 'running' })
    }
  }

  it('waits for a replica of the target that is held back', async () => {
    await probing({ lagBytesMax: 100_000 }, async (throttle) => {
      await askServer(replica.url(), 'SELECT pg_wal_replay_pause()')
      await askServer(
        target.url(),
        `CREATE TABLE written AS SELECT repeat('x', 100) FROM generate_series(1, 10000)`,
      )
      await until('it pauses', () => throttle.state.kind === 'paused')
      expect(throttle.state).toMatchObject({
        reason: expect.stringMatching(/^replica ".+" of the target is \d+ bytes behind/),
      })
      await askServer(replica.url(), 'SELECT pg_wal_replay_resume()')
      await throttle.pass(1, AbortSignal.timeout(10_000))
    })
  })

  it('does not mind a subscriber that is behind', async () => {
    await askServer(source.url(), 'CREATE TABLE followed (id int)')
    await askServer(target.url(), 'CREATE TABLE followed (id int)')
    await askServer(target.url(), 'CREATE PUBLICATION followed FOR TABLE followed')
    await askServer(
      source.url(),
      `CREATE SUBSCRIPTION follower CONNECTION 'host=127.0.0.1 port=${target.port} user=postgres
         password=${target.password} dbname=postgres' PUBLICATION followed`,
    )
    const ready = `SELECT count(*) FROM pg_subscription_rel WHERE srsubstate = 'r'`
    await until('it follows', async () => (await askServer(source.url(), ready))[0] === '1')
    const lock = await connected({ connectionString: source.url() })
    await lock.query('BEGIN; LOCK TABLE followed')
    await probing({ lagBytesMax: 1_000_000 }, async (throttle) => {
      await askServer(target.url(), 'INSERT INTO followed SELECT generate_series(1, 100000)')
      const behind = `SELECT pg_current_wal_lsn() - replay_lsn > 1000000 FROM pg_stat_replication
                      WHERE application_name = 'follower'`
      await until('it is behind', async () => (await askServer(target.url(), behind))[0] === 't')
      await pause(500)
      expect(await askServer(target.url(), behind)).toEqual(['t'])
      await throttle.pass(1, AbortSignal.timeout(5_000))
    })
    await lock.end()
    await askServer(source.url(), 'DROP SUBSCRIPTION follower')
  })

  it('waits while the source takes longer than before, and not for ever', async () => {
    const proxy = await startFaultProxy({ host: '127.0.0.1', port: source.port })
    const slow = new URL(source.url())
    slow.port = String(proxy.port)
    try {
      // Far above what a busy machine does by itself.
      const limits = { latencyRatioMax: 50 }
      const use = async (throttle: Throttle, probe: Probe) => {
        const ms = 100 + Math.ceil(75 * probe.baselineMs)
        await proxy.set({ kind: 'latency', ms, jitterMs: 0 })
        await until('it pauses', () => throttle.state.kind === 'paused')
        expect(throttle.state).toMatchObject({
          reason: expect.stringMatching(/^the source answers in/),
        })
        await proxy.set({ kind: 'none' })
        await throttle.pass(1, AbortSignal.timeout(20_000))
      }
      await probing(limits, use, slow.href)
    } finally {
      await proxy.close()
    }
  })

  it('waits while the source is down, and goes on with it', async () => {
    await probing({}, async (throttle) => {
      await source.kill()
      await until('it pauses', () => throttle.state.kind === 'paused')
      expect(throttle.state).toMatchObject({
        reason: expect.stringMatching(/^the servers have not answered for \d+ s$/),
      })
      await source.start()
      await throttle.pass(1, AbortSignal.timeout(10_000))
    })
  })

  it('is not begun when a shard cannot be asked', async () => {
    const throttle = new Throttle(unlimited, systemClock)
    const nowhere = new URL(source.url())
    nowhere.port = '1'
    const started = startProbe({
      sourceUrl: nowhere.href,
      targetUrl: target.url(),
      throttle,
      clock: systemClock,
      signal: new AbortController().signal,
    })
    expect((await refusal(started)).message).toMatch(/ECONNREFUSED/)
    expect(throttle.state).toEqual({ kind: 'running' })
  })
})
