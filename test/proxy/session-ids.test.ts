// Session ids: what was written and seen under an id is known to every session that uses it, on any proxy, through Redis.
// Replay is paused here nearly always, so that a read which does not know of a write shows it.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Client } from 'pg'
import {
  present,
  rawClient,
  refusal,
  untilReady,
  until,
  value,
  withClient,
} from '../support/clients.ts'
import { bindBytes, executeBytes, frontendMessage, parseBytes } from '../support/frontend-bytes.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import { firstShard, roleOf, tellingSql, untilReadable } from './replica-fixture.ts'

const setupSql = `${tellingSql}
CREATE TABLE counter (id integer PRIMARY KEY, n integer)

INSERT INTO counter VALUES (1, 0)
`
const increaseSql = 'UPDATE counter SET n = n + 1 WHERE id = 1 RETURNING n'

let stack: ReplicatedStack
let ids = 0
/** A new one for each test. */
let id = ''

beforeAll(async () => {
  // Longer than a test; and for so long ids count for nothing at the start, or after Redis was lost.
  const reads = { rywWaitMs: 20, maxLagMs: 5_000 }
  stack = await startReplicatedStack({
    shards: 1,
    replicas: 1,
    proxies: 2,
    redis: true,
    setupSql,
    reads,
  })
  const shard = firstShard(stack)
  await shard.untilReplayed(shard.host('s1-b'))
  for (const at of [0, 1]) await untilReadable(stack.proxy(at).instance, 1)
})
afterAll(() => stack?.stop())
beforeEach(async () => {
  const shard = firstShard(stack)
  const replica = shard.host('s1-b')
  await shard.resumeReplay(replica)
  await shard.untilReplayed(replica)
  for (const at of [0, 1]) await untilReadable(stack.proxy(at).instance, 1)
  await untilKnown()
  ids += 1
  id = `user-${ids}`
  // An id that nobody has used is read on the primary: known ones show whether a write was published.
  for (const used of [id, `${id}-1,${id}-2,${id}-3`, 'i7']) {
    await on(0, used, (client) => increase(client))
  }
  await shard.untilReplayed(replica)
  for (const used of [id, `${id}-1,${id}-2,${id}-3`, 'i7']) {
    await until(
      'it is read on the replica',
      async () => roleOf((await seenBy(used)).host) === 'replica',
    )
  }
  await shard.pauseReplay(replica)
})

type Seen = { readonly n: number; readonly host: string }

async function read(client: Client, hint = ''): Promise<Seen> {
  const sql = `${hint} SELECT n, served_by() AS host FROM counter WHERE id = 1`
  const { rows } = await client.query<Seen>(sql)
  return present(rows[0])
}

async function increase(client: Client, hint = ''): Promise<number> {
  const { rows } = await client.query<Seen>(`${hint} ${increaseSql}`)
  return present(rows[0]).n
}

/** On one of the proxies, with that session id from the startup packet on. */
const on = <T>(proxy: number, sessionId: string | null, use: (client: Client) => Promise<T>) => {
  const options = sessionId === null ? '' : `-c ringfence.session_id=${sessionId}`
  return withClient({ ...stack.place(proxy), options }, use)
}

/** What the other proxy shows to whoever uses `sessionId`. */
const seenBy = async (sessionId: string | null) => on(1, sessionId, (client) => read(client))

/** Both proxies trust Redis: an id of which nothing is known is read on the replica. */
async function untilKnown(): Promise<void> {
  await until(
    'Redis is trusted',
    async () => {
      const seen = await Promise.all([0, 1].map((at) => on(at, 'nobody', (client) => read(client))))
      return seen.every(({ host }) => roleOf(host) === 'replica')
    },
    20_000,
  )
}

