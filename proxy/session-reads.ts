// Where the reads of one session go. Decided for each statement from what the client asks for (target, consistency,
// session ids), from what it has written and seen, and from what the monitor knows of the shard's servers.
//
// A decision may have to wait: for the positions of session ids, or for a replica to catch up. Each is waited for
// once per statement; after that the read goes to the primary.
import { pgError } from '../core/errors.ts'
import type { ShardId } from '../core/ids.ts'
import { LateSet } from '../core/late.ts'
import { isAbove, type Positions } from '../core/position.ts'
import { decodeToken } from '../core/session-token.ts'
import type { HostMonitor } from '../pool/host-monitor.ts'
import { waitForSample } from '../pool/sample-wait.ts'
import type { ServerConnection } from '../pool/server-connection.ts'
import type { SettingsProfile } from '../pool/settings-profile.ts'
import type { Hints } from '../router/hints.ts'
import type { Database } from './database.ts'
import type { Consistency, ReadTarget } from './database-options.ts'
import { isConsistency, isTarget, ownNames, sessionIdParts, sessionIdsOf } from './own-settings.ts'
import type { ReadCounts } from './read-counts.ts'
import { onPrimary, type ReadPlace, refuse, withoutReplica } from './read-place.ts'
import { nows, type Sampled } from './sampled-hosts.ts'
import { SessionIds } from './session-ids.ts'
import { mayRead, SessionPositions } from './session-positions.ts'
import type { ShardServers } from './shard-servers.ts'

/** What the client wants of its reads now. */
type Wishes = {
  readonly target: ReadTarget
  readonly consistency: Consistency
  readonly ids: readonly string[]
}

const nobody: readonly never[] = []
/** How long SHOW ringfence.session_token waits for positions that are not known yet. */
const settleWaitMs = 2_000
/** How long a fresh look at the replicas is waited for. */
const witnessWaitMs = 100
const shownTriesMax = 5

export class SessionReads {
  readonly positions = new SessionPositions()
  readonly ids: SessionIds
  readonly #database: Database
  /** Logged in by the name under which the database is read-only. */
  readonly readOnly: boolean
  #hints: Hints | null = null
  #fetched: 'no' | 'known' | 'unknown' = 'no'
  /** Of the client's commands: what was fetched for one that was cancelled says nothing of the next one's ids. */
  #number = 0
  /** Shards whose replicas were waited for. */
  #waited: readonly ShardId[] = nobody
  #avoided: readonly HostMonitor[] = nobody
  #primaryOnly = false
  /** Shards that the session has seen on a replica, or where others may have: the primary may be behind that. */
  readonly #ahead = new LateSet<ShardId>()
  #warned = false
  /** The command has ended a transaction; the client may be in another one by now. */
  hasEnded = false

  constructor(database: Database, readOnly: boolean) {
    this.#database = database
    this.readOnly = readOnly
    this.ids = new SessionIds(database, this.positions)
  }

  /** The client's next command: what was decided for the one before is forgotten. */
  nextCommand(): void {
    this.#number += 1
    this.#hints = null
    this.#fetched = 'no'
    this.#waited = nobody
    this.#avoided = nobody
    this.#primaryOnly = false
    this.ids.nextCommand()
    this.#warned = false
    this.hasEnded = false
  }

