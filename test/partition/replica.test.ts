// A proxy and a replica that cannot reach each other. Nobody is to notice: reads go elsewhere, what was under way is run
// again, and nothing older than what a session knows is ever read. Each fault strikes a proxy of its own.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { pause, until } from '../support/clients.ts'
import type { Fault } from '../support/fault-proxy.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import {
  Bystander,
  Clients,
  insertNote,
  noticeMs,
  notesOf,
  notesOnPrimary,
  probeMs,
  run,
  serversOf,
  slackMs,
  sweepMs,
  tenants,
  twoShards,
} from './partition.ts'

const deadlineMs = 60_000
const [near, far] = ['s2-b', 's2-c'] as const
const readsAtOnce = 4
type Case = {
  readonly name: string
  readonly proxy: number
  readonly fault: Fault
  /** What the replica was asked before is answered nevertheless. */
  readonly answers?: true
}

const cases: readonly Case[] = [
  { name: 'a black hole', proxy: 0, fault: { kind: 'blackHole' } },
  {
    name: 'answers that do not arrive',
    proxy: 1,
    fault: { kind: 'oneWay', swallowed: 'toClient' },
  },
  {
    name: 'requests that do not arrive',
    proxy: 2,
    fault: { kind: 'oneWay', swallowed: 'toServer' },
    answers: true,
  },
  { name: 'resets', proxy: 3, fault: { kind: 'reset' } },
  { name: 'refused connections', proxy: 4, fault: { kind: 'refuse' } },
]

