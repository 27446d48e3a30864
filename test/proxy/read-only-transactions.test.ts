// Transactions declared READ ONLY: the whole of one runs on one replica, in one snapshot where it asks for one, and means
// there what it means on the primary.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Client } from 'pg'
import { column, refusal, until, value, withClient, withPair } from '../support/clients.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import {
  firstShard,
  readsSetupSql,
  replicaNames,
  roleOf,
  untilReadable,
} from './replica-fixture.ts'

let stack: ReplicatedStack

beforeAll(async () => {
  const reads = { rywWaitMs: 5_000, maxLagMs: null }
  const setupSql = readsSetupSql
  stack = await startReplicatedStack({ shards: 1, replicas: 2, proxies: 1, setupSql, reads })
  const shard = firstShard(stack)
  await Promise.all(shard.replicas.map((host) => shard.untilReplayed(host)))
  await untilReadable(stack.proxy(0).instance, 2)
})
afterAll(() => stack?.stop())

const session = <T>(use: (client: Client) => Promise<T>, options = '') =>
  withClient({ ...stack.place(0), options }, use)
const served = (client: Client) => value(client, 'SELECT served_by()')
const server = async (client: Client) => roleOf(await served(client))
const counted = (client: Client) => value(client, 'SELECT count(*) FROM notes')
const insert = (client: Client) =>
  client.query("INSERT INTO notes SELECT max(id) + 1, 'new' FROM notes")
const replayed = async () => {
  const shard = firstShard(stack)
  await Promise.all(shard.replicas.map((host) => shard.untilReplayed(host)))
}

describe('a READ ONLY transaction', () => {
  it.each([
    'BEGIN READ ONLY',
    'START TRANSACTION READ ONLY',
    'BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY',
  ])('stays on the replica of its first statement: %s', async (begin) => {
    const hosts = new Set<string | null>()
    // A session that has just read on a replica stays there until it is known what it has seen.
    const one = () =>
      session(async (client) => {
        await client.query(begin)
        const inside = await Promise.all([served(client), served(client), served(client)])
        await client.query('COMMIT')
        expect(new Set(inside).size).toBe(1)
        hosts.add(inside[0] ?? null)
      })
    await Promise.all(Array.from({ length: 20 }, one))
    expect(hosts).toEqual(new Set(replicaNames))
  })

  it('has one snapshot under REPEATABLE READ', async () => {
    await withPair(stack.place(0), async (reader, writer) => {
      await reader.query('BEGIN READ ONLY ISOLATION LEVEL REPEATABLE READ')
      const before = Number(await counted(reader))
      await insert(writer)
      await replayed()
      expect(Number(await counted(reader))).toBe(before)
      expect(await server(reader)).toBe('replica')
      await reader.query('COMMIT')
      expect(Number(await counted(reader))).toBe(before + 1)
    })
  })

  it('sees under READ COMMITTED what is replayed meanwhile', async () => {
    await withPair(stack.place(0), async (reader, writer) => {
      await reader.query('BEGIN READ ONLY')
      const before = Number(await counted(reader))
      await insert(writer)
      await replayed()
      expect(Number(await counted(reader))).toBe(before + 1)
      expect(await server(reader)).toBe('replica')
      await reader.query('COMMIT')
    })
  })

  it('runs on the primary when it is SERIALIZABLE', async () => {
    await session(async (client) => {
      await client.query('BEGIN READ ONLY, ISOLATION LEVEL SERIALIZABLE')
      expect(await server(client)).toBe('primary')
      await client.query('COMMIT')
      await client.query("SET default_transaction_isolation = 'serializable'")
      await client.query('BEGIN READ ONLY')
      expect(await server(client)).toBe('primary')
      await client.query('COMMIT')
      await client.query('BEGIN READ ONLY ISOLATION LEVEL READ COMMITTED')
      expect(await server(client)).toBe('replica')
      await client.query('COMMIT')
    })
    const options = '-c default_transaction_isolation=serializable'
    await session(async (client) => {
      await client.query('BEGIN READ ONLY')
      expect(await server(client)).toBe('primary')
      await client.query('COMMIT')
    }, options)
  })

  it('runs on the primary when its first statement has to', async () => {
    await session(async (client) => {
      await client.query('BEGIN READ ONLY')
      expect(await value(client, 'SELECT count(*) FROM scratch')).toBe('0')
      expect([await server(client), await server(client)]).toEqual(['primary', 'primary'])
      await client.query('COMMIT')
    })
  })

  it('is told by its replica what that cannot do', async () => {
    await session(async (client) => {
      await client.query('BEGIN READ ONLY')
      expect(await server(client)).toBe('replica')
      const unlogged = client.query('SELECT count(*) FROM scratch')
      expect(await refusal(unlogged)).toMatchObject({
        code: '0A000',
        message: expect.stringContaining('during recovery'),
      })
      expect(await refusal(client.query('SELECT 1'))).toMatchObject({ code: '25P02' })
      expect((await client.query('COMMIT')).command).toBe('ROLLBACK')
      expect(await value(client, 'SELECT count(*) FROM scratch')).toBe('0')
    })
  })

  it.each([
    "INSERT INTO notes VALUES (5000, 'x')",
    "UPDATE notes SET body = 'x' WHERE id = 1",
    "SELECT nextval('tickets')",
    'CREATE TABLE forbidden (id integer)',
    'SELECT id FROM notes WHERE id = 1 FOR UPDATE',
  ])('writes nothing: %s', async (sql) => {
    await session(async (client) => {
      for (const first of ['SELECT served_by()', 'SELECT count(*) FROM scratch', '']) {
        await client.query('BEGIN READ ONLY')
        await client.query(first)
        expect(await refusal(client.query(sql))).toMatchObject({ code: '25006' })
        await client.query('ROLLBACK')
      }
    })
  })

  it('has savepoints', async () => {
    await session(async (client) => {
      await client.query('BEGIN READ ONLY')
      const host = await served(client)
      await client.query('SAVEPOINT here')
      expect(await refusal(client.query('SELECT 1 / 0'))).toMatchObject({ code: '22012' })
      await client.query('ROLLBACK TO SAVEPOINT here')
      expect([await served(client), roleOf(host)]).toEqual([host, 'replica'])
      await client.query('RELEASE SAVEPOINT here')
      expect((await client.query('COMMIT')).command).toBe('COMMIT')
    })
  })

  it.each(['COMMIT', 'ROLLBACK'])('goes on as READ ONLY after %s AND CHAIN', async (end) => {
    await session(async (client) => {
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY')
      expect(await server(client)).toBe('replica')
      await client.query(`${end} AND CHAIN`)
      expect(await server(client)).toBe('replica')
      expect(await value(client, "SELECT in_force('transaction_isolation')")).toBe(
        'repeatable read',
      )
      expect(await refusal(insert(client))).toMatchObject({ code: '25006' })
      await client.query('ROLLBACK')
      await insert(client)
    })
  })

  it('sees what its session has written before', async () => {
    await session(async (client) => {
      for (let turn = 0; turn < 10; turn += 1) {
        await insert(client)
        const [expected] = await column(
          client,
          '/* ringfence:primary */ SELECT count(*) FROM notes',
        )
        await insert(client)
        await client.query('BEGIN READ ONLY')
        expect(Number(await counted(client))).toBe(Number(expected) + 1)
        await client.query('COMMIT')
      }
    })
  })

  it('keeps SET LOCAL and SET to itself, as anywhere', async () => {
    await session(async (client) => {
      const timeout = () => value(client, "SELECT in_force('statement_timeout')")
      await client.query('BEGIN READ ONLY')
      expect(await server(client)).toBe('replica')
      await client.query("SET LOCAL statement_timeout = '11s'")
      expect(await timeout()).toBe('11s')
      await client.query('COMMIT')
      expect(await timeout()).toBe('0')
      await client.query('BEGIN READ ONLY')
      expect(await server(client)).toBe('replica')
      await client.query("SET statement_timeout = '12s'")
      await client.query('COMMIT')
      expect([await timeout(), await timeout(), await timeout()]).toEqual(['12s', '12s', '12s'])
    })
  })
})

