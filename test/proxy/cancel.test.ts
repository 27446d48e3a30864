// CancelRequest: stops what its client is doing now, and nothing of anybody else.
import { afterEach, describe, expect, inject, it } from 'vitest'
import { cancel } from '../support/cancel.ts'
import {
  connected,
  pause,
  present,
  rawClient,
  sqlstateOf,
  type RawClient,
  until,
  value,
  withClient,
} from '../support/clients.ts'
import { createRandom, seedOf } from '../support/random.ts'
import { type Stack, startStack } from '../support/stack.ts'

const servers = present(inject('servers')[0])
const runSeed = Number(process.env['RINGFENCE_SEED'] ?? Date.now() % 1_000_000_000)

let stack: Stack
afterEach(() => stack.close())

describe.each([
  { minor: 0, secretBytes: 4 },
  { minor: 2, secretBytes: 32 },
])('a cancel request of protocol 3.$minor', ({ minor, secretBytes }) => {
  it('stops the statement that its client is running', async () => {
    stack = await startStack(servers, { shards: 1 })
    const client = await rawClient(stack.proxy, { minor })
    expect(client.cancelKey).toHaveLength(4 + secretBytes)
    const ended = sqlstateOf(client, 'SELECT pg_sleep(60)')
    await until('it runs', () => stack.poolStats().leased === 1)
    await pause(50)
    await cancel(stack.proxy, client.cancelKey)
    expect(await ended).toBe('57014')
    expect(await sqlstateOf(client, 'SELECT 1')).toBe('00000')
    client.connection.destroy()
  })

  it('with a wrong secret, or for nobody, does nothing', async () => {
    stack = await startStack(servers, { shards: 1 })
    const client = await rawClient(stack.proxy, { minor })
    const ended = sqlstateOf(client, 'SELECT pg_sleep(1)')
    await until('it runs', () => stack.poolStats().leased === 1)
    const wrongSecret = Buffer.from(client.cancelKey)
    wrongSecret.writeUInt8(wrongSecret.readUInt8(4) ^ 1, 4)
    const wrongPid = Buffer.from(client.cancelKey)
    wrongPid.writeInt32BE((wrongPid.readInt32BE(0) % 0x7ffffff0) + 5, 0)
    await cancel(stack.proxy, wrongSecret)
    await cancel(stack.proxy, wrongPid)
    await cancel(stack.proxy, client.cancelKey.subarray(0, 4 + secretBytes - 1))
    expect(await ended).toBe('00000')
    client.connection.destroy()
  })
})

