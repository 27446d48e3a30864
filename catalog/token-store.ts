// Positions by session id in Redis, shared by all proxies: never an older one than was acknowledged.
// - Lease. A proxy that cannot publish while others can read would make them serve stale reads. So every proxy is in
//   a registry (one hash) with a deadline that it renews, and tokens count only while no deadline has passed. A
//   publish that fails waits until our own deadline surely has; then nobody believes older tokens, and the caller may
//   acknowledge. What Redis lacks is remembered and stored before the lease is renewed.
// - Generation. Where tokens may have vanished (Redis restarted or failed over, its clock stepped back, a proxy was
//   forgotten or came back without its memory) they all become void, keys and all, in one step with the registry. New
//   ones count once every proxy uses them and replicas have what was written before.
// Limits: docs/consistency.md (replication of Redis, proxies that were away for ten minutes or never got there).
import { randomBytes } from 'node:crypto'
import type { ConnectionOptions } from 'node:tls'
import { assert } from '../core/assert.ts'
import type { Clock, Timer } from '../core/clock.ts'
import type { ShardId } from '../core/ids.ts'
import type { Log } from '../core/log.ts'
import { laterPosition, type Position, type Positions } from '../core/position.ts'
import { Debts, type Published } from './token-store-debts.ts'
import {
  beatArguments,
  confirms,
  deadlineOf,
  type LeaseTerms,
  leaseEndMs,
  parseView,
  type RegistryView,
  serverAtLeastMs,
  termsOf,
  type Trust,
  trustOf,
} from './token-store-lease.ts'
import { RedisLink, reasonOf } from './token-store-link.ts'
import {
  beatScript,
  leaveScript,
  parseToken,
  storeArguments,
  storeScript,
} from './token-store-scripts.ts'
import { parseRedisUrl } from './token-store-url.ts'

export type TokenStoreOptions = {
  /** See token-store-url.ts for its forms. */
  readonly url: string
  /** For encrypted URLs; default: the system's authorities. */
  readonly tls?: ConnectionOptions
  /** `ringfence:` and the database's name. */
  readonly keyPrefix: string
  /** A token is forgotten so long after its last change. */
  readonly ttlMs: number
  /** Of one proxy at a time, and the same again after a restart: else its old entry is in the way for 10 minutes. */
  readonly proxyId: string
  /** Of one command. */
  readonly timeoutMs: number
  /** What a replica that is read from may lack at most; null: unlimited, then only `ttlMs` limits it. */
  readonly replicaLagMaxMs: number | null
  /** Of every proxy the same; default 2 s. */
  readonly leaseMs?: number
  readonly clock: Clock
  readonly log: Log
}

/** `unknown`: only the primary has for sure what was written under these ids. */
export type FetchedPositions =
  | { readonly kind: 'known'; readonly positions: Positions }
  | { readonly kind: 'unknown' }

/** Beats within a lease: several may be lost before it ends. */
const beatsPerLease = 8
const idsMax = 16
const startPatienceMs = 1_000
const owedIdsMax = 10_000
/** How often Redis is asked whether it evicts. */
const evictionAskedMs = 10_000

const unknown: FetchedPositions = { kind: 'unknown' }

export class TokenStore {
  readonly #options: TokenStoreOptions
  readonly #terms: LeaseTerms
  readonly #link: RedisLink
  readonly #registryKey: string
  /** Tells this process from an earlier one of the same proxyId. */
  readonly #incarnation = randomBytes(8).toString('hex')
  readonly #debts = new Debts(owedIdsMax)
  #view: RegistryView | undefined
  #trust: Trust = { fromMs: Infinity, untilMs: -Infinity }
  /** Until then somebody may believe tokens without our last publishes. */
  #heldUntilMs = -Infinity
  /** The same of the era before: its tokens are not those that we publish now. */
  #earlierHeldUntilMs = -Infinity
  /** A command failed then, and no beat that was sent later has been answered. */
  #suspectSinceMs: number | undefined
  /** Single tokens may vanish, so that young ones may lack something. */
  #forgetsSingly = true
  #evictionAskedAtMs = -Infinity
  #timer: Timer | undefined
  #cycle: Promise<void> | undefined
  #cycleAgain = false
  #wasConnected = false
  /** What was answered before was another connection's, and perhaps another server's. */
  #readyAtMs = Infinity
  #closed = false

