// Transaction pooling: many clients, few servers. Who gets a server when, who waits, who is refused.
import type { Client } from 'pg'
import { afterEach, describe, expect, inject, it } from 'vitest'
import {
  askServer,
  connected,
  pause,
  present,
  rawClient,
  refusal,
  until,
  untilReady,
  value,
  withClient,
  withClients,
  withPair,
} from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import { type Stack, type StackOptions, startStack } from '../support/stack.ts'

const [newest] = inject('servers')

let stack: Stack | undefined
afterEach(async () => {
  await stack?.close()
  stack = undefined
})

async function start(
  pool: NonNullable<StackOptions['pool']> = {},
  options: Partial<StackOptions> = {},
  servers = newest,
): Promise<Stack> {
  stack = await startStack(present(servers), { shards: 1, ...options, pool })
  return stack
}

/** Puts `client` into a transaction that holds a server. */
async function hold(client: Client): Promise<void> {
  await client.query('BEGIN')
  await client.query('SELECT 1')
}

/** Sends `sql` and waits until the proxy counts `waiting` statements in the queue. */
async function enqueue(
  running: Stack,
  client: Client,
  waiting: number,
): Promise<{ answer: Promise<unknown> }> {
  const answer = client.query('SELECT 1')
  answer.catch(() => undefined)
  await until(`${waiting} waiting`, () => running.poolStats().waiting === waiting)
  return { answer }
}

describe.each(inject('servers'))('50 clients over 3 servers of PostgreSQL $version', (servers) => {
  it('do not notice each other', async () => {
    const running = await start({ size: 3 }, {}, servers)
    const { proxy, shardUrls } = running
    const setup = await connected(proxy)
    await setup.query('CREATE TABLE marks (client int, round int)')
    await setup.end()
    const rounds = 12
    await withClients(proxy, 50, async (clients) => {
      await Promise.all(
        clients.map(async (client, index) => {
          for (let round = 0; round < rounds; round += 1) {
            const mark = `${index}/${round}`
            expect(await value(client, 'SELECT $1::text', [mark])).toBe(mark)
            await client.query('BEGIN')
            await client.query(`SET LOCAL application_name TO 'client ${index}'`)
            await client.query('INSERT INTO marks VALUES ($1, $2)', [index, round])
            expect(await value(client, 'SHOW application_name')).toBe(`client ${index}`)
            await client.query(round % 3 === 0 ? 'ROLLBACK' : 'COMMIT')
            expect(await value(client, 'SHOW application_name')).toBe('')
          }
        }),
      )
      const [counted] = await askServer(
        shardUrls[0] ?? '',
        `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
           AND backend_type = 'client backend' AND pid <> pg_backend_pid()`,
      )
      expect(Number(counted)).toBeLessThanOrEqual(3)
    })
    const [rows] = await askServer(shardUrls[0] ?? '', 'SELECT count(*) FROM marks')
    expect(Number(rows)).toBe(50 * rounds * (2 / 3))
    expect(running.poolStats()).toMatchObject({ leased: 0, waiting: 0 })
  })
})

describe('a server', () => {
  it('is not taken by BEGIN, but by the first statement after it', async () => {
    const running = await start({ size: 1 })
    await withPair(running.proxy, async (first, second) => {
      await first.query('BEGIN')
      await second.query('BEGIN')
      expect(running.poolStats().leased).toBe(0)
      await first.query('SELECT 1')
      expect(running.poolStats().leased).toBe(1)
    })
  })

  it.each(['COMMIT', 'ROLLBACK'])('goes to the next client at %s, not before', async (end) => {
    const running = await start({ size: 1 })
    await withPair(running.proxy, async (first, second) => {
      await hold(first)
      const { answer } = await enqueue(running, second, 1)
      await first.query('SELECT 2')
      expect(running.poolStats()).toMatchObject({ leased: 1, waiting: 1 })
      await first.query(end)
      await answer
      await until('all servers are back', () => running.poolStats().leased === 0)
    })
  })

  it('stays with a client whose transaction has failed until it ends it', async () => {
    const running = await start({ size: 1 })
    await withPair(running.proxy, async (first, second) => {
      await hold(first)
      expect(await refusal(first.query('SELECT 1/0'))).toMatchObject({ code: '22012' })
      const { answer } = await enqueue(running, second, 1)
      expect(await refusal(first.query('SELECT 1'))).toMatchObject({ code: '25P02' })
      expect(running.poolStats().waiting).toBe(1)
      await first.query('ROLLBACK')
      await answer
    })
  })

  it('is closed at the end of its life, and another takes its place', async () => {
    const { proxy } = await start({ size: 1, serverLifetimeMs: 300 })
    await withClient(proxy, async (client) => {
      const first = await value(client, 'SELECT pg_backend_pid()')
      expect(await value(client, 'SELECT pg_backend_pid()')).toBe(first)
      await pause(400)
      await client.query('SELECT 1')
      expect(await value(client, 'SELECT pg_backend_pid()')).not.toBe(first)
    })
  })

  it('that outlives its life inside a transaction is closed after it', async () => {
    const { proxy } = await start({ size: 1, serverLifetimeMs: 300 })
    await withClient(proxy, async (client) => {
      await client.query('BEGIN')
      const first = await value(client, 'SELECT pg_backend_pid()')
      await pause(1_500)
      expect(await value(client, 'SELECT pg_backend_pid()')).toBe(first)
      await client.query('COMMIT')
      expect(await value(client, 'SELECT pg_backend_pid()')).not.toBe(first)
    })
  })

  it('is closed when nobody has needed it for long', async () => {
    const running = await start({ serverIdleTimeoutMs: 200 })
    await withClient(running.proxy, async (client) => {
      await client.query('SELECT 1')
      expect(running.poolStats().idle).toBe(1)
      await until('no idle server is left', () => running.poolStats().idle === 0)
      await client.query('SELECT 1')
    })
  })
})

