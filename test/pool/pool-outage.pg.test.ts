// A pool whose server goes away, comes back, is replaced by another, or is taken out for a while: who waits keeps
// its place, nobody waits for what will not come, and no connection to the wrong server is lent.
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { PgError } from '../../core/errors.ts'
import type { Installation } from '../../demo/installation.ts'
import { PostgresServer } from '../../demo/postgres-server.ts'
import { runCommand } from '../../demo/process.ts'
import { openRun, type Run } from '../../demo/run.ts'
import { serverUser } from '../../demo/server-user.ts'
import { ask } from '../../pool/exchange.ts'
import type { Pool } from '../../pool/pool.ts'
import { askServer, pause, until } from '../support/clients.ts'
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts'
import { embeddedVersion, installationOf } from '../support/postgres-installation.ts'
import {
  closePools,
  connectTimeoutMs,
  elapsedMs,
  inOrder,
  lease,
  poolTo,
  portOfNext,
  queue,
  refused,
  target,
} from './pools.ts'

let installation: Installation
let run: Run
let first: PostgresServer
let second: PostgresServer
/** To the first server. */
let relay: FaultProxy

beforeAll(async () => {
  installation = await installationOf(embeddedVersion)
  run = await openRun(null)
  first = await PostgresServer.create({ installation, dir: join(run.dir, '1') })
  second = await PostgresServer.create({ installation, dir: join(run.dir, '2') })
  await Promise.all([first.start(), second.start()])
  relay = await startFaultProxy({ host: '127.0.0.1', port: first.port })
})
afterAll(async () => {
  await relay?.close()
  await Promise.all([first, second].map((server) => server?.stop('immediate')))
  await run?.end()
})

afterEach(async () => {
  closePools()
  await relay.set({ kind: 'none' })
  if (!first.running) await first.start()
})

/** Makes the pool notice that its server is dead. */
async function killUnder(pool: Pool): Promise<void> {
  await portOfNext(pool)
  await first.kill()
  await until('the pool knows', () => pool.stats.idle === 0)
}

describe('a server that dies and comes back', () => {
  it('is waited for, and who waits is served in the order in which they came', async () => {
    const pool = poolTo(target(first))
    await killUnder(pool)
    const served = queue(pool, 20)
    await until('an outage is known', () => pool.isOut)
    expect(pool.stats.waiting).toBe(20)
    await first.start()
    expect(await served).toEqual(inOrder(20))
    expect(pool.isOut).toBe(false)
    expect(pool.stats).toEqual({ idle: 1, leased: 0, opening: 0, waiting: 0 })
  })

  it('is asked about once when its connections die, and again by each failed try', async () => {
    const told: string[] = []
    const pool = poolTo(target(first), { suspect: (reason) => told.push(reason) })
    await killUnder(pool)
    expect(told).toHaveLength(1)
    const served = queue(pool, 1)
    await until('it was tried', () => told.length > 1)
    await first.start()
    await served
  })

  it('takes its idle connections along with the first that dies, before they are lent', async () => {
    const pool = poolTo(target(first), { size: 3 })
    const [busy, idle] = await Promise.all([lease(pool), lease(pool)])
    const sleeping = ask(busy, 'SELECT pg_sleep(10)').catch((error: PgError) => error)
    pool.release(idle)
    await askServer(first.url(), 'SELECT pg_terminate_backend($1)', [busy.processId])
    expect(await sleeping).toMatchObject({ sqlstate: '08006' })
    expect(idle.closed).toBe(true)
    expect(await portOfNext(pool)).toBe(first.port)
  })

  it('for longer than statements wait is told as 08001 with the shard, the time and the reason', async () => {
    const pool = poolTo(target(first), { outageWaitMs: 1_200 })
    await killUnder(pool)
    const waitedMs = elapsedMs(async () => {
      const errors = await Promise.all(Array.from({ length: 5 }, () => refused(pool)))
      for (const { sqlstate, message } of errors) {
        expect(sqlstate).toBe('08001')
        expect(message).toMatch(/^shard "s1" has been unreachable for 1\.\d s: .*ECONNREFUSED/)
      }
    })
    expect(await waitedMs).toBeGreaterThan(1_000)
    expect(await waitedMs).toBeLessThan(2_500)
    expect(pool.stats.waiting).toBe(0)
  })

  it('fails statements at once from then on, and serves them again once one try succeeds', async () => {
    const pool = poolTo(target(first), { outageWaitMs: 100 })
    await killUnder(pool)
    await refused(pool)
    const failedMs = await elapsedMs(() => Promise.all(inOrder(50).map(() => refused(pool))))
    expect(failedMs).toBeLessThan(500)
    await first.start()
    await until('it is served', () => {
      return portOfNext(pool).then(
        () => true,
        () => false,
      )
    })
    expect(pool.isOut).toBe(false)
    expect(await queue(pool, 3)).toEqual([0, 1, 2])
  })

  it('is not waited for where failover.wait is 0', async () => {
    const pool = poolTo(target(first), { outageWaitMs: 0 })
    await killUnder(pool)
    const failedMs = await elapsedMs(async () => {
      expect(await refused(pool)).toMatchObject({
        sqlstate: '08001',
        message: expect.stringContaining('could not connect to shard "s1"'),
      })
    })
    expect(failedMs).toBeLessThan(1_000)
  })
})

