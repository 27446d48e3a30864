// Who is who among the servers of one shard: which is the primary, which replicas may be read from
// and how far behind they are. Each server has a HostMonitor; after each of its looks host-verdict.ts
// judges anew. A primary is given up in the moment in which it is down, demoted or refused, and
// a new one is announced by its first sample as such, which has its new timeline already:
// PostgreSQL sets the timeline before it ends recovery (StartupXLOG in access/transam/xlog.c).
import type { Clock } from '../core/clock.ts'
import type { ShardId } from '../core/ids.ts'
import type { Log } from '../core/log.ts'
import { type Lsn, lsn } from '../core/lsn.ts'
import type { DialOptions } from './dial.ts'
import { type HostAddress, hostId, HostMonitor } from './host-monitor.ts'
import { type Candidate, judge, type Mood, type Verdict } from './host-verdict.ts'
import { type Lag, noLag, WalHistory } from './lag.ts'
import { PatroniWatch } from './patroni.ts'

export type ShardMonitorOptions = {
  readonly shard: ShardId
  /** The configured primary first. */
  readonly hosts: readonly HostAddress[]
  readonly login: {
    readonly database: string
    readonly user: string
    readonly password: string | null
  }
  readonly dial: DialOptions
  readonly clock: Clock
  readonly log: Log
  /** Longest pause between two looks at a server. */
  readonly probeMs: number
  /** Shortest. */
  readonly sampleMsMin: number
  /** May be empty. */
  readonly patroniUrls: readonly string[]
  /** From 0 up to 1; the machine's own when missing. */
  readonly random?: () => number
}

/** Hears that another server is the primary, or none. */
export type PrimaryListener = (primary: HostMonitor | null, reason: string) => void

/** Timelines and clusters remembered; there are more only where something is badly wrong. */
const rememberedMax = 16
const patroniLeaderlessMs = 250
const patroniLimitMsMax = 1_000

export class ShardMonitor {
  readonly hosts: readonly HostMonitor[]
  readonly #options: ShardMonitorOptions
  readonly #log: Log
  readonly #patroni: PatroniWatch
  readonly #listeners = new Set<{ readonly call: PrimaryListener }>()
  readonly #watchers = new Set<{ readonly call: () => void }>()
  readonly #history = new WalHistory()
  /** Highest timeline seen, by system identifier. */
  readonly #timelines = new Map<string, number>()
  /** A position at or behind the start of a timeline. Timeline 1 has no start. */
  readonly #timelineStarts = new Map<number, Lsn>([[1, lsn(0n)]])
  #systemId: string | null = null
  #primary: HostMonitor | null = null
  #replicas: readonly HostMonitor[] = []
  #started = false
  #closed = false

