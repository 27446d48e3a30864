// The second name of a database: everything under it runs on replicas, nothing writes, and drivers that look for a primary
// or a standby find the right one under either name.
import { execFile } from 'node:child_process'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Client } from 'pg'
import { freePort } from '../../demo/ports.ts'
import { findProgram } from '../clients/find-program.ts'
import {
  present,
  rawClient,
  refusal,
  rowsOf,
  until,
  untilReady,
  value,
  withClient,
} from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import type { Place } from '../support/stack.ts'
import {
  firstShard,
  type OtherProxy,
  readsDuring,
  readsSetupSql,
  roleOf,
  startOther,
  untilReadable,
} from './replica-fixture.ts'

let stack: ReplicatedStack
let proxy: OtherProxy
let alias: Place

beforeAll(async () => {
  const reads = { rywWaitMs: 5_000, maxLagMs: null }
  const setupSql = readsSetupSql
  stack = await startReplicatedStack({ shards: 1, replicas: 2, proxies: 1, setupSql, reads })
  const shard = firstShard(stack)
  await Promise.all(shard.replicas.map((host) => shard.untilReplayed(host)))
  proxy = await startOther(stack, { database: { readOnlyAlias: 'app_ro' } })
  alias = { ...proxy.place, database: 'app_ro' }
  await untilReadable(proxy.instance, 2)
})
afterAll(async () => {
  await proxy?.instance.close()
  await stack?.stop()
})

const session = <T>(use: (client: Client) => Promise<T>) => withClient(alias, use)
const server = async (client: Client, sql = 'SELECT served_by()') =>
  roleOf(await value(client, sql))

describe('under the read-only name of a database', () => {
  it.each([
    'SELECT served_by()',
    'SELECT touch()',
    'SELECT quiet()',
    'SELECT served_by() FROM pg_class LIMIT 1',
    'SHOW cluster_name',
    "SELECT current_setting('cluster_name')",
    '/* ringfence:primary */ SELECT served_by()',
    '/* ringfence:consistency=strong */ SELECT served_by()',
    'SELECT served_by(), pg_advisory_xact_lock(1)',
  ])('everything runs on a replica: %s', async (sql) => {
    await session(async (client) => {
      expect(await server(client, sql)).toBe('replica')
      const { rows } = await client.query<string[]>({ name: 'q', text: sql, rowMode: 'array' })
      expect(roleOf(rows[0]?.[0] ?? null)).toBe('replica')
      await client.query('BEGIN')
      expect(await server(client, sql)).toBe('replica')
      await client.query('COMMIT')
    })
  })

  it('no setting leads to the primary', async () => {
    await session(async (client) => {
      expect(await value(client, 'SHOW ringfence.target')).toBe('replica')
      for (const sql of [
        'SET ringfence.target = primary',
        'SET ringfence.consistency = strong',
        'SET default_transaction_read_only = off',
      ]) {
        await client.query(sql)
        expect(await server(client)).toBe('replica')
        const write = client.query("UPDATE notes SET body = 'x' WHERE id = 1")
        expect(await refusal(write)).toMatchObject({ code: '25006' })
      }
    })
  })

  it.each([
    ["INSERT INTO notes VALUES (5000, 'x')", '25006'],
    ["UPDATE notes SET body = 'x' WHERE id = 1", '25006'],
    ['DELETE FROM notes', '25006'],
    ['CREATE TABLE forbidden (id integer)', '25006'],
    ['CREATE TEMPORARY TABLE forbidden (id integer)', '25006'],
    ["SELECT nextval('tickets')", '25006'],
    ['SELECT id FROM notes WHERE id = 1 FOR UPDATE', '25006'],
    ['WITH w AS (DELETE FROM notes RETURNING 1) SELECT * FROM w', '25006'],
    ['LISTEN news', '25006'],
    ['SELECT count(*) FROM scratch', '0A000'],
    ['BEGIN READ WRITE', '0A000'],
    ['COPY notes FROM STDIN', '25006'],
  ])('nothing writes: %s', async (sql, code) => {
    const reads = await readsDuring(proxy.instance, () =>
      session(async (client) => {
        const outcome = client.query(sql).then(() => client.query('SELECT served_by()'))
        expect(await refusal(outcome)).toMatchObject({ code })
        await client.query('ROLLBACK')
        expect(await server(client)).toBe('replica')
      }),
    )
    expect(reads.primary).toBe(0)
  })

  it('a session lock is held on its replica', async () => {
    await session(async (client) => {
      await client.query('SELECT pg_advisory_lock(11)')
      const host = await value(client, 'SELECT served_by()')
      expect(roleOf(host)).toBe('replica')
      expect(await value(client, 'SELECT pg_advisory_unlock(11)')).toBe('t')
    })
  })

  it('clients are told that they are in a hot standby, and nothing else later', async () => {
    const { connection, greeting } = await rawClient(alias, {
      parameters: [['options', '-c work_mem=6MB']],
    })
    const told = (messages: typeof greeting) =>
      messages.flatMap(({ code, bytes }) => {
        const text = bytes.toString('latin1')
        return code === 'S' && text.includes('in_hot_standby') ? [text.slice(5, -1)] : []
      })
    const run = async (sql: string) => {
      connection.send(textBytes('Q', sql))
      return untilReady(connection)
    }
    expect(told(greeting)).toEqual(['in_hot_standby\0on'])
    for (const sql of ['SELECT 1', 'RESET work_mem', 'RESET ALL', 'DISCARD ALL', 'SELECT 1']) {
      expect(told(await run(sql))).toEqual([])
    }
    expect(rowsOf(await run('SHOW transaction_read_only'))).toEqual([['on']])
    expect(rowsOf(await run('SHOW in_hot_standby'))).toEqual([['on']])
    connection.destroy()
  })

  it('a session sees what it was handed the token of', async () => {
    for (let turn = 0; turn < 5; turn += 1) {
      const token = await withClient(proxy.place, async (client) => {
        await client.query(`INSERT INTO notes VALUES (${6000 + turn}, 'handed over')`)
        return present((await value(client, 'SHOW ringfence.session_token')) ?? undefined)
      })
      await session(async (client) => {
        await client.query(`SET ringfence.session_token = '${token}'`)
        const sql = `SELECT body FROM notes WHERE id = ${6000 + turn}`
        expect(await value(client, sql)).toBe('handed over')
      })
    }
  })

  it('reads are refused when no replica has what the session needs', async () => {
    const shard = firstShard(stack)
    await Promise.all(shard.replicas.map((host) => shard.pauseReplay(host)))
    try {
      const other = await startOther(stack, {
        reads: { rywWaitMs: 50 },
        database: { readOnlyAlias: 'app_ro' },
      })
      const token = await withClient(other.place, async (client) => {
        await client.query("INSERT INTO notes VALUES (7000, 'not there yet')")
        return value(client, 'SHOW ringfence.session_token')
      })
      await withClient({ ...other.place, database: 'app_ro' }, async (client) => {
        expect(await value(client, 'SELECT count(*) FROM notes WHERE id = 7000')).toBe('0')
        await client.query(`SET ringfence.session_token = '${token}'`)
        expect(await refusal(client.query('SELECT 1'))).toMatchObject({ code: '57P03' })
        await client.query('SET ringfence.consistency = eventual')
        expect(await server(client)).toBe('replica')
      })
      await other.instance.close()
    } finally {
      await Promise.all(shard.replicas.map((host) => shard.resumeReplay(host)))
    }
  })
})

