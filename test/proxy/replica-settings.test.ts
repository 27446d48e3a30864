// What a session sets, and what its comments ask for, holds for its reads on replicas: settings of PostgreSQL, settings
// of the proxy, hints.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Client } from 'pg'
import { rawClient, refusal, rowsOf, untilReady, value, withClient } from '../support/clients.ts'
import { textBytes } from '../support/frontend-bytes.ts'
import { type ReplicatedStack, startReplicatedStack } from '../support/replicated-stack.ts'
import {
  firstShard,
  noticing,
  type OtherProxy,
  readsSetupSql,
  roleOf,
  startOther,
  untilReadable,
} from './replica-fixture.ts'

let stack: ReplicatedStack
let proxy: OtherProxy

beforeAll(async () => {
  // A read waits as long as it takes for a replica: where it goes is then a matter of what was asked for alone.
  const reads = { rywWaitMs: 5_000, maxLagMs: null }
  const setupSql = readsSetupSql
  stack = await startReplicatedStack({ shards: 1, replicas: 1, proxies: 1, setupSql, reads })
  const shard = firstShard(stack)
  await shard.untilReplayed(shard.host('s1-b'))
  proxy = await startOther(stack, {})
  await untilReadable(proxy.instance, 1)
})
afterAll(async () => {
  await proxy?.instance.close()
  await stack?.stop()
})

const session = <T>(use: (client: Client) => Promise<T>) => withClient(proxy.place, use)
const server = async (client: Client, sql = 'SELECT served_by()') =>
  roleOf(await value(client, sql))

