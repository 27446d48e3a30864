// Moves on real servers while clients read and write through a proxy: nothing is lost, doubled or left behind, whichever way
// a move ends.
import { Client } from 'pg'
import { afterEach, describe, expect, it } from 'vitest'
import { moverServers } from '../support/mover-servers.ts'
import { sqlstateOf } from '../../catalog/connection.ts'
import { wish } from '../../catalog/move-store.ts'
import { examine } from '../../rebalancer/doctor.ts'
import { type MoverDatabase, openCatalog, verifySwitched } from '../../rebalancer/run-move.ts'
import { createLog } from '../../core/log.ts'
import { type Stack, startStack } from '../support/stack.ts'
import { askCatalog, finishMove, moverOf, planMove, runUntil, startWriters } from './mover.ts'

let stack: Stack
const clients: Client[] = []
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.end()))
  await stack.close()
})

const tenants = 200
const setupSql = `
  CREATE TABLE orders (tenant_id bigint, id bigint, note text, PRIMARY KEY (tenant_id, id))

  CREATE TABLE lines (tenant_id bigint, id bigserial, amount numeric, PRIMARY KEY (tenant_id, id))`

async function start(
  servers: Parameters<typeof startStack>[0],
): Promise<{ mover: MoverDatabase; client: Client }> {
  stack = await startStack(servers, { shards: 2, setupSql })
  const client = await connect(stack.proxy)
  for (let tenant = 1; tenant <= tenants; tenant += 1) {
    await client.query('INSERT INTO orders VALUES ($1, 1, $2)', [tenant, 'first'])
    await client.query('INSERT INTO lines (tenant_id, amount) VALUES ($1, 1.5)', [tenant])
  }
  return { mover: moverOf(stack), client }
}

async function connect(place: ConstructorParameters<typeof Client>[0]): Promise<Client> {
  const client = new Client(place)
  await client.connect()
  clients.push(client)
  return client
}

/** Every acknowledged row is there once, through the proxy and on the shards together. */
async function expectAll(
  client: Client,
  written: readonly (readonly [number, number])[],
): Promise<void> {
  const name = ([tenant, id]: readonly [number, number]) => `${tenant} ${id}`
  const wanted = [...Array.from({ length: tenants }, (_, at) => [at + 1, 1] as const), ...written]
    .map(name)
    .toSorted()
  const sql = 'SELECT tenant_id, id FROM orders'
  const named = (rows: readonly { tenant_id: string; id: string }[]) =>
    rows.map((row) => `${row.tenant_id} ${row.id}`)
  const { rows } = await client.query<{ tenant_id: string; id: string }>(sql)
  expect(named(rows).toSorted()).toEqual(wanted)
  const onShards: string[] = []
  for (const url of stack.shardUrls) {
    const shard = await connect(url)
    onShards.push(...named((await shard.query<{ tenant_id: string; id: string }>(sql)).rows))
  }
  expect(onShards.toSorted()).toEqual(wanted)
}

/** Virtual nodes of s2. */
async function owned(mover: MoverDatabase): Promise<number> {
  const sql = `SELECT count(*)::int AS n FROM ringfence.vnode WHERE shard = 's2'`
  return (await askCatalog<{ n: number }>(mover, sql))[0]?.n ?? 0
}

async function expectNothingLeft(database: MoverDatabase): Promise<void> {
  const signal = AbortSignal.timeout(30_000)
  const findings = async () => {
    return (await examine({ database, fix: false, rows: true, signal })).findings
  }
  // A proxy hears of the last epoch a moment later.
  await until(async () => !(await findings()).some(isOfProxies))
  expect(await findings()).toEqual([])
}

function isOfProxies({ what }: { readonly what: string }): boolean {
  return what.startsWith('proxy ')
}

