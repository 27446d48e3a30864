// A proxy and the catalog, which is on the home shard's primary, that cannot reach each other: it routes by what it knows,
// changes nothing, and learns what it has missed. Each fault strikes a proxy of its own; proxy 0 is never cut off.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openCatalogConnection } from '../../catalog/connection.ts'
import { SettingsProfile } from '../../pool/settings-profile.ts'
import { askServer, connected, present, until } from '../support/clients.ts'
import { type Fault, startFaultProxy } from '../support/fault-proxy.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import {
  Bystander,
  Clients,
  databaseOf,
  insertNote,
  noticeMs,
  notesOnPrimary,
  run,
  serversOf,
  slackMs,
  sweepMs,
  twoShards,
  waitMs,
} from './partition.ts'

const deadlineMs = 60_000
const catalog = 's1-a'
/** Until the catalog is asked again: a try may take 5 s, the next one comes within 5 s. */
const catalogMs = 10_000
const cases: readonly { readonly name: string; readonly proxy: number; readonly fault: Fault }[] = [
  { name: 'a black hole', proxy: 1, fault: { kind: 'blackHole' } },
  {
    name: 'answers that do not arrive',
    proxy: 2,
    fault: { kind: 'oneWay', swallowed: 'toClient' },
  },
  {
    name: 'requests that do not arrive',
    proxy: 3,
    fault: { kind: 'oneWay', swallowed: 'toServer' },
  },
  { name: 'resets', proxy: 4, fault: { kind: 'reset' } },
  { name: 'refused connections', proxy: 5, fault: { kind: 'refuse' } },
]

