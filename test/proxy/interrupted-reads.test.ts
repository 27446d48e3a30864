// Reads that are interrupted while they wait, or after they have begun: by their client, by the death of their server.
// One stack with two replicas and one server connection to each of them.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Client } from 'pg'
import { cancel } from '../support/cancel.ts'
import {
  askServer,
  connected,
  errorFields,
  pause,
  present,
  rawClient,
  refusal,
  sqlstateOf,
  until,
  untilReady,
  value,
  withClient,
} from '../support/clients.ts'
import {
  bindBytes,
  executeBytes,
  frontendMessage,
  parseBytes,
  textBytes,
} from '../support/frontend-bytes.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import {
  databaseOptions,
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
`
const served = 'SELECT served_by()'

let stack: ReplicatedStack
/** One connection per server. */
let narrow: OtherProxy
/** Waits long for replicas to catch up. */
let patient: OtherProxy
beforeAll(async () => {
  stack = await startReplicatedStack({ shards: 1, replicas: 2, proxies: 1, setupSql })
  await replayed()
  const pool = { ...databaseOptions(stack).pool, size: 1 }
  narrow = await startOther(stack, { database: { pool }, reads: { rywWaitMs: 0, maxLagMs: null } })
  patient = await startOther(stack, { reads: { rywWaitMs: 8_000, maxLagMs: null } })
})
afterEach(async () => {
  for (const { server } of firstShard(stack).replicas) {
    await askServer(server.url(), 'SELECT pg_wal_replay_resume()')
  }
  await replayed()
})
afterAll(async () => {
  await Promise.all([narrow, patient].map((proxy) => proxy?.instance.close()))
  await stack?.stop()
})

async function replayed(): Promise<void> {
  const shard = firstShard(stack)
  await Promise.all(shard.replicas.map((each) => shard.untilReplayed(each)))
}

const databaseOf = ({ instance }: OtherProxy) => present(instance.databases.values().next().value)

/**
 * By replica, the client that keeps the only connection to it, in a read-only transaction of a session that has seen
 * nothing before. Nobody else waits for one of them.
 */
async function holdReplicas(): Promise<ReadonlyMap<string, Client>> {
  await untilReadable(narrow.instance, 2)
  const held = new Map<string, Client>()
  const clients: Client[] = []
  while (!firstShard(stack).replicas.every(({ name }) => held.has(name))) {
    const client = await connected(narrow.place)
    clients.push(client)
    await client.query('BEGIN READ ONLY')
    const answered = value(client, served).then(
      (host) => held.set(host ?? '', client),
      () => undefined,
    )
    // Whoever has come to the one that is held already gets no answer.
    await Promise.race([answered, pause(300)])
  }
  const holding = new Set(held.values())
  await endAll(clients.filter((client) => !holding.has(client)))
  await until('nobody waits', () => databaseOf(narrow).stats().waiting === 0)
  return held
}

async function endAll(clients: Iterable<Client>): Promise<void> {
  await Promise.all([...clients].map((client) => client.end()))
}

describe('a read that waits', () => {
  it('for a connection to a replica is stopped by its cancel request, on whichever server', async () => {
    const holders = await holdReplicas()
    const client = await rawClient(narrow.place)
    try {
      const ended = sqlstateOf(client, served)
      await until('it waits', () => databaseOf(narrow).stats().waiting > 0)
      await cancel(narrow.place, client.cancelKey)
      expect(await Promise.race([ended, pause(2_000).then(() => 'still waiting')])).toBe('57014')
      expect(databaseOf(narrow).stats().waiting).toBe(0)
    } finally {
      await endAll(holders.values())
    }
    expect(await sqlstateOf(client, served)).toBe('00000')
    client.connection.destroy()
  })

  it('for a replica to catch up is stopped by its cancel request', async () => {
    await untilReadable(patient.instance, 2)
    for (const { server } of firstShard(stack).replicas) {
      await askServer(server.url(), 'SELECT pg_wal_replay_pause()')
    }
    const client = await rawClient(patient.place)
    expect(await sqlstateOf(client, 'UPDATE counter SET n = n + 1')).toBe('00000')
    const ended = sqlstateOf(client, served)
    await pause(200)
    await cancel(patient.place, client.cancelKey)
    expect(await Promise.race([ended, pause(2_000).then(() => 'still waiting')])).toBe('57014')
    client.connection.destroy()
  })

  it('leaves nothing behind when its client goes', async () => {
    const holders = await holdReplicas()
    const client = await rawClient(narrow.place)
    client.connection.send(textBytes('Q', served))
    await until('it waits', () => databaseOf(narrow).stats().waiting > 0)
    client.connection.destroy()
    await until('nobody waits', () => databaseOf(narrow).stats().waiting === 0)
    await endAll(holders.values())
    await until('all are back', () => databaseOf(narrow).stats().leased === 0)
    expect(databaseOf(narrow).stats()).toMatchObject({ opening: 0, waiting: 0 })
  })
})

describe('a read-only transaction whose server dies', () => {
  it('has seen what it saw: no later read of the session is older', async () => {
    const shard = firstShard(stack)
    const [ahead, behind] = [shard.host('s1-b'), shard.host('s1-c')]
    for (let round = 0; round < 3; round += 1) {
      await askServer(behind.server.url(), 'SELECT pg_wal_replay_pause()')
      await withClient(narrow.place, (writer) => writer.query('UPDATE counter SET n = n + 1'))
      await shard.untilReplayed(ahead)
      const client = await transactionOn('s1-b')
      const seen = Number(await value(client, 'SELECT n FROM counter'))
      await askServer(
        ahead.server.url(),
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%FROM counter%'
           AND pid <> pg_backend_pid()`,
      )
      expect(await refusal(client.query('SELECT 1'))).toMatchObject({ code: '40001' })
      await client.query('ROLLBACK')
      const later = Number(await value(client, 'SELECT n FROM counter'))
      expect(later).toBeGreaterThanOrEqual(seen)
      await client.end()
      await askServer(behind.server.url(), 'SELECT pg_wal_replay_resume()')
      await shard.untilReplayed(behind)
    }
  })
})

