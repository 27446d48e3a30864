// A server for a question of the proxy's own.
import type { PgError } from '../core/errors.ts'
import type { Pool } from './pool.ts'
import type { ServerConnection } from './server-connection.ts'
import type { SettingsProfile } from './settings-profile.ts'
import { Waiter } from './waiters.ts'

/** A server for a short internal question, asked for `share`'s sake. @throws PgError when none could be had. */
export function leaseOnce(
  pool: Pool,
  profile: SettingsProfile,
  share = '',
): Promise<ServerConnection> {
  return new Promise((resolve, reject) => {
    const server = pool.acquire(profile, new Promised(share, resolve, reject))
    if (server !== null) resolve(server)
  })
}

class Promised extends Waiter {
  readonly #resolve: (server: ServerConnection) => void
  readonly #reject: (error: PgError) => void

  constructor(
    share: string,
    resolve: (server: ServerConnection) => void,
    reject: (error: PgError) => void,
  ) {
    super(share)
    this.#resolve = resolve
    this.#reject = reject
  }

  granted(server: ServerConnection): void {
    this.#resolve(server)
  }

  refused(error: PgError): void {
    this.#reject(error)
  }
}