describe('a transaction that is not declared so', () => {
  it('runs on the primary', async () => {
    await session(async (client) => {
      for (const begin of ['BEGIN', 'BEGIN READ WRITE', 'BEGIN; SET TRANSACTION READ ONLY']) {
        await client.query(begin)
        expect(await server(client)).toBe('primary')
        await client.query('COMMIT')
      }
      await client.query('BEGIN')
      await client.query('SET TRANSACTION READ ONLY')
      expect(await refusal(insert(client))).toMatchObject({ code: '25006' })
      await client.query('ROLLBACK')
    })
  })

  it('may be made READ WRITE before its first query', async () => {
    await session(async (client) => {
      const before = Number(await counted(client))
      await client.query('BEGIN READ ONLY')
      await client.query('SET TRANSACTION READ WRITE')
      await insert(client)
      await client.query('COMMIT')
      expect(Number(await counted(client))).toBe(before + 1)
    })
  })

  it.each([
    'SET default_transaction_read_only = on',
    "SET default_transaction_read_only TO 'true'",
    'SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY',
    "SELECT set_config('default_transaction_read_only', 'on', false)",
  ])('is READ ONLY by default after %s', async (sql) => {
    await session(async (client) => {
      await client.query(sql)
      await client.query('BEGIN')
      expect(await server(client)).toBe('replica')
      expect(await refusal(insert(client))).toMatchObject({ code: '25006' })
      await client.query('ROLLBACK')
      await client.query('BEGIN READ WRITE')
      await insert(client)
      expect(await server(client)).toBe('primary')
      await client.query('COMMIT')
      await client.query('RESET default_transaction_read_only')
      await client.query('BEGIN')
      await insert(client)
      await client.query('COMMIT')
    })
  })

  it('is READ ONLY by default when the startup packet says so', async () => {
    await session(async (client) => {
      await client.query('BEGIN')
      expect(await server(client)).toBe('replica')
      expect(await refusal(insert(client))).toMatchObject({ code: '25006' })
      await client.query('ROLLBACK')
    }, '-c default_transaction_read_only=on')
  })
})

it('a READ ONLY transaction whose replica dies is told to begin anew, and can', async () => {
  const shard = firstShard(stack)
  await session(async (client) => {
    await client.query('BEGIN READ ONLY')
    const host = shard.host((await served(client)) ?? '')
    await shard.kill(host)
    try {
      const lost = refusal(client.query('SELECT served_by()'))
      expect((await lost).code).toMatch(/^(?:40001|08006)$/)
      await client.query('ROLLBACK')
      // How far the dead one was, nobody can tell any more: only the primary has for sure what was seen there.
      for (const role of ['primary', 'replica']) {
        await client.query('BEGIN READ ONLY')
        expect(await server(client)).toBe(role)
        await client.query('COMMIT')
        // Waits until it is known what was seen there.
        await client.query('SHOW ringfence.session_token')
      }
    } finally {
      await shard.restart(host)
    }
  })
  await until('it is back', () => shard.replicas.every(({ server: { running } }) => running))
})
