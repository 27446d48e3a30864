// Who may do what in the admin console: asked once, before every command, whatever protocol it came by.
import { pgError } from '../../core/errors.ts'
import type { Command } from './tokens.ts'

/** `admin`: everything. `stats`: looking, but at nothing that would let somebody take over a connection. */
export type Role = 'admin' | 'stats'

/** Settings that drivers make by themselves: there is nothing to be set, and nothing to be afraid of. */
export const ignoredSettings: ReadonlySet<string> = new Set([
  'application_name',
  'client_encoding',
  'client_min_messages',
  'datestyle',
  'default_transaction_isolation',
  'extra_float_digits',
  'intervalstyle',
  'standard_conforming_strings',
  'timezone',
])

const forAdmins: ReadonlySet<string> = new Set(['fds'])

/** @throws PgError 42501 */
export function authorize(role: Role, { name, args, text }: Command): void {
  if (role === 'admin') return
  const [first] = args
  const what = first !== undefined && 'text' in first ? first.text.toLowerCase() : ''
  if ((name === 'show' || name === 'select') && !forAdmins.has(what)) return
  if (name === 'set' && ignoredSettings.has(what)) return
  throw pgError('adminRoleNeeded', [text])
}
