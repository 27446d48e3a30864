// COPY out of one real server into another: rows of any size, what comes between them, and what ends it.
import type { Client } from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { passCopy } from '../../rebalancer/copy/pass-copy.ts'
import { connected, present, refusal, until, value } from '../support/clients.ts'
import { createDatabases, type TestDatabases } from '../support/databases.ts'
import { moverServers } from '../support/mover-servers.ts'

const formats = ['text', 'binary'] as const

describe.each(moverServers())('COPY from one server to another, on PostgreSQL $name', (servers) => {
  let databases: TestDatabases
  let source: Client
  let target: Client
  beforeAll(async () => {
    databases = await createDatabases(servers, 'pass_copy')
    const client = await connected({ connectionString: present(databases.urls[0]) })
    await client.query(`CREATE FUNCTION said(i int) RETURNS int LANGUAGE plpgsql AS $$
                        BEGIN RAISE NOTICE 'row %', i; RETURN i; END $$`)
    await client.end()
  })
  afterAll(async () => await databases.drop())
  beforeEach(async () => {
    source = await connected({ connectionString: present(databases.urls[0]) })
    target = await connected({ connectionString: present(databases.urls[1]) })
    await target.query('CREATE TEMPORARY TABLE copied (id int PRIMARY KEY, body text)')
    return async () => {
      await Promise.all([source.end(), target.end()])
    }
  })

  function copy(query: string, format: 'binary' | 'text', pass?: (bytes: number) => Promise<void>) {
    const read = `COPY (${query}) TO STDOUT (FORMAT ${format})`
    const write = `COPY copied FROM STDIN (FORMAT ${format})`
    return passCopy(source, target, { read, write, ...(pass && { pass }) })
  }

  const digest = `SELECT md5(coalesce(string_agg(id || coalesce(body, 'null'), ',' ORDER BY id), ''))`

  it.each(formats)('passes on rows of any length and number, in %s', async (format) => {
    const queries = [
      'SELECT 1, NULL::text WHERE false',
      `SELECT 1, 'one'`,
      `SELECT i, nullif(repeat(chr(65 + i % 26), i % 700), '') FROM generate_series(1, 20000) i`,
      `SELECT i, repeat('ä' || i, 1500000) FROM generate_series(1, 3) i`,
      `SELECT i, repeat('x', 65536 - 20 + i) FROM generate_series(1, 40) i`,
    ]
    for (const query of queries) {
      await target.query('TRUNCATE copied')
      let passed = 0
      const { rows, bytes } = await copy(query, format, async (more) => {
        passed += more
        await new Promise((resolve) => setImmediate(resolve))
      })
      expect(await value(source, `SELECT count(*) FROM (${query}) q`)).toBe(String(rows))
      expect(bytes).toBeLessThanOrEqual(passed)
      const wanted = await value(source, `${digest} FROM (${query}) q (id, body)`)
      expect(await value(target, `${digest} FROM copied`)).toBe(wanted)
    }
  })

  it.each(formats)('passes on rows that notices come between, in %s', async (format) => {
    const notices: string[] = []
    source.on('notice', ({ message }) => notices.push(message ?? ''))
    const { rows } = await copy(`SELECT said(i), 'b' FROM generate_series(1, 3000) i`, format)
    expect(rows).toBe(3000)
    expect(notices).toHaveLength(3000)
    expect(await value(target, 'SELECT sum(id) FROM copied')).toBe(String((3000 * 3001) / 2))
    expect((await copy(`SELECT -1, 'after it'`, format)).rows).toBe(1)
    for (let length = 500; length < 3_000; length += 100) {
      await target.query('TRUNCATE copied')
      const query = `SELECT said(i), repeat('b', ${length}) FROM generate_series(1, 100) i`
      expect((await copy(query, format)).rows).toBe(100)
      expect(await value(source, 'SELECT 1')).toBe('1')
    }
  })

  it('ends with the error of the server that gives, and leaves nothing', async () => {
    await target.query('BEGIN')
    const query = `SELECT i / (CASE i WHEN 9000 THEN 0 ELSE 1 END), 'b' FROM generate_series(1, 9999) i`
    expect(await refusal(copy(query, 'binary'))).toMatchObject({ code: '22012' })
    await until('both connections are closed', async () => {
      const ended = await Promise.allSettled([source.query('SELECT 1'), target.query('SELECT 1')])
      return ended.every(({ status }) => status === 'rejected')
    })
  })

  it('ends with the error of the server that takes', async () => {
    const twice = `SELECT least(i, 5000), 'b' FROM generate_series(1, 200000) i`
    expect(await refusal(copy(twice, 'text'))).toMatchObject({ code: '23505' })
    const wrong = await connected({ connectionString: present(databases.urls[0]) })
    const read = `COPY (SELECT i FROM generate_series(1, 1000000) i) TO STDOUT`
    const other = await connected({ connectionString: present(databases.urls[1]) })
    const write = 'COPY nowhere FROM STDIN'
    expect(await refusal(passCopy(wrong, other, { read, write }))).toMatchObject({ code: '42P01' })
  })

  it.each(['source', 'target'] as const)('ends when the %s is killed meanwhile', async (side) => {
    const killed = await value(side === 'source' ? source : target, 'SELECT pg_backend_pid()')
    const url = present(databases.urls[side === 'source' ? 0 : 1])
    const other = await connected({ connectionString: url })
    let batches = 0
    const copying = copy(
      'SELECT i, NULL FROM generate_series(1, 3000000) i',
      'binary',
      async () => {
        batches += 1
        if (batches === 5) await other.query('SELECT pg_terminate_backend($1)', [killed])
      },
    )
    expect((await refusal(copying)).message).toMatch(/terminat|closed|ECONNRESET|EPIPE/)
    await other.end()
  })
})
