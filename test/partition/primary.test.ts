// A proxy and a shard's primary that cannot reach each other, while the primary is alive and everybody else can reach it.
// Each fault strikes a proxy of its own; proxy 0 is never cut off.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { askServer, pause, until } from '../support/clients.ts'
import type { Fault } from '../support/fault-proxy.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import {
  Bystander,
  Clients,
  databaseOf,
  type Ended,
  insertNote,
  noticeMs,
  notesOf,
  notesOnPrimary,
  probeMs,
  run,
  serversOf,
  slackMs,
  sweepMs,
  twoShards,
  waitMs,
} from './partition.ts'

const deadlineMs = 60_000
const primary = 's2-a'
/** Where a statement was when the fault came, and what its client was told. */
type Told = {
  /** The server was working on it. */
  readonly working: string
  /** Its transaction was open, and it was sent during the fault. */
  readonly inTransaction: string
  /** The COMMIT of such a transaction. */
  readonly commit: string
  /** It was sent right after the fault came; which of them depends on who is quicker. */
  readonly sent: readonly string[]
}
type Case = {
  readonly name: string
  readonly proxy: number
  readonly fault: Fault
  readonly told: Told
  /** What was sent right after the fault came, and the COMMIT, have been executed. */
  readonly executes: boolean
}

const silent = { working: '08006', inTransaction: '40001', commit: '08006', sent: ['08006'] }
const loud = { working: '08006', inTransaction: '40001', commit: '40001', sent: ['08001', '08006'] }
const cases: readonly Case[] = [
  { name: 'a black hole', proxy: 1, fault: { kind: 'blackHole' }, told: silent, executes: false },
  {
    name: 'answers that do not arrive',
    proxy: 2,
    fault: { kind: 'oneWay', swallowed: 'toClient' },
    told: silent,
    executes: true,
  },
  {
    name: 'requests that do not arrive',
    proxy: 3,
    fault: { kind: 'oneWay', swallowed: 'toServer' },
    told: { ...silent, working: 'ok' },
    executes: false,
  },
  { name: 'resets', proxy: 4, fault: { kind: 'reset' }, told: loud, executes: false },
  { name: 'refused connections', proxy: 5, fault: { kind: 'refuse' }, told: loud, executes: false },
]

