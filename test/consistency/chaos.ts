// What goes wrong during a run: replay that is paused and delayed, replicas and primaries that are killed, old primaries
// that come back and do not know that they were replaced, Redis and proxies that are killed. Of a shard never all hosts
// at once, and only the replica that has everything is promoted, so that what was acknowledged survives.
import { setTimeout as delay } from 'node:timers/promises'
import { createRandom, type Random, seedOf } from '../support/random.ts'
import type { ReplicatedHost, ReplicatedShard } from '../support/replicated-shard.ts'
import type { ReplicatedStack } from '../support/replicated-stack.ts'

export type ChaosOptions = {
  readonly stack: ReplicatedStack
  readonly seed: number
  readonly say: (what: string) => void
  /** Mean time between two failures of a shard's hosts; null: none fail. */
  readonly shardFailureMs: number | null
  readonly redisFailureMs: number | null
  /** Only of proxies that are processes of their own. */
  readonly proxyFailureMs: number | null
}

const replayPauseMsMax = 600
const proxyStartMsMax = 60_000
const replayDelaysMs = [0, 0, 5, 20, 100] as const

export class Chaos {
  /** How often what happened. */
  readonly counts = new Map<string, number>()
  readonly #options: ChaosOptions
  readonly #stopping = new AbortController()
  readonly #loops: Promise<void>[] = []

  constructor(options: ChaosOptions) {
    this.#options = options
  }

  start(): void {
    const { stack, seed, shardFailureMs, redisFailureMs, proxyFailureMs } = this.#options
    let loops = 0
    const loop = (everyMs: number | null, act: (random: Random) => Promise<void>) => {
      loops += 1
      const random = createRandom(seedOf(seed, loops))
      if (everyMs !== null) this.#loops.push(this.#repeat(everyMs, random, act))
    }
    for (const shard of stack.shards) {
      for (const host of shard.hosts) {
        loop(800, (random) => this.#holdReplay(shard, host, random))
      }
      loop(4_000, (random) => this.#delayReplay(shard, random))
      loop(shardFailureMs, (random) => this.#failShard(shard, random))
    }
    loop(redisFailureMs, (random) => this.#failRedis(random))
    loop(proxyFailureMs, (random) => this.#failProxy(random))
  }

  /** Lets what is under way come to its end, then brings everything back. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await Promise.all(this.#loops)
    for (const { replicas } of this.#options.stack.shards) {
      for (const host of replicas) await this.#heal(host)
    }
  }

  get text(): string {
    return [...this.counts].map(([what, count]) => `${what} ×${count}`).join(', ') || 'nothing'
  }

  async #repeat(
    everyMs: number,
    random: Random,
    act: (random: Random) => Promise<void>,
  ): Promise<void> {
    for (;;) {
      // Between half and one and a half of the mean.
      await this.#rest(everyMs / 2 + random.below(everyMs))
      if (this.#stopping.signal.aborted) return
      await act(random)
    }
  }

  async #rest(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#stopping.signal }).catch(() => undefined)
  }

  #happened(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1)
  }

  /** A host that is dead or no replica at this moment is left alone. */
  async #holdReplay(shard: ReplicatedShard, host: ReplicatedHost, random: Random): Promise<void> {
    if (host === shard.primary || !host.server.running) return
    try {
      await shard.pauseReplay(host)
      this.#happened('replay paused')
      await this.#rest(random.below(replayPauseMsMax))
      await shard.resumeReplay(host)
    } catch {
      return
    }
  }

  async #delayReplay(shard: ReplicatedShard, random: Random): Promise<void> {
    const host = shard.replicas[random.below(shard.replicas.length)]
    if (host === undefined || !host.server.running) return
    const ms = replayDelaysMs[random.below(replayDelaysMs.length)] ?? 0
    await shard.delayReplay(host, ms).then(
      () => this.#happened('replay delayed'),
      () => undefined,
    )
  }

  async #failShard(shard: ReplicatedShard, random: Random): Promise<void> {
    if (random.below(10) < 4) await this.#failReplica(shard, random)
    else await this.#failPrimary(shard, random)
  }

  async #failReplica(shard: ReplicatedShard, random: Random): Promise<void> {
    const host = shard.replicas[random.below(shard.replicas.length)]
    if (host === undefined) return
    this.#options.say(`replica ${host.name} is killed`)
    this.#happened('replica killed')
    await shard.kill(host)
    await delay(random.below(2_000))
    await shard.restart(host)
    await shard.untilStreaming(host)
  }

  /** Killed, or shut down for a planned switchover. */
  async #failPrimary(shard: ReplicatedShard, random: Random): Promise<void> {
    const old = shard.primary
    const how = random.below(10) < 7 ? 'killed' : 'shut down'
    this.#options.say(`primary ${old.name} is ${how}`)
    this.#happened(`primary ${how}`)
    if (how === 'killed') await shard.kill(old)
    else await old.server.stop('fast')
    await delay(random.below(500))
    const next = await shard.mostAdvanced()
    await shard.promote(next)
    this.#options.say(`${next.name} is the primary now`)
    if (random.oneIn(3)) {
      this.#happened('old primary back')
      this.#options.say(`${old.name} is back and takes itself for the primary`)
      await shard.restart(old)
      await delay(500 + random.below(2_000))
    }
    await shard.rejoin(old)
  }

  async #failRedis(random: Random): Promise<void> {
    const { redis } = this.#options.stack
    this.#options.say('Redis is killed')
    this.#happened('Redis killed')
    await redis.kill()
    await delay(random.below(3_000))
    await redis.start()
  }

  async #failProxy(random: Random): Promise<void> {
    const { stack } = this.#options
    const at = random.below(stack.proxyCount)
    this.#options.say(`proxy ${at} is killed`)
    this.#happened('proxy killed')
    await stack.killProxy(at)
    await delay(random.below(1_000))
    const endMs = performance.now() + proxyStartMsMax
    // While the home shard has no primary a proxy does not start; whoever supervises it tries again.
    for (;;) {
      const failure = await stack.startProxy(at).then(
        () => null,
        (error: Error) => error,
      )
      if (failure === null) return
      if (performance.now() > endMs) throw failure
      await delay(200)
    }
  }

  async #heal(host: ReplicatedHost): Promise<void> {
    for (const shard of this.#options.stack.shards) {
      if (!shard.replicas.includes(host)) continue
      await shard.delayReplay(host, 0)
      await shard.resumeReplay(host)
      await shard.untilReplayed(host)
    }
  }
}
