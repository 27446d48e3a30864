// Reads whose replica fails under them are run again elsewhere as long as the client has seen nothing of the answer; it
// sees the same bytes then as without the failure. What it has begun to see, and what is no read, ends with an error.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Client } from 'pg'
import {
  askServer,
  codesOf,
  errorFields,
  present,
  rawClient,
  refusal,
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
  targetBytes,
  textBytes,
} from '../support/frontend-bytes.ts'
import type { RawConnection } from '../support/raw-connection.ts'
import type { ReplicatedHost } from '../support/replicated-shard.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import { firstShard, readsSetupSql, roleOf, untilReadable } from './replica-fixture.ts'

const setupSql = `${readsSetupSql}
CREATE TABLE victims (id integer)

INSERT INTO victims SELECT generate_series(1, 1000)

CREATE TABLE fixed AS SELECT n FROM generate_series(1, 3) AS n
`
/** Reads the victims as well, so that it is in the way of their removal; its answer is always the same. */
const slowSql = `SELECT n, $1::int AS given FROM fixed, pg_sleep(0.4), (SELECT count(*) FROM victims) AS v ORDER BY n`

let stack: ReplicatedStack

beforeAll(async () => {
  const settings = { max_standby_streaming_delay: '0' }
  const reads = { rywWaitMs: 5_000, maxLagMs: null }
  stack = await startReplicatedStack({
    shards: 1,
    replicas: 2,
    proxies: 1,
    setupSql,
    reads,
    settings,
  })
  const shard = firstShard(stack)
  await Promise.all(shard.replicas.map((each) => shard.untilReplayed(each)))
  await untilReadable(stack.proxy(0).instance, 2)
})
afterAll(() => stack?.stop())

const database = () => present(stack.proxy(0).instance?.databases.get('app'))
const retried = () => database().serversOf(database().home).counts.retried
const session = <T>(use: (client: Client) => Promise<T>) => withClient(stack.place(0), use)
const ask = (host: ReplicatedHost, sql: string) => askServer(host.server.url('app'), sql)

const atWork =
  "FROM pg_stat_activity WHERE state = 'active' AND query ~ 'pg_sleep' AND pid <> pg_backend_pid()"

/** The server that works on a slow read. */
async function busyHost(): Promise<ReplicatedHost> {
  const { primary, replicas } = firstShard(stack)
  let busy: ReplicatedHost | undefined
  await until(
    'a server works on it',
    async () => {
      for (const host of [...replicas, primary]) {
        if (!host.server.running) continue
        const [count] = await ask(host, `SELECT count(*) ${atWork}`)
        if (count === '0') continue
        busy = host
        return true
      }
      return false
    },
    2_000,
  )
  return present(busy)
}

const terminate = async () => {
  const host = await busyHost()
  await ask(host, `SELECT pg_terminate_backend(pid) ${atWork}`)
  return host
}

const conflict = async () => {
  const host = await busyHost()
  const { primary } = firstShard(stack)
  await ask(primary, 'UPDATE victims SET id = id')
  await ask(primary, 'VACUUM victims')
  return host
}

/** Both servers of replicas are up and read from. */
async function recovered(): Promise<void> {
  await untilReadable(stack.proxy(0).instance, 2)
}

const empty = Buffer.from('')
const named = Buffer.from('slow')
const given = [{ format: 0 as const, value: Buffer.from('7') }]
const sync = frontendMessage('S')
const parse = (name: Buffer) => parseBytes(name, Buffer.from(slowSql), [])
const run = (name: Buffer) => [bindBytes(empty, name, given, []), executeBytes(empty, 0)]
const describeIt = (what: 'S' | 'P', name: Buffer) => targetBytes('D', what, name)

