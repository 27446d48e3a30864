// A primary that is killed while a synchronous replica takes its place, under load and with every kind of statement in
// flight: what can wait waits, the rest is told of truthfully, nothing acknowledged is lost, and the old primary
// is trusted again only as a replica.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  askServer,
  connected,
  pause,
  present,
  refusal,
  until,
  value,
  withClient,
  withClients,
} from '../support/clients.ts'
import type { ReplicatedHost, ReplicatedShard } from '../support/replicated-shard.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import { faultsOf, ledgerSql, Load, type LoadOptions } from './failover-load.ts'

const deadlineMs = 90_000
/** What is promised is 1 s; tests share their machine. */
const firstWriteMsMax = 3_000
/** A statement may still reach a connection whose death is not known yet. */
const noticeMs = 500

let stack: ReplicatedStack
let shard: ReplicatedShard
let ids = 0
/** Of a session that wrote row 7 before anything happened. */
let tokenBefore: string | null
/** The first primary. */
let former: ReplicatedHost

beforeAll(async () => {
  stack = await startReplicatedStack({
    shards: 1,
    replicas: 2,
    proxies: 2,
    synchronous: true,
    setupSql: `${ledgerSql}\nCREATE TABLE locked (id integer)\n\nCREATE SEQUENCE direct START 500000000`,
    failover: { waitMs: 20_000 },
  })
  shard = present(stack.shards[0])
  former = shard.primary
  await withClient(stack.place(0), async (client) => {
    await client.query('INSERT INTO ledger VALUES (7, 0)')
    tokenBefore = await value(client, 'SHOW ringfence.session_token')
  })
}, deadlineMs)
afterAll(() => stack?.stop(), deadlineMs)

const places = () => [stack.place(0), stack.place(1)]
const app = (host: ReplicatedHost, sql: string) => askServer(host.server.url('app'), sql)
const rowsOn = async (host: ReplicatedHost) =>
  (await app(host, 'SELECT id FROM ledger')).map(Number)

async function startLoad(clients: LoadOptions['clients']): Promise<Load> {
  ids += 1_000_000
  const load = new Load({ places: places(), clients, pauseMs: 20 }, ids)
  await load.start()
  return load
}

async function synchronousWith(host: ReplicatedHost, names: string): Promise<void> {
  await app(host, `ALTER SYSTEM SET synchronous_standby_names = '${names}'`)
  await app(host, 'SELECT pg_reload_conf()')
}

/** When `host` first acknowledged a write that did not come through a proxy. */
async function firstDirectWrite(host: ReplicatedHost): Promise<number> {
  const client = await connected({ connectionString: host.server.url('app') })
  try {
    await until('it accepts a write', () =>
      client.query("INSERT INTO ledger VALUES (nextval('direct'), 0)").then(
        () => true,
        () => false,
      ),
    )
    return performance.now()
  } finally {
    await client.end()
  }
}

/** Promotes the best replica of a dead primary; resolves with when the new one first accepted a write. */
async function promoteBest(): Promise<number> {
  const next = await shard.mostAdvanced()
  // It has nobody to wait for until others follow it.
  await synchronousWith(next, '')
  const accepted = firstDirectWrite(next)
  await shard.promote(next)
  return accepted
}

/** Milliseconds from `sinceMs` to the first write through each proxy that was acknowledged after it. */
function firstWritesAfter(load: Load, sinceMs: number): readonly number[] {
  return places().map((_, proxy) => {
    const after = load.acknowledged.filter((each) => each.proxy === proxy && each.atMs > sinceMs)
    return Math.min(...after.map(({ atMs }) => atMs)) - sinceMs
  })
}

describe('a primary that is killed under load', () => {
  it(
    'costs the statements that were in flight, and no others; acknowledged writes are kept',
    async () => {
      const load = await startLoad({ writers: 6, readers: 6, movers: 4 })
      await until('it is under way', () => load.statements > 500, 30_000)
      const { rate } = load
      const killedAtMs = performance.now()
      await shard.kill(former)
      const deadAtMs = performance.now()
      const acceptedAtMs = await promoteBest()
      const caughtUp = () => firstWritesAfter(load, acceptedAtMs).every(Number.isFinite)
      await until('each proxy writes', caughtUp, 20_000)
      await pause(300)
      await load.stop()
      const waitedMs = firstWritesAfter(load, acceptedAtMs)
      const promotion = `${(acceptedAtMs - killedAtMs).toFixed(0)} ms after the kill`
      const proxies = waitedMs.map((ms) => `${ms.toFixed(0)} ms`).join(' and ')
      process.stdout.write(
        `${rate.toFixed(0)} statements/s; a write is accepted ${promotion}, through the proxies ` +
          `${proxies} later; errors: ${load.failureText}\n`,
      )
      const codes = { write: ['08006'], read: [], transaction: ['40001', '08006'] }
      for (const { kind, step, code, message } of load.failures) {
        expect(codes[kind], `${kind} ${step}: ${code} ${message}`).toContain(code)
      }
      const inDoubt = load.failures.filter(({ code }) => code === '08006')
      // Before its COMMIT nothing of a transaction is kept, and what is sent to nobody can wait.
      expect(
        inDoubt.filter(({ kind, step }) => kind === 'transaction' && step !== 'commit'),
      ).toEqual([])
      expect(inDoubt.filter(({ sentAtMs }) => sentAtMs > deadAtMs + noticeMs)).toEqual([])
      const perClient = Map.groupBy(load.failures, ({ client }) => client)
      for (const failures of perClient.values()) expect(failures).toHaveLength(1)
      expect(load.answered.filter(({ wrong }) => wrong)).toEqual([])
      expect(faultsOf(load, await rowsOn(shard.primary))).toEqual([])
      for (const ms of waitedMs) expect(ms).toBeLessThan(firstWriteMsMax)
    },
    deadlineMs,
  )

  it('leaves tokens of before as good as they were', async () => {
    for (const place of places()) {
      await withClient(place, async (client) => {
        await client.query(`SET ringfence.session_token = '${tokenBefore}'`)
        expect(await value(client, 'SELECT id FROM ledger WHERE id = 7')).toBe('7')
        expect(await value(client, 'SHOW ringfence.session_token')).not.toBe('')
      })
    }
  })
})