describe('a catalog that one proxy cannot reach', () => {
  let stack: ReplicatedStack

  beforeAll(async () => {
    stack = await startReplicatedStack({ ...twoShards, replicas: 1, proxies: 7 })
  }, deadlineMs)
  afterAll(() => stack?.stop(), deadlineMs)

  const create = (table: string) =>
    `CREATE TABLE ${table} (tenant_id bigint PRIMARY KEY, id bigint)`
  const primaryUrl = (shard: 0 | 1) => present(stack.shards[shard]).primary.server.url('app')
  /** What the proxy plans with, without asking it anything. */
  const knows = (proxy: number, table: string) => {
    const { schema } = databaseOf(stack, proxy).contextFor(SettingsProfile.empty, 'app')
    return schema?.relations.has(`public.${table}`) === true
  }
  const throughProxy0 = async (text: string) => {
    const clients = new Clients(stack.place(0))
    expect(await run(await clients.one(), text)).toMatchObject({ code: 'ok' })
    await clients.end()
  }
  const nextEpoch = async () => {
    const sql = 'UPDATE ringfence.topology SET epoch = epoch + 1 RETURNING epoch'
    return Number(present((await askServer(primaryUrl(0), sql))[0] ?? undefined))
  }

  it.concurrent.each(cases)(
    '$name: other shards go on, definitions fail in time, and what was missed is learned',
    async ({ proxy, fault }) => {
      const [missed, own, later] = [`missed_${proxy}`, `own_${proxy}`, `later_${proxy}`]
      const clients = new Clients(stack.place(proxy))
      const [a, b] = await Promise.all([clients.one(), clients.one()])
      const bystander = await Bystander.start(stack.place(proxy), notesOnPrimary('s2'))
      const relay = stack.relay(proxy, catalog)
      const home = serversOf(stack, proxy, 's1')
      try {
        const cutMs = performance.now()
        await relay.set(fault)
        const noticed = () => home.monitor?.primary === null
        await until('the proxy has noticed', noticed, noticeMs + slackMs)

        // Others change the schema and the topology; this proxy goes on with what it knows.
        await throughProxy0(create(missed))
        const epoch = await nextEpoch()
        await until('another proxy knows it', () => databaseOf(stack, 0).topology.epoch >= epoch)
        expect(databaseOf(stack, proxy).topology.epoch).toBeLessThan(epoch)
        const fresh = await clients.one()
        const first = proxy * 100
        expect(await run(fresh, insertNote('s2', first))).toMatchObject({ code: 'ok' })
        const never = `SELECT id + ${proxy} FROM notes WHERE tenant_id = 1 AND id = ${first}`
        expect(await run(fresh, never)).toMatchObject({ rows: [String(first + proxy)] })

        const limitMs = noticeMs + waitMs + sweepMs + slackMs
        const unheardOf = { ...stack.place(proxy), options: `-c statement_timeout=${first}s` }
        const startedMs = performance.now()
        // A replica validates settings that nobody has had yet.
        const login = connected(unheardOf)
        const [defined, onHome] = await Promise.all([
          run(a, create(own)),
          run(b, insertNote('s1', first)),
        ])
        for (const end of [defined, onHome]) {
          expect(end.code).toBe('08001')
          expect(end.ms).toBeLessThan(limitMs)
        }
        await (await login).end()
        expect(performance.now() - startedMs).toBeLessThan(limitMs)
        const unknown = await run(fresh, `INSERT INTO ${missed} VALUES (1, 1)`)
        expect(unknown.code).toBe('42P01')
        expect(unknown.ms).toBeLessThan(limitMs)
        expect(bystander.failures).toEqual([])
        const nowMs = performance.now()
        expect(bystander.medianMs(cutMs, nowMs)).toBeLessThan(
          bystander.medianMs(0, cutMs) * 5 + 100,
        )

        await relay.set({ kind: 'none' })
        const learned = () =>
          knows(proxy, missed) && databaseOf(stack, proxy).topology.epoch >= epoch
        await until('it has learned what it has missed', learned, catalogMs + slackMs)
        // Nothing but a notification tells of this one.
        await throughProxy0(create(later))
        await until('it hears of changes again', () => knows(proxy, later), slackMs)
        expect(await run(a, insertNote('s1', first))).toMatchObject({ code: 'ok' })
        expect(await run(b, `INSERT INTO ${missed} VALUES (1, 1)`)).toMatchObject({ code: 'ok' })
        expect(await run(a, create(own))).toMatchObject({ code: 'ok' })
        expect(knows(proxy, own)).toBe(true)
      } finally {
        await relay.set({ kind: 'none' })
        await clients.end()
        await bystander.stop()
      }
      for (const shard of [0, 1] as const) {
        const sql = `SELECT to_regclass('${own}')`
        expect(await askServer(primaryUrl(shard), sql)).toEqual([own])
      }
    },
    deadlineMs,
  )

  it.concurrent(
    'a definition that is under way when the black hole comes ends, and nothing of it is kept',
    async () => {
      const clients = new Clients(stack.place(6))
      const a = await clients.one()
      const relay = stack.relay(6, catalog)
      await run(a, 'BEGIN')
      expect(await run(a, create('half'))).toMatchObject({ code: 'ok' })
      await relay.set({ kind: 'blackHole' })
      const { code, ms } = await run(a, 'COMMIT')
      expect(['08006', '08007', '40001']).toContain(code)
      expect(ms).toBeLessThan(noticeMs + waitMs + sweepMs + slackMs)
      await relay.set({ kind: 'none' })
      await until('it is on both shards or on none', async () => {
        const sql = `SELECT to_regclass('half') FROM (SELECT count(*) FROM pg_prepared_xacts) n WHERE count = 0`
        const [home, other] = await Promise.all(
          [0, 1].map((shard) => {
            return askServer(primaryUrl(shard === 0 ? 0 : 1), sql)
          }),
        )
        return home?.length === 1 && other?.length === 1 && home[0] === other[0]
      })
      await clients.end()
    },
    deadlineMs,
  )

  it('a connection of the catalog that has fallen silent is left within a second', async () => {
    const { port } = present(stack.shards[0]).primary
    const relay = await startFaultProxy({ host: '127.0.0.1', port })
    const url = new URL(primaryUrl(0))
    url.port = String(relay.port)
    const connection = await openCatalogConnection(url.href, 5_000)
    await relay.set({ kind: 'blackHole' })
    const startedMs = performance.now()
    await connection.end()
    expect(performance.now() - startedMs).toBeLessThan(1_000 + slackMs)
    await relay.close()
  })
})