describe('a session on a replica', () => {
  const settings: readonly (readonly [string, string, string])[] = [
    ["SET work_mem = '7MB'", 'work_mem', '7MB'],
    ["SELECT set_config('work_mem', '8MB', false)", 'work_mem', '8MB'],
    ["SET TIME ZONE 'Asia/Tokyo'", 'timezone', 'Asia/Tokyo'],
    [
      'SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ',
      'transaction_isolation',
      'repeatable read',
    ],
  ]

  it.each(settings)('keeps what it has set: %s', async (sql, name, expected) => {
    await session(async (client) => {
      await client.query(sql)
      expect(await value(client, 'SELECT in_force($1)', [name])).toBe(expected)
      expect(await server(client)).toBe('replica')
    })
    // The next client of that server has settings of its own.
    await session(async (client) => {
      expect(await value(client, 'SELECT in_force($1)', [name])).not.toBe(expected)
    })
  })

  it('reads names by its search_path', async () => {
    await session(async (client) => {
      const sql = "SELECT public.served_by() || ' ' || body FROM notes WHERE id = 7"
      expect(await value(client, sql)).toBe('s1-b note 7')
      await client.query('SET search_path = other, public')
      expect(await value(client, sql)).toBe('s1-b other')
      await client.query('RESET search_path')
      expect(await value(client, sql)).toBe('s1-b note 7')
    })
  })

  it('has its statements cancelled by statement_timeout', async () => {
    await session(async (client) => {
      await client.query("SET statement_timeout = '50ms'")
      const answer = client.query('SELECT served_by(), pg_sleep(10)')
      expect(await refusal(answer)).toMatchObject({ code: '57014' })
      await client.query('RESET statement_timeout')
      expect(await value(client, 'SELECT served_by() FROM pg_sleep(0.06)')).toBe('s1-b')
    })
  })

  it('may be read-only by default, and then writes nowhere', async () => {
    await session(async (client) => {
      await client.query('SET default_transaction_read_only = on')
      expect(await server(client)).toBe('replica')
      const write = client.query("UPDATE notes SET body = 'z' WHERE id = 3")
      expect(await refusal(write)).toMatchObject({ code: '25006' })
      expect(await server(client)).toBe('replica')
    })
  })

  it('reads what SERIALIZABLE by default would not be allowed to read there', async () => {
    await session(async (client) => {
      await client.query("SET default_transaction_isolation = 'serializable'")
      expect(await server(client)).toBe('primary')
    })
  })

  it('does not hand SERIALIZABLE on to the next client of a replica', async () => {
    await session(async (client) => {
      await client.query('SET ringfence.target = replica')
      await client.query('SELECT served_by()')
      await client.query("SET default_transaction_isolation = 'serializable'")
      expect(await refusal(client.query('SELECT served_by()'))).toMatchObject({ code: '0A000' })
    })
    const place = { ...proxy.place, options: '-c work_mem=5MB' }
    await withClient(place, async (client) => {
      expect(await value(client, "SELECT in_force('work_mem') || served_by()")).toBe('5MBs1-b')
    })
  })

  it('gives its settings at startup to the replica', async () => {
    const place = { ...proxy.place, options: '-c work_mem=6MB' }
    await withClient(place, async (client) => {
      expect(await value(client, "SELECT in_force('work_mem')")).toBe('6MB')
      expect(await server(client)).toBe('replica')
    })
  })

  it('is never told that it is in a hot standby', async () => {
    const { connection, greeting } = await rawClient(proxy.place, {
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
    expect(told(greeting)).toEqual(['in_hot_standby\0off'])
    expect(rowsOf(await run('SELECT served_by()'))).toEqual([['s1-b']])
    await run('BEGIN READ ONLY')
    expect(rowsOf(await run('SELECT served_by()'))).toEqual([['s1-b']])
    expect(told(await run('RESET work_mem'))).toEqual([])
    expect(told(await run('RESET ALL'))).toEqual([])
    await run('COMMIT')
    expect(told(await run('DISCARD ALL'))).toEqual([])
    connection.destroy()
  })

  it('stays on its server while it is pinned', async () => {
    await session(async (client) => {
      await client.query('CREATE TEMPORARY TABLE drafts AS SELECT 1 AS id')
      expect(await server(client, 'SELECT served_by() FROM drafts')).toBe('primary')
      expect(await server(client)).toBe('primary')
      await client.query('DISCARD ALL')
      expect(await server(client)).toBe('replica')
    })
    await session(async (client) => {
      await client.query('SELECT pg_advisory_lock(7)')
      expect(await server(client)).toBe('primary')
      expect(await value(client, 'SELECT pg_advisory_unlock(7)')).toBe('t')
    })
  })
})

describe('settings of the proxy', () => {
  const shown = (client: Client, name: string) => value(client, `SHOW ringfence.${name}`)

  it('decide where reads go, until they are RESET', async () => {
    await session(async (client) => {
      expect(await shown(client, 'target')).toBe('auto')
      await client.query('SET ringfence.target = primary')
      expect([await shown(client, 'target'), await server(client)]).toEqual(['primary', 'primary'])
      await client.query("SET SESSION ringfence.target TO 'REPLICA'")
      expect([await shown(client, 'target'), await server(client)]).toEqual(['replica', 'replica'])
      await client.query('RESET ringfence.target')
      expect([await shown(client, 'target'), await server(client)]).toEqual(['auto', 'replica'])
      await client.query('SET ringfence.consistency = strong')
      expect(await server(client)).toBe('primary')
      await client.query('SET ringfence.consistency TO DEFAULT')
      expect([await shown(client, 'consistency'), await server(client)]).toEqual([
        'session',
        'replica',
      ])
    })
  })

  it.each(['RESET ALL', 'DISCARD ALL'])(
    'go back to those of the startup packet by %s',
    async (sql) => {
      const options = '-c ringfence.target=primary -c ringfence.consistency=eventual'
      await withClient({ ...proxy.place, options }, async (client) => {
        expect([await shown(client, 'target'), await server(client)]).toEqual([
          'primary',
          'primary',
        ])
        await client.query('SET ringfence.target = auto')
        await client.query('SET ringfence.consistency = session')
        await client.query('SET ringfence.partial = on')
        expect(await server(client)).toBe('replica')
        await client.query(sql)
        expect(await shown(client, 'target')).toBe('primary')
        expect(await shown(client, 'consistency')).toBe('eventual')
        expect(await shown(client, 'partial')).toBe('off')
        expect(await server(client)).toBe('primary')
      })
    },
  )

  it('are taken back by a rollback, and kept by a commit', async () => {
    await session(async (client) => {
      await client.query('BEGIN')
      await client.query('SET ringfence.target = primary')
      await client.query('SAVEPOINT here')
      await client.query('SET ringfence.target = replica')
      expect(await shown(client, 'target')).toBe('replica')
      await client.query('ROLLBACK TO here')
      expect(await shown(client, 'target')).toBe('primary')
      await client.query('ROLLBACK')
      expect(await shown(client, 'target')).toBe('auto')
      await client.query('BEGIN')
      await client.query('SET ringfence.target = primary')
      await client.query('COMMIT')
      expect(await shown(client, 'target')).toBe('primary')
      await refusal(client.query('SET ringfence.target = auto; SELECT 1 / 0'))
      expect(await shown(client, 'target')).toBe('primary')
      await client.query('SET ringfence.target = auto; SELECT 1')
      expect(await shown(client, 'target')).toBe('auto')
    })
  })

  it('hold for one transaction when they are SET LOCAL', async () => {
    await session(async (client) => {
      await client.query('BEGIN READ ONLY')
      await client.query('SET LOCAL ringfence.target = primary')
      expect(await server(client)).toBe('primary')
      await client.query('COMMIT')
      expect([await shown(client, 'target'), await server(client)]).toEqual(['auto', 'replica'])
      await client.query('BEGIN; SET LOCAL ringfence.consistency = strong')
      expect(await shown(client, 'consistency')).toBe('strong')
      await client.query('ROLLBACK')
      expect(await shown(client, 'consistency')).toBe('session')
      await client.query('SET LOCAL ringfence.target = primary')
      expect(await shown(client, 'target')).toBe('auto')
    })
  })

  it('are set and told by functions, too', async () => {
    await session(async (client) => {
      const set = 'SELECT set_config($1, $2, $3)'
      const fixed = "SELECT set_config('ringfence.target', $1, $2)"
      const asked = "SELECT current_setting('ringfence.target')"
      expect(await value(client, fixed, ['primary', false])).toBe('primary')
      expect([await value(client, asked), await server(client)]).toEqual(['primary', 'primary'])
      await client.query('BEGIN')
      expect(await value(client, fixed, ['replica', true])).toBe('replica')
      expect(await value(client, asked)).toBe('replica')
      await client.query('COMMIT')
      expect(await value(client, asked)).toBe('primary')
      expect(await value(client, "SELECT set_config('ringfence.target', 'auto', false)")).toBe(
        'auto',
      )
      expect(await server(client)).toBe('replica')
      expect(await value(client, "SELECT current_setting('ringfence.nonsense', true)")).toBe(null)
      expect(await value(client, set, ['ringfence.target', 'primary', false])).toBe('primary')
      expect(await shown(client, 'target')).toBe('primary')
    })
  })

  it.each([
    ['SET ringfence.target = elsewhere', '22023'],
    ['SET ringfence.consistency = weak', '22023'],
    ['SET ringfence.partial = perhaps', '22023'],
    ["SELECT set_config('ringfence.target', 'elsewhere', false)", '22023'],
    [`SET ringfence.session_token = 'rf1.nonsense'`, '22023'],
    ['SET ringfence.nonsense = 1', '42704'],
    ['SHOW ringfence.nonsense', '42704'],
    ['RESET ringfence.nonsense', '42704'],
    ["SELECT current_setting('ringfence.nonsense')", '42704'],
    ["SET ringfence.session_id = 'a'", '0A000'],
  ])('refuse what they do not take: %s', async (sql, code) => {
    await session(async (client) => {
      expect(await refusal(client.query(sql))).toMatchObject({ code })
      expect(await shown(client, 'target')).toBe('auto')
    })
  })

  it('refuse a startup packet with a wrong value', async () => {
    const login = (options: string) =>
      withClient({ ...proxy.place, options }, async () => undefined)
    expect(await refusal(login('-c ringfence.target=elsewhere'))).toMatchObject({ code: '22023' })
    expect(await refusal(login('-c ringfence.nonsense=1'))).toMatchObject({ code: '42704' })
    expect(await refusal(login('-c ringfence.session_token=x'))).toMatchObject({ code: '22023' })
  })
})

describe('a hint', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['/* ringfence:primary */ SELECT served_by()', 'primary'],
    ['SELECT /*ringfence:primary*/ served_by()', 'primary'],
    ['SELECT served_by() -- ringfence:primary\n', 'primary'],
    ['/* ringfence:replica */ SELECT served_by()', 'replica'],
    ['/* ringfence:consistency=strong */ SELECT served_by()', 'primary'],
    ['/* ringfence:consistency=eventual */ SELECT served_by()', 'replica'],
    ['/* ringfence:primary */ /* ringfence:replica */ SELECT served_by()', 'primary'],
    ["SELECT served_by() WHERE '/* ringfence:primary */' <> ''", 'replica'],
    ['/* ringfence:primary */ SELECT 1; SELECT served_by()', 'primary'],
    ['SELECT served_by()', 'replica'],
  ]

  it.each(cases)('is followed by a simple query: %s', async (sql, expected) => {
    await session(async (client) => {
      const answer = await client.query<{ served_by: string }>(sql)
      const results: (typeof answer)[] = Array.isArray(answer) ? answer : [answer]
      expect(roleOf(results.at(-1)?.rows[0]?.served_by ?? null)).toBe(expected)
      expect(await server(client)).toBe('replica')
    })
  })

  it.each(cases.filter(([sql]) => !sql.includes(';')))(
    'is followed by a prepared statement, whatever happens in between: %s',
    async (text, expected) => {
      await session(async (client) => {
        const query = { name: 'hinted', text }
        const served = async () => {
          const { rows } = await client.query<{ served_by: string }>(query)
          return roleOf(rows[0]?.served_by ?? null)
        }
        expect([await served(), await served()]).toEqual([expected, expected])
        await client.query("SET work_mem = '9MB'")
        expect(await served()).toBe(expected)
        await client.query('SET ringfence.partial = on')
        expect(await served()).toBe(expected)
      })
    },
  )

  it('outweighs what the session has set', async () => {
    await session(async (client) => {
      await client.query('SET ringfence.target = primary')
      expect(await server(client, '/* ringfence:replica */ SELECT served_by()')).toBe('replica')
      await client.query('SET ringfence.consistency = strong')
      const sql = '/* ringfence:replica, consistency=eventual */ SELECT served_by()'
      expect(await server(client, sql)).toBe('replica')
      expect(await server(client)).toBe('primary')
    })
  })

  it('does not send what only the primary can do elsewhere', async () => {
    await session(async (client) => {
      expect(await server(client, '/* ringfence:replica */ SELECT touch()')).toBe('primary')
    })
  })

  it('that cannot be followed is warned of, once, and the statement is run', async () => {
    const { client, warnings } = await noticing(proxy.place)
    expect(await server(client, '/* ringfence:frobnicate */ SELECT served_by()')).toBe('replica')
    expect(warnings.splice(0)).toEqual(['01000 unknown hint "frobnicate"'])
    const text = '/* ringfence:consistency=odd */ SELECT served_by() WHERE $1 = 1'
    for (const name of ['', 'warned', 'warned']) {
      await client.query({ name, text, values: [1] })
    }
    const odd = '01000 unknown consistency "odd" in a hint'
    expect(warnings.splice(0)).toEqual([odd, odd])
    await client.query('/* ringfence:frobnicate */ SET ringfence.target = primary')
    await client.query('/* ringfence:frobnicate */ BEGIN; SELECT 1; COMMIT')
    expect(warnings.splice(0)).toHaveLength(2)
    await client.query('/* ringfence:primary */ SELECT 1')
    expect(warnings).toEqual([])
    await client.end()
  })
})
