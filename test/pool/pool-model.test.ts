// A pool under random use, checked at every step: never more connections than its size, no server with two clients,
// everybody who asked is told exactly once. Servers die, leases are given back clean or dirty, waiters leave or are
// late, the pool is paused, pointed elsewhere, reconnected, limited anew.
import { afterEach, describe, expect, it } from 'vitest'
import { assert } from '../../core/assert.ts'
import type { PgError } from '../../core/errors.ts'
import { shardId } from '../../core/ids.ts'
import type { Pool } from '../../pool/pool.ts'
import { usualLimits } from '../../pool/pool-options.ts'
import type { ServerConnection, ServerTarget } from '../../pool/server-connection.ts'
import { SettingsProfile } from '../../pool/settings-profile.ts'
import { Waiter } from '../../pool/waiters.ts'
import { pause, until } from '../support/clients.ts'
import { createRandom, type Random } from '../support/random.ts'
import { ScriptedServer } from '../support/scripted-server.ts'
import { closePools, poolTo } from './pools.ts'

const started: ScriptedServer[] = []
afterEach(() => {
  closePools()
  for (const server of started.splice(0)) server.close()
})

async function target(): Promise<ServerTarget> {
  const server = new ScriptedServer()
  await server.listen()
  started.push(server)
  const login = { user: 'app', password: null, database: 'app' }
  const { port } = server
  return { shard: shardId('s1'), role: 'primary', host: '127.0.0.1', port, tlsMode: null, ...login }
}

const limits = {
  ...usualLimits,
  size: 4,
  reserve: 2,
  reserveTimeoutMs: 20,
  waitersMax: 8,
  queryWaitTimeoutMs: 60,
  serverLifetimeMs: 0,
  serverIdleTimeoutMs: 0,
}

/** Who has asked, and what came of it. */
class Walk {
  readonly #pool: Pool
  readonly #random: Random
  readonly leased: ServerConnection[] = []
  readonly waiting = new Set<Waiter>()
  readonly #gone = new Set<Waiter>()
  asked = 0
  told = 0
  left = 0

  constructor(pool: Pool, random: Random) {
    this.#pool = pool
    this.#random = random
  }

  ask(): void {
    this.asked += 1
    const waiter = new Asking(
      this.#random.pick(['a', 'b', 'c']),
      (server) => this.#granted(waiter, server),
      // Who was refused in this turn may have left before he hears of it.
      () => this.#gone.has(waiter) || this.#over(waiter),
    )
    this.waiting.add(waiter)
    const server = this.#pool.acquire(SettingsProfile.empty, waiter)
    if (server !== null) this.#granted(waiter, server)
  }

  #granted(waiter: Waiter, server: ServerConnection): void {
    this.#over(waiter)
    assert(!this.leased.includes(server), 'no server is lent twice')
    assert(!server.closed, 'no dead server is lent')
    server.owner = {
      serverSpoke: () => undefined,
      serverClosed: (lost, error) => {
        this.leased.splice(this.leased.indexOf(lost), 1)
        this.#pool.serverClosed(lost, error)
      },
    }
    this.leased.push(server)
  }

  #over(waiter: Waiter): void {
    assert(this.waiting.delete(waiter), 'everybody is told once')
    this.told += 1
  }

  giveBack(how: 'clean' | 'dirty' | 'dead'): void {
    const at = this.#random.below(Math.max(1, this.leased.length))
    const server = this.leased[at]
    if (server === undefined) return
    if (how === 'dead') return server.died('it was killed')
    this.leased.splice(at, 1)
    if (how === 'dirty') server.transactionStatus = 'T'
    this.#pool.release(server)
  }

  leave(): void {
    const [waiter] = this.waiting
    if (waiter === undefined) return
    this.#pool.leave(waiter)
    this.waiting.delete(waiter)
    this.#gone.add(waiter)
    this.left += 1
  }
}

class Asking extends Waiter {
  readonly #granted: (server: ServerConnection) => void
  readonly #refused: (error: PgError) => unknown

  constructor(
    share: string,
    granted: (server: ServerConnection) => void,
    refused: (error: PgError) => unknown,
  ) {
    super(share)
    this.#granted = granted
    this.#refused = refused
  }

  granted(server: ServerConnection): void {
    this.#granted(server)
  }

  refused(error: PgError): void {
    this.#refused(error)
  }
}

describe('a pool', () => {
  it.each([1, 2, 3, 4, 5, 6])('holds what it promises under random use, seed %i', async (seed) => {
    const random = createRandom(seed)
    const targets = [await target(), await target()] as const
    const pool = poolTo(targets[0], { ...limits, outageWaitMs: 200 })
    const walk = new Walk(pool, random)
    let [size, paused] = [limits.size, false]
    for (let step = 0; step < 400; step += 1) {
      const dice = random.below(100)
      if (dice < 42) walk.ask()
      else if (dice < 72) walk.giveBack('clean')
      else if (dice < 76) walk.giveBack('dirty')
      else if (dice < 79) walk.giveBack('dead')
      else if (dice < 82) walk.leave()
      else if (dice < 84) pool.reconnect()
      else if (dice < 85) pool.point(random.pick(targets), 'a failover')
      else if (dice < 87) pool.sweep()
      else if (dice < 89) pool.adopt({ ...limits, size: (size = 1 + random.below(5)) })
      else if (dice < 91 && !paused) {
        paused = true
        pool.pause().catch(() => undefined)
      } else if (dice < 94 && paused) {
        paused = false
        pool.resume()
      } else await pause(random.below(8))
      const { idle, leased, opening, waiting } = pool.stats
      expect(leased).toBe(walk.leased.length)
      expect(walk.waiting.size).toBeGreaterThanOrEqual(waiting)
      expect(idle + opening).toBeLessThanOrEqual(7)
      // A smaller size closes what is too many only as it becomes free.
      expect(idle + leased + opening).toBeLessThanOrEqual(5 + limits.reserve + 0)
    }
    if (paused) pool.resume()
    while (walk.leased.length > 0) walk.giveBack('clean')
    await until('everybody is told', () => {
      while (walk.leased.length > 0) walk.giveBack('clean')
      return walk.waiting.size === 0
    })
    expect(walk.told + walk.left).toBe(walk.asked)
    pool.sweep()
    expect(pool.stats.idle).toBeLessThanOrEqual(size)
    expect(pool.stats).toMatchObject({ leased: 0, waiting: 0 })
  })
})