/** What a client sends, one Sync after the other; the last answer is the one that is disturbed. */
const conversations: readonly (readonly [string, readonly (readonly Buffer[])[]])[] = [
  ['a simple query', [[textBytes('Q', slowSql.replace('$1', '7'))]]],
  ['an unnamed statement', [[parse(empty), ...run(empty), sync]]],
  ['a named statement', [[parse(named), ...run(named), sync]]],
  [
    'everything described',
    [
      [
        parse(named),
        describeIt('S', named),
        bindBytes(empty, named, given, []),
        describeIt('P', empty),
        executeBytes(empty, 0),
        sync,
      ],
    ],
  ],
  [
    'a statement prepared before',
    [
      [parse(named), describeIt('S', named), sync],
      [...run(named), sync],
    ],
  ],
  [
    'an unnamed statement prepared before',
    [
      [parse(empty), sync],
      [...run(empty), sync],
    ],
  ],
  [
    'a statement closed and made anew',
    [
      [parse(named), sync],
      [targetBytes('C', 'S', named), parse(named), ...run(named), sync],
    ],
  ],
]

async function converse(
  connection: RawConnection,
  batches: readonly (readonly Buffer[])[],
  disturb: () => Promise<unknown>,
): Promise<string> {
  const said: Buffer[] = []
  for (const [at, batch] of batches.entries()) {
    connection.send(Buffer.concat(batch))
    if (at === batches.length - 1) await disturb()
    said.push(...(await untilReady(connection)).map(({ bytes }) => bytes))
  }
  return Buffer.concat(said).toString('latin1')
}

const answers = new Map<unknown, string>()

/** The same without any failure. */
async function undisturbed(batches: readonly (readonly Buffer[])[]): Promise<string> {
  const known = answers.get(batches)
  if (known !== undefined) return known
  const { connection } = await rawClient(stack.place(0))
  const answer = await converse(connection, batches, () => Promise.resolve())
  connection.destroy()
  answers.set(batches, answer)
  return answer
}

/** Parse of a name that is in use by then, and Close. */
const isParse = (message: Buffer) => ['P', 'C'].includes(message.toString('latin1', 0, 1))

describe.each([
  ['a conflict with recovery', conflict],
  ['the end of its server process', terminate],
] as const)('a read that meets %s', (_, disturb) => {
  it.each(conversations)(
    'is run again, and the client sees no difference: %s',
    async (_name, batches) => {
      const expected = await undisturbed(batches)
      const disturbed = await rawClient(stack.place(0))
      const before = retried()
      // On a slow machine the answer may be there before it is disturbed.
      for (let turn = 0; turn < 5 && retried() === before; turn += 1) {
        const { connection } = turn === 0 ? disturbed : await rawClient(stack.place(0))
        const tryTo = () => disturb().catch(() => null)
        expect(await converse(connection, batches, tryTo)).toBe(expected)
      }
      expect(retried()).toBeGreaterThan(before)
      // What the proxy believes of the servers' statements still holds.
      const [last = []] = batches.slice(-1)
      disturbed.connection.send(Buffer.concat(last.filter((message) => !isParse(message))))
      expect(codesOf(await untilReady(disturbed.connection))).toMatch(/DCZ$/)
      disturbed.connection.destroy()
      await recovered()
    },
  )

  it('is not run again inside a transaction', async () => {
    await session(async (client) => {
      await client.query('BEGIN READ ONLY')
      expect(roleOf(await value(client, 'SELECT served_by()'))).toBe('replica')
      const before = retried()
      const answer = refusal(client.query(slowSql.replace('0.4', '9'), [7]))
      await disturb()
      expect((await answer).code).toMatch(/^(?:40001|57P01|08006)$/)
      expect(retried()).toBe(before)
      await client.query('ROLLBACK')
      expect(roleOf(await value(client, 'SELECT served_by()'))).toBe('replica')
    })
    await recovered()
  })
})

it('a read whose replica is killed is answered by another server', async () => {
  const shard = firstShard(stack)
  for (const prepared of [false, true]) {
    let killed: ReplicatedHost | undefined
    await session(async (client) => {
      const query = prepared
        ? { name: 'slow', text: slowSql, values: [7] }
        : slowSql.replace('$1', '7')
      const answer = client.query(query)
      killed = await busyHost()
      await shard.kill(killed)
      const { rows } = await answer
      expect(rows).toEqual([1, 2, 3].map((n) => ({ n, given: 7 })))
    })
    await shard.restart(present(killed))
    await recovered()
  }
})

