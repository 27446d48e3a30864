// How a client that has logged in gets the admin console: by the database "ringfence", or "pgbouncer" for tools that were
// made for that and shall see what they know.
import type { Socket } from 'node:net'
import { pgError } from '../../core/errors.ts'
import type { Outbox } from '../../pool/outbox.ts'
import type { Framer } from '../../wire/framer.ts'
import type { AdminCommands } from './commands.ts'
import { AdminConsole } from './console.ts'
import type { Role } from './gate.ts'
import type { AdminWorld } from './world.ts'

/** Users of the console by name, besides those whose account says that they are admins. */
type ConsoleUsers = {
  readonly admins: ReadonlySet<string>
  /** Who may look. */
  readonly stats: ReadonlySet<string>
}

/** What the console is told of the process that it is in. */
export type AdminOptions = {
  /**
   * Reads the configuration again and applies what can be; gives what it has done, and what needs a restart. Null: there is
   * none to read. @throws Error naming what is wrong with it; then nothing has changed
   */
  readonly reload?: (() => Promise<readonly string[]>) | null
  /** Has a new process take over; absent: there is none to start. */
  readonly upgrade?: AdminWorld['upgrade']
  /** Key, value, default and whether SET changes it, of all settings; absent: none is shown. */
  readonly settings?: AdminWorld['settings']
  /** Changes a setting until the next reload. */
  readonly set?: AdminWorld['set']
  readonly shutdown?: AdminWorld['shutdown']
  /** Who may use the admin console besides the users marked as admins; absent: nobody. */
  readonly consoleUsers?: ConsoleUsers
}

type ConsoleClient = {
  readonly name: string
  readonly isAdmin: boolean
  readonly socket: Socket
  readonly outbox: Outbox
  readonly framer: Framer
}

const nobody: ConsoleUsers = { admins: new Set(), stats: new Set() }
/** Rules for the console name this one. */
export const consoleName = 'ringfence'
const names: ReadonlySet<string> = new Set([consoleName, 'pgbouncer'])

/** What the process can be told by the console. */
export function ordersOf(
  options: AdminOptions,
): Pick<AdminWorld, 'settings' | 'reload' | 'upgrade' | 'set' | 'shutdown'> {
  const { settings = () => [], reload = null, upgrade = null, set = null } = options
  return { settings, reload, upgrade, set, shutdown: options.shutdown ?? null }
}

/** True for the database names under which the console is; a database of the configuration comes first. */
export function isConsole(database: string): boolean {
  return names.has(database)
}

/** @throws PgError 42501 for who is neither an admin nor may look */
export function openConsole(
  database: string,
  { name, isAdmin, socket, outbox, framer }: ConsoleClient,
  commands: AdminCommands,
  { admins, stats }: ConsoleUsers = nobody,
): AdminConsole {
  const role: Role | null = isAdmin || admins.has(name) ? 'admin' : stats.has(name) ? 'stats' : null
  if (role === null) throw pgError('adminOnly')
  const asker = { role, exact: database !== consoleName }
  return new AdminConsole({ socket, outbox, framer, asker, commands })
}

/** ParameterStatus of the console: what drivers look at before they send anything. */
export function consoleParameters(version: string): ReadonlyMap<string, string> {
  return new Map([
    ['server_version', `18.0 (Ringfence ${version})`],
    ['server_encoding', 'UTF8'],
    ['client_encoding', 'UTF8'],
    ['DateStyle', 'ISO'],
    ['TimeZone', 'UTC'],
    ['integer_datetimes', 'on'],
    ['standard_conforming_strings', 'on'],
    ['is_superuser', 'on'],
  ])
}
