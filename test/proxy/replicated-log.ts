// A shard for models: one primary's log, replicas that replay it, the samples that a monitor takes.
// Logs branch at promotions, replicas fall back to an older state when they restart, and timelines
// are reported before they are replayed.
import { lsn } from '../../core/lsn.ts'
import type { Position } from '../../core/position.ts'
import type { HostNow } from '../../proxy/session-positions.ts'

type Entry = { readonly id: number; readonly lsn: bigint }
export type Sampled = HostNow & { readonly position: Position }

/** One server. `life` counts its restarts; connections and samples belong to one life. */
export type Host = {
  readonly id: string
  life: number
  log: Entry[]
  /** Replayed up to here; the end of its log on the primary. */
  at: bigint
  /** Where it begins after a crash. */
  restartpoint: bigint
  /** What it reports: that of the log it receives. */
  timeline: number
  asked: { readonly life: number; readonly ms: number } | null
  sample: Sampled | null
}

/** The shard; time is a plain number that tests move on. */
export class ReplicatedLog {
  readonly hosts: readonly Host[]
  primary: Host
  nowMs = 0
  #writes = 0
  #timeline = 1
  #systemId = 1

  constructor(hostCount: number) {
    this.hosts = Array.from({ length: hostCount }, (_, n) => newHost(`h${n}`))
    const [first] = this.hosts
    if (first === undefined) throw new Error('a shard has a host')
    this.primary = first
  }

  replicas(): Host[] {
    return this.hosts.filter((host) => host !== this.primary)
  }

  /** A write on the primary, acknowledged: its number, and the insert position right after it. */
  write(bytes: number): { readonly id: number; readonly position: Position } {
    const { primary } = this
    this.#writes += 1
    primary.at += BigInt(bytes)
    primary.log.push({ id: this.#writes, lsn: primary.at })
    return { id: this.#writes, position: this.positionOf(primary) }
  }

  positionOf(host: Host): Position {
    return { systemId: `${this.#systemId}`, timeline: host.timeline, lsn: lsn(host.at) }
  }

  /** Numbers of the writes that a read on this host sees. */
  visible(host: Host): Set<number> {
    return new Set(host.log.filter((entry) => entry.lsn <= host.at).map(({ id }) => id))
  }

  /** Replays towards the primary's end, by up to so many bytes. */
  replay(host: Host, bytes: number): void {
    if (host === this.primary) return
    const to = host.at + BigInt(bytes)
    host.at = to < this.primary.at ? to : this.primary.at
    host.log = [...this.primary.log]
    if (bytes % 3 === 0) host.restartpoint = host.at
  }

  /** The new timeline's log has begun to arrive. */
  receive(host: Host): void {
    host.timeline = this.primary.timeline
  }

  /** A replica shows an older state when it is back; a primary has lost nothing. */
  crash(host: Host): void {
    host.life += 1
    host.asked = null
    if (host !== this.primary) host.at = host.restartpoint
  }

  /** The primary is gone for good; what this replica has not replayed is lost with it. */
  promote(next: Host): void {
    if (next === this.primary) return
    const old = this.primary
    this.#timeline += 1
    next.timeline = this.#timeline
    next.log = next.log.filter((entry) => entry.lsn <= next.at)
    this.primary = next
    // Who is ahead of the new primary is rewound, and so is the old one.
    for (const host of this.hosts) if (host === old || host.at > next.at) rewind(host, next)
    for (const host of this.replicas()) host.log = [...next.log]
  }

  /** Another, empty cluster takes the place of this one. */
  reinitialise(): void {
    this.#systemId += 1
    this.#timeline = 1
    for (const host of this.hosts) {
      Object.assign(host, { log: [], at: 0n, restartpoint: 0n, timeline: 1, asked: null })
      host.life += 1
    }
  }

  ask(host: Host): void {
    host.asked = { life: host.life, ms: this.nowMs }
  }

  /** The answer tells of the state now, which is as old as the question or younger. */
  answer(host: Host): void {
    const { asked } = host
    if (asked === null) return
    const position = this.positionOf(host)
    host.asked = null
    host.sample = {
      id: host.id,
      incarnation: `life ${asked.life}`,
      position,
      positionAfter: (ms) => (asked.ms > ms ? position : null),
    }
  }

  /** What the monitor knows now. */
  sampled(): Sampled[] {
    return this.hosts.flatMap(({ sample }) => (sample === null ? [] : [sample]))
  }
}

function newHost(id: string): Host {
  const start = { life: 0, log: [], at: 0n, restartpoint: 0n, timeline: 1 }
  return { id, ...start, asked: null, sample: null }
}

function rewind(host: Host, to: Host): void {
  host.life += 1
  host.asked = null
  if (host.at > to.at) host.at = to.at
  if (host.restartpoint > host.at) host.restartpoint = host.at
}