it('a read is answered by the primary when no replica is left', async () => {
  const shard = firstShard(stack)
  const { replicas } = shard
  await session(async (client) => {
    const answer = client.query(slowSql, [7])
    await busyHost()
    await Promise.all(replicas.map((host) => shard.kill(host)))
    expect((await answer).rows).toHaveLength(3)
    expect(await value(client, 'SELECT served_by()')).toBe('s1-a')
    await client.query("SET ringfence.target = 'replica'")
    expect(await refusal(client.query('SELECT served_by()'))).toMatchObject({ code: '57P03' })
  })
  await Promise.all(replicas.map((host) => shard.restart(host)))
  await recovered()
})

it('a read that does without the primary is run again on another replica', async () => {
  await session(async (client) => {
    await client.query('SET ringfence.target = replica')
    const answer = client.query(
      'SELECT served_by() FROM pg_sleep(1), (SELECT count(*) FROM victims) AS v',
    )
    const first = await conflict()
    const [row] = (await answer).rows as { served_by: string }[]
    expect(row?.served_by).not.toBe(first.name)
    expect(roleOf(row?.served_by ?? null)).toBe('replica')
  })
  await recovered()
})

it('errors of the statement itself are told at once', async () => {
  await session(async (client) => {
    const before = retried()
    for (const [sql, code] of [
      ['SELECT 1 / 0', '22012'],
      ["SELECT 'x'::integer", '22P02'],
      ["SELECT n FROM fixed WHERE n::text::date = 'now'", '22007'],
    ] as const) {
      expect(await refusal(client.query(sql))).toMatchObject({ code })
      expect(await refusal(client.query({ name: sql, text: sql }))).toMatchObject({ code })
    }
    expect(retried()).toBe(before)
  })
})

it('what a replica does not know of yet, the primary answers', async () => {
  const shard = firstShard(stack)
  await session(async (client) => {
    expect(roleOf(await value(client, 'SELECT served_by() FROM fixed'))).toBe('replica')
    await Promise.all(shard.replicas.map((host) => shard.pauseReplay(host)))
    try {
      await ask(shard.primary, "ALTER TABLE fixed ADD COLUMN colour text DEFAULT 'red'")
      expect(await value(client, 'SELECT colour FROM fixed')).toBe('red')
      await session(async (other) => {
        const missing = other.query('SELECT taste FROM fixed')
        expect(await refusal(missing)).toMatchObject({ code: '42703' })
      })
      await session(async (other) => {
        await other.query('SET ringfence.target = replica')
        const unknown = other.query('SELECT colour FROM fixed')
        expect(await refusal(unknown)).toMatchObject({ code: '42703' })
      })
    } finally {
      await Promise.all(shard.replicas.map((host) => shard.resumeReplay(host)))
    }
  })
})

it('a read of which rows have been sent ends with an error', async () => {
  const { connection } = await rawClient(stack.place(0))
  const before = retried()
  const sql = "SELECT n, repeat('x', 2000), pg_sleep(0.01) FROM generate_series(1, 1000) AS n"
  connection.send(textBytes('Q', sql))
  for (let code = ''; code !== 'D'; ) {
    const arrival = await connection.next(5_000)
    if (typeof arrival === 'string') throw new Error(arrival)
    code = arrival.code
  }
  await terminate()
  const rest = await untilReady(connection)
  expect(codesOf(rest)).toMatch(/^D*EZ$/)
  expect(errorFields(rest)['C']).toMatch(/^(?:57P01|08006)$/)
  expect(retried()).toBe(before)
  connection.send(textBytes('Q', 'SELECT 1'))
  expect(codesOf(await untilReady(connection))).toBe('TDCZ')
  connection.destroy()
})

it('what may write is not run again', async () => {
  await session(async (client) => {
    const before = retried()
    for (const sql of ['SELECT touch(), pg_sleep(9)', 'UPDATE fixed SET n = n FROM pg_sleep(9)']) {
      const answer = refusal(client.query(sql))
      expect((await terminate()).name).toBe('s1-a')
      expect((await answer).code).toMatch(/^(?:57P01|08006)$/)
    }
    expect(retried()).toBe(before)
  })
})
