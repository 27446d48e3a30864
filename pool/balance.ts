// Which of the servers that may serve a read gets it: power of two choices (Mitzenmacher 2001) on
// peak-EWMA latency × reads in flight, as in Twitter's Finagle; and which are kept aside for a
// while. Pure: clock readings and randomness come in.
// States of a breaker: closed (reads go there; failures in a row are counted) → open (none do) →
// halfOpen (one probe is under way) → closed when it succeeds, open for twice as long when not.
import { unreachable } from '../core/assert.ts'

/** A server that may serve the read. */
export type Candidate = {
  readonly zone: string | null
  /** Share of the load relative to the others', above 0. */
  readonly weight: number
  /** Of its LatencyMeter, now; 0: not measured. */
  readonly latencyMs: number
  /** Reads sent and not answered, or about to be sent. */
  readonly inFlight: number
}

/** Time in which a past peak loses its weight to 1/e. */
const tauMs = 10_000
/** Cost of a server that has not answered yet but was asked: one read finds out, not a flood. */
const unmeasuredMs = 1000
/** No latency is nothing: reads in flight and weight would not count. */
const latencyMsMin = 0.001

/** Failures in a row that open a breaker, and for how long the first and the longest time. */
const failuresMax = 5
const openMsMin = 1000
const openMsMax = 30_000
/** A read is too slow beyond both: this, and so many times what is usual on other servers. */
const slowMsMin = 1000
const slowTimes = 20

/** Peak-EWMA: a higher latency counts at once, a lower one little by little. */
export class LatencyMeter {
  #ewmaMs = 0
  #atMs = 0

  /** A read took `ms` and ended at `nowMs`. */
  observe(ms: number, nowMs: number): void {
    const faded = this.latencyMs(nowMs)
    if (ms >= faded) {
      this.#ewmaMs = ms
    } else {
      const weight = Math.exp(-Math.max(nowMs - this.#atMs, 0) / tauMs)
      this.#ewmaMs = this.#ewmaMs * weight + ms * (1 - weight)
    }
    this.#atMs = Math.max(nowMs, this.#atMs)
  }

  /** Fades towards 0 without reads, so that a server that was slow is tried again. */
  latencyMs(nowMs: number): number {
    if (this.#ewmaMs === 0) return 0
    return this.#ewmaMs * Math.exp(-Math.max(nowMs - this.#atMs, 0) / tauMs)
  }
}

/**
 * The candidate that gets the next read; undefined when there is none. Of `zone` if any is there;
 * null: no preference. `random` gives numbers from 0 up to, not including, 1.
 */
export function chooseHost<T extends Candidate>(
  from: readonly T[],
  zone: string | null,
  random: () => number,
): T | undefined {
  const near = zone === null ? 0 : countIn(from, zone)
  const count = near === 0 ? from.length : near
  const preferred = near === 0 ? null : zone
  if (count < 2) return nth(from, 0, preferred)
  const one = Math.floor(random() * count)
  const other = Math.floor(random() * (count - 1))
  const a = nth(from, one, preferred)
  const b = nth(from, other < one ? other : other + 1, preferred)
  if (a === undefined || b === undefined) return a
  return costOf(b) < costOf(a) ? b : a
}

/** True for a read that took over 1 s and over 20 times what is usual on the other servers. */
export function tooSlow(ms: number, others: readonly LatencyMeter[], nowMs: number): boolean {
  if (ms <= slowMsMin || others.length === 0) return false
  const usual = others.map((other) => other.latencyMs(nowMs)).sort((a, b) => a - b)
  const half = usual.length >> 1
  const upper = usual[half] ?? 0
  const median = usual.length % 2 === 1 ? upper : (upper + (usual[half - 1] ?? 0)) / 2
  return ms > median * slowTimes
}

type BreakerState =
  | { readonly kind: 'closed'; readonly failures: number }
  | { readonly kind: 'open'; readonly openMs: number; readonly untilMs: number }
  | { readonly kind: 'halfOpen'; readonly openMs: number; readonly untilMs: number }

const sound: BreakerState = { kind: 'closed', failures: 0 }

/**
 * Keeps reads from a server that fails or has become slow: `allows` while candidates are gathered,
 * `began` for the one that was chosen, `succeeded` or `failed` when its read ends. A read that was
 * too slow (`tooSlow`) counts as failed. Errors of the statement itself are successes.
 */
export class ReadBreaker {
  #state: BreakerState = sound

  get state(): 'closed' | 'open' | 'halfOpen' {
    return this.#state.kind
  }

  /**
   * True when a read may be sent there: also when the time aside is over and no probe is under way.
   * A probe that takes longer than that time was is given up, and another may follow.
   */
  allows(nowMs: number): boolean {
    return this.#state.kind === 'closed' || nowMs >= this.#state.untilMs
  }

  /** A read that was allowed is sent. */
  began(nowMs: number): void {
    if (this.#state.kind === 'closed') return
    const { openMs } = this.#state
    this.#state = { kind: 'halfOpen', openMs, untilMs: nowMs + openMs }
  }

  /** A read was answered. While the server is kept aside it can only be one sent before. */
  succeeded(): void {
    if (this.#state.kind !== 'open') this.#state = sound
  }

  /** A read failed for a reason that lies with the server. */
  failed(nowMs: number): void {
    const state = this.#state
    switch (state.kind) {
      case 'closed': {
        const failures = state.failures + 1
        this.#state = failures < failuresMax ? { ...state, failures } : openFor(openMsMin, nowMs)
        return
      }
      case 'halfOpen':
        this.#state = openFor(Math.min(state.openMs * 2, openMsMax), nowMs)
        return
      case 'open':
        return
      default:
        unreachable(state)
    }
  }
}

function openFor(openMs: number, nowMs: number): BreakerState {
  return { kind: 'open', openMs, untilMs: nowMs + openMs }
}

function costOf({ latencyMs, inFlight, weight }: Candidate): number {
  const unknown = latencyMs === 0 && inFlight > 0
  const ms = unknown ? unmeasuredMs : Math.max(latencyMs, latencyMsMin)
  return (ms * (inFlight + 1)) / weight
}

function countIn(from: readonly Candidate[], zone: string): number {
  let count = 0
  for (const candidate of from) if (candidate.zone === zone) count += 1
  return count
}

/** Number `index` among those of the zone; null: among all. */
function nth<T extends Candidate>(
  from: readonly T[],
  index: number,
  zone: string | null,
): T | undefined {
  if (zone === null) return from[index]
  let left = index
  for (const candidate of from) {
    if (candidate.zone !== zone) continue
    if (left === 0) return candidate
    left -= 1
  }
  return undefined
}
