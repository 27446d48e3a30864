// One server of a shard, as the monitor sees it: asked again and again for its role and position.
// host-verdict.ts decides how often, and what a failure means; host-link.ts asks.
// States: resting (#rest is a timer) → looking (#looking is a promise; after a failure a second
// try) → resting; close() ends both.
// Doubtful: since the last sample its connection, or a client's, was lost. By now it may have been
// started anew and be where it was before, so no read is begun there until the next sample.
import type { Timer } from '../core/clock.ts'
import type { Position } from '../core/position.ts'
import { HostLink, type HostLinkOptions } from './host-link.ts'
import type { HostSample } from './host-sample.ts'
import {
  downPauseMs,
  type LookFailure,
  type Mood,
  type Pace,
  pauseMsMax,
  samplePauseMs,
  secondWay,
} from './host-verdict.ts'
import type { ServerTlsMode } from './server-tls.ts'

/** A configured server of a shard. */
export type HostAddress = {
  readonly host: string
  readonly port: number
  /** What its URL says of TLS; absent or null: nothing. */
  readonly tlsMode?: ServerTlsMode | null | undefined
  readonly zone: string | null
  /** Share of the reads relative to the shard's other servers. */
  readonly weight: number
}

/** `refused`: it answers, but nothing may be asked there (another cluster, split brain). */
export type HostStatus =
  | { readonly kind: 'unknown' }
  | { readonly kind: 'up'; readonly sample: HostSample }
  | { readonly kind: 'down'; readonly sinceMs: number; readonly reason: string }
  | { readonly kind: 'refused'; readonly reason: string }

export type HostMonitorOptions = Omit<HostLinkOptions, 'lost'> & {
  readonly address: HostAddress
  readonly pace: Pace
  /** From 0 up to 1. */
  readonly random: () => number
  readonly mood: () => Mood
  /** There is a new sample, or it is down, or in doubt. */
  readonly changed: (host: HostMonitor) => void
}

/** A server that does not answer a look within this is tried over a new connection. */
const answerMsMax = 1_000
/** A thousand clients that lose their connections at once cause a few looks, not a thousand. */
const freshEveryMs = 50

export class HostMonitor {
  /** `host:port`. */
  readonly id: string
  readonly address: HostAddress
  readonly #options: HostMonitorOptions
  readonly #link: HostLink
  #observed: Exclude<HostStatus, { kind: 'refused' }> = { kind: 'unknown' }
  #refused: Extract<HostStatus, { kind: 'refused' }> | null = null
  #newest: HostSample | null = null
  #primarySinceMs: number | null = null
  #doubtful = false
  #wantsFresh = false
  #moved = false
  #failures = 0
  #pauseMs: number
  #lookedAtMs = 0
  #freshAtMs = 0
  #rest: Timer | null = null
  #looking: Promise<void> | null = null
  #closed = false

  constructor(options: HostMonitorOptions) {
    this.#options = options
    this.address = options.address
    this.id = hostId(options.address)
    this.#link = new HostLink({ ...options, lost: () => this.#lost() })
    this.#pauseMs = options.pace.sampleMsMin
  }

  get status(): HostStatus {
    return this.#observed.kind === 'up' ? (this.#refused ?? this.#observed) : this.#observed
  }

  /** The last sample, however long ago: of a server that is down or refused, too. */
  get newest(): HostSample | null {
    return this.#newest
  }

  /** What the last look brought; null when it failed. */
  get answer(): HostSample | null {
    return this.#observed.kind === 'up' ? this.#observed.sample : null
  }

  /** True when it is up and nothing has happened since that puts the last sample in doubt. */
  get trusted(): boolean {
    return this.status.kind === 'up' && !this.#doubtful
  }

  /** First column of the answer to a question of somebody's own. @throws when the server cannot be asked */
  ask(sql: string): Promise<readonly string[]> {
    return this.#link.ask(sql)
  }

  /** Highest timeline that it has told of, also one that it does not replay yet. */
  get timelineSeen(): number {
    return this.#link.timelineSeen
  }

  /** Since when it has said that it is a primary; null when it did not in the last look. */
  get primarySinceMs(): number | null {
    return this.#primarySinceMs
  }

  /**
   * Where the server was at some moment after `afterMs`: not before what a read saw there until
   * then, provided that its incarnation is still the one that was read from. Null when no sample
   * was asked for since.
   */
  positionAfter(afterMs: number): Position | null {
    const sample = this.#newest
    return sample !== null && sample.askedAtMs > afterMs ? sample : null
  }