describe('a replica that one proxy cannot reach', () => {
  let stack: ReplicatedStack

  beforeAll(async () => {
    const slowly = `CREATE FUNCTION slowly(seconds float8) RETURNS boolean STABLE LANGUAGE sql
      AS 'SELECT pg_sleep(seconds) IS NOT NULL'`
    const setupSql = `${twoShards.setupSql}\n\n${slowly}`
    stack = await startReplicatedStack({ ...twoShards, setupSql, replicas: 2, proxies: 8 })
  }, deadlineMs)
  afterAll(() => stack?.stop(), deadlineMs)

  const servers = (proxy: number) => serversOf(stack, proxy, 's2')
  const portOf = (proxy: number, host: string) => stack.relay(proxy, host).port
  const isRead = (proxy: number, host: string) =>
    servers(proxy).monitor?.replicas.some(({ address }) => {
      return address.port === portOf(proxy, host)
    }) === true
  const readsOn = (proxy: number, host: string) => {
    const at = servers(proxy).monitor?.hosts.find(({ address }) => {
      return address.port === portOf(proxy, host)
    })
    return at === undefined ? 0 : servers(proxy).loadOf(at).reads
  }
  /** A read that takes a while. */
  const slowRead = (id: number) =>
    `SELECT id FROM notes WHERE tenant_id = ${tenants.s2} AND id = ${id} AND slowly(0.6)`

  /** Runs `use`, with somebody on the other shard and one on this shard's primary who must not notice. */
  const beside = async (
    proxy: number,
    use: (clients: Clients, faulty: (fault: Fault) => Promise<void>) => Promise<void>,
  ) => {
    const place = stack.place(proxy)
    const clients = new Clients(place)
    const bystanders = await Promise.all(
      [notesOf('s1'), notesOnPrimary('s2')].map((text) => Bystander.start(place, text)),
    )
    let cutMs = 0
    const relay = stack.relay(proxy, near)
    try {
      await use(clients, async (fault) => {
        cutMs = performance.now()
        await relay.set(fault)
      })
      for (const bystander of bystanders) {
        expect(bystander.failures).toEqual([])
        const beforeMs = bystander.medianMs(0, cutMs)
        expect(bystander.medianMs(cutMs, performance.now())).toBeLessThan(beforeMs * 5 + 100)
      }
    } finally {
      await relay.set({ kind: 'none' })
      await clients.end()
      await Promise.all(bystanders.map((bystander) => bystander.stop()))
    }
  }

  it.concurrent.each(cases)(
    '$name: its reads are answered by others, and it is read again afterwards',
    async ({ proxy, fault, answers = false }) => {
      const first = proxy * 100
      await beside(proxy, async (clients, faulty) => {
        const reader = await clients.one()
        const others = await Promise.all(Array.from({ length: readsAtOnce }, () => clients.one()))
        expect(await run(reader, insertNote('s2', first))).toMatchObject({ code: 'ok' })
        await until('both replicas are read', async () => {
          const reads = await Promise.all(others.map((other) => run(other, slowRead(first))))
          expect(reads.map(({ code }) => code)).toEqual(others.map(() => 'ok'))
          return readsOn(proxy, near) > 0 && readsOn(proxy, far) > 0
        })
        const before = readsOn(proxy, near)
        const working = others.map((other) => run(other, slowRead(first)))
        await pause(200)
        await faulty(fault)
        expect(readsOn(proxy, near)).toBeGreaterThan(before)
        for (const read of working) {
          const { code, ms, rows } = await read
          expect({ code, rows }).toEqual({ code: 'ok', rows: [String(first)] })
          expect(ms).toBeLessThan(noticeMs + probeMs + sweepMs + slackMs)
        }
        await until('it is left out', () => !isRead(proxy, near), noticeMs + slackMs)
        const during = readsOn(proxy, near)
        for (let id = first + 1; id < first + 6; id += 1) {
          await run(reader, insertNote('s2', id))
          const { code, rows } = await run(reader, notesOf('s2'))
          expect(code).toBe('ok')
          expect(rows).toContain(String(id))
        }
        expect(readsOn(proxy, near)).toBe(during)

        await faulty({ kind: 'none' })
        await until('it is up again', () => isRead(proxy, near))
        // With the other one gone it is the only one that can answer.
        await stack.relay(proxy, far).set({ kind: 'refuse' })
        const insisting = await clients.one()
        await run(insisting, "SET ringfence.target = 'replica'")
        const again = await run(insisting, notesOf('s2'))
        await stack.relay(proxy, far).set({ kind: 'none' })
        expect(again.code).toBe('ok')
        expect(again.rows).toContain(String(first + 5))
        expect(readsOn(proxy, near)).toBeGreaterThan(during)
      })
      expect(servers(proxy).counts.retried > 0).toBe(!answers)
      expect(servers(proxy).failovers).toBe(0)
    },
    deadlineMs,
  )

  it.concurrent(
    'a transaction that reads there fails, and nothing is read twice or left out',
    async () => {
      await beside(5, async (clients, faulty) => {
        await stack.relay(5, far).set({ kind: 'refuse' })
        await until('one replica is left', () => isRead(5, near) && !isRead(5, far))
        const [a, b] = await Promise.all([clients.one(), clients.one()])
        for (const client of [a, b]) {
          await run(client, 'BEGIN READ ONLY')
          expect(await run(client, notesOf('s2'))).toMatchObject({ code: 'ok' })
        }
        await faulty({ kind: 'blackHole' })
        expect(await run(a, notesOf('s2'))).toMatchObject({ code: '40001' })
        await run(a, 'ROLLBACK')
        // The other was thinking meanwhile.
        await until('its server is given up', () => servers(5).stats.leased === 0, 10_000)
        expect(await run(b, notesOf('s2'))).toMatchObject({ code: '40001' })
        await run(b, 'ROLLBACK')
        for (const client of [a, b]) {
          expect(await run(client, notesOf('s2'))).toMatchObject({ code: 'ok' })
        }
        await stack.relay(5, far).set({ kind: 'none' })
      })
    },
    deadlineMs,
  )

  it.concurrent(
    'without any replica in reach reads go to the primary, and those that insist are refused',
    async () => {
      await beside(6, async (clients, faulty) => {
        const [a, b] = await Promise.all([clients.one(), clients.one()])
        await run(a, insertNote('s2', 600))
        await stack.relay(6, far).set({ kind: 'blackHole' })
        await faulty({ kind: 'blackHole' })
        const { code, rows, ms } = await run(a, notesOf('s2'))
        expect(code).toBe('ok')
        expect(rows).toContain('600')
        expect(ms).toBeLessThan(3 * (noticeMs + probeMs + sweepMs) + slackMs)
        await until('none is read', () => !isRead(6, near) && !isRead(6, far))
        await run(b, "SET ringfence.target = 'replica'")
        expect(await run(b, notesOf('s2'))).toMatchObject({ code: '57P03' })
        await stack.relay(6, far).set({ kind: 'none' })
        await faulty({ kind: 'none' })
        await until('it is read', async () => (await run(b, notesOf('s2'))).code === 'ok')
      })
    },
    deadlineMs,
  )

  it.concurrent(
    'latency makes the other replica the better choice, and no read fails',
    async () => {
      await beside(7, async (clients, faulty) => {
        const all = await Promise.all([1, 2, 3].map(() => clients.one()))
        await run(all[0] ?? (await clients.one()), insertNote('s2', 700))
        await faulty({ kind: 'latency', ms: 60, jitterMs: 10 })
        const [slowBefore, fastBefore] = [readsOn(7, near), readsOn(7, far)]
        for (let round = 0; round < 25; round += 1) {
          const reads = await Promise.all(all.map((client) => run(client, notesOf('s2'))))
          expect(reads.map(({ code }) => code)).toEqual(all.map(() => 'ok'))
        }
        const [slow, fast] = [readsOn(7, near) - slowBefore, readsOn(7, far) - fastBefore]
        expect(slow).toBeLessThan(fast)
      })
    },
    deadlineMs,
  )
})
