// How many connections a pool opens at once, and those that are opened ahead of a move's switch. The server is scripted:
// only logins are needed.
import { afterEach, describe, expect, it } from 'vitest'
import { shardId } from '../../core/ids.ts'
import type { Pool } from '../../pool/pool.ts'
import { until } from '../support/clients.ts'
import { completeBytes, ScriptedServer } from '../support/scripted-server.ts'
import { closePools, inOrder, lease, poolTo } from './pools.ts'

const started: ScriptedServer[] = []
afterEach(() => {
  closePools()
  for (const server of started.splice(0)) server.close()
})

async function poolOf(
  size: number,
  options: Parameters<typeof poolTo>[1] = {},
  answers: ScriptedServer['answers'] = [],
): Promise<Pool> {
  const server = new ScriptedServer()
  server.answers.push(...answers)
  await server.listen()
  started.push(server)
  const { port } = server
  const login = { user: 'app', password: null, database: 'app' }
  const place = { shard: shardId('s1'), role: 'primary', host: '127.0.0.1', port } as const
  return poolTo({ ...place, ...login }, { size, ...options })
}

describe('a pool without connections', () => {
  it('opens four at a time, until everybody who waits has one', async () => {
    const pool = await poolOf(10)
    const leased = inOrder(9).map(() => lease(pool))
    expect(pool.stats).toEqual({ idle: 0, leased: 0, opening: 4, waiting: 9 })
    await Promise.all(leased)
    expect(pool.stats).toEqual({ idle: 0, leased: 9, opening: 0, waiting: 0 })
  })

  it('opens some ahead when it is warmed, as many as are asked for and fit', async () => {
    const pool = await poolOf(6)
    pool.warm(5)
    expect(pool.stats.opening).toBe(4)
    await until('4 connections are open', () => pool.stats.idle === 4)
    pool.warm(5)
    await until('5 connections are open', () => pool.stats.idle === 5)
    pool.warm(5)
    expect(pool.stats).toEqual({ idle: 5, leased: 0, opening: 0, waiting: 0 })
    pool.warm(100)
    await until('6 connections are open', () => pool.stats.idle === 6)
    pool.warm(100)
    expect(pool.stats.opening).toBe(0)
  })

  it('gives a server up that says nothing any more once it has let us in', async () => {
    const silence = { bytes: Buffer.alloc(0), hangUp: false }
    const done = { bytes: completeBytes, hangUp: false }
    const pool = await poolOf(1, { connectQuery: 'SELECT 1' }, [silence, done])
    const leased = await lease(pool)
    expect(leased.closed).toBe(false)
    expect(pool.stats).toEqual({ idle: 0, leased: 1, opening: 0, waiting: 0 })
  })

  it('opens none ahead while nobody knows where', () => {
    const pool = poolTo(null, { size: 6 })
    pool.warm(5)
    expect(pool.stats.opening).toBe(0)
  })
})
