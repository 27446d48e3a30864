// What a session has written and seen, it sees again, wherever replay stands: read-your-writes and monotonic reads with
// replay paused and late, under each consistency, and with tokens handed on to sessions, proxies and a new primary.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Client } from 'pg'
import { pause, present, refusal, until, value, withClient, withPair } from '../support/clients.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import {
  firstShard,
  type OtherProxy,
  roleOf,
  startOther,
  tellingSql,
  untilReadable,
} from './replica-fixture.ts'

const setupSql = `${tellingSql}
CREATE TABLE counter (id integer PRIMARY KEY, n integer)

INSERT INTO counter VALUES (1, 0)

CREATE FUNCTION increase() RETURNS integer LANGUAGE sql
  AS 'UPDATE counter SET n = n + 1 WHERE id = 1 RETURNING n'
`
const [b, c] = ['s1-b', 's1-c'] as const

let stack: ReplicatedStack
/** Waits long for replicas, so that reads go there in the end. */
let patient: OtherProxy
/** Hardly waits, and takes replicas as late as they are. */
let hasty: OtherProxy

beforeAll(async () => {
  stack = await startReplicatedStack({ shards: 1, replicas: 2, proxies: 1, setupSql })
  await replayed()
  patient = await startOther(stack, {
    reads: { rywWaitMs: 5_000, maxLagMs: null },
    proxy: { tokenKey: 'shared' },
  })
  hasty = await startOther(stack, {
    reads: { rywWaitMs: 100, maxLagMs: null },
    proxy: { tokenKey: 'shared' },
  })
  await Promise.all([patient, hasty].map(({ instance }) => untilReadable(instance, 2)))
})
afterAll(async () => {
  await Promise.all([patient, hasty].map((proxy) => proxy?.instance.close()))
  await stack?.stop()
})

const host = (name: string) => firstShard(stack).host(name)
const [hold, letGo] = [
  (name: string) => firstShard(stack).pauseReplay(host(name)),
  (name: string) => firstShard(stack).resumeReplay(host(name)),
]
async function replayed(): Promise<void> {
  const shard = firstShard(stack)
  await Promise.all(shard.replicas.map((each) => shard.untilReplayed(each)))
}

/** The counter as the session reads it, and who said so. */
async function read(client: Client, hint = ''): Promise<{ n: number; host: string }> {
  const sql = `${hint} SELECT n, served_by() AS host FROM counter WHERE id = 1`
  const { rows } = await client.query<{ n: number; host: string }>(sql)
  return present(rows[0])
}

async function increase(client: Client): Promise<number> {
  const sql = 'UPDATE counter SET n = n + 1 WHERE id = 1 RETURNING n'
  const { rows } = await client.query<{ n: number }>(sql)
  return present(rows[0]).n
}

const tokenOf = async (client: Client) =>
  present((await value(client, 'SHOW ringfence.session_token')) ?? undefined)
const take = (client: Client, token: string) =>
  client.query(`SET ringfence.session_token = '${token}'`)

