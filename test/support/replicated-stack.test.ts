// The installation that consistency is tested on: what its controls do to real servers.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { askServer, until } from './clients.ts'
import type { ReplicatedHost, ReplicatedShard } from './replicated-shard.ts'
import { type ReplicatedStack, startReplicatedStack } from './replicated-stack.ts'

const deadlineMs = 60_000

describe('a shard with two replicas', () => {
  let stack: ReplicatedStack
  let shard: ReplicatedShard

  beforeAll(async () => {
    stack = await startReplicatedStack({
      shards: 1,
      replicas: 2,
      proxies: 0,
      redis: true,
      synchronous: true,
      setupSql: 'CREATE TABLE notes (id integer)',
    })
    const [first] = stack.shards
    if (first === undefined) throw new Error('there is a shard')
    shard = first
  }, deadlineMs)

  afterAll(() => stack?.stop(), deadlineMs)

  const askApp = (host: ReplicatedHost, sql: string) => askServer(host.server.url('app'), sql)
  const insert = (id: number) => askApp(shard.primary, `INSERT INTO notes VALUES (${id})`)
  const notes = (host: ReplicatedHost) => askApp(host, 'SELECT id FROM notes ORDER BY id')
  const [a, b, c] = ['s1-a', 's1-b', 's1-c'] as const

  it('acknowledges what one replica has', async () => {
    await insert(1)
    const synchronous =
      "SELECT application_name FROM pg_stat_replication WHERE sync_state = 'quorum'"
    const names = await askServer(shard.primary.server.url(), synchronous)
    expect(new Set(names)).toEqual(new Set([b, c]))
  })

  it('holds replay back until it is resumed', async () => {
    const host = shard.host(b)
    await shard.untilReplayed(host)
    await shard.pauseReplay(host)
    await insert(2)
    expect(await notes(host)).toEqual(['1'])
    await shard.resumeReplay(host)
    await shard.untilReplayed(host)
    expect(await notes(host)).toEqual(['1', '2'])
  })

  it('replays late', async () => {
    const host = shard.host(c)
    await shard.delayReplay(host, 60_000)
    await until('the delay is known', async () => {
      const [delay] = await askApp(host, 'SHOW recovery_min_apply_delay')
      return delay === '1min'
    })
    await insert(3)
    expect(await notes(host)).toEqual(['1', '2'])
    await shard.delayReplay(host, 0)
    await shard.untilReplayed(host)
    expect(await notes(host)).toEqual(['1', '2', '3'])
  })

  it(
    'keeps every acknowledged row when its primary dies while replay is paused',
    async () => {
      await Promise.all(shard.replicas.map((host) => shard.pauseReplay(host)))
      await insert(4)
      await shard.kill(shard.primary)
      const next = await shard.mostAdvanced()
      await shard.promote(next)
      expect(shard.primary).toBe(next)
      expect(await notes(shard.primary)).toEqual(['1', '2', '3', '4'])
      await insert(5)
      await shard.rejoin(shard.host(a))
      for (const host of shard.replicas) {
        await shard.untilReplayed(host)
        expect(await notes(host)).toEqual(['1', '2', '3', '4', '5'])
      }
    },
    deadlineMs,
  )

  it('does not wait for replicas that it was told not to wait for', async () => {
    await shard.setSynchronous(false)
    await Promise.all(shard.replicas.map((host) => shard.kill(host)))
    await insert(6)
    for (const host of shard.replicas) {
      await shard.restart(host)
      await shard.untilStreaming(host)
      await shard.untilReplayed(host)
      expect((await notes(host)).at(-1)).toBe('6')
    }
  })

  it('has a Redis that forgets everything when it is killed', async () => {
    const { redis } = stack
    await redis.kill()
    expect(redis.running).toBe(false)
    await redis.start()
    expect(redis.running).toBe(true)
  })
})
