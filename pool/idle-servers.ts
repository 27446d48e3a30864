// Which of a pool's idle servers is lent: the one used last, or one that already has the client's settings. And
// which of them are closed.
import type { PoolLimits } from './pool-options.ts'
import type { ServerConnection } from './server-connection.ts'
import type { SettingsProfile } from './settings-profile.ts'

// How many idle connections are looked at for one that already has the client's settings.
const profileProbes = 8
// Lifetimes differ by up to this share of themselves: what was opened together does not end together.
const lifetimeSpread = 0.1

/** Takes a server out of `idle`; null when there is none. With `roundRobin` the one idle longest, whatever its settings. */
export function takeIdle(
  idle: ServerConnection[],
  profile: SettingsProfile,
  roundRobin = false,
): ServerConnection | null {
  const last = idle.length - 1
  if (last < 0) return null
  if (roundRobin) return idle.shift() ?? null
  let at = last
  for (let probe = last; probe >= 0 && probe > last - profileProbes; probe -= 1) {
    if (idle[probe]?.settings.equals(profile) === true) {
      at = probe
      break
    }
  }
  const [server] = idle.splice(at, 1)
  return server ?? null
}

/** Why an idle server is closed now; null: it is kept. `there`: connections of its pool, of which `kept` stay open. */
export function idleTooLong(
  server: ServerConnection,
  { size, serverIdleTimeoutMs }: PoolLimits,
  { nowMs, there, kept }: { readonly nowMs: number; readonly there: number; readonly kept: number },
): string | null {
  if (nowMs > server.expiresAtMs) return 'its lifetime is over'
  if (there > size) return 'there are more than pool.size'
  const unused = serverIdleTimeoutMs > 0 && nowMs - server.idleSinceMs > serverIdleTimeoutMs
  return unused && there > kept ? 'idle for too long' : null
}

/** When a connection that is opened now has lived long enough; they differ, so that they do not end together. */
export function expiryOf(
  { serverLifetimeMs }: PoolLimits,
  nowMs: number,
  random: () => number,
): number {
  if (serverLifetimeMs === 0) return Number.POSITIVE_INFINITY
  return nowMs + serverLifetimeMs * (1 + lifetimeSpread * (2 * random() - 1))
}