describe('what was written under a session id is seen under it on another proxy', () => {
  it('when the id comes with the startup packet', async () => {
    const n = await on(0, id, (client) => increase(client))
    expect(await seenBy(id)).toEqual({ n, host: 's1-a' })
    expect(roleOf((await seenBy(null)).host)).toBe('replica')
  })

  it('when the id is SET', async () => {
    const n = await on(0, null, async (client) => {
      await client.query(`SET ringfence.session_id = '${id}'`)
      return increase(client)
    })
    const seen = await on(1, null, async (client) => {
      const before = await read(client)
      await client.query(`SET ringfence.session_id = '${id}'`)
      return [before.n < n, (await read(client)).n]
    })
    expect(seen).toEqual([true, n])
  })

  it('when the id stands in a comment', async () => {
    const hint = `/* ringfence:session_id=${id} */`
    const n = await on(0, null, (client) => increase(client, hint))
    expect(await on(1, null, (client) => read(client, hint))).toEqual({ n, host: 's1-a' })
    expect(await seenBy(id)).toEqual({ n, host: 's1-a' })
  })

  it('when the statement is a prepared one with a comment', async () => {
    const text = (sql: string) => `/* ringfence:session_id=${id} */ ${sql}`
    const n = await on(0, null, async (client) => {
      const query = { name: 'w', text: text(increaseSql) }
      await client.query(query)
      await client.query('SET work_mem = DEFAULT')
      return present((await client.query<Seen>(query)).rows[0]).n
    })
    const query = { name: 'r', text: text('SELECT n FROM counter WHERE $1 = id'), values: [1] }
    const seen = await on(1, null, (client) => client.query<Seen>(query))
    expect(seen.rows).toEqual([{ n }])
  })

  it('when the rows of the write are fetched in parts', async () => {
    const { connection } = await rawClient(stack.place(0))
    const name = Buffer.from('')
    const sql = Buffer.from(`/* ringfence:session_id=${id} */ ${increaseSql}`)
    const messages = [
      parseBytes(name, sql, []),
      bindBytes(name, name, [], []),
      executeBytes(name, 1),
    ]
    connection.send(Buffer.concat([...messages, frontendMessage('S')]))
    await untilReady(connection)
    expect((await seenBy(id)).host).toBe('s1-a')
    connection.destroy()
  })

  it('when a transaction has written it', async () => {
    const n = await on(0, id, async (client) => {
      await client.query('BEGIN')
      await increase(client)
      const last = await increase(client)
      await client.query('COMMIT')
      return last
    })
    expect(await seenBy(id)).toEqual({ n, host: 's1-a' })
  })

  it('when the transaction has ended and another one goes on', async () => {
    await on(0, id, async (client) => {
      await client.query('BEGIN')
      const n = await increase(client)
      await client.query('COMMIT AND CHAIN')
      expect(await seenBy(id)).toEqual({ n, host: 's1-a' })
      const token = await value(client, 'SHOW ringfence.session_token')
      const options = `-c ringfence.session_token=${token}`
      const other = { ...stack.place(1), options }
      expect(await withClient(other, (reader) => read(reader))).toEqual({ n, host: 's1-a' })
      await client.query('ROLLBACK')
    })
  })

  it('when a pipeline was answered before its Sync', async () => {
    const { connection } = await rawClient(stack.place(0))
    const name = Buffer.from('')
    const sql = Buffer.from(`/* ringfence:session_id=${id} */ ${increaseSql}`)
    const messages = [
      parseBytes(name, sql, []),
      bindBytes(name, name, [], []),
      executeBytes(name, 0),
    ]
    connection.send(Buffer.concat([...messages, frontendMessage('H')]))
    for (let code = ''; code !== 'C'; ) {
      const arrival = await connection.next(5_000)
      if (typeof arrival === 'string') throw new Error(arrival)
      code = arrival.code
    }
    connection.send(frontendMessage('S'))
    await untilReady(connection)
    expect((await seenBy(id)).host).toBe('s1-a')
    connection.destroy()
  })

  it('when the id held for the transaction alone', async () => {
    const n = await on(0, null, async (client) => {
      await client.query('BEGIN')
      await client.query(`SET LOCAL ringfence.session_id = '${id}'`)
      const last = await increase(client)
      await client.query('COMMIT')
      return last
    })
    expect(await seenBy(id)).toEqual({ n, host: 's1-a' })
  })

  it('when the id stood in a comment of a statement of the transaction', async () => {
    const n = await on(0, null, async (client) => {
      await client.query('BEGIN')
      const last = await increase(client, `/* ringfence:session_id=${id} */`)
      await client.query('COMMIT')
      return last
    })
    expect(await seenBy(id)).toEqual({ n, host: 's1-a' })
  })

  it('when the session has another id by the end of the string', async () => {
    const sql = `${increaseSql}; SET ringfence.session_id = 'another'`
    await on(0, id, (client) => client.query(sql))
    expect((await seenBy(id)).host).toBe('s1-a')
  })

  it('when several ids are in use at once', async () => {
    const [one, two, three] = [`${id}-1`, `${id}-2`, `${id}-3`]
    const n = await on(0, `${one},${two}`, (client) => increase(client))
    expect(await seenBy(one)).toEqual({ n, host: 's1-a' })
    expect(await seenBy(two)).toEqual({ n, host: 's1-a' })
    expect(roleOf((await seenBy(three)).host)).toBe('replica')
    expect(await seenBy(`${three},${two}`)).toEqual({ n, host: 's1-a' })
    const hints = `/* ringfence:session_id=${three}, session_id=${one} */`
    expect(await on(1, null, (client) => read(client, hints))).toEqual({ n, host: 's1-a' })
    const last = await on(0, one, (client) =>
      increase(client, `/* ringfence:session_id=${three} */`),
    )
    for (const each of [one, three]) expect((await seenBy(each)).n).toBe(last)
  })
})