describe('a server that has fallen silent', () => {
  it('is dialled by one connection at a time, however many wait', async () => {
    const pool = poolTo(target(first, { port: relay.port }), { size: 10, outageWaitMs: 1_000 })
    pool.point(null, 'the primary is gone')
    await relay.set({ kind: 'blackHole' })
    pool.point(target(first, { port: relay.port }), 'it is the primary')
    const served = Promise.allSettled(inOrder(20).map(() => lease(pool)))
    await pause(100)
    expect(pool.stats).toMatchObject({ opening: 1, waiting: 20 })
    await served
  })

  it('is not waited for beyond failover.wait, though a try is still under way', async () => {
    await relay.set({ kind: 'blackHole' })
    const pool = poolTo(null, { outageWaitMs: 300 })
    pool.point(target(first, { port: relay.port }), 'it is the primary')
    const waitedMs = await elapsedMs(async () => {
      expect(await refused(pool)).toMatchObject({ sqlstate: '08001' })
    })
    expect(waitedMs).toBeLessThan(connectTimeoutMs / 2)
  })

  it('is not waited for longer where its time is over between two looks at the clock', async () => {
    await relay.set({ kind: 'blackHole' })
    for (let early = 0; early < 6; early += 1) {
      let nowMs = 0
      const timers = new Set<() => void>()
      const after = (_ms: number, fire: () => void) => {
        timers.add(fire)
        return { cancel: () => void timers.delete(fire) }
      }
      // Each look takes a millisecond.
      const clock = { nowMs: () => (nowMs += 1), after }
      const pool = poolTo(null, { outageWaitMs: 300, queryWaitTimeoutMs: 0, clock })
      pool.point(target(first, { port: relay.port }), 'it is the primary')
      const told = refused(pool)
      expect(pool.stats).toMatchObject({ opening: 1, waiting: 1 })
      nowMs = 300 - early
      for (let turn = 0; turn < 10; turn += 1) timers.values().next().value?.()
      expect(pool.stats).toMatchObject({ opening: 1, waiting: 0 })
      expect(await told).toMatchObject({ sqlstate: '08001' })
    }
  })

  it('costs one statement a try once nobody waits any more; the others fail at once', async () => {
    const pool = poolTo(null, { outageWaitMs: 0 })
    await relay.set({ kind: 'blackHole' })
    pool.point(target(first, { port: relay.port }), 'it is the primary')
    const trying = refused(pool)
    await until('it tries', () => pool.stats.opening === 1)
    const failedMs = await elapsedMs(() => Promise.all(inOrder(10).map(() => refused(pool))))
    expect(failedMs).toBeLessThan(500)
    expect((await trying).sqlstate).toBe('08001')
  })
})