describe('clients that wait for a server', () => {
  it('are served in the order in which they came', async () => {
    const running = await start({ size: 1 })
    await withClients(running.proxy, 9, async ([first, ...others]) => {
      const holder = present(first)
      await hold(holder)
      const served: number[] = []
      const answers: Promise<unknown>[] = []
      for (const [index, client] of others.entries()) {
        const { answer } = await enqueue(running, client, index + 1)
        answers.push(answer.then(() => served.push(index)))
      }
      await holder.query('COMMIT')
      await Promise.all(answers)
      expect(served).toEqual(others.map((_client, index) => index))
    })
  })

  it('are not starved by a client that never stops asking', async () => {
    const running = await start({ size: 1 })
    const greedy = await rawClient(running.proxy)
    let greedyAnswers = 0
    const over = new AbortController()
    const asking = async () => {
      while (!over.signal.aborted) {
        greedy.connection.send(textBytes('Q', 'SELECT 1'))
        await untilReady(greedy.connection)
        greedyAnswers += 1
      }
    }
    const greed = asking()
    await withClients(running.proxy, 3, async (clients) => {
      await Promise.all(
        clients.map(async (client) => {
          for (let round = 0; round < 30; round += 1) await client.query('SELECT 1')
        }),
      )
    })
    over.abort()
    await greed
    greedy.connection.destroy()
    expect(greedyAnswers).toBeGreaterThan(10)
  })

  it('are refused with 53300 and a hint at their deadline, and may try again', async () => {
    const running = await start({ size: 1, queryWaitTimeoutMs: 150 })
    await withPair(running.proxy, async (holder, waiter) => {
      await hold(holder)
      const simple = await refusal(waiter.query('SELECT 1'))
      expect(simple).toMatchObject({ code: '53300', severity: 'ERROR' })
      expect(simple.message).toContain('within 150 ms')
      expect(simple.hint).toContain('pool.size')
      expect(await refusal(value(waiter, 'SELECT $1::int', [1]))).toMatchObject({ code: '53300' })
      expect(running.poolStats().waiting).toBe(0)
      await holder.query('COMMIT')
      expect(await value(waiter, 'SELECT 7')).toBe('7')
    })
  })

  it('are refused with 53300 at once when the queue is full', async () => {
    const running = await start({ size: 1, waitersMax: 2 })
    await withClients(running.proxy, 4, async ([first, second, third, fourth]) => {
      const [holder, one] = [present(first), present(second)]
      const [two, three] = [present(third), present(fourth)]
      await hold(holder)
      const waiting = [await enqueue(running, one, 1), await enqueue(running, two, 2)]
      const full = await refusal(three.query('SELECT 1'))
      expect(full).toMatchObject({ code: '53300', severity: 'ERROR' })
      expect(full.message).toContain('too many clients are waiting')
      await holder.query('COMMIT')
      await Promise.all(waiting.map(({ answer }) => answer))
      expect(await value(three, 'SELECT 3')).toBe('3')
    })
  })

  it('leave the queue when they disconnect', async () => {
    const running = await start({ size: 1 })
    await withPair(running.proxy, async (holder, patient) => {
      // Its login asks a server too: what it reports to a client with these settings.
      const gone = await rawClient(running.proxy)
      await hold(holder)
      gone.connection.send(textBytes('Q', 'SELECT 1'))
      await until('it waits', () => running.poolStats().waiting === 1)
      const { answer } = await enqueue(running, patient, 2)
      gone.connection.destroy()
      await until('it has left', () => running.poolStats().waiting === 1)
      await holder.query('COMMIT')
      await answer
      await until('the server is back', () => running.poolStats().leased === 0)
      expect(running.poolStats()).toEqual({ idle: 1, leased: 0, opening: 0, waiting: 0 })
    })
  })
})

describe('the limit of client connections', () => {
  it('refuses one more with 53300 and lets it in once another has left', async () => {
    const { proxy } = await start({}, { database: { clientsMax: 3 } })
    await withClients(proxy, 3, async ([client]) => {
      const first = present(client)
      const refused = await refusal(connected(proxy))
      expect(refused).toMatchObject({ code: '53300', severity: 'FATAL' })
      expect(refused.hint).toContain('pool.max_client_conn')
      await first.end()
      let fourth: Client | undefined
      await until('there is room', async () => {
        fourth = await connected(proxy).catch(() => undefined)
        return fourth !== undefined
      })
      expect(fourth === undefined ? null : await value(fourth, 'SELECT 4')).toBe('4')
      await fourth?.end()
    })
  })
})