/** A client in a read-only transaction on that replica; the other one is free. */
async function transactionOn(name: string): Promise<Client> {
  const holders = new Map(await holdReplicas())
  const client = present(holders.get(name))
  holders.delete(name)
  await endAll(holders.values())
  return client
}

describe('what would keep a client on a replica', () => {
  it('is refused in a read-only transaction, and the session writes on', async () => {
    await untilReadable(narrow.instance, 2)
    for (const pin of [
      'DECLARE mine CURSOR WITH HOLD FOR SELECT 1',
      'SELECT pg_advisory_lock(1)',
    ]) {
      await withClient(narrow.place, async (client) => {
        await client.query('BEGIN READ ONLY')
        expect(roleOf(await value(client, served))).toBe('replica')
        expect(await refusal(client.query(pin))).toMatchObject({ code: '0A000' })
        await client.query('ROLLBACK')
        await client.query('UPDATE counter SET n = n + 1')
      })
    }
  })

  it('is refused there when it was prepared before', async () => {
    const client = await rawClient(narrow.place)
    const { connection } = client
    const [empty, name] = [Buffer.alloc(0), Buffer.from('lock')]
    const sync = frontendMessage('S')
    const lock = Buffer.from('SELECT pg_advisory_lock(1)')
    connection.send(Buffer.concat([parseBytes(name, lock, []), sync]))
    await untilReady(connection)
    expect(await sqlstateOf(client, 'BEGIN READ ONLY')).toBe('00000')
    expect(await sqlstateOf(client, served)).toBe('00000')
    connection.send(Buffer.concat([bindBytes(empty, name, [], []), executeBytes(empty, 0), sync]))
    expect(errorFields(await untilReady(connection))['C']).toBe('0A000')
    expect(await sqlstateOf(client, 'ROLLBACK')).toBe('00000')
    expect(await sqlstateOf(client, 'UPDATE counter SET n = n + 1')).toBe('00000')
    connection.destroy()
  })

  it('is done on the primary where the transaction begins with it', async () => {
    await withClient(narrow.place, async (client) => {
      await client.query('BEGIN READ ONLY')
      await client.query('PREPARE mine AS SELECT served_by()')
      await client.query('COMMIT')
      expect(roleOf(await value(client, 'EXECUTE mine'))).toBe('primary')
      await client.query('UPDATE counter SET n = n + 1')
    })
  })
})
