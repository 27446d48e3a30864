// `auto` mode on a real catalog: it moves what makes the load even, one move at a time, in one process of several, and
// says why. What a move changes in the catalog is done by the tests themselves.
import type { Client } from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { moverServers } from '../support/mover-servers.ts'
import { openCatalogConnection } from '../../catalog/connection.ts'
import { writeLoad } from '../../catalog/load-store.ts'
import { systemClock } from '../../core/clock.ts'
import { vnode } from '../../core/ids.ts'
import { createLog } from '../../core/log.ts'
import { type AutoOptions, startAuto } from '../../rebalancer/auto.ts'
import { readLoadInput } from '../../rebalancer/load/read-plan-input.ts'
import type { AutoPolicy } from '../../rebalancer/plan/auto-verdict.ts'
import type { ProposedMove } from '../../rebalancer/plan/plan-input.ts'
import { presentBalance } from '../../rebalancer/plan/propose.ts'
import { type CatalogFixture, openCluster } from '../catalog/fixture.ts'

const policy: AutoPolicy = {
  start: 1.3,
  stop: 1.15,
  lastingMs: 0,
  loadMin: 0.1,
  bytesMax: null,
  budgetMs: 3_600_000,
  window: null,
}

describe.each(moverServers())('auto mode on PostgreSQL $version', (servers) => {
  let fixture: CatalogFixture
  let home: Client
  beforeAll(async () => {
    fixture = await openCluster(servers)
    home = fixture.shards[0].client
    await home.query('SET search_path = pg_catalog')
  })
  afterAll(async () => await fixture.close())
  /** Every virtual node costs the same, but s1 has two in three of them. */
  beforeEach(async () => {
    await home.query(
      `UPDATE ringfence.vnode SET shard =
         CASE WHEN vnode % 6 < 4 THEN 's1' WHEN vnode % 6 = 4 THEN 's2' ELSE 's3' END`,
    )
    await home.query('TRUNCATE ringfence.vnode_load, ringfence.key_load, ringfence.move')
    const counts = { statements: 1, bytes: 0, rows: 0, serverMs: 100 }
    const vnodes = Array.from({ length: 4_096 }, (_, at) => ({ ...counts, vnode: vnode(at) }))
    await writeLoad(home, { vnodes, keys: [] })
  })

  const openCatalog = async () => {
    const connection = await openCatalogConnection(fixture.shards[0].url, 5_000)
    await connection.client.query('SET search_path = pg_catalog')
    return connection
  }
  const take = async (move: ProposedMove) => {
    await home.query('UPDATE ringfence.vnode SET shard = $1 WHERE vnode = ANY ($2::int[])', [
      move.to,
      [...move.vnodes],
    ])
  }
  const balance = async () => {
    return presentBalance(await readLoadInput(home, { epsilon: 0.1, bytesMax: null })).maxOverMean
  }
  const options = (more: Pick<AutoOptions, 'run'> & Partial<AutoOptions>): AutoOptions => ({
    policy,
    epsilon: 0.05,
    intervalMs: 20,
    openCatalog,
    readInput: async (target) => await readLoadInput(home, target),
    clock: systemClock,
    wallMs: () => Date.now(),
    log: createLog('silent'),
    ...more,
  })

  it('moves until the load is even, one move at a time', async () => {
    let running = 0
    const moves: ProposedMove[] = []
    const run = async (move: ProposedMove) => {
      running += 1
      expect(running).toBe(1)
      await new Promise((resolve) => setTimeout(resolve, 60))
      await take(move)
      moves.push(move)
      running -= 1
    }
    expect(await balance()).toBeCloseTo(2, 1)
    const auto = startAuto(options({ run }))
    await expect.poll(balance, { timeout: 10_000 }).toBeLessThan(1.15)
    await auto.close()
    expect(moves.map(({ from }) => from)).toEqual(['s1', 's1'])
    expect(new Set(moves.map(({ to }) => to))).toEqual(new Set(['s2', 's3']))
  })

  it('acts in one process of several, and in another one once that has gone', async () => {
    const actors: string[] = []
    const start = (name: string) =>
      startAuto(
        options({
          run: async () => {
            actors.push(name)
            await new Promise((resolve) => setTimeout(resolve, 20))
          },
        }),
      )
    const first = start('first')
    await expect.poll(() => actors.length, { timeout: 10_000 }).toBeGreaterThan(0)
    const second = start('second')
    await expect.poll(() => actors.length, { timeout: 10_000 }).toBeGreaterThan(4)
    expect(new Set(actors)).toEqual(new Set(['first']))
    await first.close()
    await expect.poll(() => actors.at(-1), { timeout: 10_000 }).toBe('second')
    await second.close()
  })

  it('keeps out of the way of any other move', async () => {
    await home.query(
      `INSERT INTO ringfence.move (vnodes, keys, except_keys, from_shard, to_shard, state)
       VALUES ('{1}', '{}', '{}', 's1', 's2', 'copying')`,
    )
    const moves: ProposedMove[] = []
    const auto = startAuto(options({ run: async (move) => void moves.push(move) }))
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(moves).toEqual([])
    await home.query(`UPDATE ringfence.move SET state = 'done'`)
    await expect.poll(() => moves.length, { timeout: 10_000 }).toBeGreaterThan(0)
    await auto.close()
  })

  it('plans within what is left of the budget', async () => {
    const bytes = 1_000
    const readInput: AutoOptions['readInput'] = async (target) => {
      const input = await readLoadInput(home, target)
      return { ...input, vnodes: input.vnodes.map((each) => ({ ...each, bytes })) }
    }
    const moves: ProposedMove[] = []
    const run = async (move: ProposedMove) => {
      await take(move)
      moves.push(move)
    }
    const limited = { ...policy, bytesMax: 500 * bytes }
    const auto = startAuto(options({ run, readInput, policy: limited }))
    await expect.poll(() => moves.length, { timeout: 10_000 }).toBeGreaterThan(0)
    await new Promise((resolve) => setTimeout(resolve, 300))
    await auto.close()
    const moved = moves.reduce((sum, move) => sum + move.bytes, 0)
    expect(moved).toBeGreaterThan(200 * bytes)
    expect(moved).toBeLessThanOrEqual(500 * bytes)
  })

  it('goes on after a move that fails and a connection that is lost', async () => {
    let times = 0
    const run = async (move: ProposedMove) => {
      times += 1
      await home.query(
        `SELECT pg_terminate_backend(l.pid) FROM pg_locks l
         WHERE l.locktype = 'advisory' AND l.classid = 1380337219 AND l.objid = 4`,
      )
      if (times === 1) throw new Error('the target is full')
      await take(move)
    }
    const auto = startAuto(options({ run }))
    await expect.poll(balance, { timeout: 10_000 }).toBeLessThan(1.15)
    await auto.close()
    expect(times).toBeGreaterThanOrEqual(3)
  })
})