describe('read-your-writes', () => {
  afterEach(async () => {
    await Promise.all([b, c].map((name) => letGo(name)))
    await replayed()
  })

  it('holds when no replica replays: the primary serves, and replicas again afterwards', async () => {
    await Promise.all([b, c].map((name) => hold(name)))
    await withClient(hasty.place, async (client) => {
      for (let turn = 0; turn < 5; turn += 1) {
        const n = await increase(client)
        expect(await read(client)).toEqual({ n, host: 's1-a' })
      }
      await Promise.all([b, c].map((name) => letGo(name)))
      await replayed()
      await until('a replica serves', async () => roleOf((await read(client)).host) === 'replica')
    })
  })

  it('chooses the replica that has what was written', async () => {
    await hold(b)
    await withClient(patient.place, async (client) => {
      for (let turn = 0; turn < 5; turn += 1) {
        const n = await increase(client)
        expect(await read(client)).toEqual({ n, host: c })
      }
    })
  })

  it('holds for what a transaction has written, and a function', async () => {
    await hold(b)
    await withClient(patient.place, async (client) => {
      await client.query('BEGIN')
      await increase(client)
      const n = await increase(client)
      await client.query('COMMIT')
      expect(await read(client)).toEqual({ n, host: c })
      expect(await value(client, 'SELECT increase()')).toBe(String(n + 1))
      expect(await read(client)).toEqual({ n: n + 1, host: c })
    })
  })

  it('waits for a replica that is late by less than ryw_wait', async () => {
    await Promise.all([b, c].map((name) => hold(name)))
    await withClient(patient.place, async (client) => {
      const n = await increase(client)
      const answer = read(client)
      await pause(150)
      await letGo(b)
      expect(await answer).toEqual({ n, host: b })
    })
  })

  it('does not wait for replicas that are later than that', async () => {
    await withClient(hasty.place, async (writer) => {
      await Promise.all([b, c].map((name) => hold(name)))
      await increase(writer)
      const database = present(hasty.instance.databases.get('app'))
      const { counts, monitor } = database.serversOf(present(database.shards[0]))
      await until('the lag is known', () =>
        present(monitor ?? undefined).replicas.every((each) => (monitor?.lag(each).ms ?? 0) > 100),
      )
      const waits = counts.waits
      expect((await read(writer)).host).toBe('s1-a')
      expect(counts.waits).toBe(waits)
    })
  })

  it('holds with replay that is always late', async () => {
    const shard = firstShard(stack)
    const late = (delayMs: number) =>
      Promise.all(shard.replicas.map((each) => shard.delayReplay(each, delayMs)))
    await late(80)
    try {
      await withClient(patient.place, async (client) => {
        for (let turn = 0; turn < 8; turn += 1) {
          const n = await increase(client)
          const seen = await read(client)
          expect([seen.n, roleOf(seen.host)]).toEqual([n, 'replica'])
        }
      })
    } finally {
      await late(0)
    }
  })
})

describe('monotonic reads', () => {
  afterEach(async () => {
    await Promise.all([b, c].map((name) => letGo(name)))
    await replayed()
  })

  it('hold between two replicas of which one stands still', async () => {
    await hold(b)
    await withPair(hasty.place, async (writer, reader) => {
      let last = 0
      for (let turn = 0; turn < 60; turn += 1) {
        if (turn % 3 === 0) await increase(writer)
        const { n } = await read(reader)
        expect(n).toBeGreaterThanOrEqual(last)
        last = n
        if (turn % 10 === 0) await pause(30)
      }
    })
  })

  it('hold after a read on the primary', async () => {
    await withPair(hasty.place, async (writer, reader) => {
      await Promise.all([b, c].map((name) => hold(name)))
      const n = await increase(writer)
      expect(await read(reader, '/* ringfence:primary */')).toEqual({ n, host: 's1-a' })
      expect(await read(reader)).toEqual({ n, host: 's1-a' })
      await pause(50)
      expect(await read(reader)).toEqual({ n, host: 's1-a' })
    })
  })

  it('do not hold back who has seen nothing yet', async () => {
    await withClient(hasty.place, async (writer) => {
      await Promise.all([b, c].map((name) => hold(name)))
      const n = await increase(writer)
      await withClient(hasty.place, async (reader) => {
        const seen = await read(reader)
        expect([seen.n, roleOf(seen.host)]).toEqual([n - 1, 'replica'])
      })
    })
  })
})

describe('consistency', () => {
  afterEach(async () => {
    await Promise.all([b, c].map((name) => letGo(name)))
    await replayed()
  })

  it('eventual may show what is old, strong never leaves the primary', async () => {
    await withClient(hasty.place, async (client) => {
      await Promise.all([b, c].map((name) => hold(name)))
      const n = await increase(client)
      await client.query('SET ringfence.consistency = eventual')
      const old = await read(client)
      expect([old.n, roleOf(old.host)]).toEqual([n - 1, 'replica'])
      await client.query('SET ringfence.consistency = strong')
      expect(await read(client)).toEqual({ n, host: 's1-a' })
      await client.query('SET ringfence.consistency = session')
      expect(await read(client)).toEqual({ n, host: 's1-a' })
      const hinted = await read(client, '/* ringfence:consistency=eventual */')
      expect([hinted.n, roleOf(hinted.host)]).toEqual([n - 1, 'replica'])
    })
  })

  it('eventual reads no replica that is later than max_lag', async () => {
    const strict = await startOther(stack, { reads: { maxLagMs: 300, consistency: 'eventual' } })
    await untilReadable(strict.instance, 2)
    await withPair(strict.place, async (reader, writer) => {
      expect(roleOf((await read(reader)).host)).toBe('replica')
      await hold(b)
      await increase(writer)
      await until('one is left', async () => {
        const hosts = await Promise.all(Array.from({ length: 8 }, () => read(reader)))
        return hosts.every((seen) => seen.host === c)
      })
      await hold(c)
      const n = await increase(writer)
      await until('none is left', async () => (await read(reader)).host === 's1-a')
      expect((await read(reader)).n).toBe(n)
      await reader.query('SET ringfence.target = replica')
      expect(await refusal(read(reader))).toMatchObject({ code: '57P03' })
      await letGo(b)
      await until('it is back', async () => (await read(reader).catch(() => null))?.host === b)
    })
    await strict.instance.close()
  })
})

