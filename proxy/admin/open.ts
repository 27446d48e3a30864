// How a client that has logged in gets the admin console: by the database "ringfence", or "pgbouncer" for tools that were
// made for that and shall see what they know.
import type { Socket } from 'node:net'
import { pgError } from '../../core/errors.ts'
import type { Outbox } from '../../pool/outbox.ts'
import type { Framer } from '../../wire/framer.ts'
import type { AdminCommands } from './commands.ts'
import { AdminConsole } from './console.ts'
import type { Role } from './gate.ts'

/** Users of the console by name, besides those whose account says that they are admins. */
export type ConsoleUsers = {
  readonly admins: ReadonlySet<string>
  /** Who may look. */
  readonly stats: ReadonlySet<string>
}

type ConsoleClient = {
  readonly name: string
  readonly isAdmin: boolean
  readonly socket: Socket
  readonly outbox: Outbox
  readonly framer: Framer
}

const ownName = 'ringfence'
const names: ReadonlySet<string> = new Set([ownName, 'pgbouncer'])

/** True for the database names under which the console is; a database of the configuration comes first. */
export function isConsole(database: string): boolean {
  return names.has(database)
}

/** @throws PgError 42501 for who is neither an admin nor may look */
export function openConsole(
  database: string,
  { name, isAdmin, socket, outbox, framer }: ConsoleClient,
  { admins, stats }: ConsoleUsers,
  commands: AdminCommands,
): AdminConsole {
  const role: Role | null = isAdmin || admins.has(name) ? 'admin' : stats.has(name) ? 'stats' : null
  if (role === null) throw pgError('adminOnly')
  const asker = { role, exact: database !== ownName }
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
