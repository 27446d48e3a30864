// Which of a pool's idle servers is lent: the one used last, or one that already has the client's settings.
import type { ServerConnection } from './server-connection.ts'
import type { SettingsProfile } from './settings-profile.ts'

// How many idle connections are looked at for one that already has the client's settings.
const profileProbes = 8

/** Takes the server out of `idle`; null when there is none. */
export function takeIdle(
  idle: ServerConnection[],
  profile: SettingsProfile,
): ServerConnection | null {
  const last = idle.length - 1
  if (last < 0) return null
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