describe('a token', () => {
  afterEach(async () => {
    await Promise.all([b, c].map((name) => letGo(name)))
    await replayed()
  })

  it('hands on what a session has written and seen, to sessions of any proxy', async () => {
    await hold(b)
    await withPair(patient.place, async (writer, witness) => {
      const n = await increase(writer)
      const written = await tokenOf(writer)
      await witness.query(`SET ringfence.session_token = '${written}'`)
      expect(await read(witness)).toEqual({ n, host: c })
      const seen = await tokenOf(witness)
      for (const place of [patient.place, hasty.place]) {
        for (const token of [written, seen]) {
          await withClient(place, async (client) => {
            await take(client, token)
            expect((await read(client)).n).toBe(n)
          })
        }
      }
      const options = `-c ringfence.session_token=${seen}`
      await withClient({ ...hasty.place, options }, async (client) => {
        expect((await read(client)).n).toBe(n)
      })
    })
  })

  it('that is older than what the session knows changes nothing', async () => {
    await withPair(hasty.place, async (first, second) => {
      await increase(first)
      const old = await tokenOf(first)
      await Promise.all([b, c].map((name) => hold(name)))
      const n = await increase(second)
      await take(second, old)
      expect(await read(second)).toEqual({ n, host: 's1-a' })
    })
  })

  it('is forgotten by RESET and by DISCARD ALL', async () => {
    await withClient(hasty.place, async (client) => {
      await Promise.all([b, c].map((name) => hold(name)))
      const n = await increase(client)
      const token = await tokenOf(client)
      for (const sql of ['RESET ringfence.session_token', 'DISCARD ALL']) {
        await take(client, token)
        expect((await read(client)).n).toBe(n)
        await client.query(sql)
        expect((await read(client)).n).toBe(n - 1)
      }
    })
  })

  it('is refused when it was forged, cut, or made for another database or key', async () => {
    const { place, instance } = await startOther(stack, {
      database: { name: 'other' },
      proxy: { tokenKey: 'shared' },
    })
    const foreign = await withClient(place, async (client) => {
      await increase(client)
      return tokenOf(client)
    })
    await instance.close()
    const otherKey = await withClient(stack.place(0), (client) => tokenOf(client))
    await withClient(patient.place, async (client) => {
      const n = await increase(client)
      const own = await tokenOf(client)
      const flipped = own.slice(0, 20) + (own[20] === 'A' ? 'B' : 'A') + own.slice(21)
      for (const token of [
        foreign,
        otherKey,
        flipped,
        own.slice(0, -4),
        'rf1.',
        '',
        'x',
        `${own}A`,
      ]) {
        expect(await refusal(take(client, token))).toMatchObject({ code: '22023' })
      }
      expect((await read(client)).n).toBe(n)
      await take(client, own)
    })
  })
})

it('a token holds over a failover', async () => {
  const shard = firstShard(stack)
  const dead = shard.primary
  await withClient(hasty.place, async (client) => {
    const n = await increase(client)
    const token = await tokenOf(client)
    await shard.untilReplayed(host(b))
    await shard.kill(dead)
    await shard.promote(host(b))
    for (const place of [patient.place, hasty.place]) {
      await withClient(place, async (reader) => {
        await take(reader, token)
        expect((await read(reader)).n).toBe(n)
      })
    }
    expect((await read(client)).n).toBe(n)
    expect(await increase(client)).toBe(n + 1)
    const later = await tokenOf(client)
    await hold(c)
    expect(await increase(client)).toBe(n + 2)
    await withClient(hasty.place, async (reader) => {
      await take(reader, later)
      expect((await read(reader)).n).toBeGreaterThanOrEqual(n + 1)
    })
    expect((await read(client)).n).toBe(n + 2)
  })
})
