// A prepared statement means what its names mean when it is bound, not when it was parsed.
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { startStack, type Stack } from '../support/stack.ts'

const [servers] = inject('servers')
if (servers === undefined) throw new Error('the tests have no servers')

const setupSql = `
CREATE SCHEMA other

CREATE TABLE stale (tenant_id bigint, note text)

CREATE TABLE other.stale (note text)

INSERT INTO other.stale VALUES ('of the home table')
`

describe('prepared statements over several shards', () => {
  let stack: Stack
  let client: Client

  beforeAll(async () => {
    stack = await startStack(servers, { shards: 3, setupSql })
    client = new Client(stack.proxy)
    await client.connect()
  })
  afterAll(async () => {
    await client.end()
    await stack.close()
  })

  it('another search_path makes another table, and another shard, of the same name', async () => {
    const query = {
      name: 'by-note',
      text: 'SELECT note FROM stale WHERE note LIKE $1',
      values: ['%'],
    }
    for (const tenant of [1, 2, 3, 4, 5, 6]) {
      await client.query('INSERT INTO stale VALUES ($1, $2)', [tenant, `of tenant ${tenant}`])
    }
    expect((await client.query(query)).rowCount).toBe(6)
    await client.query('SET search_path = other')
    expect((await client.query(query)).rows).toEqual([{ note: 'of the home table' }])
    await client.query('RESET search_path')
    expect((await client.query(query)).rowCount).toBe(6)
  })

  it('a table made in a transaction is used in that transaction, prepared or not', async () => {
    await client.query('BEGIN')
    await client.query('CREATE TABLE fresh (tenant_id bigint, note text)')
    await client.query({ text: 'INSERT INTO fresh VALUES ($1, $2)', values: [3, 'three'] })
    await client.query('INSERT INTO fresh VALUES (4, $$four$$)')
    const inside = await client.query({
      text: 'SELECT note FROM fresh WHERE tenant_id = $1',
      values: [3],
    })
    expect(inside.rows).toEqual([{ note: 'three' }])
    await client.query('COMMIT')
    const after = await client.query('SELECT note FROM fresh')
    expect(new Set(after.rows.map(({ note }) => note))).toEqual(new Set(['four', 'three']))
  })

  it('a savepoint brings back the schema as well', async () => {
    await client.query('BEGIN')
    await client.query('SAVEPOINT before')
    await client.query('DROP TABLE stale')
    await expect(client.query('SELECT note FROM stale')).rejects.toMatchObject({ code: '42P01' })
    await client.query('ROLLBACK TO before')
    expect((await client.query('SELECT note FROM stale')).rowCount).toBe(6)
    await client.query('COMMIT')
  })

  it('a table made in a transaction that is rolled back is gone', async () => {
    await client.query('BEGIN')
    await client.query('CREATE TABLE never (tenant_id bigint)')
    await client.query('SELECT tenant_id FROM never')
    await client.query('ROLLBACK')
    await expect(client.query('SELECT tenant_id FROM never')).rejects.toMatchObject({
      code: '42P01',
    })
  })
})
