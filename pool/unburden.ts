// What was meant for a server's last client does not reach the next: cancel requests on their way to it, and timeouts that
// the client has set. They are taken back before it is lent again.
import type { Clock } from '../core/clock.ts'
import { PgError } from '../core/errors.ts'
import { ask } from './exchange.ts'
import type { ServerConnection } from './server-connection.ts'

/** SQLSTATE of what a timeout or a cancel request has ended. */
const cancelled = '57014'
const triesMax = 10

/** True when that server may not be lent yet. */
export function isBurdened({ cancels, settings }: ServerConnection): boolean {
  return cancels.size > 0 || settings.isHasty
}

/** Resolves when it may be lent, or is closed since it did not answer within `patienceMs`. */
export async function unburden(
  server: ServerConnection,
  clock: Clock,
  patienceMs: number,
): Promise<void> {
  await Promise.all(server.cancels)
  if (!server.settings.isHasty || server.closed) return
  const deadline = clock.after(patienceMs, () => server.close('its settings could not be reset'))
  try {
    await calm(server)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    server.close(`its settings could not be reset: ${reason}`)
  } finally {
    deadline.cancel()
  }
}

async function calm(server: ServerConnection): Promise<void> {
  const { calmed } = server.settings
  for (let tries = 1; ; tries += 1) {
    try {
      await ask(server, calmed.replayFrom(server.settings))
      server.settings = calmed
      return
    } catch (error) {
      const again = error instanceof PgError && error.sqlstate === cancelled && tries < triesMax
      if (!again || server.closed) throw error
    }
  }
}
