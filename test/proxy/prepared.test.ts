// Prepared statements over pooled servers: every client has its own names, whatever server it meets.
import { afterEach, describe, expect, inject, it } from 'vitest'
import {
  codesOf,
  errorFields,
  present,
  rawClient,
  refusal,
  rowsOf,
  until,
  untilReady,
  value,
  withClient,
  withClients,
  withPair,
} from '../support/clients.ts'
import {
  bindBytes,
  executeBytes,
  frontendMessage,
  parseBytes,
  targetBytes,
  textBytes,
} from '../support/frontend-bytes.ts'
import type { RawConnection, ServerMessage } from '../support/raw-connection.ts'
import { type Stack, type StackOptions, startStack } from '../support/stack.ts'

const servers = present(inject('servers')[0])
const bytes = (text: string) => Buffer.from(text)
const sync = frontendMessage('S')

let stack: Stack
afterEach(() => stack.close())

async function start(size: number, options: Partial<StackOptions> = {}): Promise<Stack> {
  stack = await startStack(servers, { shards: 1, ...options, pool: { size } })
  return stack
}

function parse(name: string, sql: string): Buffer {
  return parseBytes(bytes(name), bytes(sql), [])
}

function execute(name: string, ...params: readonly string[]): Buffer {
  const values = params.map((text) => ({ format: 0 as const, value: bytes(text) }))
  return Buffer.concat([bindBytes(bytes(''), bytes(name), values, []), executeBytes(bytes(''), 0)])
}

async function send(
  connection: RawConnection,
  ...messages: readonly Buffer[]
): Promise<ServerMessage[]> {
  connection.send(Buffer.concat([...messages, sync]))
  return untilReady(connection)
}

/** First column of the answer's first row. */
const first = (answer: readonly ServerMessage[]) => rowsOf(answer)[0]?.[0]

const ownPlans = `SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE`

