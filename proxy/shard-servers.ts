// The servers of one shard: a pool per user to whichever host is the primary, pools to the replicas, and the monitor
// that says which is which. A shard with one host needs no monitor: it is the primary or nothing is.
import { type PgError, pgError } from '../core/errors.ts'
import type { ShardId } from '../core/ids.ts'
import { chooseHost, LatencyMeter, ReadBreaker, tooSlow } from '../pool/balance.ts'
import { Pool } from '../pool/pool.ts'
import { type PoolStats, sumOfStats } from '../pool/pool-stats.ts'
import type { ServerConnection, ServerRole, ServerTarget } from '../pool/server-connection.ts'
import type { HostMonitor } from '../pool/host-monitor.ts'
import { waitForSample } from '../pool/sample-wait.ts'
import { ShardMonitor } from '../pool/shard-monitor.ts'
import { Shown } from '../pool/shown.ts'
import { strandedBecause } from '../pool/stranded.ts'
import { tlsModeAt } from './catalog-url.ts'
import type { DatabaseContext } from './database.ts'
import { placeOf } from './server-budgets.ts'
import { newReadCounts } from './read-counts.ts'
import type { Credentials, DatabaseOptions, ShardOptions } from './database-options.ts'

/** What is measured of one host besides what the monitor sees. */
export type HostLoad = {
  readonly meter: LatencyMeter
  readonly breaker: ReadBreaker
  /** Reads that have been sent there. */
  reads: number
}

type ReadCandidate = {
  readonly host: HostMonitor
  readonly zone: string | null
  readonly weight: number
  readonly latencyMs: number
  readonly inFlight: number
}

type Address = { readonly host: string; readonly port: number }
type PrimaryPool = { readonly pool: Pool; readonly login: Credentials }

const sampleMsMin = 10
// A read that took less is never too slow (pool/balance.ts).
const slowMsMin = 1_000
const admitTimeoutMs = 2_000

export class ShardServers {
  readonly id: ShardId
  /** Null for a shard with one host. */
  readonly monitor: ShardMonitor | null
  /** Whether the primary shows what replicas have shown. */
  readonly shown: Shown | null
  /** Times that another host has become the primary. */
  failovers = 0
  readonly counts = newReadCounts()
  readonly #hostOf = new WeakMap<ServerTarget, HostMonitor>()
  readonly #shard: ShardOptions
  #options: DatabaseOptions
  readonly #context: DatabaseContext
  readonly #primaries = new Map<string, PrimaryPool>()
  readonly #replicas = new Map<HostMonitor, Map<string, Pool>>()
  readonly #loads = new Map<HostMonitor, HostLoad>()
  readonly #onPrimary: (() => void) | null
  #followed: HostMonitor | null = null
  #paused = false

