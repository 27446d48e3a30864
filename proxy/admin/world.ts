// What the admin console sees of the proxy that it belongs to.
import type { Clock } from '../../core/clock.ts'
import type { Database } from '../database.ts'
import type { SharedLimits } from '../entrance.ts'
import type { Fleet, Rows } from '../fleet.ts'
import type { Sessions } from '../sessions.ts'

/** How a proxy is told to end: at once, when no server is in use any more, when the last client has gone. */
export type ShutdownMode = 'now' | 'servers' | 'clients'

export type AdminWorld = {
  readonly version: string
  readonly clock: Clock
  readonly fleet: Fleet
  readonly databases: () => readonly Database[]
  /** The database of that name, opened if the entry `*` stands for it; null: there is none. @throws PgError 53300, 57P03 */
  readonly take: (name: string) => Promise<Database | null>
  readonly sessions: Sessions
  /** Names of the users that the configuration knows. */
  readonly users: () => readonly string[]
  /** What holds for all databases together. */
  readonly shared: () => SharedLimits
  /** Connections that are not logged in yet. */
  readonly logins: () => number
  /** Key, value, default, and whether SET may change it (yes or no), as in PgBouncer's SHOW CONFIG. */
  readonly settings: () => Rows
  /** Gives what was done and what needs a restart; null: there is no configuration to read again. */
  readonly reload: (() => Promise<readonly string[]>) | null
  /** Has a new process take over; resolves once it serves. @throws Error why it does not. Null: there is none to start */
  readonly upgrade: (() => Promise<readonly string[]>) | null
  /** Until the next reload or restart. @throws PgError 22023, 55P02; null: there is nothing to set */
  readonly set: ((key: string, value: string) => Promise<readonly string[]>) | null
  /** Null where the process is not ours to end. */
  readonly shutdown: ((mode: ShutdownMode) => Promise<void>) | null
}
