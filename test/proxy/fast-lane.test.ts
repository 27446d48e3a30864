// Short reads of many clients share few servers: nobody notices but by the speed.
import type { Client } from 'pg'
import { afterEach, describe, expect, inject, it } from 'vitest'
import { cancel, cancelKeyOf } from '../support/cancel.ts'
import {
  askServer,
  connected,
  present,
  refusal,
  until,
  value,
  withClient,
  withClients,
} from '../support/clients.ts'
import { type Stack, type StackOptions, startStack } from '../support/stack.ts'

const [newest] = inject('servers')

let stack: Stack | undefined
afterEach(async () => {
  await stack?.close()
  stack = undefined
})

async function start(options: Partial<StackOptions> = {}, servers = newest): Promise<Stack> {
  stack = await startStack(present(servers), {
    shards: 1,
    setupSql: `CREATE TABLE items (id int PRIMARY KEY, name text);
      INSERT INTO items SELECT g, 'item ' || g FROM generate_series(1, 100) g`,
    ...options,
    database: { failover: { waitMs: 5_000, probeMs: 1_000 }, ...options.database },
    pool: { size: 6, laneServersMax: 2, ...options.pool },
  })
  const running = stack
  // Tables are known some time after they were created.
  await withClient(running.proxy, async (client) => {
    await until('reads of the table ride', async () => {
      await client.query('SELECT count(name) FROM items WHERE id = 1')
      return counts(running).rides > 0
    })
  })
  return running
}

/** What the lanes of all pools have done. */
function counts({ instance }: Stack) {
  const pools = [...instance.databases.values()].flatMap(({ pools }) => pools)
  const sum = (read: (lane: (typeof pools)[number]['lane']) => number) =>
    pools.reduce((total, { lane }) => total + read(lane), 0)
  return {
    rides: sum(({ counts }) => counts.rides),
    rescues: sum(({ counts }) => counts.rescues),
    servers: sum(({ servers }) => servers.length),
  }
}

const repeat = async (times: number, run: (at: number) => Promise<unknown>) => {
  for (let at = 0; at < times; at += 1) await run(at)
}