  /** True the first time that the command is said to have hints which cannot be followed. */
  warnsOf(problem: string | null): problem is string {
    if (problem === null || this.#warned) return false
    this.#warned = true
    return true
  }

  /** Hints of the command that is read now; they hold until the next one. */
  take(hints: Hints | null): void {
    this.#hints = hints
    if (hints !== null) this.ids.owe(hints.sessionIds)
  }

  /** A replica could not serve the command: another one shall, or the primary. */
  failed(host: HostMonitor, shard: ShardId): void {
    const { clock } = this.#database
    this.#database.serversOf(shard).loadOf(host).breaker.failed(clock.nowMs())
    this.#avoided = [...this.#avoided, host]
  }

  /** True when the primary is not to be read from, whatever replicas can do. */
  avoidsPrimary(settings: SettingsProfile): boolean {
    return this.#wishes(settings).target === 'replica'
  }

  /** What the command asks for, no replica can do. */
  needsPrimary(): void {
    this.#primaryOnly = true
  }

  /** Where a statement goes that may run on a replica of `shard`. */
  place(shard: ShardId, settings: SettingsProfile): ReadPlace {
    const place = this.#decide(shard, settings)
    if (place.kind !== 'primary') return place
    // The primary is gone to once it shows what the session has seen; until then nothing is settled.
    if (this.isAhead(shard, settings)) return { kind: 'later', until: this.untilShown(shard) }
    this.#database.serversOf(shard).counts.primary[place.reason] += 1
    return place
  }

  #decide(shard: ShardId, settings: SettingsProfile): ReadPlace {
    const servers = this.#database.serversOf(shard)
    const { monitor } = servers
    const { target, consistency, ids } = this.#wishes(settings)
    if (monitor === null) {
      return target === 'replica' ? refuse(shard, 'it has none') : onPrimary('asked')
    }
    if (target === 'primary' || (consistency === 'strong' && !this.readOnly)) {
      return onPrimary('asked')
    }
    const session = consistency !== 'eventual'
    if (session && ids.length > 0) {
      if (this.#fetched === 'no') return this.#fetch(ids)
      if (this.#fetched === 'unknown') return withoutReplica(shard, target, 'unknown')
    }
    if (this.#primaryOnly) return onPrimary('retried')
    const sampled = this.#sampled(servers)
    const able = session ? this.#able(servers, sampled) : sampled
    const shared = target === 'auto' && this.#database.options.reads.includePrimary
    const hosts = able.map(({ host }) => host)
    if (shared && monitor.primary !== null) hosts.push(monitor.primary)
    const host = servers.pick(hosts)
    const chosen = able.find((candidate) => candidate.host === host)
    if (chosen !== undefined) return this.#onReplica(servers, chosen)
    if (host !== null) return onPrimary('shared')
    if (session && this.#isWorthWaiting(servers, sampled)) return this.#waitForReplica(servers)
    return withoutReplica(shard, target, this.#whyNot(sampled))
  }

  /** The shard's readable replicas as they are for this session, one line: for EXPLAIN (ROUTE). */
  describe(shard: ShardId): string {
    const servers = this.#database.serversOf(shard)
    const { monitor } = servers
    const sampled = this.#sampled(servers)
    if (monitor === null || sampled.length === 0) return 'none may be read from now'
    const able = this.#able(servers, sampled)
    const lines = sampled.map((now) => {
      const lagMs = Math.round(monitor.lag(now.host).ms)
      const missing = able.includes(now) ? '' : ', lacks what this session has seen'
      return `${now.id} (${lagMs} ms behind${missing})`
    })
    return lines.join(', ')
  }

  /** A statement or transaction has ended on `server`: what it saw or wrote, the session must not miss later. */
  observed(server: ServerConnection): void {
    const servers = this.#database.serversOf(server.shard)
    const host = servers.hostOf(server)
    if (host === null) return
    const { incarnation } = server
    const primary = server.target.role === 'primary'
    const atMs = this.#database.clock.nowMs()
    if (!primary) this.#ahead.add(server.shard)
    this.positions.observed(server.shard, { id: host.id, incarnation, primary }, atMs)
  }

  /** Another session begins: nothing was written or seen. */
  forget(): void {
    this.positions.clear()
    this.#ahead.clear()
  }

  /** True when the primary may not show yet what the session has seen. Without a primary the pool's queue is the place. */
  isAhead(shard: ShardId, settings: SettingsProfile): boolean {
    if (!this.#ahead.has(shard) || this.#wishes(settings).consistency === 'eventual') return false
    return this.#database.serversOf(shard).monitor?.primary !== null
  }

  /**
   * Resolves once the primary shows all that the session has seen, or there is none any more. @throws PgError 40001 when
   * it does not within a second, or cannot be asked
   */
  async untilShown(shard: ShardId): Promise<void> {
    const { shown, monitor } = this.#database.serversOf(shard)
    const { clock } = this.#database
    for (let tries = 0; tries < shownTriesMax; tries += 1) {
      const witness = shown === null ? null : await this.#witness(shard)
      if (shown === null || witness === null || (await shown.until(shard, witness))) {
        this.#ahead.delete(shard)
        return
      }
      const primary = monitor?.primary ?? null
      if (monitor === null || primary === null) return
      // One of the two could not be asked: the next look tells whether it is gone.
      const sinceMs = clock.nowMs()
      const looked = () => monitor.primary !== primary || primary.positionAfter(sinceMs) !== null
      await waitForSample(monitor, looked, { clock, waitMs: witnessWaitMs })
    }
    throw pgError('primaryBehind', [shard])
  }

  /**
   * A replica with all that the session has seen. Null when there is none: then it was seen on the primary, or where it
   * was seen is gone.
   */
  async #witness(shard: ShardId): Promise<HostMonitor | null> {
    const { monitor } = this.#database.serversOf(shard)
    if (monitor === null) return null
    const find = () =>
      nows(monitor.replicas).find((now) => mayRead(this.positions.needs(shard), now))
    const { clock } = this.#database
    const sinceMs = clock.nowMs()
    const looked = () => monitor.replicas.every((host) => host.positionAfter(sinceMs) !== null)
    await waitForSample(monitor, () => find() !== undefined || looked(), {
      clock,
      waitMs: witnessWaitMs,
    })
    return find()?.host ?? null
  }

  #merge(positions: Positions): void {
    this.positions.merge(positions)
    for (const shard of positions.keys()) this.#ahead.add(shard)
  }

  /** Takes over what another session has written and seen. @throws PgError 22023 for what is no token of ours */
  mergeToken(text: string, key: Uint8Array): void {
    const positions = decodeToken(text, key, this.#database.options.name)
    this.#merge(positions)
    for (const [shard, { systemId, timeline }] of positions) {
      if (!this.#database.shards.includes(shard)) continue
      this.#database.serversOf(shard).monitor?.noteTimeline(systemId, timeline)
    }
  }

  /** All positions, what was seen a moment ago included. @throws PgError 57P03 when a shard cannot tell */
  async settled(): Promise<Positions> {
    for (const shard of this.positions.snapshot().open) {
      const servers = this.#database.serversOf(shard)
      if (!(await this.#settle(servers))) throw pgError('positionUnknown', [shard])
    }
    return this.positions.snapshot().positions
  }

  async #settle(servers: ShardServers): Promise<boolean> {
    const { id, monitor } = servers
    if (monitor === null) return true
    const { clock } = this.#database
    const isSettled = () => {
      this.positions.settle(id, nows(monitor.hosts))
      return this.positions.needs(id).open.length === 0
    }
    const { open } = this.positions.needs(id)
    const alive = open.every((seen) =>
      nows(monitor.hosts).some((now) => now.id === seen.id && now.incarnation === seen.incarnation),
    )
    if (!alive && monitor.primary !== null) {
      // Where it was seen is gone; the primary has everything that is left.
      const [now] = nows([monitor.primary])
      if (now === undefined) return false
      const { id: host, incarnation } = now
      this.positions.observed(id, { id: host, incarnation, primary: true }, clock.nowMs())
    }
    return waitForSample(monitor, isSettled, { clock, waitMs: settleWaitMs })
  }

  #wishes(settings: SettingsProfile): Wishes {
    const { reads } = this.#database.options
    const hints = this.#hints
    const target = hints?.target ?? settings.own(ownNames.target)
    const consistency = hints?.consistency ?? settings.own(ownNames.consistency)
    const ids = sessionIdsOf(settings.own(ownNames.sessionId))
    return {
      target: this.readOnly ? 'replica' : isTarget(target) ? target : reads.target,
      consistency: isConsistency(consistency) ? consistency : reads.consistency,
      ids: hints === null || hints.sessionIds.length === 0 ? ids : [...ids, ...hints.sessionIds],
    }
  }

  #fetch(ids: readonly string[]): ReadPlace {
    const store = this.#database.tokens
    if (store === null) return { kind: 'refuse', error: pgError('sessionIdsUnavailable') }
    const fetching = sessionIdParts(ids).map((part) => store.fetch(part))
    const number = this.#number
    const until = Promise.all(fetching).then((answers) => {
      const known = answers.every(({ kind }) => kind === 'known')
      if (number === this.#number) this.#fetched = known ? 'known' : 'unknown'
      for (const each of answers) {
        if (each.kind !== 'known') continue
        this.#merge(each.positions)
        if (number === this.#number) this.ids.fetched(ids, each.positions)
      }
    })
    return { kind: 'later', until }
  }

  #onReplica({ id, counts }: ShardServers, { host, incarnation }: Sampled): ReadPlace {
    if (this.#avoided.length > 0) counts.replica.retried += 1
    else if (this.#waited.includes(id)) counts.replica.waited += 1
    else counts.replica.chosen += 1
    return { kind: 'replica', host, incarnation }
  }

  #whyNot(sampled: readonly Sampled[]): keyof ReadCounts['primary'] {
    if (this.#avoided.length > 0) return 'retried'
    return sampled.length > 0 ? 'behind' : 'none'
  }

  #sampled(servers: ShardServers): readonly Sampled[] {
    const avoided = this.#avoided
    const hosts = servers.readable()
    const left = avoided.length === 0 ? hosts : hosts.filter((host) => !avoided.includes(host))
    const floor = this.#database.topology.floors.get(servers.id)
    if (floor === undefined) return nows(left)
    // What was moved to the shard, or away from it, a replica must have heard of: a floor is left behind soon.
    return nows(left).filter(({ position }) => isAbove(position, floor))
  }

  #able(servers: ShardServers, sampled: readonly Sampled[]): readonly Sampled[] {
    const { id, monitor } = servers
    if (monitor === null || sampled.length === 0) return []
    if (this.positions.needs(id).open.length > 0) this.positions.settle(id, nows(monitor.hosts))
    const needs = this.positions.needs(id)
    if (needs.position === null && needs.open.length === 0) return sampled
    return sampled.filter((now) => mayRead(needs, now))
  }

  /** False when the replicas are further behind than a read may wait. */
  #isWorthWaiting({ id, monitor }: ShardServers, sampled: readonly Sampled[]): boolean {
    const { rywWaitMs } = this.#database.options.reads
    if (monitor === null || rywWaitMs === 0 || this.#waited.includes(id)) return false
    return sampled.some(({ host }) => monitor.lag(host).ms <= rywWaitMs)
  }

  #waitForReplica(servers: ShardServers): ReadPlace {
    const { monitor } = servers
    if (monitor === null) return onPrimary('none')
    this.#waited = [...this.#waited, servers.id]
    servers.counts.waits += 1
    const { clock, options } = this.#database
    const able = () => this.#able(servers, this.#sampled(servers)).length > 0
    const waiting = waitForSample(monitor, able, { clock, waitMs: options.reads.rywWaitMs })
    return { kind: 'later', until: waiting.then(() => undefined) }
  }
}
