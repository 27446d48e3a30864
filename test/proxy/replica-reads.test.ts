// Which statements of an unsharded database go to a replica, and that they mean there what they mean on the
// primary: prepared statements, cursors, COPY. Which server it was, the statements tell themselves.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Client } from 'pg'
import {
  codesOf,
  rawClient,
  rowsOf,
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
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import {
  firstShard,
  type OtherProxy,
  roleOf,
  startOther,
  readsSetupSql,
  untilReadable,
} from './replica-fixture.ts'

let stack: ReplicatedStack
let proxy: OtherProxy

beforeAll(async () => {
  // A read waits as long as it takes for a replica: where it goes is then a matter of the statement alone.
  const reads = { rywWaitMs: 5_000, maxLagMs: null }
  stack = await startReplicatedStack({
    shards: 1,
    replicas: 1,
    proxies: 1,
    setupSql: readsSetupSql,
    reads,
  })
  const shard = firstShard(stack)
  await shard.untilReplayed(shard.host('s1-b'))
  const functions = { allow: new Set(['peek']), deny: new Set(['quiet']) }
  proxy = await startOther(stack, { reads: { functions } })
  await untilReadable(proxy.instance, 1)
})
afterAll(async () => {
  await proxy?.instance.close()
  await stack?.stop()
})

const session = <T>(use: (client: Client) => Promise<T>) => withClient(proxy.place, use)
const server = async (client: Client, sql = 'SELECT served_by()') =>
  roleOf(await value(client, sql))

describe('a statement outside a transaction', () => {
  const onReplica = [
    'SELECT served_by()',
    'VALUES (served_by())',
    'SELECT host FROM noted WHERE id = 1',
    'SELECT served_by() FROM notes GROUP BY id ORDER BY id LIMIT 1 OFFSET 3',
    'WITH n AS (SELECT * FROM notes) SELECT served_by() FROM n WHERE id = 2',
    'SELECT served_by() FROM notes UNION SELECT served_by()',
    'SELECT served_by(), now(), random(), clock_timestamp(), gen_random_uuid(), pg_sleep(0)',
    'SELECT peek()',
    'SELECT 1; SELECT served_by()',
    '/* a comment */ SELECT served_by() -- another',
  ]
  const onPrimary = [
    'SELECT served_by() FROM notes WHERE id = 1 FOR UPDATE',
    'SELECT served_by() FROM (SELECT id FROM notes WHERE id = 1 FOR SHARE) AS locked',
    "WITH w AS (UPDATE notes SET body = 'x' WHERE id = 1 RETURNING 1) SELECT served_by() FROM w",
    'INSERT INTO scratch VALUES (1) RETURNING served_by()',
    "UPDATE notes SET body = 'y' WHERE id = 2 RETURNING served_by()",
    'WITH d AS (DELETE FROM notes WHERE id > 900 RETURNING 1) SELECT served_by()',
    'SELECT touch()',
    'SELECT public.touch()',
    'SELECT quiet()',
    "SELECT served_by(), nextval('tickets')",
    'SELECT served_by() FROM tickets',
    'SELECT served_by(), pg_advisory_xact_lock(1)',
    'SELECT served_by(), pg_try_advisory_xact_lock(1)',
    'SELECT served_by() FROM pg_class LIMIT 1',
    'SELECT served_by() FROM information_schema.tables LIMIT 1',
    'SELECT served_by(), (SELECT count(*) FROM scratch)',
    'SELECT served_by(), (SELECT count(*) FROM scratched)',
    "SELECT current_setting('cluster_name')",
    'SHOW cluster_name',
    'SELECT served_by(), pg_current_xact_id()',
    'SELECT 1; DELETE FROM notes WHERE id = 901; SELECT served_by()',
  ]
  const last = async (client: Client, text: string) => {
    const answer = await client.query<Record<string, string>>(text)
    const results: (typeof answer)[] = Array.isArray(answer) ? answer : [answer]
    return roleOf(Object.values(results.at(-1)?.rows[0] ?? {})[0] ?? null)
  }

  it.each(onReplica)('goes to a replica: %s', async (sql) => {
    expect(await session((client) => last(client, sql))).toBe('replica')
  })

  it.each(onPrimary)('goes to the primary: %s', async (sql) => {
    expect(await session((client) => last(client, sql))).toBe('primary')
  })

  it.each([
    ...onReplica.filter((sql) => !sql.includes(';')).map((sql) => [sql, 'replica']),
    ...onPrimary.filter((sql) => !sql.includes(';')).map((sql) => [sql, 'primary']),
  ])('goes the same way as a prepared one: %s', async (text, expected) => {
    const served = await session(async (client) => {
      const query = { name: 'q', text, rowMode: 'array' as const }
      const first = await client.query<string[]>(query)
      const second = await client.query<string[]>(query)
      return [first, second].map(({ rows }) => roleOf(rows[0]?.[0] ?? null))
    })
    expect(served).toEqual([expected, expected])
  })

  it('goes to the primary when its table is newer than what is known of the catalogs', async () => {
    const sql = 'CREATE TABLE made_elsewhere AS SELECT 1 AS id'
    await withClient({ ...proxy.place, port: firstShard(stack).primary.port }, (client) =>
      client.query(sql),
    )
    expect(
      await session((client) => server(client, 'SELECT served_by() FROM made_elsewhere')),
    ).toBe('primary')
  })
})

describe('a prepared statement', () => {
  const text = (name: string) => Buffer.from(name)
  const sync = frontendMessage('S')
  const hello = parseBytes(text('hello'), text('SELECT served_by(), $1::int'), [])
  const bind = (statement: string, argument: string) =>
    bindBytes(text(''), text(statement), [{ format: 0, value: text(argument) }], [])
  const execute = executeBytes(text(''), 0)
  const describeIt = targetBytes('D', 'S', text('hello'))

  it('runs on a replica, however its messages are cut', async () => {
    const { connection } = await rawClient(proxy.place)
    const batches: readonly (readonly [Buffer[], string])[] = [
      [[hello, sync], '1Z'],
      [[bind('hello', '1'), execute, sync], '2DCZ'],
      [[describeIt, sync], 'tTZ'],
      [[bind('hello', '2'), targetBytes('D', 'P', text('')), execute, sync], '2TDCZ'],
      [[parseBytes(text(''), text('SELECT served_by(), $1::int'), []), sync], '1Z'],
      [[bind('', '3'), execute, sync], '2DCZ'],
      [
        [
          targetBytes('C', 'S', text('hello')),
          hello,
          describeIt,
          bind('hello', '4'),
          execute,
          sync,
        ],
        '31tT2DCZ',
      ],
    ]
    for (const [messages, codes] of batches) {
      connection.send(Buffer.concat(messages))
      const answer = await untilReady(connection)
      expect(codesOf(answer)).toBe(codes)
      for (const [host] of rowsOf(answer)) expect(host).toBe('s1-b')
    }
    connection.destroy()
  })

  it('is known to a replica although another session prepared the same', async () => {
    const query = { name: 'shared', text: 'SELECT served_by() WHERE $1 = 1', values: [1] }
    for (let turn = 0; turn < 2; turn += 1) {
      await withClient(proxy.place, async (first) => {
        await withClient(proxy.place, async (second) => {
          const answers = [first.query(query), second.query(query), first.query(query)]
          const served = (await Promise.all(answers)).map(({ rows }) => rows)
          expect(served).toEqual(answers.map(() => [{ served_by: 's1-b' }]))
        })
      })
    }
  })

  it('may be made on a replica and used in a transaction on the primary', async () => {
    await session(async (client) => {
      const query = {
        name: 'both',
        text: 'SELECT served_by() FROM notes WHERE id = $1',
        values: [5],
      }
      const served = async () =>
        (await client.query<{ served_by: string }>(query)).rows[0]?.served_by
      expect(await served()).toBe('s1-b')
      await client.query('BEGIN')
      expect(await served()).toBe('s1-a')
      await client.query('COMMIT')
      expect(await served()).toBe('s1-b')
    })
  })

  it('whose table changes is prepared anew on the replica', async () => {
    await session(async (client) => {
      await client.query('CREATE TABLE shapes (id integer)')
      await client.query('INSERT INTO shapes VALUES (1)')
      const sql = 'SELECT served_by() FROM shapes'
      await until('the table is known', async () => (await value(client, sql)) === 's1-b')
      const query = { name: 'shape', text: 'SELECT *, served_by() AS host FROM shapes' }
      expect((await client.query(query)).rows).toEqual([{ id: 1, host: 's1-b' }])
      await client.query("ALTER TABLE shapes ADD colour text DEFAULT 'red'")
      expect((await client.query({ ...query, name: 'again' })).rows).toEqual([
        { id: 1, colour: 'red', host: 's1-b' },
      ])
    })
  })
})

describe('rows in other ways', () => {
  it('COPY TO reads from a replica', async () => {
    const { connection } = await rawClient(proxy.place)
    const copied = async (sql: string) => {
      connection.send(textBytes('Q', sql))
      const answer = await untilReady(connection)
      return answer
        .filter(({ code }) => code === 'd')
        .map(({ bytes }) => bytes.subarray(5).toString())
    }
    expect(await copied('COPY (SELECT served_by()) TO STDOUT')).toEqual(['s1-b\n'])
    expect(await copied('COPY (SELECT touch()) TO STDOUT')).toEqual(['s1-a\n'])
    expect(await copied('COPY (SELECT host FROM noted WHERE id < 3) TO STDOUT')).toEqual([
      's1-b\n',
      's1-b\n',
    ])
    expect(await copied('COPY other.notes TO STDOUT')).toEqual(['7\tother\n'])
    connection.destroy()
  })

  it('a portal is read in parts on a replica', async () => {
    await session(async (client) => {
      await client.query('BEGIN READ ONLY')
      await client.query(
        'DECLARE c CURSOR FOR SELECT id, served_by() AS host FROM notes ORDER BY id',
      )
      const first = await client.query('FETCH 2 FROM c')
      expect(first.rows).toEqual([
        { id: 1, host: 's1-b' },
        { id: 2, host: 's1-b' },
      ])
      expect((await client.query('FETCH 1 FROM c')).rows).toEqual([{ id: 3, host: 's1-b' }])
      await client.query('CLOSE c')
      await client.query('COMMIT')
    })
  })

  it('EXPLAIN (ROUTE) tells whether a replica may serve, and why not', async () => {
    await session(async (client) => {
      const told = async (sql: string) => {
        const { rows } = await client.query<Record<'aspect' | 'value', string>>(
          `EXPLAIN (ROUTE) ${sql}`,
        )
        return rows.find(({ aspect }) => aspect === 'server')?.value
      }
      expect(await told('SELECT * FROM notes')).toBe('replica or primary (a read)')
      expect(await told('SELECT * FROM scratched')).toMatch(
        /^primary \(the unlogged table "scratch"/,
      )
      expect(await told('SELECT touch()')).toBe('primary (the function touch() is volatile)')
      expect(await told('SELECT quiet()')).toBe(
        'primary (the function quiet() is on the deny list)',
      )
      expect(await told('SELECT 1 FOR UPDATE')).toBe('primary (row locks)')
    })
  })
})
