// The bound of statements by shard key value: who is over it waits for its own, and others do not wait for it.
import { afterEach, describe, expect, inject, it } from 'vitest'
import type { Clock } from '../../core/clock.ts'
import { vnode } from '../../core/ids.ts'
import { Bulkhead } from '../../proxy/bulkhead.ts'
import { askServer, present, refusal, until, value, withClients } from '../support/clients.ts'
import { type Stack, startStack } from '../support/stack.ts'

const [newest] = inject('servers')
let stack: Stack | undefined
afterEach(async () => {
  await stack?.close()
  stack = undefined
})

const clock: Clock = { nowMs: () => 0, after: () => ({ cancel: () => undefined }) }
const one = vnode(1)

describe('places of a virtual node', () => {
  const bulkhead = () => new Bulkhead({ clock, insideMax: 2, waitersMax: 2, waitMs: 1_000 })

  it('go to who waits, in order, never to more than there are', async () => {
    const places = bulkhead()
    const [first, second] = [places.enter(one), places.enter(one)]
    expect([first, second, places.enter(one)]).toEqual([{ vnode: 1 }, { vnode: 1 }, null])
    expect(places.enter(vnode(2))).not.toBeNull()
    const order: string[] = []
    const turns = ['a', 'b'].map((name) => {
      const turn = places.queue(one)
      void turn.granted.then(() => order.push(name))
      return turn
    })
    await expect(places.queue(one).granted).rejects.toMatchObject({ sqlstate: '53300' })
    places.leave(present(first ?? undefined))
    places.leave(await present(turns[0]).granted)
    await present(turns[1]).granted
    expect(order).toEqual(['a', 'b'])
    expect(places.enter(one)).toBeNull()
  })

  it('of who leaves after it was granted go to the next', async () => {
    const places = bulkhead()
    const held = present(places.enter(one) ?? undefined)
    places.enter(one)
    const [gone, next] = [places.queue(one), places.queue(one)]
    places.leave(held)
    gone.leave()
    expect(await next.granted).toEqual({ vnode: 1 })
  })
})

/** Statements that sleep on any shard. */
async function asleep({ shardUrls }: Stack): Promise<number> {
  const counts = await Promise.all(
    shardUrls.map((url) =>
      askServer(
        url,
        `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
           AND state = 'active' AND query LIKE 'SELECT pg_sleep%'`,
      ),
    ),
  )
  return counts.reduce((sum, [count]) => sum + Number(count), 0)
}

describe('statements of one shard key value over the bound', () => {
  it('wait for each other, and nobody else for them', async () => {
    const running = await startStack(present(newest), {
      shards: 2,
      database: { inFlightPerKeyMax: 2 },
      setupSql: 'CREATE TABLE orders (tenant_id bigint, id bigint)',
    })
    stack = running
    const slow = 'SELECT pg_sleep(0.5), count(*) FROM orders WHERE tenant_id = 1'
    await withClients(running.proxy, 8, async (clients) => {
      const flood = clients.slice(0, 7).map((client) => client.query(slow))
      await until('two of them run', async () => (await asleep(running)) === 2)
      const other = present(clients[7])
      const started = performance.now()
      expect(await value(other, 'SELECT count(*) FROM orders WHERE tenant_id = 2')).toBe('0')
      expect(performance.now() - started).toBeLessThan(450)
      expect(await asleep(running)).toBe(2)
      await Promise.all(flood)
      expect(await value(other, 'SELECT count(*) FROM orders WHERE tenant_id = 1')).toBe('0')
    })
    await until('all are back', () => running.poolStats().leased === 0)
  })

  it('leave the queue when they are cancelled or their client goes, and places come back', async () => {
    const running = await startStack(present(newest), {
      shards: 2,
      database: { inFlightPerKeyMax: 1 },
      setupSql: 'CREATE TABLE orders (tenant_id bigint, id bigint)',
    })
    stack = running
    const count = 'SELECT count(*) FROM orders WHERE tenant_id = 1'
    await withClients(running.proxy, 3, async (clients) => {
      const [holder, waiter, gone] = clients.map((client) => present(client))
      await present(holder).query('BEGIN')
      await present(holder).query(count)
      const answer = value(present(waiter), count)
      const lost = refusal(present(gone).query(count))
      await new Promise((resolve) => setTimeout(resolve, 100))
      present(gone)
        .end()
        .catch(() => undefined)
      // Its transaction is in the same place.
      expect(await value(present(holder), count)).toBe('0')
      await present(holder).query('COMMIT')
      expect(await answer).toBe('0')
      expect((await lost).message).not.toBe('')
      expect(await value(present(waiter), count)).toBe('0')
    })
  })
})
