// Servers that die: in use, in a transaction, idle, pinned. Only the client that used one hears of it,
// nothing is lost in silence, and the pool has its place back.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest'
import { createLog } from '../../core/log.ts'
import { type Cluster, startCluster } from '../../demo/cluster.ts'
import { processIdentity, signalProcess } from '../../demo/process.ts'
import {
  askServer,
  codesOf,
  column,
  connected,
  errorFields,
  present,
  rawClient,
  refusal,
  rowsOf,
  until,
  untilReady,
  value,
  withClient,
  withPair,
} from '../support/clients.ts'
import {
  bindBytes,
  executeBytes,
  frontendMessage,
  parseBytes,
  textBytes,
} from '../support/frontend-bytes.ts'
import { embeddedVersion, installationOf } from '../support/postgres-installation.ts'
import { type Stack, startStack } from '../support/stack.ts'

const servers = present(inject('servers')[0])
const empty = Buffer.alloc(0)

let stack: Stack
beforeEach(async () => {
  stack = await startStack(servers, { shards: 1, pool: { size: 2, queryWaitTimeoutMs: 3_000 } })
})
afterEach(() => stack.close())

/** Ends the server process `pid` as an administrator would. */
async function terminate(pid: string | null): Promise<void> {
  const url = stack.shardUrls[0] ?? ''
  await askServer(url, 'SELECT pg_terminate_backend($1)', [Number(pid)])
  await until('the process is gone', () => processIdentity(Number(pid)) === null)
}

/** The server process that runs `sql` now. */
async function runnerOf(sql: string, running = stack): Promise<string> {
  let found: (string | null)[] = []
  await until(`${sql} runs`, async () => {
    found = await askServer(
      running.shardUrls[0] ?? '',
      `SELECT pid FROM pg_stat_activity WHERE query = $1 AND state = 'active'
         AND datname = current_database()`,
      [sql],
    )
    return found.length > 0
  })
  return found[0] ?? ''
}

/** Ends server after server in the middle of a statement, more often than the pool has places. */
const deaths = 5

describe('a server that dies in the middle of a statement', () => {
  it('costs that statement alone; the client goes on with another server', async () => {
    await withPair(stack.proxy, async (victim, other) => {
      for (let death = 0; death < deaths; death += 1) {
        const sleep = `SELECT pg_sleep(30) /* ${death} */`
        const lost = refusal(victim.query(sleep))
        await terminate(await runnerOf(sleep))
        const told = await lost
        expect(told).toMatchObject({ code: '08006', severity: 'ERROR' })
        expect(told.message).toContain('terminating connection due to administrator command')
        expect(await value(other, 'SELECT 1')).toBe('1')
        expect(await value(victim, 'SELECT 2')).toBe('2')
      }
    })
    expect(stack.poolStats()).toMatchObject({ leased: 0, waiting: 0 })
  })

  it('is told as 08006 in a pipeline too, whose rest is skipped', async () => {
    const { connection } = await rawClient(stack.proxy)
    for (let death = 0; death < deaths; death += 1) {
      const sleep = `SELECT pg_sleep(30) /* p${death} */`
      const execute = [bindBytes(empty, empty, [], []), executeBytes(empty, 0)]
      connection.send(
        Buffer.concat([
          parseBytes(empty, Buffer.from(sleep), []),
          ...execute,
          ...execute,
          frontendMessage('S'),
        ]),
      )
      await terminate(await runnerOf(sleep))
      const answer = await untilReady(connection)
      expect(codesOf(answer)).toBe('12EZ')
      expect(errorFields(answer)).toMatchObject({ C: '08006', S: 'ERROR' })
      expect(answer.at(-1)?.bytes.toString('latin1', 5)).toBe('I')
    }
    connection.destroy()
    expect(stack.poolStats()).toMatchObject({ leased: 0, waiting: 0 })
  })

  it('takes back what the same string or pipeline has set', async () => {
    const { connection } = await rawClient(stack.proxy)
    const sleep = 'SELECT pg_sleep(30) /* behind SET */'
    connection.send(
      Buffer.concat([
        parseBytes(empty, Buffer.from("SET work_mem = '7MB'"), []),
        bindBytes(empty, empty, [], []),
        executeBytes(empty, 0),
        parseBytes(empty, Buffer.from(sleep), []),
        bindBytes(empty, empty, [], []),
        executeBytes(empty, 0),
        frontendMessage('S'),
      ]),
    )
    await terminate(await runnerOf(sleep))
    expect(codesOf(await untilReady(connection))).toBe('12C12EZ')
    connection.send(textBytes('Q', 'SHOW work_mem'))
    expect(rowsOf(await untilReady(connection))).toEqual([['4MB']])
    connection.destroy()
  })

  it('fails the transaction that the statement was in', async () => {
    await withClient(stack.proxy, async (client) => {
      await client.query('CREATE TABLE kept (id int)')
      for (let death = 0; death < deaths; death += 1) {
        await client.query('BEGIN')
        await client.query('INSERT INTO kept VALUES (1)')
        const sleep = `SELECT pg_sleep(30) /* t${death} */`
        const lost = refusal(client.query(sleep))
        await terminate(await runnerOf(sleep))
        expect(await lost).toMatchObject({ code: '40001' })
        expect(await refusal(client.query('SELECT 1'))).toMatchObject({ code: '25P02' })
        const { command } = await client.query('COMMIT')
        expect(command).toBe('ROLLBACK')
      }
      expect(await value(client, 'SELECT count(*) FROM kept')).toBe('0')
    })
  })
})

