// One of two proxies and Redis that cannot reach each other, while replay is late: whoever shares a session id must
// not read less than was acknowledged, through whichever proxy. Both are of one fleet, so faults come one after the other.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Client } from 'pg'
import { pause, present, until } from '../support/clients.ts'
import type { Fault } from '../support/fault-proxy.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import {
  Bystander,
  Clients,
  databaseOf,
  noticeMs,
  probeMs,
  run,
  serversOf,
  slackMs,
  sweepMs,
} from './partition.ts'

const deadlineMs = 60_000
/** Of a proxy in the registry: so long its acknowledgements may wait. */
const leaseMs = 2_000
const replayDelayMs = 400
/** So long a sample is waited for when a server does not tell its position. */
const settleMs = 2_000
const [cut, whole] = [0, 1] as const
/** Long enough that leases end while the fault lasts. */
const faultMs = leaseMs + 500

const cases: readonly { readonly name: string; readonly fault: Fault }[] = [
  { name: 'a black hole', fault: { kind: 'blackHole' } },
  { name: 'answers that do not arrive', fault: { kind: 'oneWay', swallowed: 'toClient' } },
  { name: 'requests that do not arrive', fault: { kind: 'oneWay', swallowed: 'toServer' } },
  { name: 'resets', fault: { kind: 'reset' } },
  { name: 'refused connections', fault: { kind: 'refuse' } },
  {
    name: 'answers after the limit of a command',
    fault: { kind: 'latency', ms: 150, jitterMs: 50 },
  },
]