describe('libpq', () => {
  const psql = present(findProgram('psql'))
  /** What a connection string gives: the answer, or `refused`. */
  const say = (url: string, sql: string) =>
    new Promise<string>((resolve) => {
      const argv = ['--no-psqlrc', '--no-align', '--tuples-only', '--command', sql, url]
      execFile(psql, argv, { timeout: 10_000 }, (error, stdout) =>
        resolve(error === null ? stdout.trim() : 'refused'),
      )
    })
  const urlOf = (ports: readonly number[], database: string, wanted: string) => {
    const hosts = ports.map((port) => `127.0.0.1:${port}`).join(',')
    const { user, password } = proxy.place
    return `postgres://${user}:${password}@${hosts}/${database}?target_session_attrs=${wanted}`
  }

  it.each([
    ['app', 'any', 's1-a'],
    ['app', 'read-write', 's1-a'],
    ['app', 'primary', 's1-a'],
    ['app', 'prefer-standby', 's1-a'],
    ['app', 'read-only', 'refused'],
    ['app', 'standby', 'refused'],
    ['app_ro', 'any', 'replica'],
    ['app_ro', 'read-only', 'replica'],
    ['app_ro', 'standby', 'replica'],
    ['app_ro', 'prefer-standby', 'replica'],
    ['app_ro', 'read-write', 'refused'],
    ['app_ro', 'primary', 'refused'],
  ])('finds under %s with target_session_attrs=%s: %s', async (database, wanted, expected) => {
    const said = await say(urlOf([proxy.place.port], database, wanted), 'SELECT touch()')
    expect(expected === 'replica' ? roleOf(said) : said).toBe(expected)
  })

  it('goes on to the next host of its list', async () => {
    const nobody = await freePort()
    const [first, second] = firstShard(stack).replicas
    const replicas = [present(first).port, present(second).port]
    const sql = 'SELECT touch()'
    const { port } = proxy.place
    expect(await say(urlOf([nobody, port], 'app', 'read-write'), sql)).toBe('s1-a')
    expect(await say(urlOf([...replicas, port], 'app', 'read-write'), sql)).toBe('s1-a')
    expect(await say(urlOf([nobody, port], 'app_ro', 'standby'), sql)).toMatch(/^s1-[bc]$/)
    const transaction = 'SHOW transaction_read_only'
    expect(await say(urlOf([port], 'app_ro', 'read-only'), transaction)).toBe('on')
    expect(await say(urlOf([port], 'app', 'read-write'), transaction)).toBe('off')
  })
})

it('without a primary the read-only name serves on, and on a replica that becomes one nobody writes', async () => {
  const shard = firstShard(stack)
  await session(async (client) => {
    await client.query('SELECT pg_advisory_lock(12)')
    const host = shard.host((await value(client, 'SELECT served_by()')) ?? '')
    await shard.kill(shard.primary)
    // Nothing but replicas is needed, to log in neither.
    const options = '-c work_mem=11MB'
    const asked = performance.now()
    await withClient({ ...alias, options }, async (other) => {
      expect(await server(other)).toBe('replica')
      expect(await value(other, 'SHOW work_mem')).toBe('11MB')
    })
    expect(performance.now() - asked).toBeLessThan(5_000)
    await shard.promote(host)
    const write = client.query("INSERT INTO notes VALUES (8000, 'x')")
    expect((await refusal(write)).code).not.toBe(undefined)
  })
  await until('there is a replica again', async () => {
    const answer = await session((client) => server(client)).catch(() => null)
    return answer === 'replica'
  })
})