  /** `onPrimary`: another host has become the primary, for who keeps connections of his own. */
  constructor(
    shard: ShardOptions,
    options: DatabaseOptions,
    context: DatabaseContext,
    onPrimary: (() => void) | null,
  ) {
    this.id = shard.id
    this.#shard = shard
    this.#options = options
    this.#context = context
    this.#onPrimary = onPrimary
    this.monitor = shard.replicas.length === 0 ? null : this.#newMonitor()
    this.shown = this.monitor === null ? null : new Shown(this.monitor, context.clock)
    this.monitor?.onPrimaryChange((primary, reason) => this.#follow(primary, reason))
  }

  /** Looks at every host once. Never throws: a shard whose servers are down is served when they come back. */
  async start(): Promise<void> {
    await this.monitor?.start()
  }

  /** A failover may be on: what is read there can wait for its end. */
  async untilLed(): Promise<void> {
    const { monitor } = this
    const wait = { clock: this.#context.clock, waitMs: this.#options.failover.waitMs }
    if (monitor !== null) await waitForSample(monitor, () => monitor.primary !== null, wait)
  }

  async close(error: PgError): Promise<void> {
    for (const pool of this.pools) pool.close(error)
    await this.monitor?.close()
  }

  /** Goes by these options from now on; where the servers are stays what it is. */
  configure(options: DatabaseOptions): void {
    this.#options = options
    const { budgets } = this.#context
    for (const pool of this.pools) pool.adopt(budgets.limitsOf(pool.user, options.pool))
  }

  /** Closes what was idle for too long, and what will never be answered; called on a timer. */
  sweep(): void {
    const { failover } = this.#options
    const patience = {
      waitMs: Math.max(failover.waitMs, failover.probeMs),
      silentMs: failover.probeMs,
    }
    const now = this.#context.clock.nowMs()
    for (const pool of this.pools) {
      pool.sweep()
      for (const server of Array.from(pool.connections)) {
        const host = this.hostOf(server)
        const reason = host && strandedBecause(server, host.status, now, patience)
        if (reason !== null) server.close(reason)
      }
    }
  }

  /** Opens some connections for every user who has more of them to `other`. */
  warmLike(other: ShardServers): void {
    for (const { pool, login } of other.#primaries.values()) {
      this.primaryPool(login).warm(pool.connections.size)
    }
  }

  get pools(): readonly Pool[] {
    const replicas = [...this.#replicas.values()].flatMap((pools) => [...pools.values()])
    return [...[...this.#primaries.values()].map(({ pool }) => pool), ...replicas]
  }

  /** Where the primary is now; null while there is none. */
  get primaryAddress(): Address | null {
    if (this.monitor === null) return { host: this.#shard.host, port: this.#shard.port }
    return this.monitor.primary?.address ?? null
  }

  /** Pool of the primary for a client that logged in as `client`. */
  primaryPool(client: Credentials): Pool {
    const login = this.#loginOf(client)
    const known = this.#primaries.get(login.name)
    if (known !== undefined) return known.pool
    const followed = () => this.#followed
    const pool = this.#newPool(login, this.primaryAddress, followed, 'primary')
    this.#primaries.set(login.name, { pool, login })
    return pool
  }

  /** Pool of one replica for that client. */
  replicaPool(host: HostMonitor, client: Credentials): Pool {
    const login = this.#loginOf(client)
    const pools = this.#replicas.get(host) ?? new Map<string, Pool>()
    this.#replicas.set(host, pools)
    const known = pools.get(login.name)
    if (known !== undefined) return known
    const pool = this.#newPool(login, host.address, () => host, 'replica')
    pools.set(login.name, pool)
    return pool
  }

  /** Host that a server connection leads to; null without a monitor. */
  hostOf({ target }: ServerConnection): HostMonitor | null {
    if (this.monitor === null) return null
    const known = this.#hostOf.get(target)
    if (known !== undefined) return known
    const host = this.monitor.hosts.find(({ address }) => isAt(address, target))
    if (host !== undefined) this.#hostOf.set(target, host)
    return host ?? null
  }

  loadOf(host: HostMonitor): HostLoad {
    const known = this.#loads.get(host)
    if (known !== undefined) return known
    const load = { meter: new LatencyMeter(), breaker: new ReadBreaker(), reads: 0 }
    this.#loads.set(host, load)
    return load
  }

  /** Connections that lead to `host`, by what they do. */
  statsOf(host: HostMonitor): PoolStats {
    return sumOfStats(
      this.pools.filter(({ target }) => target !== null && isAt(target, host.address)),
    )
  }

  /** All connections to the shard. */
  get stats(): PoolStats {
    return sumOfStats(this.pools)
  }

  /** True while statements have to wait for the primary. */
  get isOut(): boolean {
    return [...this.#primaries.values()].some(({ pool }) => pool.isOut)
  }

  /** Latency of the reads on `host`, faded since the last one. */
  latencyMsOf(host: HostMonitor): number {
    return this.loadOf(host).meter.latencyMs(this.#context.clock.nowMs())
  }

  /** Replicas that may be read from as far as health and lag go. */
  readable(): readonly HostMonitor[] {
    const { monitor } = this
    if (monitor === null) return []
    const { maxLagMs } = this.#options.reads
    const now = this.#context.clock.nowMs()
    return monitor.replicas.filter((host) => {
      if (maxLagMs !== null && monitor.lag(host).ms > maxLagMs) return false
      return this.loadOf(host).breaker.allows(now)
    })
  }

  /** One of `hosts`, by load, latency, weight and zone; the read is about to be sent there. */
  pick(hosts: readonly HostMonitor[]): HostMonitor | null {
    const now = this.#context.clock.nowMs()
    const [only] = hosts
    const chosen = hosts.length < 2 ? only : this.#balance(hosts, now)
    if (chosen === undefined) return null
    const load = this.loadOf(chosen)
    load.reads += 1
    load.breaker.began(now)
    return chosen
  }

  #balance(hosts: readonly HostMonitor[], now: number): HostMonitor | undefined {
    const candidates = hosts.map((host): ReadCandidate => {
      const { zone, weight } = host.address
      const latencyMs = this.loadOf(host).meter.latencyMs(now)
      return { host, zone, weight, latencyMs, inFlight: this.#inFlightOn(host) }
    })
    return chooseHost(candidates, this.#options.reads.zone, Math.random)?.host
  }

  #inFlightOn(host: HostMonitor): number {
    let sum = 0
    for (const pool of this.#replicas.get(host)?.values() ?? []) sum += pool.inFlight
    if (host !== this.monitor?.primary) return sum
    for (const { pool } of this.#primaries.values()) sum += pool.inFlight
    return sum
  }

  /** A read outside a transaction was answered after `ms`. */
  answered(host: HostMonitor, ms: number): void {
    const now = this.#context.clock.nowMs()
    const { meter, breaker } = this.loadOf(host)
    const slow = ms > slowMsMin && tooSlow(ms, this.#metersBeside(host), now)
    meter.observe(ms, now)
    if (slow) breaker.failed(now)
    else breaker.succeeded()
  }

  #metersBeside(host: HostMonitor): readonly LatencyMeter[] {
    const others = this.monitor?.replicas.filter((other) => other !== host) ?? []
    return others.map((other) => this.loadOf(other).meter)
  }

  /** A server of the shard has said or shown that it is not what it should be. */
  suspect(host: HostMonitor | null, reason: string): void {
    if (host !== null) this.monitor?.suspect(host, reason)
  }

  /** Lends no server of the primary any more; resolves once all have come back. */
  async pause(): Promise<void> {
    this.#paused = true
    await Promise.all([...this.#primaries.values()].map(({ pool }) => pool.pause()))
  }

  resume(): void {
    this.#paused = false
    for (const { pool } of this.#primaries.values()) pool.resume()
  }

  get paused(): boolean {
    return this.#paused
  }

  #loginOf(client: Credentials): Credentials {
    return this.#shard.login ?? this.#options.serverUser ?? client
  }

  #newMonitor(): ShardMonitor {
    const { host, port, tlsMode, zone, database, replicas, patroniUrls } = this.#shard
    const { name: user, password } = this.#loginOf(this.#options.catalogUser)
    const { dial, clock, log } = this.#context
    const probeMs = () => this.#options.failover.probeMs
    return new ShardMonitor({
      shard: this.id,
      hosts: [{ host, port, tlsMode, zone, weight: 1 }, ...replicas],
      login: { database, user, password },
      dial,
      clock,
      log,
      get probeMs() {
        return probeMs()
      },
      sampleMsMin,
      patroniUrls,
    })
  }

  #newPool(
    login: Credentials,
    place: Address | null,
    host: () => HostMonitor | null,
    role: ServerRole,
  ): Pool {
    const waitMs = () => this.#options.failover.waitMs
    const { pool: limits, connectTimeoutMs } = this.#options
    const { budgets, dial } = this.#context
    const pool = new Pool(
      {
        ...budgets.limitsOf(login.name, limits),
        ...this.#context,
        dial: { ...dial, connectTimeoutMs },
        shard: this.id,
        user: login.name,
        random: Math.random,
        forced: this.#shard.login !== null || this.#options.serverUser !== null,
        budgets: budgets.of(this.#options, placeOf(this.id, role, place), login.name),
        // A read finds another server; what needs the primary has nowhere else to go.
        get outageWaitMs() {
          return role === 'primary' ? waitMs() : 0
        },
        admit:
          this.monitor === null
            ? null
            : (server, dialledAtMs) => this.#admit(server, dialledAtMs, role),
        suspect: (reason) => this.suspect(host(), reason),
      },
      place === null ? null : this.#targetAt(place, login, role),
    )
    if (this.#paused && role === 'primary') void pool.pause()
    return pool
  }

  #targetAt(place: Address, login: Credentials, role: ServerRole): ServerTarget {
    const { host, port } = place
    const { name: user, password, secret } = login
    const { database } = this.#shard
    const tlsMode = tlsModeAt(this.#shard, place)
    const as = { database, user, password, secret, settings: this.#options.serverSettings }
    return { shard: this.id, role, host, port, tlsMode, ...as }
  }

  /**
   * A new connection leads to the server that the monitor has looked at since: the same life of the same host, in the
   * role that is wanted. Only then do its positions hold for what this connection sees.
   */
  async #admit(server: ServerConnection, dialledAtMs: number, role: ServerRole): Promise<void> {
    const { monitor } = this
    const host = this.hostOf(server)
    if (monitor === null || host === null) return
    const seen = () => host.positionAfter(dialledAtMs) !== null
    const { clock } = this.#context
    const sampled = await waitForSample(monitor, seen, { clock, waitMs: admitTimeoutMs })
    const { status } = host
    // An older sample may be of the life before, with positions that this one does not have.
    if (
      !sampled ||
      status.kind !== 'up' ||
      status.sample.role !== role ||
      (role === 'primary' && monitor.primary !== host)
    ) {
      throw pgError('serverUnreachable', [this.id, `${host.id} is not a ${role} now`])
    }
    server.incarnation = status.sample.incarnation
  }

  /** Another host is the primary, or none is. */
  #follow(primary: HostMonitor | null, reason: string): void {
    const { log } = this.#context
    if (primary !== null && this.#followed !== null && primary !== this.#followed) {
      this.failovers += 1
      log.warn({ shard: this.id, host: primary.id, reason }, 'another server is the primary now')
      this.#retire(primary, reason)
    }
    this.#followed = primary ?? this.#followed
    for (const { pool, login } of this.#primaries.values()) {
      const target = primary === null ? null : this.#targetAt(primary.address, login, 'primary')
      pool.point(target, reason)
    }
    if (primary !== null) this.#onPrimary?.()
  }

  /** Connections that were lent to read from a replica do not outlive its promotion: there they could write. */
  #retire(promoted: HostMonitor, reason: string): void {
    for (const pool of this.#replicas.get(promoted)?.values() ?? []) {
      const { target } = pool
      pool.point(null, reason)
      pool.point(target, reason)
    }
  }
}

function isAt(a: Address, b: Address): boolean {
  return a.host === b.host && a.port === b.port
}
