// Token stores as proxies would have them, each on a way of its own to one Redis, with terms short enough for tests.
import { TokenStore, type TokenStoreOptions } from '../../catalog/token-store.ts'
import { systemClock } from '../../core/clock.ts'
import { shardId, type ShardId } from '../../core/ids.ts'
import { createLog } from '../../core/log.ts'
import { lsn } from '../../core/lsn.ts'
import type { Position, Positions } from '../../core/position.ts'
import { freePort } from '../../demo/ports.ts'
import { until } from '../support/clients.ts'
import type { RedisKind, RunningRedis } from './redis-servers.ts'
import { Relay } from './relay.ts'

/** Of every store here; a generation counts once it is as old as both and a little. */
export const leaseMs = 1_000
/** What the replicas of these tests may lack. */
export const lagMs = 100

/** A proxy's store and its way to Redis. */
export type Member = { readonly store: TokenStore; readonly relay: Relay }

/** A Redis and the stores on it. */
export class Fleet {
  readonly #kind: RedisKind
  readonly #members: Member[] = []
  readonly port: number
  #redis: RunningRedis

  private constructor(kind: RedisKind, redis: RunningRedis) {
    this.#kind = kind
    this.#redis = redis
    this.port = redis.port
  }

  static async start(kind: RedisKind): Promise<Fleet> {
    return new Fleet(kind, await kind.start(await freePort()))
  }

  /** A store that has been started. */
  async join(proxyId: string, more: Partial<TokenStoreOptions> = {}): Promise<Member> {
    const relay = await Relay.start(this.port)
    const store = createStore(`redis://127.0.0.1:${relay.port}`, proxyId, more)
    const member = { store, relay }
    this.#members.push(member)
    await store.start()
    return member
  }

  /** As if its process had died: it owes what it owes, and stays in the registry. */
  async crash({ store, relay }: Member): Promise<void> {
    relay.mode = 'cut'
    await store.close()
    await this.leave({ store, relay })
  }

  /** In good order, where the way to Redis is open. */
  async leave(member: Member): Promise<void> {
    this.#members.splice(this.#members.indexOf(member), 1)
    await member.store.close()
    await member.relay.close()
  }

  killRedis(): Promise<void> {
    return this.#redis.kill()
  }

  /** On the same port, with nothing in it. */
  async startRedis(): Promise<void> {
    this.#redis = await this.#kind.start(this.port)
  }

  async stop(): Promise<void> {
    await Promise.all(this.#members.map(({ store }) => store.close()))
    await Promise.all(this.#members.map(({ relay }) => relay.close()))
    await this.#redis.kill()
  }
}

/** A fleet for the length of `use`. */
export async function withFleet(
  kind: RedisKind,
  use: (fleet: Fleet) => Promise<void>,
): Promise<void> {
  const fleet = await Fleet.start(kind)
  try {
    await use(fleet)
  } finally {
    await fleet.stop()
  }
}

/** A store on any URL, not started. */
export function createStore(
  url: string,
  proxyId: string,
  more: Partial<TokenStoreOptions> = {},
): TokenStore {
  return new TokenStore({
    url,
    keyPrefix: 'ringfence:shop',
    ttlMs: 60_000,
    proxyId,
    timeoutMs: 100,
    replicaLagMaxMs: lagMs,
    leaseMs,
    clock: systemClock,
    log: createLog('silent'),
    ...more,
  })
}

/** Positions of the shards s1, s2, …, one number for each; null: none. */
export function at(...places: readonly (number | null)[]): Positions {
  const entries = places.flatMap((place, index): (readonly [ShardId, Position])[] =>
    place === null ? [] : [[shardId(`s${index + 1}`), positionAt(place)]],
  )
  return new Map(entries)
}

export function positionAt(
  place: number,
  timeline = 1,
  systemId = '7412345678901234567',
): Position {
  return { systemId, timeline, lsn: lsn(BigInt(place)) }
}

/** The positions once they are known; fails when they do not come to be. */
export async function known(store: TokenStore, ids: readonly string[]): Promise<Positions> {
  let found: Positions | undefined
  await until(`positions of ${ids.join(' ')} to be known`, async () => {
    const fetched = await store.fetch(ids)
    found = fetched.kind === 'known' ? fetched.positions : undefined
    return found !== undefined
  })
  return found ?? new Map()
}

/** Tokens can be believed: a generation is old enough and every proxy alive. */
export async function trusted(store: TokenStore): Promise<void> {
  await until('tokens to be believed', async () => {
    await store.publish(['somebody'], at(1))
    return (await store.fetch(['somebody'])).kind === 'known'
  })
}
