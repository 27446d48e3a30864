// Several users before the same few servers: one that floods does not starve the others. And what is refused early when
// the queue does not get shorter.
import type { Client } from 'pg'
import { afterEach, describe, expect, inject, it } from 'vitest'
import type { PgError } from '../../core/errors.ts'
import { BudgetPools } from './budget-pools.ts'
import { connected, present, refusal, until, value, withClients } from '../support/clients.ts'
import { type Stack, type StackOptions, startStack } from '../support/stack.ts'

const [newest] = inject('servers')
let stack: Stack | undefined
afterEach(async () => {
  await stack?.close()
  stack = undefined
})

const password = 'secret'
const user = (name: string) => ({
  name,
  secret: { kind: 'password' as const, password },
  admin: false,
})

async function start(options: Partial<StackOptions>): Promise<Stack> {
  const users = [user('flood'), user('quiet')]
  stack = await startStack(present(newest), { shards: 1, users, ...options })
  return stack
}

function endAll(clients: readonly Client[]): Promise<unknown> {
  return Promise.all(clients.map((client) => client.end().catch(() => undefined)))
}

describe('a user whose statements are few', () => {
  it('waits for one of a flooding user’s, however many of those wait', async () => {
    const running = await start({ pool: { size: 1 } })
    const order: string[] = []
    const flood = await Promise.all(
      Array.from({ length: 30 }, () => connected({ ...running.proxy, user: 'flood', password })),
    )
    const quiet = await connected({ ...running.proxy, user: 'quiet', password })
    const run = async (client: Client, name: string) => {
      await client.query('SELECT pg_sleep(0.02)')
      order.push(name)
    }
    const all = flood.map((client) => run(client, 'flood'))
    await until('29 wait', () => running.poolStats().waiting === 29)
    all.push(run(quiet, 'quiet'))
    await until('it is served', () => order.includes('quiet'))
    // The one at work, and at most one that was next in turn.
    expect(order.indexOf('quiet')).toBeLessThanOrEqual(running.poolStats().waiting > 20 ? 4 : 2)
    await Promise.all(all)
    expect(order).toHaveLength(31)
    await endAll([...flood, quiet])
  })

  it('finds a place in a queue that the flooding user has filled', async () => {
    const running = await start({ pool: { size: 1, waitersMax: 5 } })
    await withClients({ ...running.proxy, user: 'flood', password }, 6, async (flood) => {
      const [holder, ...rest] = flood
      await present(holder).query('BEGIN')
      await present(holder).query('SELECT 1')
      const answers = rest.map((client) => client.query('SELECT 1').then(() => 'served', refusalOf))
      await until('5 wait', () => running.poolStats().waiting === 5)
      const quiet = await connected({ ...running.proxy, user: 'quiet', password })
      const answer = value(quiet, 'SELECT 7')
      // The newest of the flood makes room.
      expect(await Promise.race(answers)).toBe('53300')
      await present(holder).query('COMMIT')
      expect(await answer).toBe('7')
      expect((await Promise.all(answers)).filter((each) => each === 'served')).toHaveLength(4)
      await quiet.end()
    })
  })
})

function refusalOf(error: PgError & { code?: string }): string {
  return error.code ?? ''
}

describe('a queue that does not get shorter', () => {
  it('refuses more of who waits already, and nobody else', async () => {
    const running = await start({ pool: { size: 1, queueTargetMs: 50 } })
    await withClients({ ...running.proxy, user: 'flood', password }, 3, async (clients) => {
      const [holder, waiter, third] = clients.map((client) => present(client))
      const quiet = await connected({ ...running.proxy, user: 'quiet', password })
      await present(holder).query('BEGIN')
      await present(holder).query('SELECT 1')
      const first = value(present(waiter), 'SELECT 1')
      await new Promise((resolve) => setTimeout(resolve, 400))
      const refused = await refusal(present(third).query('SELECT 1'))
      expect(refused).toMatchObject({ code: '53300', severity: 'ERROR' })
      expect(refused.hint).toContain('pool.queue_target')
      const other = value(quiet, 'SELECT 2')
      await until('both wait', () => running.poolStats().waiting === 2)
      await present(holder).query('COMMIT')
      expect(await first).toBe('1')
      expect(await other).toBe('2')
      expect(await value(present(third), 'SELECT 3')).toBe('3')
      await quiet.end()
    })
  })
})

describe('pools of several users under one limit of the database', () => {
  it('never open more servers than that, and none of them starves', async () => {
    const pools = new BudgetPools(present(newest), { placesMax: 2, size: 5, users: 3 })
    await using _ = pools
    const served = await pools.flood(400)
    expect(served.every((count) => count > 20)).toBe(true)
    expect(pools.placesSeenMax).toBeLessThanOrEqual(2)
  })

  it('give up idle connections for each other at once', async () => {
    const pools = new BudgetPools(present(newest), { placesMax: 1, size: 5, users: 2 })
    await using _ = pools
    for (let round = 0; round < 6; round += 1) await pools.ask(round % 2)
    expect(pools.placesSeenMax).toBe(1)
  })
})