describe('a named statement', () => {
  it('runs on whatever server is free', async () => {
    await start(3)
    await withClients(stack.proxy, 3, async (clients) => {
      const { connection } = await rawClient(stack.proxy)
      await send(connection, parse('who', 'SELECT pg_backend_pid(), $1::text'))
      const met = new Set<string | null | undefined>()
      // Behind the very first statement its server is asked for the database's code, and is busy for a moment.
      await send(connection, execute('who', 'first'))
      met.add(first(await send(connection, execute('who', 'alone'))))
      // Each client more that holds a server leaves others for the statement.
      for (const client of clients.slice(0, 2)) {
        await client.query('BEGIN')
        await client.query('SELECT 1')
        const answer = await send(connection, execute('who', 'later'))
        expect(codesOf(answer)).toBe('2DCZ')
        expect(rowsOf(answer)[0]?.[1]).toBe('later')
        met.add(first(answer))
      }
      expect(met.size).toBe(3)
      connection.destroy()
    })
  })

  it('means to each client what that client has prepared', async () => {
    await start(2)
    await withClients(stack.proxy, 12, async (clients) => {
      await Promise.all(
        clients.map(async (client, index) => {
          for (let round = 0; round < 25; round += 1) {
            const text = `SELECT ${index} + $1::int`
            const { rows } = await client.query<number[]>({
              name: 'same name',
              text,
              values: [round],
              rowMode: 'array',
            })
            expect(rows).toEqual([[index + round]])
          }
        }),
      )
    })
  })

  it('keeps the constants that it was prepared with, on a server that prepares it later', async () => {
    await start(1)
    await withClient(stack.proxy, async (other) => {
      for (const place of [stack.direct, stack.proxy]) {
        const { connection } = await rawClient(place)
        connection.send(textBytes('Q', "SET DateStyle = 'ISO, DMY'"))
        await untilReady(connection)
        await send(connection, parse('day', "SELECT '01/02/2026'::date, $1::text"))
        connection.send(textBytes('Q', "SET DateStyle = 'ISO, MDY'"))
        await untilReady(connection)
        await other.query('CREATE TABLE IF NOT EXISTS anything (n int)')
        const answer = await send(connection, execute('day', 'x'))
        expect([errorFields(answer)['M'], ...rowsOf(answer)]).toEqual([
          undefined,
          ['2026-02-01', 'x'],
        ])
        connection.destroy()
      }
      expect(await value(other, "SELECT '01/02/2026'::date::text")).toBe('2026-01-02')
    })
  })

  it('is parsed once by a server, however many clients prepare the same', async () => {
    await start(1)
    const text = 'SELECT 4711 + $1::int'
    await withClients(stack.proxy, 5, async (clients) => {
      for (const [index, client] of clients.entries()) {
        const name = `name ${index}`
        await client.query({ name, text, values: [index] })
      }
      expect(await value(present(clients[0]), `${ownPlans} '%4711 +%'`)).toBe('1')
    })
  })

  it('can be described, closed and prepared again under the same name', async () => {
    await start(2)
    await withClient(stack.proxy, async (holder) => {
      const { connection } = await rawClient(stack.proxy)
      expect(codesOf(await send(connection, parse('s', 'SELECT $1::int AS one')))).toBe('1Z')
      await holder.query('BEGIN')
      await holder.query('SELECT 1')
      const described = await send(connection, targetBytes('D', 'S', bytes('s')))
      expect(codesOf(described)).toBe('tTZ')
      const twice = await send(connection, parse('s', 'SELECT 2'))
      expect(errorFields(twice)).toMatchObject({ C: '42P05' })
      expect(first(await send(connection, execute('s', '5')))).toBe('5')
      expect(codesOf(await send(connection, targetBytes('C', 'S', bytes('s'))))).toBe('3Z')
      expect(errorFields(await send(connection, execute('s', '5')))).toMatchObject({ C: '26000' })
      expect(codesOf(await send(connection, parse('s', 'SELECT 2')))).toBe('1Z')
      expect(first(await send(connection, execute('s')))).toBe('2')
      connection.destroy()
    })
  })

  it.each(['DEALLOCATE ALL', 'DISCARD ALL', 'DEALLOCATE s'])('is gone after %s', async (sql) => {
    await start(1)
    await withClient(stack.proxy, async (other) => {
      const named = { name: 's', text: 'SELECT 17 + $1::int', values: [1] }
      await other.query(named)
      const { connection } = await rawClient(stack.proxy)
      await send(connection, parse('s', 'SELECT 17 + $1::int'))
      connection.send(textBytes('Q', sql))
      await untilReady(connection)
      expect(errorFields(await send(connection, execute('s', '1')))).toMatchObject({ C: '26000' })
      await other.query(named)
      connection.destroy()
    })
  })

  it('whose preparation fails leaves its name free', async () => {
    await start(1)
    const { connection } = await rawClient(stack.proxy)
    const failed = await send(connection, parse('s', 'SELECT * FROM nowhere'))
    expect(errorFields(failed)).toMatchObject({ C: '42P01' })
    expect(errorFields(await send(connection, execute('s')))).toMatchObject({ C: '26000' })
    expect(codesOf(await send(connection, parse('s', 'SELECT 3'), execute('s')))).toBe('12DCZ')
    connection.destroy()
  })

  it('that fails when it is executed can be executed again', async () => {
    await start(2)
    const { connection } = await rawClient(stack.proxy)
    await send(connection, parse('s', 'SELECT 10 / $1::int'))
    expect(errorFields(await send(connection, execute('s', '0')))).toMatchObject({ C: '22012' })
    expect(first(await send(connection, execute('s', '5')))).toBe('2')
    connection.destroy()
  })

  it('survives the rollback of the transaction that it was prepared in', async () => {
    await start(1)
    await withPair(stack.proxy, async (client, other) => {
      const named = { name: 's', text: 'SELECT 23 + $1::int AS sum', values: [1] }
      await client.query('BEGIN')
      await client.query(named)
      await client.query('ROLLBACK')
      await other.query('DISCARD ALL')
      expect((await client.query(named)).rows).toEqual([{ sum: 24 }])
    })
  })
})

