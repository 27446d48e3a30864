// Clients whose servers read backslashes otherwise than the proxy: what a text hides is not left to anybody else.
import type { Client } from 'pg'
import { afterEach, describe, expect, inject, it } from 'vitest'
import {
  askServer,
  connected,
  present,
  rawClient,
  type RawClient,
  untilReady,
  value,
} from '../support/clients.ts'
import { bindBytes, executeBytes, frontendMessage, parseBytes } from '../support/frontend-bytes.ts'
import { type Stack, type StackOptions, startStack } from '../support/stack.ts'

const [newest] = inject('servers')
const none = Buffer.alloc(0)

let stack: Stack | undefined
afterEach(async () => {
  await stack?.close()
  stack = undefined
})

async function start(options: Partial<StackOptions> = {}): Promise<Stack> {
  stack = await startStack(present(newest), {
    shards: 1,
    ...options,
    pool: { size: 2, laneServersMax: 1, ...options.pool },
  })
  return stack
}

/** Each byte of `sql` is one character of it. */
async function run({ connection }: RawClient, sql: string): Promise<string[]> {
  connection.send(frontendMessage('Q', Buffer.from(`${sql}\0`, 'latin1')))
  return (await untilReady(connection)).map(({ code }) => code)
}

async function seenBy(client: Client): Promise<(string | null)[]> {
  return [
    await value(client, 'SHOW work_mem'),
    await value(client, "SELECT to_regclass('pg_temp.hidden')"),
    await value(client, "SELECT current_setting('my.own', true)"),
  ]
}

/** Where the proxy sees one string, its server sees the end of one, and `sql` behind it. */
const hidden = (first: string, sql: string) => `SELECT ${first}; ${sql} --'`
const leaving = [
  'SET work_mem = 1234',
  "SELECT set_config(chr(119) || 'ork_mem', '4321', false)",
  'CREATE TEMP TABLE hidden (id int)',
  "SELECT set_config('my.own', 'x', false)",
]

const dialects = [
  ['standard_conforming_strings = off', String.raw`'\' || '`],
  ["client_encoding = 'SJIS'", "E'\x95\x5c'"],
  ["client_encoding = 'GBK'", "E'\x95\x5c'"],
] as const

describe.each(dialects)('with SET %s', (setting, first) => {
  it('what a text hides from the proxy reaches no other client', async () => {
    const { proxy } = await start()
    const [other, another] = await Promise.all([connected(proxy), connected(proxy)])
    const clean = await seenBy(other)
    for (const sql of leaving) {
      const ours = await rawClient(proxy)
      expect(await run(ours, `SET ${setting}`)).toContain('C')
      for (let at = 0; at < 3; at += 1) {
        const codes = await run(ours, hidden(first, sql.replaceAll("'", '$$')))
        expect(codes.filter((code) => code === 'C' || code === 'E')).not.toEqual(['C'])
        const seen = await Promise.all([seenBy(other), seenBy(another), seenBy(other)])
        for (const each of seen) expect([sql, each]).toEqual([sql, clean])
      }
      ours.connection.destroy()
      expect([sql, await seenBy(other), await seenBy(another)]).toEqual([sql, clean, clean])
    }
    await Promise.all([other.end(), another.end()])
  })
})

describe('with standard_conforming_strings off', () => {
  it('in the same pipeline nothing hidden reaches another client, either', async () => {
    const { proxy } = await start({ pool: { size: 1 } })
    const [ours, other] = await Promise.all([rawClient(proxy), connected(proxy)])
    const clean = await seenBy(other)
    const texts = [
      'SET standard_conforming_strings = off',
      String.raw`SELECT '\' || ', set_config(chr(119) || chr(111) || $$rk_mem$$, $$4321$$, false) --'`,
    ]
    const pipeline = texts.flatMap((sql) => [
      parseBytes(none, Buffer.from(sql), []),
      bindBytes(none, none, [], []),
      executeBytes(none, 0),
    ])
    ours.connection.send(Buffer.concat([...pipeline, frontendMessage('S')]))
    const codes = (await untilReady(ours.connection)).map(({ code }) => code)
    expect(codes.filter((code) => code === 'C' || code === 'E')).toEqual(['C', 'C'])
    ours.connection.destroy()
    expect(await seenBy(other)).toEqual(clean)
    await other.end()
  })

  it('as the default of a database, strings with backslashes mean what they mean to PostgreSQL', async () => {
    const { proxy, direct, shardUrls } = await start()
    for (const url of [present(shardUrls[0]), urlOf(direct)]) {
      const name = new URL(url).pathname.slice(1)
      await askServer(url, `ALTER DATABASE "${name}" SET standard_conforming_strings = off`)
    }
    const [theirs, ours] = await Promise.all([connected(direct), connected(proxy)])
    for (const sql of [String.raw`SELECT 'it\'s'`, String.raw`SELECT 'a\tb'`, "SELECT 'plain'"]) {
      expect(await value(ours, sql)).toBe(await value(theirs, sql))
    }
    await Promise.all([theirs.end(), ours.end()])
  })
})

function urlOf({ host, port, user, password, database }: Stack['direct']): string {
  return `postgres://${user}:${password}@${host}:${port}/${database}`
}