  constructor(options: ShardMonitorOptions) {
    this.#options = options
    const { shard, hosts, login, dial, clock, sampleMsMin, random = Math.random } = options
    this.#log = options.log.child({ shard })
    this.hosts = hosts.map((address) => {
      const { host, port, tlsMode } = address
      return new HostMonitor({
        address,
        target: { shard, role: 'replica', host, port, tlsMode, ...login },
        dial: { ...dial, clock },
        // Read at every use: a reload changes it.
        pace: {
          get probeMs() {
            return options.probeMs
          },
          sampleMsMin,
        },
        random,
        mood: () => this.#mood(),
        timelineStart: (timeline) => this.#timelineStarts.get(timeline) ?? null,
        changed: (changed) => this.#changed(changed),
      })
    })
    this.#patroni = new PatroniWatch({
      urls: options.patroniUrls,
      hostIds: hosts.map(hostId),
      clock,
      log: this.#log,
      limitMs: Math.min(options.probeMs, patroniLimitMsMax),
      pauseMs: () =>
        this.#primary === null ? Math.min(options.probeMs, patroniLeaderlessMs) : options.probeMs,
      answered: (leader) => this.#patroniAnswered(leader),
    })
  }

  get primary(): HostMonitor | null {
    return this.#primary
  }

  /**
   * Replicas that are up and beyond doubt, in the primary's cluster and on its timeline (while
   * there is no primary: on the highest seen). The same array until that changes.
   */
  get replicas(): readonly HostMonitor[] {
    return this.#replicas
  }

  /** Highest seen; 0 before anything was. */
  get timeline(): number {
    const systemId = this.#clusterId()
    return systemId === null ? 0 : (this.#timelines.get(systemId) ?? 0)
  }

  /** Looks at every server once; resolves when each has answered or failed. */
  async start(): Promise<void> {
    this.#patroni.look()
    await Promise.all(this.hosts.map((host) => host.look()))
    // Judged together, so that the order of the configuration decides and not that of the answers.
    this.#started = true
    for (const host of this.hosts) this.#noteTimeline(host)
    this.#judge()
  }

  /** Resolves when nothing of it runs any more. */
  async close(): Promise<void> {
    this.#closed = true
    this.#listeners.clear()
    this.#watchers.clear()
    await Promise.all([this.#patroni.close(), ...this.hosts.map((host) => host.close())])
  }

  /** Calls `listener` from now on; the function returned ends that. */
  onPrimaryChange(listener: PrimaryListener): () => void {
    const entry = { call: listener }
    this.#listeners.add(entry)
    return () => void this.#listeners.delete(entry)
  }

  /** A client's connection to `host` failed, or it said that it is no primary: looks at once. */
  suspect(host: HostMonitor, reason: string): void {
    this.#log.debug({ host: host.id, reason }, 'looking at a server that a client has lost')
    host.suspect()
  }

  /**
   * Somebody waits: every server is sampled each `sampleMsMin`, and `listener` is called after each
   * look, until the function returned is called.
   */
  watch(listener: () => void): () => void {
    const entry = { call: listener }
    this.#watchers.add(entry)
    if (this.#watchers.size === 1) for (const host of this.hosts) host.hurry()
    return () => void this.#watchers.delete(entry)
  }

  /** Somebody has seen a timeline of a cluster. Ours: a primary on a lower one is refused. */
  noteTimeline(systemId: string, timeline: number): void {
    const known = this.#timelines.get(systemId)
    if ((known ?? 0) >= timeline) return
    if (known === undefined && this.#timelines.size >= rememberedMax) return
    this.#timelines.set(systemId, timeline)
    if (this.#started) this.#judge()
  }

  /** How far `host` was behind the primary at its last sample, and for how long it has been. */
  lag(host: HostMonitor): Lag {
    const sample = host.newest
    if (sample === null || sample.role === 'primary') return noLag
    return this.#history.lag(sample.lsn, this.#options.clock.nowMs())
  }

  #mood(): Mood {
    return { watched: this.#watchers.size > 0, led: this.#primary !== null }
  }

  #changed(host: HostMonitor): void {
    if (!this.#started || this.#closed) return
    this.#noteTimeline(host)
    this.#judge()
    for (const { call } of Array.from(this.#watchers)) call()
  }

  #noteTimeline({ answer, timelineSeen }: HostMonitor): void {
    if (answer === null) return
    const known = this.#timelines.get(answer.systemId) ?? 0
    if (known < timelineSeen) this.#timelines.set(answer.systemId, timelineSeen)
  }

  #patroniAnswered(leader: string | null): void {
    if (!this.#started || this.#closed) return
    this.#judge()
    if (this.#primary !== null || leader === null) return
    void this.hosts.find(({ id }) => id === leader)?.look()
  }

  #judge(): void {
    const candidates = this.hosts.flatMap((host) => this.#candidate(host))
    const verdict = judge(candidates, {
      followed: this.#primary?.id ?? null,
      systemId: this.#systemId,
      timelines: this.#timelines,
    })
    this.#systemId = verdict.systemId
    for (const host of this.hosts) {
      const reason = verdict.refused.get(host.id) ?? null
      if (host.refuse(reason) && reason !== null) {
        this.#log.error({ host: host.id, reason }, 'a server is refused')
      }
    }
    const primary = this.hosts.find(({ id }) => id === verdict.primary) ?? null
    const before = this.#primary
    this.#primary = primary
    if (primary !== null) this.#notePrimary(primary)
    this.#chooseReplicas()
    if (primary !== before) this.#announce(before, verdict)
  }

  #candidate({ id, answer, primarySinceMs }: HostMonitor): readonly Candidate[] {
    if (answer === null) return []
    const disowned = primarySinceMs !== null && this.#patroni.disowns(id, primarySinceMs)
    const { role, systemId, timeline } = answer
    return [{ id, role, systemId, timeline, disowned }]
  }

  #notePrimary({ answer }: HostMonitor): void {
    if (answer === null) return
    this.#history.note(answer.flushed, answer.askedAtMs)
    if (this.#timelineStarts.has(answer.timeline)) return
    this.#timelineStarts.set(answer.timeline, answer.flushed)
    if (this.#timelineStarts.size > rememberedMax) {
      this.#timelineStarts.delete(Math.min(...this.#timelineStarts.keys()))
    }
  }

  #chooseReplicas(): void {
    const systemId = this.#clusterId()
    const timeline = this.#primary?.answer?.timeline ?? this.timeline
    const chosen = this.hosts.filter(
      ({ answer, trusted }) =>
        trusted &&
        answer?.role === 'replica' &&
        answer.systemId === systemId &&
        answer.timeline === timeline,
    )
    const same = chosen.length === this.#replicas.length
    if (same && chosen.every((host, at) => host === this.#replicas[at])) return
    this.#replicas = chosen
  }

  /** The shard's; before any primary was seen, that of the first server that answers. */
  #clusterId(): string | null {
    if (this.#systemId !== null) return this.#systemId
    return this.hosts.find(({ answer }) => answer !== null)?.answer?.systemId ?? null
  }

  #announce(before: HostMonitor | null, { rivals }: Verdict): void {
    const primary = this.#primary
    const reason = primary === null ? reasonOfLoss(before) : reasonOfGain(primary)
    if (rivals.length > 0) this.#log.warn({ rivals }, 'several servers say that they are primary')
    if (primary === null) this.#log.warn({ reason }, 'the shard has no primary')
    else this.#log.info({ primary: primary.id, reason }, 'the shard has a primary')
    for (const host of this.hosts) {
      // Who is not known to follow a new primary is looked at; without one, all are, and soon.
      if (primary === null) host.hurry()
      else if (host !== primary && !this.#replicas.includes(host)) void host.look()
    }
    if (primary === null) this.#patroni.look()
    for (const { call } of Array.from(this.#listeners)) call(primary, reason)
  }
}

function reasonOfLoss(before: HostMonitor | null): string {
  const status = before?.status
  switch (status?.kind) {
    case 'down':
    case 'refused':
      return `server ${before?.id}: ${status.reason}`
    case 'up':
      return `server ${before?.id} is a replica now`
    default:
      return 'no server says that it is a primary'
  }
}

function reasonOfGain({ id, answer }: HostMonitor): string {
  return `server ${id} is the primary on timeline ${answer?.timeline}`
}
