// Every way in which state of a session outlives a transaction, each beside plain PostgreSQL: two clients share one server
// through the proxy, and cannot tell.
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { askServer, present } from '../../support/clients.ts'
import { startStack, type Stack } from '../../support/stack.ts'
import { prepareScripts } from './prepare-scripts.ts'
import { setupSql, settingScripts } from './setting-scripts.ts'
import { thingScripts } from './thing-scripts.ts'
import { lines, runScript, type Script } from './two-clients.ts'

const scripts: Readonly<Record<string, Script>> = {
  ...settingScripts,
  ...thingScripts,
  ...prepareScripts,
}

const inTwo = new Set([
  'LISTEN by code',
  'LISTEN in savepoints, under odd names',
  'LISTEN and NOTIFY',
  'sequences of two clients, once asked for',
  'settings whose names a trigger makes up',
])
const refusedCalls = lines(`
  a: LISTEN one
  a: SELECT pg_listening_channels()::text
  a: SELECT coalesce((SELECT n FROM ROWS FROM (pg_listening_channels()) n), '')
  a: PREPARE p AS SELECT count(*) FROM pg_listening_channels()
  a: EXECUTE p
  a: SELECT count(*) FROM pg_listening_channels()
`)

describe.each(inject('servers'))('with PostgreSQL $version', (servers) => {
  let stack: Stack

  const start = async (size: number) => {
    const pool = { size, queryWaitTimeoutMs: 2_000 }
    stack = await startStack(servers, { shards: 1, pool, setupSql })
    const sql = 'DO $$ BEGIN CREATE ROLE leaks_role; EXCEPTION WHEN OTHERS THEN NULL; END $$'
    await askServer(present(stack.shardUrls[0]), sql)
  }
  const toldBy = async (script: Script, place: 'direct' | 'proxy') => {
    const answers = await runScript(stack[place], script)
    return script.map((line, at) => `${line} → ${answers[at]}`)
  }

  describe('two clients on one server', () => {
    beforeAll(() => start(1))
    afterAll(() => stack.close())

    it.each(Object.entries(scripts).filter(([name]) => !inTwo.has(name)))(
      '%s',
      async (_, script) => {
        expect(await toldBy(script, 'proxy')).toEqual(await toldBy(script, 'direct'))
      },
    )
  })

  describe('two clients on two servers', () => {
    beforeAll(() => start(2))
    afterAll(() => stack.close())

    it.each(Object.entries(scripts))('%s', async (_, script) => {
      expect(await toldBy(script, 'proxy')).toEqual(await toldBy(script, 'direct'))
    })

    it('what cannot be told its channels is refused', async () => {
      const told = await runScript(stack.proxy, refusedCalls)
      const refusal = expect.stringMatching(/^0A000 pg_listening_channels\(\)/)
      const last = 'SELECT [["1"]]'
      expect(told).toEqual(['LISTEN []', refusal, refusal, 'PREPARE []', refusal, last])
    })

    it('a channel is heard from the commit of its LISTEN on, also by who listens already, unlike in PostgreSQL', async () => {
      const script = lines(`
        a: LISTEN other
        a: BEGIN
        b: NOTIFY more, 'before LISTEN'
        a: LISTEN more
        b: NOTIFY more, 'before COMMIT'
        b: NOTIFY other, 'heard'
        a: COMMIT AND CHAIN
        b: NOTIFY more, 'after COMMIT'
        a: SELECT 1 / 0
        a: ROLLBACK
      `)
      const [pooled, plain] = [await toldBy(script, 'proxy'), await toldBy(script, 'direct')]
      const [last, ...heard] = pooled.at(-1)?.split(' | ') ?? []
      expect(heard).toEqual(['other(heard)', 'more(after COMMIT)'])
      // It reads from where the session was in the queue, by the channels that it listens to then.
      const early = ['more(before LISTEN)', 'more(before COMMIT)', ...heard]
      expect(plain.at(-1)).toBe([last, ...early].join(' | '))
      expect(pooled.slice(0, -1)).toEqual(plain.slice(0, -1))
    })
  })

  it('ends a session whose function has left what pool.pin = refuse forbids', async () => {
    const pool = { size: 1, queryWaitTimeoutMs: 2_000 }
    stack = await startStack(servers, { shards: 1, pool, setupSql, database: { pin: 'refuse' } })
    const script = lines(`
      a: SELECT pg_advisory_lock(1)
      a: SELECT remember('x')
      b: SELECT current_setting('app.tenant', true) = 'x'
      a: SHOW app.tenant
      a: SELECT take_lock()
      b: SELECT pg_try_advisory_lock(77) IS NULL
      b: SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77
    `)
    try {
      const told = await runScript(stack.proxy, script)
      expect(told[0]).toMatch(/^0A000/)
      expect(told[3]).toBe('SHOW [["x"]]')
      expect(told[5]).toMatch(/^0A000/)
      expect(told[6]).toBe('SELECT [["0"]]')
    } finally {
      await stack.close()
    }
  })
})