describe('a primary that one proxy cannot reach', () => {
  let stack: ReplicatedStack

  beforeAll(async () => {
    stack = await startReplicatedStack({ ...twoShards, replicas: 1, proxies: 9 })
  }, deadlineMs)
  afterAll(() => stack?.stop(), deadlineMs)

  /** Runs `use` with clients of a proxy and somebody on the other shard who must not notice. */
  const beside = async (
    proxy: number,
    use: (clients: Clients, faulty: (fault: Fault) => Promise<void>) => Promise<void>,
  ) => {
    const place = stack.place(proxy)
    const clients = new Clients(place)
    const bystander = await Bystander.start(place, notesOnPrimary('s1'))
    const beganMs = performance.now()
    let cutMs = beganMs
    const relay = stack.relay(proxy, primary)
    try {
      await use(clients, async (fault) => {
        cutMs = performance.now()
        await relay.set(fault)
      })
      expect(bystander.failures).toEqual([])
      const beforeMs = bystander.medianMs(0, cutMs)
      expect(bystander.medianMs(cutMs, performance.now())).toBeLessThan(beforeMs * 5 + 100)
    } finally {
      await relay.set({ kind: 'none' })
      await clients.end()
      await bystander.stop()
    }
  }

  /** `count` clients of which each has had a server of its own at the same time. */
  const warm = async (clients: Clients, count: number, firstId: number) => {
    const all = await Promise.all(Array.from({ length: count }, () => clients.one()))
    const writes = all.map((client, at) => run(client, insertNote('s2', firstId + at, 0.5)))
    expect((await Promise.all(writes)).map(({ code }) => code)).toEqual(all.map(() => 'ok'))
    return all
  }
  const primaryOf = (proxy: number) => serversOf(stack, proxy, 's2').monitor?.primary ?? null
  const writesAgain = async (clients: Clients, id: number) => {
    const client = await clients.one()
    await until('the proxy writes again', async () => {
      return (await run(client, insertNote('s2', id))).code === 'ok'
    })
    return client
  }

  it.concurrent.each(cases)(
    '$name: what was under way fails truthfully, what comes waits, and it heals',
    async ({ proxy, fault, told, executes }) => {
      const first = proxy * 100
      const limitMs = noticeMs + waitMs + sweepMs + slackMs
      await beside(proxy, async (clients, faulty) => {
        const [a, b, c, d, e, f] = await warm(clients, 6, first)
        if (!a || !b || !c || !d || !e || !f) throw new Error('there are six clients')
        await run(b, 'BEGIN')
        await run(b, insertNote('s2', first + 11))
        await run(e, 'BEGIN')
        await run(e, insertNote('s2', first + 17))
        const working = run(a, insertNote('s2', first + 10, 0.7))
        await pause(200)
        await faulty(fault)
        const ends: Promise<Ended>[] = [working, run(c, insertNote('s2', first + 12))]
        // Run again when its server is given up; by then nobody waits for the primary any more.
        const read = run(f, notesOnPrimary('s2'))
        await until('the proxy has noticed', () => primaryOf(proxy) === null, noticeMs + slackMs)
        const waiting = run(d, insertNote('s2', first + 13))
        const inTransaction = run(b, insertNote('s2', first + 14))
        const commit = run(e, 'COMMIT')

        // Everybody else goes on: other proxies, and reads of this one on the replica.
        const others = new Clients(stack.place(0))
        const other = await others.one()
        expect(await run(other, insertNote('s2', first + 20))).toMatchObject({ code: 'ok' })
        await others.end()
        const reader = await clients.one()
        expect(await run(reader, notesOf('s2'))).toMatchObject({ code: 'ok' })

        const refused = await waiting
        expect(refused).toMatchObject({ code: '08001' })
        expect(refused.message).toContain('shard "s2" has been unreachable for')
        expect(refused.ms).toBeLessThan(waitMs + slackMs)
        const [ofWorking, ofSent] = await Promise.all(ends)
        const [ofTransaction, ofCommit] = await Promise.all([inTransaction, commit])
        const ofRead = await read
        expect(ofRead.code).toBe('08001')
        expect(ofRead.ms).toBeLessThan(limitMs)
        expect(ofWorking?.code).toBe(told.working)
        expect(ofTransaction.code).toBe(told.inTransaction)
        expect(ofCommit.code).toBe(told.commit)
        expect(told.sent).toContain(ofSent?.code)
        expect(ofWorking?.ms).toBeLessThan(limitMs)
        expect(ofSent?.ms).toBeLessThan(limitMs)
        expect(ofTransaction.ms).toBeLessThan(limitMs)
        expect(ofCommit.ms).toBeLessThan(limitMs)
        // By now nobody waits any more.
        expect((await run(d, insertNote('s2', first + 15))).code).toBe('08001')
        expect((await run(b, 'ROLLBACK')).code).toBe('ok')

        await faulty({ kind: 'none' })
        const writer = await writesAgain(clients, first + 16)
        const seen = await run(writer, notesOf('s2'))
        const kept = [0, 1, 2, 3, 4, 5, 10, ...(executes ? [12, 16, 17] : [16]), 20]
        const own = seen.rows.map(Number).filter((id) => id >= first && id < first + 100)
        expect(own).toEqual(kept.map((id) => first + id))
        for (const client of [a, b, c, d, e, f]) {
          expect(await run(client, notesOnPrimary('s2'))).toMatchObject({ code: 'ok' })
        }
        await until('all servers are given back', () => {
          return databaseOf(stack, proxy).stats(serversOf(stack, proxy, 's2').id).leased === 0
        })
      })
      // Nobody was promoted, and nobody has thought so.
      expect(serversOf(stack, proxy, 's2').failovers).toBe(0)
      const url = stack.shards[1]?.host(primary).server.url() ?? ''
      const life = 'SELECT timeline_id FROM pg_control_checkpoint() WHERE NOT pg_is_in_recovery()'
      expect(await askServer(url, life)).toEqual(['1'])
    },
    deadlineMs,
  )

  it.concurrent(
    'a black hole that is shorter than failover.wait costs waiting statements nothing but time',
    async () => {
      await beside(6, async (clients, faulty) => {
        const [a, b] = await warm(clients, 2, 600)
        if (!a || !b) throw new Error('there are two clients')
        await faulty({ kind: 'blackHole' })
        await until('the proxy has noticed', () => primaryOf(6) === null, noticeMs + slackMs)
        const ends = [run(a, insertNote('s2', 610)), run(b, insertNote('s2', 611))]
        await pause(200)
        await faulty({ kind: 'none' })
        for (const end of ends) expect(await end).toMatchObject({ code: 'ok' })
      })
    },
    deadlineMs,
  )

  it.concurrent(
    'latency slows its statements down, and is no failure',
    async () => {
      await beside(7, async (clients, faulty) => {
        const [a] = await warm(clients, 1, 700)
        if (!a) throw new Error('there is a client')
        await faulty({ kind: 'latency', ms: 80, jitterMs: 20 })
        for (const id of [710, 711, 712]) {
          const { code, ms } = await run(a, insertNote('s2', id))
          expect(code).toBe('ok')
          expect(ms).toBeGreaterThan(150)
        }
        const late = await clients.one()
        expect(await run(late, notesOnPrimary('s2'))).toMatchObject({ code: 'ok' })
        expect(primaryOf(7)).not.toBeNull()
      })
    },
    deadlineMs,
  )

  it.concurrent(
    'a primary that was too slow for a while goes on with what it was doing',
    async () => {
      await beside(8, async (clients, faulty) => {
        const [a, b] = await warm(clients, 2, 800)
        if (!a || !b) throw new Error('there are two clients')
        const working = run(a, insertNote('s2', 810, 5))
        await pause(100)
        await faulty({ kind: 'latency', ms: 2 * probeMs, jitterMs: 0 })
        await until('the proxy gives it up', () => primaryOf(8) === null, noticeMs + slackMs)
        const waiting = run(b, insertNote('s2', 811))
        await faulty({ kind: 'none' })
        expect(await waiting).toMatchObject({ code: 'ok' })
        expect(await working).toMatchObject({ code: 'ok' })
      })
    },
    deadlineMs,
  )
})