describe.each(inject('servers'))('clients on the fast lane of PostgreSQL $version', (servers) => {
  it('get their own answers, errors and settings, while servers are killed', async () => {
    const running = await start({}, servers)
    const { proxy, shardUrls } = running
    const pick = (text: string) => ({ text: `SELECT name FROM items WHERE id = $1`, name: text })
    const steps: readonly ((client: Client, me: number, at: number) => Promise<void>)[] = [
      async (client, me, at) => {
        const number = me * 1_000 + at
        expect(await value(client, `SELECT ${number} + 1`)).toBe(String(number + 1))
      },
      async (client, _, at) => {
        const { rows } = await client.query({ ...pick('own'), values: [(at % 100) + 1] })
        expect(rows).toEqual([{ name: `item ${(at % 100) + 1}` }])
      },
      async (client, me) => {
        const { rows } = await client.query('SELECT $1::text AS me', [`client ${me}`])
        expect(rows).toEqual([{ me: `client ${me}` }])
      },
      async (client) => {
        expect(await refusal(client.query('SELECT 1 / 0'))).toMatchObject({ code: '22012' })
      },
      async (client, me) => {
        expect(await value(client, `SELECT current_setting('application_name')`)).toBe(
          `app ${me % 3}`,
        )
      },
      async (client) => {
        const sql = 'SELECT count(*) FROM no_such_table'
        // Of what is not known nobody knows that it may run twice: a killed server is told of.
        expect(['42P01', '08006']).toContain((await refusal(client.query(sql))).code)
      },
    ]
    const work = async (client: Client, me: number) => {
      await client.query(`SET application_name = 'app ${me % 3}'`)
      await repeat(60, async (at) => await present(steps[(me + at) % steps.length])(client, me, at))
    }
    const shard = new URL(present(shardUrls[0]))
    const kill = async () => {
      const sql = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = '${shard.pathname.slice(1)}' AND pid <> pg_backend_pid() LIMIT 1`
      await askServer(shard.href, sql)
    }
    await withClients(proxy, 24, async (clients) => {
      let over = false
      const killing = (async () => {
        for (;;) {
          if (over) return
          await new Promise((resolve) => setTimeout(resolve, 150))
          await kill()
        }
      })()
      try {
        await Promise.all(clients.map(work))
      } finally {
        over = true
        await killing
      }
    })
    // On a machine that is busy elsewhere few are fast.
    expect(counts(running).rides).toBeGreaterThan(10)
  })

  it('read what they have just written', async () => {
    const running = await start({}, servers)
    await withClients(running.proxy, 8, async (clients) => {
      const work = async (client: Client, me: number) =>
        await repeat(30, async (at) => {
          const id = 1_000 + me * 100 + at
          await client.query('INSERT INTO items VALUES ($1, $2)', [id, `mine ${id}`])
          const { rows } = await client.query('SELECT name FROM items WHERE id = $1', [id])
          expect(rows).toEqual([{ name: `mine ${id}` }])
        })
      await Promise.all(clients.map(work))
    })
    expect(counts(running).rides).toBeGreaterThan(0)
  })
})

describe('a statement', () => {
  it('never rides when it could leave something behind, or see what is not there', async () => {
    const running = await start()
    const client = await connected(running.proxy)
    await client.query('CREATE SEQUENCE numbers')
    const own = [
      "SELECT nextval('numbers')",
      'SELECT * FROM items FOR UPDATE',
      'SELECT pg_advisory_lock(1)',
      'SELECT pg_advisory_unlock(1)',
      "SELECT set_config('application_name', 'x', false)",
      'WITH gone AS (DELETE FROM items WHERE id = 1 RETURNING id) SELECT * FROM gone',
      'BEGIN; SELECT 1; COMMIT',
      'SELECT 1; SELECT 2',
      'SHOW application_name',
      'EXPLAIN SELECT 1',
      'TABLE pg_stat_activity',
      'SELECT 1 INTO TEMP one',
    ]
    for (const sql of own) {
      const { rides } = counts(running)
      await repeat(5, async () => await client.query(sql).catch(() => undefined))
      expect([sql, counts(running).rides]).toEqual([sql, rides])
    }
    await client.end()
  })

  it('never rides inside a transaction or on a pinned server', async () => {
    const running = await start()
    const client = await connected(running.proxy)
    const { rides } = counts(running)
    await client.query('BEGIN')
    await client.query('SELECT 1')
    await client.query('COMMIT')
    await client.query('CREATE TEMP TABLE own (id int)')
    await client.query('SELECT 1')
    expect(await value(client, 'SELECT count(*)::int FROM own')).toBe('0')
    expect(counts(running).rides).toBe(rides)
    await client.end()
  })

  it('that is slow keeps nobody waiting, and a cancel request stops that one alone', async () => {
    const running = await start()
    const slow = 'SELECT count(*)::int FROM generate_series(1, 100000000) WHERE generate_series < 0'
    await withClients(running.proxy, 10, async (clients) => {
      const [patient, ...others] = clients
      const first = present(others[0])
      // Known to be fast, so that others may wait behind it.
      const shape = (rows: number) =>
        `SELECT count(*)::int FROM generate_series(1, ${rows}) WHERE generate_series < 0`
      await repeat(10, async () => await value(first, shape(1)))
      await repeat(10, async () => await value(first, 'SELECT 7'))
      const stopped = refusal(present(patient).query(slow))
      let answered = 0
      const work = async (client: Client) =>
        await repeat(50, async () => {
          expect(await value(client, 'SELECT 7')).toBe('7')
          answered += 1
        })
      await Promise.all(others.map(work))
      expect(answered).toBe(450)
      await cancel(running.proxy, cancelKeyOf(present(patient)))
      expect(await stopped).toMatchObject({ code: '57014' })
      expect(await value(first, 'SELECT 8')).toBe('8')
    })
    expect(counts(running).rides).toBeGreaterThan(20)
  })

  it('is run for nobody once it was taken away from behind a slow one', async () => {
    const running = await start({ pool: { size: 6, laneServersMax: 1 } })
    const rows = (count: number) =>
      `SELECT count(*)::int FROM generate_series(1, ${count}) WHERE generate_series < 0`
    await withClients(running.proxy, 2, async ([one, two]) => {
      const [first, second] = [present(one), present(two)]
      await repeat(10, async () => await value(first, rows(1)))
      const { rescues } = counts(running)
      const ended = [first, second].map((client) => refusal(client.query(rows(200_000_000))))
      await until('one is taken away', () => counts(running).rescues > rescues)
      await cancel(running.proxy, cancelKeyOf(first))
      await cancel(running.proxy, cancelKeyOf(second))
      expect((await Promise.all(ended)).map(({ code }) => code)).toEqual(['57014', '57014'])
      const sql = `SELECT count(*) FROM pg_stat_activity
        WHERE query LIKE '%200000000%' AND state = 'active' AND pid <> pg_backend_pid()`
      await until('nothing runs on', async () => (await value(first, sql)) === '0', 3_000)
    })
  })

  it('with outdated plans is prepared anew on all servers of the lane', async () => {
    const running = await start()
    await withClients(running.proxy, 6, async (clients) => {
      let name = 'before'
      const ask = (client: Client) => client.query({ name, text: 'SELECT * FROM items LIMIT 1' })
      const rideOn = async () => {
        const { rides } = counts(running)
        await until('it rides', async () => {
          await Promise.all(clients.map(ask))
          return counts(running).rides > rides + 20
        })
      }
      await rideOn()
      await present(clients[0]).query('ALTER TABLE items ADD COLUMN more int')
      // Who has been told other columns is refused, as by PostgreSQL.
      expect(await refusal(ask(present(clients[1])))).toMatchObject({ code: '0A000' })
      name = 'after'
      await repeat(20, async () => {
        const answers = await Promise.all(clients.map(ask))
        for (const { rows } of answers) expect(Object.keys(present(rows[0]))).toHaveLength(3)
      })
      await rideOn()
      for (const { rows } of await Promise.all(clients.map(ask))) {
        expect(Object.keys(present(rows[0]))).toHaveLength(3)
      }
    })
  })

  it('of a client that reads slowly keeps no other waiting', async () => {
    const running = await start()
    await withClients(running.proxy, 4, async ([slow, ...others]) => {
      const ask = "SELECT repeat('x', 1000) FROM generate_series(1, $1::int)"
      await repeat(5, async () => await present(slow).query(ask, [1]))
      const connection = present(slow)
      Reflect.get(connection, 'connection').stream.pause()
      const large = connection.query(ask, [50_000])
      await Promise.all(
        others.map(async (other) => await repeat(100, async () => await value(other, 'SELECT 1'))),
      )
      Reflect.get(connection, 'connection').stream.resume()
      expect((await large).rows).toHaveLength(50_000)
    })
  })

  it('gives its server back when clients need servers of their own', async () => {
    const running = await start({ pool: { size: 2, laneServersMax: 1 } })
    await withClients(running.proxy, 3, async ([one, two, reader]) => {
      await repeat(10, async () => await value(present(reader), 'SELECT 1'))
      for (const client of [present(one), present(two)]) {
        await client.query('BEGIN')
        await client.query('SELECT 1')
      }
      const waiting = value(present(reader), 'SELECT 1')
      await present(one).query('COMMIT')
      expect(await waiting).toBe('1')
      await present(two).query('COMMIT')
    })
    await until('all are free', () => running.poolStats().waiting === 0)
  })
})