describe('a cancel request', () => {
  it('stops a statement on all shards that work on it', async () => {
    stack = await startStack(servers, {
      shards: 3,
      setupSql: `CREATE TABLE rows (tenant_id bigint PRIMARY KEY)

INSERT INTO rows VALUES (1)`,
    })
    const client = await rawClient(stack.proxy)
    const lockers = await Promise.all(
      stack.shardUrls.map((connectionString) => connected({ connectionString })),
    )
    for (const locker of lockers) await locker.query('BEGIN; LOCK TABLE rows')
    const ended = sqlstateOf(client, 'SELECT tenant_id FROM rows')
    const waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'rows'::regclass"
    await until('it waits everywhere', async () => {
      const waiting = await Promise.all(lockers.map((locker) => value(locker, waits)))
      return waiting.every((count) => count === '1')
    })
    await cancel(stack.proxy, client.cancelKey)
    expect(await ended).toBe('57014')
    for (const locker of lockers) await locker.query('COMMIT')
    expect(await sqlstateOf(client, 'SELECT tenant_id FROM rows')).toBe('00000')
    // A server stays aside until its cancel request has arrived.
    const used = stack
    await until('all servers are back', async () => used.poolStats().leased === 0)
    for (const locker of lockers) await locker.end()
    client.connection.destroy()
  })

  it('takes a statement out of the queue for a server', async () => {
    stack = await startStack(servers, { shards: 1, pool: { size: 1 } })
    const client = await rawClient(stack.proxy)
    await withClient(stack.proxy, async (holder) => {
      await holder.query('BEGIN')
      await holder.query('SELECT 1')
      const ended = sqlstateOf(client, 'SELECT 1')
      await until('it waits', () => stack.poolStats().waiting === 1)
      await cancel(stack.proxy, client.cancelKey)
      expect(await ended).toBe('57014')
      expect(stack.poolStats().waiting).toBe(0)
      await holder.query('COMMIT')
      expect(await sqlstateOf(client, 'SELECT 1')).toBe('00000')
    })
    client.connection.destroy()
  })

  it('is not for what puts the settings of its client in force', async () => {
    stack = await startStack(servers, { shards: 1, pool: { size: 1 } })
    const client = await rawClient(stack.proxy)
    // To put them in force takes the server far longer than the request is on its way.
    const long = 'x'.repeat(20_000)
    for (let name = 0; name < 60; name += 1) {
      expect(await sqlstateOf(client, `SET my.setting${name} = '${long}'`)).toBe('00000')
    }
    await withClient(stack.proxy, async (other) => {
      for (let turn = 0; turn < 10; turn += 1) {
        await other.query('SELECT 1')
        const ended = sqlstateOf(client, turn % 2 === 0 ? 'SELECT pg_sleep(60)' : 'BEGIN; TABLE no')
        await cancel(stack.proxy, client.cancelKey)
        expect(await ended).toMatch(turn % 2 === 0 ? /57014/ : /57014|42P01/)
        expect(await sqlstateOf(client, 'ROLLBACK')).toBe('00000')
      }
    })
    expect(await sqlstateOf(client, `SELECT 1 / length(current_setting('my.setting59'))`)).toBe(
      '00000',
    )
    client.connection.destroy()
  })

  it('leaves a transaction failed, as in PostgreSQL', async () => {
    stack = await startStack(servers, { shards: 1 })
    const client = await rawClient(stack.proxy)
    expect(await sqlstateOf(client, 'BEGIN')).toBe('00000')
    const ended = sqlstateOf(client, 'SELECT pg_sleep(60)')
    await until('it runs', () => stack.poolStats().leased === 1)
    await pause(50)
    await cancel(stack.proxy, client.cancelKey)
    expect(await ended).toBe('57014')
    expect(await sqlstateOf(client, 'SELECT 1')).toBe('25P02')
    expect(await sqlstateOf(client, 'ROLLBACK')).toBe('00000')
    client.connection.destroy()
  })

  it('never hits another client, however many cancel on few servers', async () => {
    stack = await startStack(servers, { shards: 1, pool: { size: 3 } })
    const targets = await Promise.all(Array.from({ length: 8 }, () => rawClient(stack.proxy)))
    const bystanders = await Promise.all(Array.from({ length: 8 }, () => rawClient(stack.proxy)))
    const over = new AbortController()
    const outcomes = new Map<string, number>()
    const run = async (client: RawClient, who: string, index: number) => {
      const random = createRandom(seedOf(runSeed, index))
      while (!over.signal.aborted) {
        const sql = random.oneIn(2) ? 'SELECT 1' : `SELECT pg_sleep(0.00${random.below(10)})`
        const key = `${who} ${await sqlstateOf(client, sql)}`
        outcomes.set(key, (outcomes.get(key) ?? 0) + 1)
      }
    }
    const attack = async ({ cancelKey }: RawClient, index: number) => {
      const random = createRandom(seedOf(runSeed, 1000 + index))
      while (!over.signal.aborted) {
        await cancel(stack.proxy, cancelKey)
        await pause(random.below(6))
      }
    }
    const running = [
      ...targets.map((client, index) => run(client, 'target', index)),
      ...bystanders.map((client, index) => run(client, 'bystander', 100 + index)),
      ...targets.map((client, index) => attack(client, index)),
    ]
    await pause(3_000)
    over.abort()
    // Each statement takes some milliseconds: where the servers are tells why somebody still waits.
    const ended = Promise.all(running).then(() => null)
    expect(await Promise.race([ended, pause(8_000).then(() => stack.poolStats())])).toBe(null)
    await until('nobody keeps a server', () => stack.poolStats().leased === 0)
    for (const { connection } of [...targets, ...bystanders]) connection.destroy()
    process.stdout.write(`cancel: seed ${runSeed}, ${JSON.stringify([...outcomes])}\n`)
    const kinds = new Set(outcomes.keys())
    expect(kinds, `RINGFENCE_SEED=${runSeed}`).toEqual(
      new Set(['target 57014', 'target 00000', 'bystander 00000']),
    )
  })
})