describe('the unnamed statement', () => {
  it('is still there in a later batch, on another server and after another client’s', async () => {
    await start(2)
    await withClient(stack.proxy, async (other) => {
      const { connection } = await rawClient(stack.proxy)
      await send(connection, parse('', "SELECT 'mine', $1::text, pg_backend_pid()"))
      await value(other, "SELECT 'theirs', $1::text, pg_backend_pid()", ['x'])
      await value(other, "SELECT 'theirs', $1::text", ['x'])
      const here = await send(connection, execute('', 'one'))
      expect(rowsOf(here)[0]?.slice(0, 2)).toEqual(['mine', 'one'])
      await other.query('BEGIN')
      await value(other, "SELECT 'theirs', $1::text", ['x'])
      const there = await send(connection, execute('', 'two'))
      expect(rowsOf(there)[0]?.slice(0, 2)).toEqual(['mine', 'two'])
      expect(rowsOf(there)[0]?.[2]).not.toBe(rowsOf(here)[0]?.[2])
      connection.destroy()
    })
  })

  it('is forgotten after a simple query, as in PostgreSQL', async () => {
    await start(1)
    const { connection } = await rawClient(stack.proxy)
    await send(connection, parse('', 'SELECT 1'))
    connection.send(textBytes('Q', 'SELECT 2'))
    await untilReady(connection)
    expect(errorFields(await send(connection, execute('')))).toMatchObject({ C: '26000' })
    connection.destroy()
  })
})

describe('a server that has a thousand statements', () => {
  it('forgets the oldest, which work all the same', async () => {
    await start(1)
    const { connection } = await rawClient(stack.proxy)
    const count = 1_150
    const numbers = Array.from({ length: count }, (_, index) => index)
    for (let at = 0; at < count; at += 50) {
      const batch = numbers.slice(at, at + 50)
      const parses = batch.map((number) => parse(`s${number}`, `SELECT ${number} /* many */`))
      expect(codesOf(await send(connection, ...parses))).toBe(`${'1'.repeat(50)}Z`)
    }
    for (const number of [0, 1, 500, count - 1]) {
      expect(first(await send(connection, execute(`s${number}`)))).toBe(String(number))
    }
    await withClient(stack.proxy, async (client) => {
      const kept = Number(await value(client, `${ownPlans} '%/* many */'`))
      expect(kept).toBeGreaterThan(500)
      expect(kept).toBeLessThanOrEqual(1_010)
    })
    connection.destroy()
  })
})

describe.each([1, 2])('a statement prepared before DDL, over %i shard(s)', (shards) => {
  it('is refused as PostgreSQL refuses it, and sees the new column when it is prepared again', async () => {
    await start(2, {
      shards,
      setupSql: `CREATE TABLE things (tenant_id bigint PRIMARY KEY, name text)

INSERT INTO things VALUES (1, 'one')`,
    })
    await withPair(stack.proxy, async (one, two) => {
      const named = {
        name: 'all',
        text: 'SELECT * FROM things WHERE tenant_id = $1',
        values: [1],
        rowMode: 'array' as const,
      }
      await one.query('BEGIN')
      await one.query(named)
      await two.query(named)
      await one.query('COMMIT')
      await withClient(stack.proxy, async (other) => {
        await other.query("ALTER TABLE things ADD COLUMN colour text DEFAULT 'red'")
      })
      for (const client of [one, two]) {
        await client.query('BEGIN')
        // Both go by the columns that they were told first, as PostgreSQL knows.
        expect(await refusal(client.query(named))).toMatchObject({
          code: '0A000',
          message: 'cached plan must not change result type',
        })
        await client.query('ROLLBACK')
        const { rows } = await client.query({ ...named, name: 'again' })
        expect(rows).toEqual([['1', 'one', 'red']])
      }
      await until('servers are back', () => stack.poolStats().leased === 0)
    })
  })
})