describe('a login that the server refuses', () => {
  it.each([
    ['28P01', { password: 'wrong' }, 'password authentication failed'],
    ['3D000', { database: 'nowhere' }, 'database "nowhere" does not exist'],
  ])(
    'with %s is told at once in its own words and is no outage',
    async (sqlstate, change, words) => {
      const pool = poolTo(target(first, change))
      const toldMs = await elapsedMs(async () => {
        expect(await refused(pool)).toMatchObject({
          sqlstate,
          message: expect.stringContaining(words),
        })
      })
      expect(toldMs).toBeLessThan(1_000)
      expect(pool.isOut).toBe(false)
    },
  )

  it('and for which we have no password is told at once, too', async () => {
    const pool = poolTo(target(first, { password: null }))
    const toldMs = await elapsedMs(async () => {
      const { message } = await refused(pool)
      expect(message).toContain('the server asks for a password of user "postgres"')
    })
    expect(toldMs).toBeLessThan(1_000)
    expect(pool.isOut).toBe(false)
  })
})

describe('a server that starts', () => {
  it('is waited for until it lets clients in', async () => {
    const dir = join(run.dir, 'standby')
    const settings = { hot_standby: 'off', shared_buffers: '16MB' }
    const primary = await PostgresServer.create({ installation, dir: join(run.dir, '3') })
    const standby = await PostgresServer.createReplica(primary, { dir, settings })
    // It is ready when it has been promoted; until then it turns clients away with 57P03.
    const ready = standby.start()
    const reasons: string[] = []
    const pool = poolTo(target(standby), { suspect: (reason) => reasons.push(reason) })
    try {
      const served = queue(pool, 5)
      await until('it answers', () => reasons.some((reason) => reason.includes('not accepting')))
      expect(pool.stats.waiting).toBe(5)
      const pgCtl = join(installation.binDir, 'pg_ctl')
      const args = ['promote', '-D', standby.dataDir]
      await runCommand(pgCtl, args, { ...serverUser(), cwd: '/' })
      expect(await served).toEqual(inOrder(5))
    } finally {
      await ready
      await standby.stop('immediate')
    }
  })
})

describe('another server in the place of the first', () => {
  it('serves who waits, in the order in which they came', async () => {
    const pool = poolTo(null)
    const served = queue(pool, 10)
    await pause(50)
    expect(pool.stats).toMatchObject({ opening: 0, waiting: 10 })
    pool.point(target(second), 'it was promoted')
    expect(await served).toEqual(inOrder(10))
    expect(await portOfNext(pool)).toBe(second.port)
  })

  it('takes its connections at once: what the first was doing is lost', async () => {
    const pool = poolTo(target(first), { size: 2 })
    const busy = await lease(pool)
    const idle = await lease(pool)
    pool.release(idle)
    const lost = ask(busy, 'SELECT pg_sleep(10)').catch((error: PgError) => error)
    pool.point(target(second), 'it was promoted')
    expect(await lost).toMatchObject({ sqlstate: '08006' })
    expect([busy.closed, idle.closed]).toEqual([true, true])
    expect(await portOfNext(pool)).toBe(second.port)
  })

  it('while none is known lets statements end, but lends their servers to nobody', async () => {
    const pool = poolTo(target(first), { size: 2, outageWaitMs: 10_000 })
    const busy = await lease(pool)
    const answer = ask(busy, 'SELECT 7')
    pool.point(null, 'nobody says that he is the primary')
    const next = portOfNext(pool)
    expect((await answer).rows).toEqual([['7']])
    pool.release(busy)
    expect(busy.closed).toBe(true)
    expect(pool.stats).toMatchObject({ waiting: 1, opening: 0 })
    pool.point(target(second), 'it was promoted')
    expect(await next).toBe(second.port)
  })

  it('is not mixed up with a connection that was dialled for the first', async () => {
    const pool = poolTo(target(first, { port: relay.port }))
    await relay.set({ kind: 'latency', ms: 100, jitterMs: 0 })
    const next = portOfNext(pool)
    await until('it is dialled', () => pool.stats.opening === 1)
    pool.point(target(second), 'it was promoted')
    expect(await next).toBe(second.port)
    await pause(500)
    expect(pool.stats).toEqual({ idle: 1, leased: 0, opening: 0, waiting: 0 })
  })

  it('never comes: who waits is refused when failover.wait is over, later ones at once', async () => {
    const pool = poolTo(target(first), { outageWaitMs: 300 })
    pool.point(null, 'server 10.0.0.1:5432: it is gone')
    const waitedMs = await elapsedMs(async () => {
      const { sqlstate, message } = await refused(pool)
      expect(sqlstate).toBe('08001')
      expect(message).toMatch(/^shard "s1" has been unreachable for 0\.[3-9] s: .*it is gone$/)
    })
    expect(waitedMs).toBeLessThan(1_300)
    expect(await elapsedMs(() => refused(pool))).toBeLessThan(200)
  })

  it('never comes: later statements fail at once also while old ones still run', async () => {
    const pool = poolTo(target(first), { size: 3, outageWaitMs: 100 })
    const busy = await lease(pool)
    const running = ask(busy, 'SELECT pg_sleep(1)')
    pool.point(null, 'nobody says that he is the primary')
    await refused(pool)
    expect(await elapsedMs(() => refused(pool))).toBeLessThan(200)
    await running
  })
})

