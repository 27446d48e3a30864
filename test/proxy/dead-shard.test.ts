// A shard with one server that dies and comes back, beside one that lives: what can wait loses nothing, other shards
// do not notice, answers from all shards name the missing one, and transactions over both end in one way.
import type { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { recoverPrepared } from '../../catalog/recovery.ts'
import { shardId } from '../../core/ids.ts'
import { createLog } from '../../core/log.ts'
import { demoUrl } from '../../demo/cluster.ts'
import {
  askServer,
  column,
  connected,
  present,
  refusal,
  until,
  value,
  withClient,
  withClients,
} from '../support/clients.ts'
import type { ReplicatedShard } from '../support/replicated-shard.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'

const deadlineMs = 60_000
const waitMs = 3_000
/** Longest for what must not wait; far below `waitMs`. */
const atOnceMs = 1_500

let stack: ReplicatedStack
let shards: { readonly home: ReplicatedShard; readonly other: ReplicatedShard }
/** Tenants whose rows are there. */
let tenants: { readonly home: readonly number[]; readonly other: readonly number[] }

beforeAll(async () => {
  stack = await startReplicatedStack({ shards: 2, replicas: 0, proxies: 1, failover: { waitMs } })
  shards = { home: present(stack.shards[0]), other: present(stack.shards[1]) }
  await withClient(place(), async (client) => {
    await client.query(
      'CREATE TABLE notes (tenant_id bigint, id integer, PRIMARY KEY (tenant_id, id))',
    )
    for (let tenant = 1; tenant <= 20; tenant += 1) await insert(client, tenant, 0)
  })
  const tenantsOf = async (shard: ReplicatedShard) =>
    (await ask(shard, 'SELECT tenant_id FROM notes ORDER BY 1')).map(Number)
  tenants = { home: await tenantsOf(shards.home), other: await tenantsOf(shards.other) }
}, deadlineMs)
afterAll(() => stack?.stop(), deadlineMs)

const place = () => stack.place(0)
const ask = (shard: ReplicatedShard, sql: string) => askServer(shard.primary.server.url('app'), sql)
const insert = (client: Client, tenant: number, id: number) =>
  client.query('INSERT INTO notes VALUES ($1, $2)', [tenant, id])
const oneSql = 'SELECT tenant_id FROM notes WHERE id = 0'
const homeTenant = () => present(tenants.home[0])
const otherTenant = () => present(tenants.other[0])
const idsOf = (client: Client, tenant: number) =>
  column(client, 'SELECT id FROM notes WHERE tenant_id = $1 ORDER BY id', [tenant])

async function elapsedMs(what: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now()
  await what()
  return performance.now() - startMs
}

/** Shard `dead` is gone while `use` runs. */
async function without(dead: ReplicatedShard, use: () => Promise<void>): Promise<void> {
  await dead.kill(dead.primary)
  try {
    await use()
  } finally {
    if (!dead.primary.server.running) await dead.restart(dead.primary)
  }
}

describe('a shard whose only server dies', () => {
  it(
    'is waited for while it restarts: statements in the queue lose nothing',
    async () => {
      const ids = Array.from({ length: 30 }, (_, at) => at + 1)
      await withClients(place(), ids.length, async (clients) => {
        await shards.other.kill(shards.other.primary)
        const answers = clients.map((client, at) => insert(client, otherTenant(), present(ids[at])))
        await shards.other.restart(shards.other.primary)
        await Promise.all(answers)
      })
      await withClient(place(), async (client) => {
        expect(await idsOf(client, otherTenant())).toEqual(['0', ...ids.map(String)])
      })
    },
    deadlineMs,
  )

  it(
    'is not noticed by statements of other shards, however many wait for it',
    async () => {
      await withClients(place(), 20, async ([client, ...others]) => {
        await without(shards.other, async () => {
          const held = others.map((other) => refusal(idsOf(other, otherTenant())))
          const fastMs = await elapsedMs(async () => {
            for (let id = 100; id < 150; id += 1) await insert(present(client), homeTenant(), id)
          })
          expect(fastMs).toBeLessThan(atOnceMs)
          for (const { code, message } of await Promise.all(held)) {
            expect(code).toBe('08001')
            expect(message).toMatch(/^shard "s2" has been unreachable for [23]\.\d s: /)
          }
          expect(
            await elapsedMs(() => refusal(idsOf(present(client), otherTenant()))),
          ).toBeLessThan(atOnceMs)
        })
        await until('it is served', () =>
          idsOf(present(client), otherTenant()).then(
            () => true,
            () => false,
          ),
        )
      })
    },
    deadlineMs,
  )

  it(
    'is named by what asks all shards, and left out with a warning where a part will do',
    async () => {
      await withClient(place(), async (client) => {
        const notices: { code: string | undefined; severity: string | undefined; text: string }[] =
          []
        client.on('notice', ({ code, severity, message }) => {
          notices.push({ code, severity, text: message ?? '' })
        })
        await without(shards.other, async () => {
          const refused = await refusal(client.query(oneSql))
          expect(refused).toMatchObject({ code: '08001', severity: 'ERROR' })
          expect(refused.message).toContain('"s2"')
          await client.query('SET ringfence.partial = on')
          const rows = await column(client, oneSql)
          expect(rows.map(Number).sort((a, b) => a - b)).toEqual(tenants.home)
          expect(notices).toEqual([
            { code: '01000', severity: 'WARNING', text: expect.stringContaining('"s2"') },
          ])
          await client.query('SET ringfence.partial = off')
          expect(await refusal(client.query(oneSql))).toMatchObject({ code: '08001' })
        })
        await until('it is served', () =>
          client.query(oneSql).then(
            () => true,
            () => false,
          ),
        )
        expect(await column(client, oneSql)).toHaveLength(20)
      })
    },
    deadlineMs,
  )

  it(
    'and is the home shard keeps nobody from the others',
    async () => {
      await withClient(place(), async (client) => {
        await without(shards.home, async () => {
          const fastMs = await elapsedMs(async () => {
            for (let id = 200; id < 220; id += 1) await insert(client, otherTenant(), id)
            // Of a shape that was not planned before.
            const sql = 'SELECT max(id) FROM notes WHERE tenant_id = $1 AND id < 300'
            expect(await value(client, sql, [otherTenant()])).toBe('219')
          })
          expect(fastMs).toBeLessThan(atOnceMs)
          await withClient(place(), (second) => insert(second, otherTenant(), 220))
        })
        await until('it is served', () =>
          insert(client, homeTenant(), 200).then(
            () => true,
            () => false,
          ),
        )
      })
    },
    deadlineMs,
  )
})

describe('a transaction over two shards', () => {
  /** Nothing that commits there is acknowledged any more. */
  async function hang(shard: ReplicatedShard): Promise<void> {
    await ask(shard, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    await ask(shard, 'SELECT pg_reload_conf()')
    const probe = await connected({ connectionString: shard.primary.server.url('app') })
    void probe.query('CREATE TABLE probe ()').catch(() => undefined)
    await untilHanging(shard, 'CREATE TABLE probe ()')
  }

  async function untilHanging(shard: ReplicatedShard, like: string): Promise<void> {
    const sql = `SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '${like}%'`
    await until(`${like} hangs`, async () => (await ask(shard, sql)).length > 0)
  }

  /** Dies while its answer is awaited, and comes back as it should be. */
  async function dieAndReturn(shard: ReplicatedShard): Promise<void> {
    await shard.kill(shard.primary)
    await shard.restart(shard.primary)
    await ask(shard, "ALTER SYSTEM SET synchronous_standby_names = ''")
    await ask(shard, 'SELECT pg_reload_conf()')
    await ask(shard, 'DROP TABLE IF EXISTS probe')
  }

  const tableOn = async (name: string) => {
    const sql = `SELECT to_regclass('${name}') IS NOT NULL`
    return [...(await ask(shards.home, sql)), ...(await ask(shards.other, sql))]
  }
  const prepared = async () => {
    const sql = 'SELECT gid FROM pg_prepared_xacts'
    return [...(await ask(shards.home, sql)), ...(await ask(shards.other, sql))]
  }
  /** What each proxy does every 30 s with what is older than 10 s. */
  async function recover(): Promise<void> {
    const both = [shards.home, shards.other].map(({ id, primary }) => ({
      id: shardId(id),
      url: demoUrl(primary.server),
    }))
    await until('it is finished', async () => {
      await recoverPrepared({ shards: both, ageMsMin: 0, log: createLog('silent') })
      return (await prepared()).length === 0
    })
  }

  it(
    'whose participant dies while it prepares is rolled back on both, and may be sent again',
    async () => {
      await withClient(place(), async (client) => {
        await client.query('BEGIN')
        await client.query('CREATE TABLE first_made (tenant_id bigint)')
        await hang(shards.other)
        const told = refusal(client.query('COMMIT'))
        await untilHanging(shards.other, 'PREPARE TRANSACTION')
        await dieAndReturn(shards.other)
        expect(await told).toMatchObject({ code: '40001', severity: 'ERROR' })
        await recover()
        expect(await tableOn('first_made')).toEqual(['f', 'f'])
      })
    },
    deadlineMs,
  )

  it(
    'whose decider dies while it decides is told of as 08007, and is finished in one way',
    async () => {
      await withClient(place(), async (client) => {
        await client.query('BEGIN')
        await client.query('CREATE TABLE second_made (tenant_id bigint)')
        await hang(shards.home)
        const told = refusal(client.query('COMMIT'))
        await untilHanging(shards.home, 'COMMIT')
        await dieAndReturn(shards.home)
        expect(await told).toMatchObject({ code: '08007', severity: 'ERROR' })
        await recover()
        expect(await tableOn('second_made')).toEqual(['t', 't'])
        // Recovery has told nobody of the table: it is looked for, at most once a second.
        await until('the table is known', () =>
          client.query('SELECT tenant_id FROM second_made').then(
            () => true,
            () => false,
          ),
        )
      })
    },
    deadlineMs,
  )
})