describe('a server that dies while its client is idle in a transaction', () => {
  it('is told with the next statement; the transaction can only be rolled back', async () => {
    await withPair(stack.proxy, async (victim, other) => {
      for (let death = 0; death < deaths; death += 1) {
        await victim.query('BEGIN')
        await terminate(await value(victim, 'SELECT pg_backend_pid()'))
        await until('the proxy knows', () => stack.poolStats().leased === 0)
        const told = await refusal(victim.query('SELECT 1'))
        expect(told).toMatchObject({ code: '40001', severity: 'ERROR' })
        expect(told.message).toContain('terminating connection due to administrator command')
        expect(await refusal(victim.query('SELECT 1'))).toMatchObject({ code: '25P02' })
        expect(await value(other, 'SELECT 1')).toBe('1')
        await victim.query('ROLLBACK')
        expect(await value(victim, 'SELECT 2')).toBe('2')
      }
    })
  })

  it('makes COMMIT fail: a client is never told that lost rows were kept', async () => {
    await withClient(stack.proxy, async (client) => {
      await client.query('CREATE TABLE kept (id int)')
      await client.query('BEGIN')
      await client.query('INSERT INTO kept VALUES (1)')
      await terminate(await value(client, 'SELECT pg_backend_pid()'))
      await until('the proxy knows', () => stack.poolStats().leased === 0)
      expect(await refusal(client.query('COMMIT'))).toMatchObject({ code: '40001' })
      expect(await value(client, 'SELECT count(*) FROM kept')).toBe('0')
      await client.query('INSERT INTO kept VALUES (2)')
      expect(await value(client, 'SELECT count(*) FROM kept')).toBe('1')
    })
  })

  it('is told by the extended protocol too', async () => {
    await withClient(stack.proxy, async (client) => {
      await client.query('BEGIN')
      await terminate(await value(client, 'SELECT pg_backend_pid()', []))
      await until('the proxy knows', () => stack.poolStats().leased === 0)
      expect(await refusal(value(client, 'SELECT $1::int', [1]))).toMatchObject({ code: '40001' })
      expect(await refusal(value(client, 'SELECT $1::int', [1]))).toMatchObject({ code: '25P02' })
      await client.query('ROLLBACK')
      expect(await value(client, 'SELECT $1::int', [3])).toBe('3')
    })
  })
})

describe('a server that dies while nobody uses it', () => {
  it('is noticed by nobody, however often', async () => {
    await withClient(stack.proxy, async (client) => {
      for (let death = 0; death < deaths; death += 1) {
        await terminate(await value(client, 'SELECT pg_backend_pid()'))
        await until('the pool knows', () => stack.poolStats().idle === 0)
        expect(await value(client, 'SELECT 1')).toBe('1')
      }
    })
  })

  it('ends the session of the client that it was pinned to: its state is lost', async () => {
    const client = await connected(stack.proxy)
    const ended = new Promise<Error>((resolve) => client.once('error', resolve))
    await client.query('CREATE TEMP TABLE mine AS SELECT 1')
    await terminate(await value(client, 'SELECT pg_backend_pid()'))
    expect(await ended).toMatchObject({ code: '08006', severity: 'FATAL' })
    await client.end().catch(() => undefined)
    await until('the place is free', () => stack.poolStats().leased === 0)
  })
})

describe('a transaction on several shards', () => {
  it('fails at COMMIT when one of its servers died meanwhile, and keeps nothing', async () => {
    const sharded = await startStack(servers, {
      shards: 2,
      setupSql: 'CREATE TABLE kept (tenant_id bigint PRIMARY KEY)',
    })
    try {
      await withClient(sharded.proxy, async (client) => {
        await client.query('BEGIN')
        await client.query('INSERT INTO kept VALUES (1)')
        await client.query('SELECT * FROM kept')
        const ended = await askServer(
          sharded.shardUrls[1] ?? '',
          `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE datname = current_database() AND state = 'idle in transaction'`,
        )
        expect(ended).toEqual(['t'])
        await until('the proxy knows', () => sharded.poolStats().leased === 1)
        expect(await refusal(client.query('COMMIT'))).toMatchObject({ code: '40001' })
        expect(await column(client, 'SELECT tenant_id FROM kept')).toEqual([])
      })
    } finally {
      await sharded.close()
    }
  })
})

describe('a server process that is killed', () => {
  let cluster: Cluster
  let own: Stack
  beforeAll(async () => {
    // Its whole PostgreSQL restarts: not one that other tests use.
    const installation = await installationOf(embeddedVersion)
    const log = createLog('error')
    cluster = await startCluster({ shards: 1, replicas: 0, installation, dir: null, log })
    const shards = cluster.shards.map(({ id, primary }) => ({ id, url: primary.url() }))
    own = await startStack({ version: embeddedVersion, shards }, { shards: 1, pool: { size: 2 } })
  })
  afterAll(async () => {
    await own.close()
    await cluster.stop()
  })

  it('takes all connections of its server along, and everybody goes on after recovery', async () => {
    await withPair(own.proxy, async (victim, other) => {
      const sleep = 'SELECT pg_sleep(30) /* killed */'
      const lost = refusal(victim.query(sleep))
      signalProcess(Number(await runnerOf(sleep, own)), 'SIGKILL')
      expect((await lost).code).toMatch(/^(?:08006|57P02)$/)
      for (const client of [victim, other]) {
        await until('the server has recovered', () =>
          value(client, 'SELECT 1').then(
            () => true,
            () => false,
          ),
        )
      }
    })
    expect(own.poolStats()).toMatchObject({ leased: 0, waiting: 0 })
  })
})
