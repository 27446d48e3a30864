// When copying has to wait, as arithmetic: what was read of the servers goes in, a reason comes
// out.

/** Null: no bound. */
export type ThrottleLimits = {
  readonly bytesPerSecondMax: number | null
  /** Of physical replicas of either shard. */
  readonly lagBytesMax: number | null
  readonly lagMsMax: number | null
  /** How many times its latency before the move the source's probe may take. */
  readonly latencyRatioMax: number | null
}

/** No bound at all. */
export const unlimited: ThrottleLimits = {
  bytesPerSecondMax: null,
  lagBytesMax: null,
  lagMsMax: null,
  latencyRatioMax: null,
}

/** How far a replica is behind its primary; `ms` is null while nothing is known of time. */
export type ReplicaLag = {
  readonly shard: 'source' | 'target'
  /** application_name, or its address. */
  readonly replica: string
  readonly bytes: number
  readonly ms: number | null
}

/** What the servers said when they were last asked. */
export type Readings = {
  readonly lags: readonly ReplicaLag[]
  /** Smoothed by `smoothed`. */
  readonly latencyMs: number
  /** Before the move. */
  readonly baselineMs: number
}

/** A pause ends only below this share of the bound, so that it does not begin again at once. */
const resumeShare = 0.8
/** Latencies below a millisecond are doubled by anything. */
const latencySlackMs = 1
const newestWeight = 0.2

/** Why copying has to pause; null: it may go on. `paused`: it does already. */
export function pauseReason(
  readings: Readings,
  limits: ThrottleLimits,
  paused: boolean,
): string | null {
  const share = paused ? resumeShare : 1
  const { lagBytesMax, lagMsMax, latencyRatioMax } = limits
  for (const { shard, replica, bytes, ms } of readings.lags) {
    const who = `replica "${replica}" of the ${shard}`
    if (lagBytesMax !== null && bytes > lagBytesMax * share) {
      return `${who} is ${bytes} bytes behind (bound: ${lagBytesMax})`
    }
    if (lagMsMax !== null && ms !== null && ms > lagMsMax * share) {
      return `${who} is ${Math.round(ms)} ms behind (bound: ${lagMsMax})`
    }
  }
  if (latencyRatioMax === null) return null
  const { latencyMs, baselineMs } = readings
  const boundMs = Math.max(baselineMs * latencyRatioMax, baselineMs + latencySlackMs)
  if (latencyMs <= baselineMs + (boundMs - baselineMs) * share) return null
  return `the source answers in ${latencyMs.toFixed(1)} ms (bound: ${boundMs.toFixed(1)})`
}

/** An exponentially weighted mean. */
export function smoothed(meanMs: number, newestMs: number): number {
  return meanMs + (newestMs - meanMs) * newestWeight
}

/**
 * A bound on bytes per second: what passes now is paid for by what passes later. `freeAtMs` is when
 * all that has passed is paid for.
 */
export function admit(
  bytesPerSecondMax: number,
  freeAtMs: number,
  now: { readonly ms: number; readonly bytes: number },
): { readonly freeAtMs: number; readonly waitMs: number } {
  const beginMs = Math.max(freeAtMs, now.ms)
  return { freeAtMs: beginMs + (now.bytes / bytesPerSecondMax) * 1_000, waitMs: beginMs - now.ms }
}