describe('a pool that is paused', () => {
  it('lends nothing until it is resumed, and is told when the last server is back', async () => {
    const pool = poolTo(target(first), { size: 2 })
    const busy = await lease(pool)
    let paused = false
    const pausing = pool.pause().then(() => {
      paused = true
    })
    const served = queue(pool, 5)
    await ask(busy, 'SELECT 1')
    expect(paused).toBe(false)
    expect(pool.stats).toMatchObject({ waiting: 5 })
    pool.release(busy)
    await pausing
    expect(pool.connections.size).toBe(0)
    await pause(50)
    expect(pool.stats).toEqual({ idle: 0, leased: 0, opening: 0, waiting: 5 })
    pool.resume()
    expect(await served).toEqual(inOrder(5))
  })

  it('says so when it is resumed before all servers are back: nobody takes it for paused', async () => {
    const pool = poolTo(target(first))
    const busy = await lease(pool)
    const pausing = pool.pause().catch((error: PgError) => error)
    pool.resume()
    expect(await pausing).toMatchObject({
      sqlstate: '57014',
      message: 'the pause of shard "s1" was ended before it was complete',
    })
    pool.release(busy)
    expect(await queue(pool, 2)).toEqual([0, 1])
  })

  it('does not open a connection that was being dialled to who waits', async () => {
    const pool = poolTo(target(first, { port: relay.port }))
    await relay.set({ kind: 'latency', ms: 50, jitterMs: 0 })
    const served = queue(pool, 2)
    await until('it is dialled', () => pool.stats.opening === 1)
    await pool.pause()
    await until('it has arrived', () => pool.stats.opening === 0)
    expect(pool.stats).toEqual({ idle: 0, leased: 0, opening: 0, waiting: 2 })
    pool.resume()
    expect(await served).toEqual([0, 1])
  })

  it('holds statements through a switchover that takes longer than failover.wait', async () => {
    const pool = poolTo(target(first), { outageWaitMs: 150 })
    await portOfNext(pool)
    await pool.pause()
    const served = queue(pool, 5)
    pool.point(null, 'it was stopped')
    await pause(400)
    // Nobody is the primary yet when the pause ends: the wait for one begins now.
    pool.resume()
    await pause(50)
    expect(pool.stats.waiting).toBe(5)
    pool.point(target(second), 'it was promoted')
    expect(await served).toEqual(inOrder(5))
    expect(await portOfNext(pool)).toBe(second.port)
  })

  it('follows another server only when it is resumed', async () => {
    const pool = poolTo(target(first))
    await pool.pause()
    const served = portOfNext(pool)
    pool.point(null, 'it was stopped')
    pool.point(target(second), 'it was promoted')
    await pause(100)
    expect(pool.stats).toMatchObject({ opening: 0, leased: 0, waiting: 1 })
    pool.resume()
    expect(await served).toBe(second.port)
  })
})