describe('the old primary', () => {
  it('that comes back as one is never written to and never read from, by old proxies and new', async () => {
    await shard.restart(former)
    expect(await app(former, 'SELECT pg_is_in_recovery()')).toEqual(['f'])
    // It learns of the servers now, and is told of the old primary first.
    await stack.killProxy(1)
    await stack.startProxy(1)
    const before = new Set(await rowsOn(former))
    const load = await startLoad({ writers: 3, readers: 6, movers: 2 })
    await until('it is under way', () => load.statements > 500, 30_000)
    await load.stop()
    expect(load.failures).toEqual([])
    expect(load.answered.filter(({ port }) => port === former.port)).toEqual([])
    expect((await rowsOn(former)).filter((id) => !before.has(id))).toEqual([])
    expect(faultsOf(load, await rowsOn(shard.primary))).toEqual([])
    for (const place of places()) {
      await withClient({ ...place, database: 'ringfence' }, async (admin) => {
        const { rows } = await admin.query<{ host: string }>('SHOW REPLICAS')
        const shown = rows.find((row) => Object.values(row).join(' ').includes(`${former.port}`))
        expect(JSON.stringify(shown)).toContain('split brain')
      })
    }
  })

  it(
    'that comes back as a replica of the new one gets reads again',
    async () => {
      await shard.rejoin(former)
      const load = await startLoad({ writers: 1, readers: 4, movers: 0 })
      const ports = () => new Set(load.answered.map(({ port }) => port))
      await until('it is read from', () => ports().has(former.port), 20_000)
      await load.stop()
      expect(load.failures).toEqual([])
    },
    deadlineMs,
  )
})

describe('when a primary dies, the client', () => {
  const waiting = async (event: string) =>
    app(
      shard.primary,
      `SELECT query FROM pg_stat_activity WHERE wait_event = '${event}' AND usename = 'demo'`,
    )

  it(
    'of each statement in flight is told what has become of it',
    async () => {
      const lock = await connected({ connectionString: shard.primary.server.url('app') })
      await lock.query('BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE')
      await withClients(stack.place(0), 8, async (all) => {
        const named = (at: number) => present(all[at])
        const [write, commit, text, prepare] = [named(0), named(1), named(2), named(3)]
        const [sleeper, idle, reader, later] = [named(4), named(5), named(6), named(7)]
        // Who has read on a replica could have seen there what is about to hang here (shown.test.ts).
        for (const client of all) await client.query('/* ringfence:primary */ SELECT 1')
        for (const [at, client] of [commit, prepare, sleeper, idle].entries()) {
          await client.query('BEGIN')
          await client.query('INSERT INTO ledger VALUES ($1, 0)', [900 + at])
        }
        // No commit is acknowledged from now on.
        await synchronousWith(shard.primary, 'nobody')
        await until('it is in force', async () => {
          const [names] = await app(shard.primary, 'SHOW synchronous_standby_names')
          return names === 'nobody'
        })
        await pause(200)
        const told = {
          write: refusal(write.query('INSERT INTO ledger VALUES ($1, 0)', [910])),
          commit: refusal(commit.query('COMMIT')),
          text: refusal(text.query('BEGIN; INSERT INTO ledger VALUES (911, 0); COMMIT')),
          prepare: refusal(prepare.query("PREPARE TRANSACTION 'mine'")),
          sleeper: refusal(sleeper.query('SELECT pg_sleep(60)')),
        }
        const sql = '/* ringfence:primary */ SELECT count(*) FROM locked WHERE id = $1'
        const read = value(reader, sql, [1])
        await until('all hang', async () => (await waiting('SyncRep')).length === 4)
        await until('the read waits', async () => (await waiting('relation')).length === 1)
        await shard.kill(shard.primary)
        const inserted = later.query('INSERT INTO ledger VALUES (912, 0)')
        await promoteBest()
        const maybe = { code: '08006', severity: 'ERROR' }
        const nothing = { code: '40001', severity: 'ERROR' }
        expect(await told.write).toMatchObject(maybe)
        expect(await told.commit).toMatchObject(maybe)
        expect(await told.text).toMatchObject(maybe)
        expect(await told.prepare).toMatchObject(maybe)
        expect(await told.sleeper).toMatchObject(nothing)
        expect(await refusal(idle.query('SELECT 1'))).toMatchObject(nothing)
        expect(await read).toBe('0')
        expect((await inserted).rowCount).toBe(1)
        for (const client of [sleeper, idle]) {
          expect(await refusal(client.query('SELECT 1'))).toMatchObject({ code: '25P02' })
          expect((await client.query('COMMIT')).command).toBe('ROLLBACK')
        }
        for (const client of all) expect(await value(client, 'SELECT 2')).toBe('2')
        const kept = new Set(await rowsOn(shard.primary))
        // Of the sleeper and the idle one.
        expect([902, 903, 912].map((id) => kept.has(id))).toEqual([false, false, true])
      })
      await lock.end().catch(() => undefined)
    },
    deadlineMs,
  )
})
