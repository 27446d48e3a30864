// The token store against each Redis that is there: what is fetched under a session id is never older than what was
// acknowledged, whatever happens to Redis, to a proxy, or to the way between them.
import { describe, expect, it } from 'vitest'
import { createLog } from '../../core/log.ts'
import { shardId } from '../../core/ids.ts'
import { freePort } from '../../demo/ports.ts'
import { pause, until } from '../support/clients.ts'
import { createRandom } from '../support/random.ts'
import { command, redisKinds } from './redis-servers.ts'
import {
  at,
  createStore,
  withFleet,
  known,
  lagMs,
  leaseMs,
  positionAt,
  trusted,
} from './token-fleet.ts'

const s1 = shardId('s1')
const registry = 'ringfence:shop:proxies'
const unknown = { kind: 'unknown' }

describe.each(redisKinds())('tokens in $name', (kind) => {
  it.concurrent('are fetched by another proxy as they were published', () =>
    withFleet(kind, async (fleet) => {
      const [a, b] = await Promise.all([fleet.join('a'), fleet.join('b')])
      expect(await a.store.publish(['u'], at(5, 0xffff_ffff_ffff))).toBe('stored')
      expect(await known(b.store, ['u'])).toEqual(at(5, 0xffff_ffff_ffff))
      expect([a.store.state, b.store.state]).toEqual(['connected', 'connected'])
    }))

  it.concurrent('do not count while others may not have moved to the new namespace', () =>
    withFleet(kind, async (fleet) => {
      const startedAtMs = performance.now()
      const a = await fleet.join('a')
      expect(await a.store.publish(['u'], at(5))).toBe('stored')
      expect(await a.store.fetch(['u'])).toEqual(unknown)
      await known(a.store, ['u'])
      expect(performance.now() - startedAtMs).toBeGreaterThan(leaseMs + lagMs)
    }))

  it.concurrent('are unknown for an id without one, alone and among others', () =>
    withFleet(kind, async (fleet) => {
      const { store } = await fleet.join('a')
      await trusted(store)
      await store.publish(['u'], at(5))
      expect(await known(store, ['u'])).toEqual(at(5))
      expect(await store.fetch(['nobody'])).toEqual(unknown)
      expect(await store.fetch(['u', 'nobody'])).toEqual(unknown)
    }))

  it.concurrent('merge: many writers in any order leave the highest position of each shard', () =>
    withFleet(kind, async (fleet) => {
      const members = await Promise.all(['a', 'b', 'c'].map((id) => fleet.join(id)))
      const random = createRandom(7)
      const writes = Array.from({ length: 600 }, () => at(random.below(1e9), random.below(1e9)))
      const writing = writes.map(async (positions) => {
        await pause(random.below(50))
        return members[random.below(3)]?.store.publish(['u', `v${random.below(3)}`], positions)
      })
      expect(new Set(await Promise.all(writing))).toEqual(new Set(['stored']))
      const highest = (shard: string) =>
        Math.max(...writes.map((write) => Number(write.get(shardId(shard))?.lsn)))
      for (const { store } of members) {
        expect(await known(store, ['u'])).toEqual(at(highest('s1'), highest('s2')))
        expect(await known(store, ['v0', 'v1', 'v2'])).toEqual(at(highest('s1'), highest('s2')))
      }
    }))

  it.concurrent('merge as positions do: a higher timeline wins, then the LSN; another cluster wins', () =>
    withFleet(kind, async (fleet) => {
      const { store } = await fleet.join('a')
      const steps = [
        [positionAt(900), positionAt(900)],
        [positionAt(10, 10), positionAt(10, 10)],
        [positionAt(800, 9), positionAt(10, 10)],
        [positionAt(11, 10), positionAt(11, 10)],
        [positionAt(5, 1, '99'), positionAt(5, 1, '99')],
      ] as const
      await trusted(store)
      for (const [incoming, expected] of steps) {
        await store.publish(['u'], new Map([[s1, incoming]]))
        expect(await known(store, ['u'])).toEqual(new Map([[s1, expected]]))
      }
    }))

  it.concurrent('of several ids are merged, and publishing reaches each id', () =>
    withFleet(kind, async (fleet) => {
      const { store } = await fleet.join('a')
      await trusted(store)
      await store.publish(['u', 'v'], at(5))
      await store.publish(['v'], at(4, 9))
      expect(await known(store, ['u'])).toEqual(at(5))
      expect(await known(store, ['u', 'v', 'u'])).toEqual(at(5, 9))
      expect(await store.publish(['u'], new Map())).toBe('stored')
    }))

  it.concurrent('are forgotten when their time is up, which every change renews', () =>
    withFleet(kind, async (fleet) => {
      const { store } = await fleet.join('a', { ttlMs: 600 })
      await trusted(store)
      await store.publish(['u'], at(5))
      for (let round = 0; round < 4; round += 1) {
        await pause(200)
        await store.publish(['u'], at(3))
      }
      expect(await known(store, ['u'])).toEqual(at(5))
      await pause(700)
      expect(await store.fetch(['u'])).toEqual(unknown)
    }))

  it.concurrent('of before a restart of Redis are unknown, and new ones do not count too early', () =>
    withFleet(kind, async (fleet) => {
      const [a, b] = await Promise.all([fleet.join('a'), fleet.join('b')])
      await a.store.publish(['u'], at(null, 7))
      expect(await known(b.store, ['u'])).toEqual(at(null, 7))
      await fleet.killRedis()
      await until('Redis to be missed', () => a.store.state === 'away')
      expect(await a.store.fetch(['u'])).toEqual(unknown)
      await fleet.startRedis()
      const restartedAtMs = performance.now()
      await until('Redis to be back', () => b.store.state === 'connected')
      expect(await b.store.publish(['u'], at(5))).toBe('stored')
      // The token lacks s2 now: replicas have what was written there before it may be used.
      expect(await known(a.store, ['u'])).toEqual(at(5))
      expect(performance.now() - restartedAtMs).toBeGreaterThan(leaseMs + lagMs)
    }))

  it.concurrent.each(['cut', 'swallow'] as const)(
    'are not believed once a proxy could not publish (its way: %s), and agree after the repair',
    (mode) =>
      withFleet(kind, async (fleet) => {
        const [a, b] = await Promise.all([fleet.join('a'), fleet.join('b')])
        await a.store.publish(['u'], at(10))
        expect(await known(b.store, ['u'])).toEqual(at(10))
        a.relay.mode = mode
        expect(await a.store.publish(['u'], at(20))).toBe('lost')
        for (let round = 0; round < 20; round += 1) {
          expect(await b.store.fetch(['u'])).toEqual(unknown)
          await pause(20)
        }
        expect(await a.store.fetch(['u'])).toEqual(unknown)
        expect(await a.store.publish(['u'], at(21))).toBe('lost')
        a.relay.mode = 'open'
        expect(await known(b.store, ['u'])).toEqual(at(21))
        expect(await known(a.store, ['u'])).toEqual(at(21))
      }),
  )

  it.concurrent('are not believed where Redis was before it failed over', () =>
    withFleet(kind, async (fleet) => {
      const [a, b] = await Promise.all([fleet.join('a'), fleet.join('b')])
      await a.store.publish(['u'], at(10))
      expect(await known(b.store, ['u'])).toEqual(at(10))
      const successor = await kind.start(await freePort())
      try {
        // From here on a and b see different servers, and both are well.
        a.relay.targetPort = successor.port
        expect(await a.store.publish(['u'], at(20))).toBe('stored')
        for (let round = 0; round < 10; round += 1) {
          expect(await b.store.fetch(['u'])).toEqual(unknown)
          await pause(20)
        }
        b.relay.targetPort = successor.port
        expect(await known(b.store, ['u'])).toEqual(at(20))
      } finally {
        await successor.kill()
      }
    }))

  it.concurrent('are stored after all when the way is repaired within the lease', () =>
    withFleet(kind, async (fleet) => {
      const [a, b] = await Promise.all([
        fleet.join('a', { leaseMs: 3_000 }),
        fleet.join('b', { leaseMs: 3_000 }),
      ])
      await trusted(b.store)
      a.relay.mode = 'cut'
      const publishing = a.store.publish(['u'], at(20))
      await pause(50)
      a.relay.mode = 'open'
      expect(await publishing).toBe('stored')
      expect(await known(b.store, ['u'])).toEqual(at(20))
    }))

  it.concurrent('are owed while Redis is away from the start, and paid when it comes', () =>
    withFleet(kind, async (fleet) => {
      await fleet.killRedis()
      const a = await fleet.join('a')
      expect(a.store.state).toBe('away')
      expect(await a.store.fetch(['u'])).toEqual(unknown)
      expect(await a.store.publish(['u'], at(5))).toBe('lost')
      expect(await a.store.publish(['u', 'v'], at(4))).toBe('lost')
      await fleet.startRedis()
      const b = await fleet.join('b')
      expect(await known(b.store, ['u'])).toEqual(at(5))
      expect(await known(b.store, ['v'])).toEqual(at(4))
    }))

  it.concurrent('all become void when more was owed than can be remembered', () =>
    withFleet(kind, async (fleet) => {
      const [a, b] = await Promise.all([fleet.join('a'), fleet.join('b')])
      await a.store.publish(['u'], at(10))
      expect(await known(b.store, ['u'])).toEqual(at(10))
      a.relay.mode = 'cut'
      const ids = Array.from({ length: 10_001 }, (_, index) => `id-${index}`)
      const published = await Promise.all(ids.map((id) => a.store.publish([id], at(20))))
      expect(new Set(published)).toEqual(new Set(['lost']))
      a.relay.mode = 'open'
      await until('tokens to count again', async () => {
        await b.store.publish(['w'], at(1))
        return (await b.store.fetch(['w'])).kind === 'known'
      })
      expect(await b.store.fetch(['u'])).toEqual(unknown)
      expect(await b.store.fetch(['id-0'])).toEqual(unknown)
    }))

  it.concurrent('count on after a proxy left in good order, but not after one just vanished', () =>
    withFleet(kind, async (fleet) => {
      const [a, b, c] = await Promise.all([fleet.join('a'), fleet.join('b'), fleet.join('c')])
      await a.store.publish(['u'], at(10))
      expect(await known(b.store, ['u'])).toEqual(at(10))
      await c.store.close()
      for (let round = 0; round < 10; round += 1) {
        await pause(leaseMs / 5)
        expect(await known(b.store, ['u'])).toEqual(at(10))
      }
      a.relay.mode = 'cut'
      await a.store.close()
      await until('the lease to end', async () => (await b.store.fetch(['u'])).kind === 'unknown')
      await pause(leaseMs)
      expect(await b.store.fetch(['u'])).toEqual(unknown)
    }))

  it.concurrent('of before become void when a proxy comes back that had vanished with what it owed', () =>
    withFleet(kind, async (fleet) => {
      const [a, b] = await Promise.all([fleet.join('a'), fleet.join('b')])
      await a.store.publish(['u'], at(10))
      expect(await known(b.store, ['u'])).toEqual(at(10))
      a.relay.mode = 'cut'
      expect(await a.store.publish(['u'], at(20))).toBe('lost')
      await a.store.close()
      await fleet.join('a')
      await until('tokens to count again', async () => {
        await b.store.publish(['w'], at(1))
        return (await b.store.fetch(['w'])).kind === 'known'
      })
      expect(await b.store.fetch(['u'])).toEqual(unknown)
    }))

  it.concurrent('do not wait for ever for a proxy that died: it is forgotten, with a line in the log', () =>
    withFleet(kind, async (fleet) => {
      const lines: string[] = []
      const log = createLog('warn')
      const listening = Object.assign(Object.create(log), {
        warn: (...words: readonly unknown[]) => lines.push(JSON.stringify(words)),
      })
      const a = await fleet.join('a', { log: listening })
      await trusted(a.store)
      await command(fleet.port, 'HSET', registry, 'p:ghost', `${Date.now() - 500_000} dead`)
      await until(
        'the ghost to count',
        async () => (await a.store.fetch(['somebody'])).kind === 'unknown',
      )
      await command(fleet.port, 'HSET', registry, 'p:ghost', `${Date.now() - 700_000} dead`)
      await until('the ghost to be forgotten', async () => {
        return (await command(fleet.port, 'HGET', registry, 'p:ghost')) === null
      })
      await trusted(a.store)
      expect(
        lines.filter((line) => line.includes('ghost') && line.includes('forgotten')),
      ).toHaveLength(1)
    }))

  it.concurrent("become void when Redis' clock steps back", () =>
    withFleet(kind, async (fleet) => {
      const { store } = await fleet.join('a')
      await trusted(store)
      await command(fleet.port, 'HSET', registry, '#clock', String(Date.now() + 60_000))
      await until(
        'the step to be seen',
        async () => (await store.fetch(['somebody'])).kind === 'unknown',
      )
      await pause(leaseMs)
      expect(await store.fetch(['somebody'])).toEqual(unknown)
      await trusted(store)
    }))

  it.concurrent('of two databases in one Redis know nothing of each other', () =>
    withFleet(kind, async (fleet) => {
      const a = await fleet.join('a')
      const b = await fleet.join('b', { keyPrefix: 'ringfence:other' })
      await a.store.publish(['u'], at(10))
      await trusted(a.store)
      await trusted(b.store)
      expect(await b.store.fetch(['u'])).toEqual(unknown)
    }))

  it.concurrent('may have any id, and are asked for by 1 to 16 at once', () =>
    withFleet(kind, async (fleet) => {
      const { store } = await fleet.join('a')
      const ids = ['', ' ', 'ü\n\0', '{x}', "'; DROP", 'x'.repeat(1000)]
      await store.publish(ids, at(3))
      expect(await known(store, ids)).toEqual(at(3))
      await expect(store.fetch([])).rejects.toThrow('1 to 16')
      await expect(store.publish(Array.from({ length: 17 }, String), at(1))).rejects.toThrow(
        '1 to 16',
      )
    }))
})

describe('a token store', () => {
  it('complains about a malformed URL without repeating its password', () => {
    const create = () => createStore('redis://u:secret@', 'a')
    expect(create).toThrow('the URL of Redis is malformed')
    expect(create).not.toThrow('secret')
  })
})