describe.each(moverServers())('a move on PostgreSQL $version', (servers) => {
  it('takes rows to another shard while clients write, without an error', async () => {
    const { mover, client } = await start(servers)
    const before = await owned(mover)
    const writers = startWriters(stack, 4, tenants)
    const move = await planMove(mover, { from: 's1', to: 's2', vnodes: 1_024 })
    const { state, progress } = await finishMove(mover, move)
    await writers.stop()
    expect(writers.errors).toEqual([])
    expect(state).toBe('done')
    expect(progress.rowsVerified).toBeGreaterThan(0)
    await expectAll(client, writers.written)
    await expectNothingLeft(mover)
    expect(await owned(mover)).toBe(before + 1_024)
  })

  it('can be taken back after the switch, with everything written since', async () => {
    const { mover, client } = await start(servers)
    const writers = startWriters(stack, 4, tenants)
    const move = await planMove(mover, {
      from: 's1',
      to: 's2',
      vnodes: 2_048,
      options: { keepSourceMs: null },
    })
    await runUntil(mover, move, 'switched')
    const before = writers.written.length
    await until(() => writers.written.length > before + 200)
    const compared = await verifySwitched({
      database: mover,
      moveId: move.id,
      log: createLog('error'),
      signal: AbortSignal.timeout(30_000),
    })
    expect(compared).toMatchObject({ differing: 0 })
    const catalog = await openCatalog(mover)
    await wish(catalog.client, move.id, 'rollback')
    await catalog.end()
    const { state, progress } = await finishMove(mover, move)
    await writers.stop()
    expect(writers.errors).toEqual([])
    expect({ state, rolledBack: progress.rolledBack }).toEqual({
      state: 'aborted',
      rolledBack: true,
    })
    await expectAll(client, writers.written)
    await expectNothingLeft(mover)
  })

  it.each(['copying', 'catching_up', 'fencing', 'switched', 'completing'] as const)(
    'that was left in state %s goes on where it was',
    async (state) => {
      const { mover, client } = await start(servers)
      const writers = startWriters(stack, 2, tenants)
      const move = await planMove(mover, { from: 's1', to: 's2', vnodes: 1_024 })
      await runUntil(mover, move, state)
      const ended = await finishMove(mover, move)
      await writers.stop()
      expect(writers.errors).toEqual([])
      expect(ended.state).toBe('done')
      await expectAll(client, writers.written)
      await expectNothingLeft(mover)
    },
  )

  it('that is aborted leaves both shards as they were', async () => {
    const { mover, client } = await start(servers)
    const writers = startWriters(stack, 2, tenants)
    const move = await planMove(mover, { from: 's2', to: 's1', vnodes: 1_024 })
    await runUntil(mover, move, 'catching_up')
    const catalog = await openCatalog(mover)
    await wish(catalog.client, move.id, 'abort')
    await catalog.end()
    const { state } = await finishMove(mover, move)
    await writers.stop()
    expect(writers.errors).toEqual([])
    expect(state).toBe('aborted')
    await expectAll(client, writers.written)
    await expectNothingLeft(mover)
  })

  it('of a key takes that key alone, and back to its virtual node', async () => {
    const { mover, client } = await start(servers)
    const place = async () => {
      const { rows } = await client.query<{ aspect: string; value: string }>(
        'EXPLAIN (ROUTE) SELECT * FROM orders WHERE tenant_id = 7',
      )
      return rows.find(({ aspect }) => aspect === 'shard')?.value ?? ''
    }
    const from = await place()
    const to = from === 's1' ? 's2' : 's1'
    expect((await finishMove(mover, await planMove(mover, { from, to, keys: ['7'] }))).state).toBe(
      'done',
    )
    expect(await place()).toBe(to)
    expect(await askCatalog(mover, 'SELECT key, shard FROM ringfence.pin')).toEqual([
      { key: '7', shard: to },
    ])
    // Its virtual node may go elsewhere meanwhile: the key stays.
    const around = await planMove(mover, { from, to, vnodes: 4_096 })
    expect((await finishMove(mover, around)).state).toBe('done')
    expect(await place()).toBe(to)
    await expectAll(client, [])
    await expectNothingLeft(mover)
  })

  it('holds schema changes off, and lets them through afterwards', async () => {
    const { mover, client } = await start(servers)
    const move = await planMove(mover, { from: 's1', to: 's2', vnodes: 64 })
    await runUntil(mover, move, 'catching_up')
    const ddl = 'ALTER TABLE orders ADD COLUMN more text'
    await expect(client.query(ddl)).rejects.toMatchObject({ code: '55006' })
    expect((await finishMove(mover, move)).state).toBe('done')
    // As soon as the proxy has heard of the end.
    await until(async () => {
      try {
        await client.query(ddl)
        return true
      } catch (error) {
        if (sqlstateOf(error) === '55006') return false
        throw error
      }
    })
  })

  it('does not start while something stands in its way, and names all of it', async () => {
    const { mover, client } = await start(servers)
    await client.query('CREATE TABLE loose (tenant_id bigint, note text)')
    const shard = await connect(stack.shardUrls[1])
    await shard.query('ALTER TABLE lines ALTER COLUMN amount TYPE float8')
    const { state, progress, error } = await finishMove(
      mover,
      await planMove(mover, { from: 's1', to: 's2', vnodes: 64 }),
    )
    expect(state).toBe('aborted')
    expect(error).toContain('the move cannot start')
    const problems = (progress.problems ?? []).join('\n')
    expect(problems).toContain('loose')
    expect(problems).toContain('amount')
    await expectNothingLeft(mover)
  })
})

/** Waits until it is so. */
async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 20))
}