  /** @throws Error when the URL is malformed. */
  constructor(options: TokenStoreOptions) {
    const { timeoutMs, log } = options
    this.#options = options
    this.#terms = termsOf(options)
    this.#registryKey = `${options.keyPrefix}:proxies`
    this.#link = new RedisLink({
      target: parseRedisUrl(options.url),
      tls: options.tls ?? {},
      timeoutMs,
      log,
      onReady: () => {
        this.#readyAtMs = options.clock.nowMs()
        this.#cycleNow()
      },
    })
  }

  /**
   * Connects, and waits a second at most: a proxy that is not in the registry can publish nothing that others
   * would wait for. Resolves also when Redis is away.
   */
  async start(): Promise<void> {
    const { clock } = this.#options
    const startedAtMs = clock.nowMs()
    this.#hold(startedAtMs)
    this.#link.open()
    this.#cycleNow()
    while (this.#view === undefined && clock.nowMs() < startedAtMs + startPatienceMs) {
      const nextMs = clock.nowMs() + 5
      await this.#wait(() => nextMs)
    }
  }

  /** Leaves the registry, if Redis can be told all that it lacks, and disconnects. */
  async close(): Promise<void> {
    this.#closed = true
    this.#timer?.cancel()
    await this.#cycle
    if (this.#link.ready) {
      const stays =
        'this proxy stays registered in Redis: session ids read on primaries until it is back'
      await this.#leave().catch((error: unknown) =>
        this.#options.log.warn({ reason: reasonOf(error) }, stays),
      )
    }
    this.#link.close()
  }

  /** `connected`: Redis has answered within a lease. */
  get state(): 'connected' | 'away' {
    return this.#confirmedView() === undefined ? 'away' : 'connected'
  }

  /**
   * Merged positions of 1 to 16 ids. `unknown` when Redis is away, an id has no token, or tokens cannot be
   * believed now. Never rejects.
   */
  async fetch(ids: readonly string[]): Promise<FetchedPositions> {
    assert(ids.length > 0 && ids.length <= idsMax, 'a statement has 1 to 16 session ids')
    const generation = this.#confirmedView()?.generation
    if (generation === undefined || !this.#trusts(generation)) return unknown
    const keys = ids.map((id) => this.#keyOf(generation, id))
    try {
      const hashes = await Promise.all(keys.map((key) => this.#link.read(key)))
      // Judged after the answer: what was acknowledged before the question is then in it.
      return this.#trusts(generation) ? this.#merge(hashes) : unknown
    } catch {
      this.#suspect()
      return unknown
    }
  }

  /**
   * Merges positions into the tokens of 1 to 16 ids. When it resolves, the statement may be acknowledged: `stored`,
   * or `lost` once nobody believes the older tokens. Never rejects.
   */
  async publish(ids: readonly string[], positions: Positions): Promise<Published> {
    assert(ids.length > 0 && ids.length <= idsMax, 'a statement has 1 to 16 session ids')
    if (positions.size === 0) return 'stored'
    const view = this.#confirmedView()
    const unique = new Set(ids)
    if (view !== undefined && this.#suspectSinceMs === undefined) {
      const storing = [...unique].map((id) => this.#store(view.generation, id, positions))
      const stored = await Promise.all(storing)
      if (stored.every(Boolean)) return this.#publishedInThisEra()
    }
    return this.#owe(unique, positions)
  }

  async #owe(ids: ReadonlySet<string>, positions: Positions): Promise<Published> {
    if (this.#closed) return 'lost'
    const { settled, abandon } = this.#debts.add(ids, positions)
    this.#cycleNow()
    const published = await Promise.race([settled, this.#nobodyBelieves()])
    abandon()
    return published === 'stored' ? this.#publishedInThisEra() : published
  }

  /** Beats stop while something is owed, so that this comes. */
  async #nobodyBelieves(): Promise<Published> {
    await this.#wait(() => this.#heldUntilMs)
    return 'lost'
  }

  /** Others may still look where Redis was before it failed over. */
  async #publishedInThisEra(): Promise<Published> {
    await this.#wait(() => this.#earlierHeldUntilMs)
    return 'stored'
  }

  /** Until that time, which may move away meanwhile. */
  async #wait(untilMs: () => number): Promise<void> {
    const { clock } = this.#options
    for (let leftMs = untilMs() - clock.nowMs(); leftMs > 0; leftMs = untilMs() - clock.nowMs()) {
      const delayMs = Math.max(1, leftMs)
      await new Promise<void>((resolve) => void clock.after(delayMs, resolve))
    }
  }

  /** False unless Redis has it in a generation that is confirmed. */
  async #store(generation: string, id: string, positions: Positions): Promise<boolean> {
    const args = storeArguments(this.#options.ttlMs, positions)
    try {
      await this.#link.run(storeScript, this.#keyOf(generation, id), args)
    } catch {
      this.#suspect()
      return false
    }
    return this.#confirmedView()?.generation === generation
  }

  /** Of this connection, and not older than a lease. */
  #confirmedView(): RegistryView | undefined {
    const view = this.#view
    if (view === undefined || !this.#link.ready || view.sentAtMs < this.#readyAtMs) return undefined
    return confirms(view, this.#options.clock.nowMs(), this.#terms) ? view : undefined
  }

  #trusts(generation: string): boolean {
    const suspect = this.#suspectSinceMs !== undefined
    if (suspect || this.#confirmedView()?.generation !== generation) return false
    const nowMs = this.#options.clock.nowMs()
    return this.#trust.fromMs <= nowMs && nowMs < this.#trust.untilMs
  }

  #merge(hashes: readonly Readonly<Record<string, string>>[]): FetchedPositions {
    const positions = new Map<ShardId, Position>()
    for (const hash of hashes) {
      const token = parseToken(hash)
      if (token === undefined || !this.#isComplete(token.bornMs)) return unknown
      for (const [shard, position] of token.positions) {
        positions.set(shard, laterPosition(positions.get(shard), position))
      }
    }
    return { kind: 'known', positions }
  }

  /** A token that was made anew after the old one vanished lacks what replicas have by then. */
  #isComplete(bornMs: number): boolean {
    const view = this.#view
    if (!this.#forgetsSingly) return true
    if (view === undefined) return false
    const ageMs = serverAtLeastMs(view, this.#options.clock.nowMs()) - bornMs
    return ageMs >= this.#terms.leaseMs + this.#terms.replicaLagMaxMs
  }

  #keyOf(generation: string, id: string): string {
    return `${this.#options.keyPrefix}:${generation}:${id}`
  }

  #suspect(): void {
    this.#suspectSinceMs = this.#options.clock.nowMs()
  }

  /** One cycle at a time; a wish that comes meanwhile is for one more after it. */
  #cycleNow(): void {
    this.#cycleAgain = this.#cycle !== undefined
    if (this.#closed || this.#cycle !== undefined) return
    this.#timer?.cancel()
    this.#cycle = this.#runCycle().then((again) => this.#ranCycle(again))
  }

  /** True when another one should follow at once. */
  async #runCycle(): Promise<boolean> {
    if (!this.#link.ready) return false
    try {
      return await this.#payAndBeat()
    } catch (error) {
      this.#suspect()
      this.#options.log.debug({ reason: reasonOf(error) }, 'a beat to Redis failed')
      return false
    }
  }

  #ranCycle(again: boolean): void {
    this.#tellState()
    const delayMs = again || this.#cycleAgain ? 1 : this.#terms.leaseMs / beatsPerLease
    this.#cycle = undefined
    this.#cycleAgain = false
    if (!this.#closed) this.#timer = this.#options.clock.after(delayMs, () => this.#cycleNow())
  }

  /** True when another cycle should follow at once. */
  async #payAndBeat(): Promise<boolean> {
    const debts = this.#debts
    const { clock } = this.#options
    await this.#askAboutEviction()
    const confirmed = this.#confirmedView()
    if (confirmed !== undefined && debts.owing) {
      const paid = await debts.pay((id, owed) => this.#store(confirmed.generation, id, owed))
      if (paid && debts.owing && !debts.overflown) return true
    }
    const runs = await this.#link.clusterRuns()
    const view = this.#view
    // From here to the sending of the beat nothing is awaited: nothing can come to be owed in between.
    const renewing = view !== undefined && !debts.owing
    const forcing = view !== undefined && debts.overflown
    const sentAtMs = clock.nowMs()
    const deadlineMs = renewing ? deadlineOf(view, sentAtMs, this.#terms) : 0
    if (renewing) this.#hold(sentAtMs)
    const args = beatArguments({
      proxyId: this.#options.proxyId,
      incarnation: this.#incarnation,
      deadlineMs,
      runs,
      forcing,
      leaseMs: this.#terms.leaseMs,
      view,
    })
    const answer = await this.#link.run(beatScript, this.#registryKey, args)
    const answered = parseView(answer, sentAtMs, clock.nowMs())
    this.#adopt(answered)
    if (forcing) debts.forgive()
    if (confirmed === undefined) return true
    return !debts.owing && (!renewing || answered.generation !== view.generation)
  }

  #adopt(view: RegistryView): void {
    const known = this.#view
    if (known !== undefined && known.era !== view.era) {
      this.#earlierHeldUntilMs = Math.max(this.#earlierHeldUntilMs, this.#heldUntilMs)
    }
    if (known !== undefined && known.generation !== view.generation) {
      this.#options.log.info('session tokens of before are void: Redis or a proxy was replaced')
    }
    // Who looked just before we came does not know of us.
    if (view.newcomer) this.#hold(view.receivedAtMs)
    for (const proxy of view.forgotten) {
      this.#options.log.warn(
        { proxy },
        'a proxy has been away from Redis for 10 minutes: forgotten',
      )
    }
    this.#view = view
    this.#trust = trustOf(view, this.#terms)
    if ((this.#suspectSinceMs ?? Infinity) < view.sentAtMs) this.#suspectSinceMs = undefined
  }

  #hold(fromMs: number): void {
    this.#heldUntilMs = Math.max(this.#heldUntilMs, leaseEndMs(fromMs, this.#terms))
  }

  async #askAboutEviction(): Promise<void> {
    const nowMs = this.#options.clock.nowMs()
    if (nowMs - this.#evictionAskedAtMs < evictionAskedMs) return
    const before = this.#forgetsSingly
    const first = this.#evictionAskedAtMs === -Infinity
    this.#forgetsSingly = true
    this.#forgetsSingly = await this.#link.forgetsSingly()
    this.#evictionAskedAtMs = nowMs
    if (!this.#forgetsSingly || (before && !first)) return
    this.#options.log.info('Redis may lose single session tokens: young ones are not relied upon')
  }

  async #leave(): Promise<void> {
    const { proxyId, log } = this.#options
    const view = this.#confirmedView()
    if (view !== undefined && this.#debts.owing) {
      await this.#debts.pay((id, owed) => this.#store(view.generation, id, owed))
    }
    if (this.#debts.owing) {
      log.warn('Redis lacks what was published last: its tokens count again in 10 minutes')
      return
    }
    await this.#link.run(leaveScript, this.#registryKey, [proxyId, this.#incarnation])
  }

  #tellState(): void {
    const connected = this.state === 'connected'
    if (connected === this.#wasConnected) return
    this.#wasConnected = connected
    if (connected) this.#options.log.info('session tokens are kept in Redis')
    else this.#options.log.warn('Redis is away: reads with a session id go to the primary')
  }
}