  /** Looks now, unless it is being looked at; resolves after the look. */
  look(): Promise<void> {
    if (this.#closed) return Promise.resolve()
    this.#rest?.cancel()
    this.#looking ??= this.#look().finally(() => {
      this.#looking = null
      this.#restAfterLook()
    })
    return this.#looking
  }

  /** A client's connection there has failed: only a new connection shows what is true. */
  suspect(): void {
    if (this.#closed || this.#observed.kind !== 'up') return
    this.#wantsFresh = true
    this.#doubtful = true
    if (this.#looking === null) this.#restAfterLook()
    this.#options.changed(this)
  }

  /** The shard's mood has changed: what is left of the present pause may be too long now. */
  hurry(): void {
    if (this.#looking !== null || this.#rest === null) return
    const { pace, mood } = this.#options
    const longestMs = pauseMsMax(pace, mood(), this.#observed.kind === 'up')
    if (longestMs < this.#pauseMs) this.#restUntil(this.#lookedAtMs + longestMs)
  }

  /** What the shard holds against it; null = nothing. True when that is news. */
  refuse(reason: string | null): boolean {
    if (reason === (this.#refused?.reason ?? null)) return false
    this.#refused = reason === null ? null : { kind: 'refused', reason }
    return true
  }

  /** Resolves when nothing of it runs any more. */
  async close(): Promise<void> {
    this.#closed = true
    this.#rest?.cancel()
    this.#link.close()
    await this.#looking
  }

  #lost(): void {
    // During a look the look itself hears of it.
    if (this.#closed || this.#looking !== null) return
    this.#doubtful = true
    void this.look()
    this.#options.changed(this)
  }

  async #look(): Promise<void> {
    const down = this.#observed.kind === 'down'
    const { pace, dial } = this.#options
    const limitMs = Math.min(pace.probeMs, answerMsMax)
    const way = this.#wantsFresh || !this.#link.keeps ? 'fresh' : 'kept'
    this.#wantsFresh = false
    this.#lookedAtMs = dial.clock.nowMs()
    if (way === 'fresh') this.#freshAtMs = this.#lookedAtMs
    let seen = await this.#link.look(way, limitMs)
    if (seen.kind === 'failure' && !this.#closed) {
      const second = secondWay(seen.failure.kind, { keeps: this.#link.keeps, down })
      if (second !== null) seen = await this.#link.look(second, limitMs)
    }
    if (this.#closed) return
    if (seen.kind === 'sample') this.#isUp(seen.sample)
    else this.#isDown(seen.failure)
    this.#options.changed(this)
  }

  #isUp(sample: HostSample): void {
    const before = this.#newest
    this.#moved = before?.lsn !== sample.lsn || before.role !== sample.role
    if (sample.role === 'replica') this.#primarySinceMs = null
    else if (before?.incarnation !== sample.incarnation || this.#primarySinceMs === null) {
      this.#primarySinceMs = sample.answeredAtMs
    }
    this.#newest = sample
    this.#observed = { kind: 'up', sample }
    // Suspected once more while it was looked at: that is not answered yet.
    this.#doubtful = this.#wantsFresh
    this.#failures = 0
  }

  #isDown({ reason }: LookFailure): void {
    const { clock } = this.#options.dial
    const sinceMs = this.#observed.kind === 'down' ? this.#observed.sinceMs : clock.nowMs()
    this.#observed = { kind: 'down', sinceMs, reason }
    this.#primarySinceMs = null
    this.#wantsFresh = false
    this.#failures += 1
    this.#link.drop()
  }

  #restAfterLook(): void {
    if (this.#closed) return
    const { pace, mood, random } = this.#options
    if (this.#wantsFresh) return this.#restUntil(this.#freshAtMs + freshEveryMs)
    this.#pauseMs =
      this.#failures > 0
        ? downPauseMs(pace, mood(), this.#failures, random())
        : samplePauseMs(pace, mood(), { moved: this.#moved, lastMs: this.#pauseMs })
    this.#restUntil(this.#lookedAtMs + this.#pauseMs)
  }

  #restUntil(dueMs: number): void {
    const { clock } = this.#options.dial
    this.#rest?.cancel()
    this.#rest = clock.after(Math.max(0, dueMs - clock.nowMs()), () => void this.look())
  }
}

/** Name of a server in the monitor, in Patroni's answers and in the log. */
export const hostId = ({ host, port }: Pick<HostAddress, 'host' | 'port'>) => `${host}:${port}`