it('what was seen under a session id is not unseen on another proxy', async () => {
  await on(0, null, (client) => increase(client))
  const seen = await on(0, id, (client) => read(client, '/* ringfence:primary */'))
  expect(await seenBy(id)).toEqual({ n: seen.n, host: 's1-a' })
  const inside = await on(0, `${id}-1`, async (client) => {
    await client.query('BEGIN')
    const first = await read(client)
    await client.query('ROLLBACK')
    return first
  })
  expect(await seenBy(`${id}-1`)).toEqual({ n: inside.n, host: 's1-a' })
})

it('a READ ONLY transaction sees what was written under its id', async () => {
  const n = await on(0, id, (client) => increase(client))
  await on(1, id, async (client) => {
    await client.query('BEGIN READ ONLY')
    expect(await read(client)).toEqual({ n, host: 's1-a' })
    await client.query('COMMIT')
  })
  await on(1, null, async (client) => {
    await client.query('BEGIN READ ONLY')
    await client.query(`SET LOCAL ringfence.session_id = '${id}'`)
    expect(await read(client)).toEqual({ n, host: 's1-a' })
    await client.query('COMMIT')
  })
})

it('an id is no longer in use after RESET, and what it meant for the session stays', async () => {
  const n = await on(0, id, (client) => increase(client))
  await on(1, null, async (client) => {
    await client.query(`SET ringfence.session_id = '${id}'`)
    await client.query('RESET ringfence.session_id')
    expect((await read(client)).n).toBeLessThan(n)
    await client.query(`SET ringfence.session_id = '${id}'`)
    expect((await read(client)).n).toBe(n)
    await client.query('RESET ringfence.session_id')
    expect((await read(client)).n).toBe(n)
  })
})

it('ids that are too many or too long are refused', async () => {
  await on(0, null, async (client) => {
    const many = Array.from({ length: 17 }, (_, at) => `i${at}`).join(',')
    for (const value of [many, 'x'.repeat(129)]) {
      const set = client.query(`SET ringfence.session_id = '${value}'`)
      expect(await refusal(set)).toMatchObject({ code: '22023' })
    }
    await client.query(`SET ringfence.session_id = '${many.slice(0, many.lastIndexOf(','))}'`)
    const n = await increase(client)
    expect((await seenBy('i7')).n).toBe(n)
    const last = await increase(client, `/* ringfence:session_id=${id} */`)
    for (const each of [id, 'i7']) expect((await seenBy(each)).n).toBe(last)
    expect((await read(client, `/* ringfence:session_id=${id} */`)).n).toBe(last)
  })
})

describe('while Redis is away', () => {
  it('sessions with ids use the primary, and none is told of an error', async () => {
    await on(1, id, async (reader) => {
      await on(0, id, async (writer) => {
        await stack.redis.kill()
        for (let turn = 0; turn < 3; turn += 1) {
          const n = await increase(writer)
          expect(await read(reader)).toEqual({ n, host: 's1-a' })
        }
        expect(roleOf((await seenBy(null)).host)).toBe('replica')
        await stack.redis.start()
        const n = await increase(writer)
        expect(await read(reader)).toEqual({ n, host: 's1-a' })
      })
    })
  })

  it('nothing is forgotten that was written before: ids are known again once replicas have it', async () => {
    const n = await on(0, id, (client) => increase(client))
    await stack.redis.kill()
    await stack.redis.start()
    for (let turn = 0; turn < 20; turn += 1) expect((await seenBy(id)).n).toBe(n)
    const shard = firstShard(stack)
    await shard.resumeReplay(shard.host('s1-b'))
    await untilKnown()
    expect((await seenBy(id)).n).toBe(n)
  })
})
