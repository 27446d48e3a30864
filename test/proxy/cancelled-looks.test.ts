// A cancel request while its client's server is asked what a statement has left in its session: it is not for that
// question, but for what the client has sent meanwhile, if anything.
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { cancel } from '../support/cancel.ts'
import {
  askServer,
  connected,
  pause,
  present,
  rawClient,
  sqlstateOf,
  type RawClient,
  until,
} from '../support/clients.ts'
import { type Stack, startStack } from '../support/stack.ts'

const setupSql = `CREATE FUNCTION sets() RETURNS text LANGUAGE sql AS $$
  SELECT set_config('my.colour', 'blue', false) $$`

let stack: Stack
let home: string
let catalog: Client
let client: RawClient
beforeAll(async () => {
  const pool = { size: 4, laneServersMax: 0 }
  stack = await startStack(present(inject('servers')[0]), { shards: 1, pool, setupSql })
  home = present(stack.shardUrls[0])
  catalog = await connected({ connectionString: home })
  client = await rawClient(stack.proxy)
})
afterAll(async () => {
  client?.connection.destroy()
  await catalog?.end()
  await stack?.close()
})

const looks = `SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'
  AND datname = current_database()`

/** Runs `sql`; the look behind it lasts until `free` is called. Gives the process that looks. */
async function heldLook(sql: string): Promise<{ pid: string; free: () => Promise<unknown> }> {
  await isGivenBack()
  await catalog.query('BEGIN; LOCK TABLE pg_catalog.pg_cursors IN ACCESS EXCLUSIVE MODE')
  expect(await sqlstateOf(client, sql)).toBe('00000')
  await until('it is looked at', async () => (await askServer(home, looks)).length === 1)
  const pid = present((await askServer(home, looks))[0] ?? undefined)
  return { pid, free: () => catalog.query('ROLLBACK') }
}

const isGivenBack = () => until('the server is given back', () => stack.poolStats().leased === 0)

describe('a cancel request during a look', () => {
  it('does nothing, and the client keeps no server', async () => {
    const { pid, free } = await heldLook('SELECT sets()')
    for (let request = 0; request < 10; request += 1) await cancel(stack.proxy, client.cancelKey)
    expect(await askServer(home, looks)).toEqual([pid])
    await free()
    await isGivenBack()
    expect(
      await sqlstateOf(client, `SELECT 1 / (current_setting('my.colour') = 'blue')::int`),
    ).toBe('00000')
    await isGivenBack()
  })

  it('stops what the client has sent meanwhile', async () => {
    const { free } = await heldLook('SELECT sets()')
    const [session] = stack.instance.sessions
    const received = () => present(session).times.traffic.receivedBytes
    const before = received()
    const next = sqlstateOf(client, 'SELECT pg_sleep(60)')
    await until('it has arrived', () => received() > before)
    const first = cancel(stack.proxy, client.cancelKey).then(() => 'told')
    const later = pause(200).then(() => 'waits')
    expect(await Promise.race([first, later])).toBe('waits')
    await free()
    expect(await first).toBe('told')
    // As on PostgreSQL itself, one that overtakes its statement is lost.
    const ended = next.then((sqlstate) => ({ sqlstate }))
    while ((await Promise.race([ended, pause(100)])) === undefined)
      await cancel(stack.proxy, client.cancelKey)
    expect(await next).toBe('57014')
    await isGivenBack()
  })
})

describe('a look that cannot be had', () => {
  it('keeps the server with the client until the next one', async () => {
    const { pid, free } = await heldLook('SELECT sets()')
    await until('it is given up', async () => {
      await askServer(home, `SELECT pg_cancel_backend(${pid})`)
      return (await askServer(home, looks)).length === 0
    })
    await free()
    expect(stack.poolStats().leased).toBe(1)
    expect(
      await sqlstateOf(client, `SELECT 1 / (current_setting('my.colour') = 'blue')::int`),
    ).toBe('00000')
    await isGivenBack()
  })
})
