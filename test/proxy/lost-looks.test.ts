// A server that dies while it is asked what a statement has left in its session: who may have lost something is told,
// nobody else.
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import type { Client } from 'pg'
import { askServer, connected, present, until, value, withClient } from '../support/clients.ts'
import { type Stack, startStack } from '../support/stack.ts'

const setupSql = `CREATE TABLE log (id int)

CREATE FUNCTION sets() RETURNS text LANGUAGE plpgsql AS $$
  BEGIN LOCK TABLE log IN ROW EXCLUSIVE MODE; RETURN set_config('my.colour', 'blue', false); END $$`

let stack: Stack
let home: string
beforeAll(async () => {
  stack = await startStack(present(inject('servers')[0]), {
    shards: 1,
    pool: { size: 4, laneServersMax: 0 },
    setupSql,
  })
  home = present(stack.shardUrls[0])
})
afterAll(async () => await stack?.close())

/** `sql` ends with its server alive; the look behind it does not. The code is unknown until the statement runs. */
async function endBehind(client: Client, sql: string): Promise<void> {
  const [table, catalog] = await Promise.all([
    connected({ connectionString: home }),
    connected({ connectionString: home }),
  ])
  try {
    await table.query('BEGIN; LOCK TABLE log IN ACCESS EXCLUSIVE MODE')
    await withClient(stack.proxy, async (other) => {
      await other.query('CREATE FUNCTION later() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$')
      const asked = client.query(sql)
      const waiting = `SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'
        AND datname = current_database()`
      await until('it waits', async () => (await askServer(home, waiting)).length === 1)
      const [pid] = await askServer(home, waiting)
      await other.query('SELECT later(), 1 + random()')
      await other.query('DROP FUNCTION later()')
      await catalog.query('BEGIN; LOCK TABLE pg_catalog.pg_cursors IN ACCESS EXCLUSIVE MODE')
      await table.query('ROLLBACK')
      await asked
      await catalog.query('SELECT pg_terminate_backend($1)', [pid])
      await catalog.query('ROLLBACK')
    })
  } finally {
    await Promise.all([table.end(), catalog.end()])
  }
}

describe('a server that dies behind a statement', () => {
  it('takes nothing along that a plain statement could have left', async () => {
    await withClient(stack.proxy, async (client) => {
      await endBehind(client, 'INSERT INTO log VALUES (1)')
      expect(await value(client, 'SELECT count(*) FROM log')).toBe('1')
    })
  })

  it('ends the session of a client whose code has set something', async () => {
    const client = await connected(stack.proxy)
    const told = new Promise<Error>((resolve) => client.once('error', resolve))
    client.on('error', () => undefined)
    await endBehind(client, 'SELECT sets()')
    expect((await told).message).toContain('session state was lost')
  })
})