describe('Redis that one proxy cannot reach', () => {
  let stack: ReplicatedStack
  let lastNote = 0

  beforeAll(async () => {
    stack = await startReplicatedStack({
      shards: 1,
      replicas: 1,
      proxies: 2,
      relays: true,
      redis: true,
      setupSql: 'CREATE TABLE notes (id bigint PRIMARY KEY)',
      reads: { maxLagMs: 1_000 },
      failover: { probeMs, waitMs: probeMs },
    })
    const shard = present(stack.shards[0])
    const replica = present(shard.replicas[0])
    await shard.delayReplay(replica, replayDelayMs)
  }, deadlineMs)
  afterAll(() => stack?.stop(), deadlineMs)

  const onReplica = (proxy: number) => {
    const { chosen, waited, retried } = serversOf(stack, proxy, 's1').counts.replica
    return chosen + waited + retried
  }

  /** The newest note as a client of `proxy` sees it, and whether a replica was asked. */
  const newest = async (client: Client, proxy: number) => {
    const before = onReplica(proxy)
    const { code, message, rows, ms } = await run(client, 'SELECT max(id) FROM notes')
    expect({ code, message }).toEqual({ code: 'ok', message: '' })
    return { id: Number(rows[0]), onReplica: onReplica(proxy) > before, ms }
  }

  const sharing = async (clients: Clients, id: string) => {
    const client = await clients.one()
    await run(client, `SET ringfence.session_id = '${id}'`)
    return client
  }

  type Pair = { readonly writer: Client; readonly reader: Client; readonly readsThrough: number }

  /** Writes through one proxy and reads through the other, for `forMs`; gives what was observed. */
  const handOver = async ({ writer, reader, readsThrough }: Pair, forMs: number) => {
    const seen = { reads: 0, onReplica: 0, slowestWriteMs: 0, slowestReadMs: 0 }
    const endMs = performance.now() + forMs
    while (performance.now() < endMs) {
      lastNote += 1
      const write = await run(writer, `INSERT INTO notes VALUES (${lastNote})`)
      expect(write).toMatchObject({ code: 'ok' })
      const read = await newest(reader, readsThrough)
      expect(read.id).toBe(lastNote)
      seen.reads += 1
      seen.onReplica += read.onReplica ? 1 : 0
      seen.slowestWriteMs = Math.max(seen.slowestWriteMs, write.ms)
      seen.slowestReadMs = Math.max(seen.slowestReadMs, read.ms)
      await pause(50)
    }
    return seen
  }

  const pairOf = async (here: Clients, there: Clients, id: string): Promise<Pair> => {
    const [writer, reader] = await Promise.all([sharing(here, id), sharing(there, id)])
    return { writer, reader, readsThrough: whole }
  }

  /** Both proxies let the replica serve what has this id. */
  const served = async (...clients: readonly Client[]) => {
    for (const [proxy, client] of clients.entries()) {
      await until(
        'reads with an id are served by the replica',
        async () => {
          await pause(100)
          return (await newest(client, proxy)).onReplica
        },
        15_000,
      )
    }
  }

  it('is in use: replicas serve who has an id once they are far enough, and lag behind who has none', async () => {
    const [here, there] = [new Clients(stack.place(cut)), new Clients(stack.place(whole))]
    const pair = await pairOf(here, there, 'first')
    await handOver(pair, 200)
    await served(pair.writer, pair.reader)
    lastNote += 1
    await run(pair.writer, `INSERT INTO notes VALUES (${lastNote})`)
    const anybody = await newest(await there.one(), whole)
    expect(anybody).toMatchObject({ onReplica: true, id: lastNote - 1 })
    expect(await newest(pair.reader, whole)).toMatchObject({ onReplica: false, id: lastNote })
    await Promise.all([here.end(), there.end()])
  })

  it.each(cases)(
    '$name: nothing acknowledged is missed, answers keep coming, and replicas serve again',
    async ({ name, fault }) => {
      const [here, there] = [new Clients(stack.place(cut)), new Clients(stack.place(whole))]
      const bystanders = await Promise.all(
        [cut, whole].map((at) => {
          return Bystander.start(stack.place(at), '/* ringfence:primary */ SELECT 1 FROM notes')
        }),
      )
      const relay = stack.relay(cut, 'redis')
      const cutMs = performance.now()
      await relay.set(fault)
      const pair = await pairOf(here, there, name)
      const observed = await handOver(pair, faultMs)
      // The other way round there is nothing to wait for; the proxy that is cut off reads on the primary.
      const { writer, reader } = await pairOf(there, here, `${name}, back`)
      const backwards = await handOver({ writer, reader, readsThrough: cut }, 200)
      const healedMs = performance.now()
      await relay.set({ kind: 'none' })

      expect(observed.slowestWriteMs).toBeLessThan(leaseMs + slackMs)
      expect(observed.slowestReadMs).toBeLessThan(slackMs)
      expect(backwards.onReplica).toBe(0)
      expect(backwards.slowestReadMs).toBeLessThan(slackMs)
      expect(databaseOf(stack, whole).tokens?.state).toBe('connected')
      for (const bystander of bystanders) {
        expect(bystander.failures).toEqual([])
        const beforeMs = bystander.medianMs(0, cutMs)
        expect(bystander.medianMs(cutMs, healedMs)).toBeLessThan(beforeMs * 5 + 100)
        await bystander.stop()
      }

      await served(pair.writer, pair.reader)
      expect(databaseOf(stack, cut).tokens?.state).toBe('connected')
      await handOver(pair, 100)
      await Promise.all([here.end(), there.end()])
    },
    deadlineMs,
  )

  it('what a write under an id has reached cannot be asked any more: it is not acknowledged', async () => {
    const [here, there] = [new Clients(stack.place(cut)), new Clients(stack.place(whole))]
    const pair = await pairOf(here, there, 'unheard')
    lastNote += 1
    const writing = run(pair.writer, `INSERT INTO notes SELECT ${lastNote} FROM pg_sleep(0.6)`)
    await pause(250)
    // Its answer arrives, but the question for the position that follows does not.
    const relay = stack.relay(cut, 's1-a')
    await relay.set({ kind: 'oneWay', swallowed: 'toServer' })
    const { code, ms } = await writing
    await relay.set({ kind: 'none' })
    expect(code).toBe('08006')
    expect(ms).toBeLessThan(noticeMs + probeMs + sweepMs + settleMs + slackMs)
    expect((await newest(pair.reader, whole)).id).toBe(lastNote)
    const after = await sharing(here, 'unheard')
    await until('the proxy writes again', async () => {
      lastNote += 1
      return (await run(after, `INSERT INTO notes VALUES (${lastNote})`)).code === 'ok'
    })
    expect((await newest(pair.reader, whole)).id).toBe(lastNote)
    await Promise.all([here.end(), there.end()])
  })

  it('latency within the limit of a command costs as much, and nothing else', async () => {
    const [here, there] = [new Clients(stack.place(cut)), new Clients(stack.place(whole))]
    const relay = stack.relay(cut, 'redis')
    await relay.set({ kind: 'latency', ms: 20, jitterMs: 5 })
    const pair = await pairOf(here, there, 'late')
    await handOver(pair, 500)
    await served(pair.writer, pair.reader)
    expect(databaseOf(stack, cut).tokens?.state).toBe('connected')
    await relay.set({ kind: 'none' })
    await Promise.all([here.end(), there.end()])
  })
})
