// A proxy that meets the fence of the database itself, because its topology is older than the
// fence: nothing was done, so a statement by itself goes to the new owner, and its client sees but
// a delay.
import type { Client } from 'pg'
import { afterEach, beforeEach, describe, expect, inject, it } from 'vitest'
import { liftFence, placeFence } from '../../catalog/fence.ts'
import { cancel } from '../support/cancel.ts'
import {
  codesOf,
  column,
  connected,
  errorFields,
  present,
  rawClient,
  refusal,
  until,
  untilReady,
} from '../support/clients.ts'
import {
  bindBytes,
  executeBytes,
  frontendMessage,
  parseBytes,
  targetBytes,
  textBytes,
} from '../support/frontend-bytes.ts'
import { type Stack, startStack } from '../support/stack.ts'
import { StagedMove } from './staged-move.ts'

const [servers] = inject('servers')

describe('a statement that meets the fence', () => {
  let stack: Stack
  let move: StagedMove
  let client: Client

  beforeEach(async () => {
    stack = await startStack(present(servers), {
      shards: 2,
      pool: { queryWaitTimeoutMs: 3_000 },
      setupSql: `CREATE TABLE notes (tenant_id bigint, id int, PRIMARY KEY (tenant_id, id))

        INSERT INTO notes VALUES (1, 1)`,
    })
    client = await connected(stack.proxy)
    move = await StagedMove.prepare(stack)
    await move.begin()
    await placeFence(move.source, fence())
  })
  afterEach(async () => {
    await Promise.all([client.end(), move.close()])
    await stack.close()
  })

  const fence = () => ({
    moveId: 1,
    tables: [{ schema: 'public', name: 'notes', key: 'tenant_id' }],
    set: { vnodes: [move.vnode], keys: [], except: [] },
    keyType: 'bigint' as const,
    timeoutMs: 5_000,
    now: () => performance.now(),
  })
  const gate = () => [...stack.instance.databases.values()][0]?.gate
  const idsOn = (shard: Client) => column(shard, 'SELECT id FROM notes ORDER BY id')
  /** Switches once a statement waits. */
  async function switchMeanwhile(): Promise<void> {
    await until('it waits', () => gate()?.heldNow === 1)
    await move.switched()
  }

  it.each([
    ['a simple query', 'INSERT INTO notes VALUES (1, 2)', []],
    ['parameters', 'INSERT INTO notes VALUES ($1, $2)', [1, 2]],
  ])('goes to the new owner: %s', async (_, text, values) => {
    const inserting = client.query(text, values)
    await switchMeanwhile()
    expect((await inserting).rowCount).toBe(1)
    expect([await idsOn(move.source), await idsOn(move.target)]).toEqual([['1'], ['2']])
  })

  it('goes there as prepared, and its client hears once that it was taken', async () => {
    const { connection } = await rawClient(stack.proxy)
    const name = Buffer.from('s')
    const portal = Buffer.alloc(0)
    const sql = Buffer.from('INSERT INTO notes VALUES (1, $1) RETURNING id')
    const bound = (value: string) =>
      bindBytes(portal, name, [{ format: 0, value: Buffer.from(value) }], [])
    const run = [targetBytes('D', 'P', portal), executeBytes(portal, 0), frontendMessage('S')]
    connection.send(Buffer.concat([parseBytes(name, sql, []), bound('2'), ...run]))
    await switchMeanwhile()
    expect(codesOf(await untilReady(connection))).toBe('12TDCZ')
    connection.send(Buffer.concat([bound('3'), ...run]))
    expect(codesOf(await untilReady(connection))).toBe('2TDCZ')
    connection.destroy()
    expect([await idsOn(move.source), await idsOn(move.target)]).toEqual([['1'], ['2', '3']])
  })

  it('stays when the fence is lifted', async () => {
    const deleting = client.query('DELETE FROM notes WHERE tenant_id = 1')
    await until('it waits', () => gate()?.heldNow === 1)
    await liftFence(move.source, fence())
    await move.state('catching_up')
    expect((await deleting).rowCount).toBe(1)
    expect(await idsOn(move.source)).toEqual([])
  })

  it('fails for a retry in a transaction, or behind another of its string', async () => {
    await client.query('BEGIN')
    await client.query('SELECT * FROM notes WHERE tenant_id = 1')
    expect(await refusal(client.query('INSERT INTO notes VALUES (1, 2)'))).toMatchObject({
      code: '40001',
      hint: 'Retry the transaction through the proxy.',
    })
    await client.query('ROLLBACK')
    const string = `SELECT 1 FROM notes WHERE tenant_id = 1; INSERT INTO notes VALUES (1, 2)`
    expect(await refusal(client.query(string))).toMatchObject({ code: '40001' })
    expect(gate()?.counts.held).toBe(0)
  })

  it('fails for a retry when nothing changes for as long as statements may wait', async () => {
    const error = await refusal(client.query('INSERT INTO notes VALUES (1, 2)'))
    expect(error).toMatchObject({ code: '57P03' })
    expect((await client.query('SELECT * FROM notes WHERE tenant_id = 1')).rowCount).toBe(1)
  })

  it('fails for a retry when the fence is there after all changes', async () => {
    const inserting = refusal(client.query('INSERT INTO notes VALUES (1, 2)'))
    for (let turn = 0; turn < 3; turn += 1) {
      await until('it waits', () => gate()?.heldNow === 1)
      await move.known(await move.announce("UPDATE ringfence.move SET state = 'catching_up'"))
    }
    expect(await inserting).toMatchObject({ code: '40001' })
  })

  it('can be cancelled while it waits', async () => {
    const { connection, cancelKey } = await rawClient(stack.proxy)
    connection.send(textBytes('Q', 'INSERT INTO notes VALUES (1, 2)'))
    await until('it waits', () => gate()?.heldNow === 1)
    await cancel(stack.proxy, cancelKey)
    expect(errorFields(await untilReady(connection))['C']).toBe('57014')
    connection.destroy()
  })
})
