// Settings of the proxy itself, SET like PostgreSQL's: their names, and what each takes.
import { pgError } from '../core/errors.ts'
import type { Consistency, ReadTarget } from './database-options.ts'

/** What the names of all of them begin with. */
export const ownPrefix = 'ringfence.'

export const ownNames = {
  target: 'ringfence.target',
  consistency: 'ringfence.consistency',
  partial: 'ringfence.partial',
  sessionId: 'ringfence.session_id',
  sessionToken: 'ringfence.session_token',
} as const

const sessionIdsMax = 16
const sessionIdBytesMax = 128

export function isTarget(value: string | undefined): value is ReadTarget {
  return value === 'auto' || value === 'primary' || value === 'replica'
}

export function isConsistency(value: string | undefined): value is Consistency {
  return value === 'session' || value === 'eventual' || value === 'strong'
}

/** @throws PgError 42704 for a name that is not one of ours */
export function checkOwnName(name: string): void {
  if (!Object.values<string>(ownNames).includes(name)) throw pgError('undefinedSetting', [name])
}

/** Ids of a setting's value, which separates several by commas. */
export function sessionIdsOf(value: string | undefined): readonly string[] {
  if (value === undefined || value === '') return none
  return value
    .split(',')
    .map((id) => id.trim())
    .filter((id) => id !== '')
}

const none: readonly string[] = []

/** So many at once as a token store takes: those of settings and of hints may be more together. */
export function sessionIdParts(ids: readonly string[]): readonly (readonly string[])[] {
  const parts = Math.ceil(ids.length / sessionIdsMax)
  return Array.from({ length: parts }, (_, at) =>
    ids.slice(at * sessionIdsMax, (at + 1) * sessionIdsMax),
  )
}

/**
 * The value to keep for `name`, which is not the session token. @throws PgError 42704 for a name that is not one of
 * ours, 22023 for a value that it does not take
 */
export function checkOwnSetting(name: string, value: string): string {
  switch (name) {
    case ownNames.target:
      return oneOf(name, value, ['auto', 'primary', 'replica'])
    case ownNames.consistency:
      return oneOf(name, value, ['session', 'eventual', 'strong'])
    case ownNames.partial:
      return /^(?:on|true|yes|1|t|y)$/i.test(value) ? 'on' : oneOf(name, offOf(value), ['off'])
    case ownNames.sessionId: {
      const ids = sessionIdsOf(value)
      const long = ids.some((id) => Buffer.byteLength(id) > sessionIdBytesMax)
      if (ids.length <= sessionIdsMax && !long) return ids.join(',')
      throw invalid(name, value, `up to ${sessionIdsMax} ids of ${sessionIdBytesMax} bytes each`)
    }
    default:
      throw pgError('undefinedSetting', [name])
  }
}

function offOf(value: string): string {
  return /^(?:off|false|no|0|f|n)$/i.test(value) ? 'off' : value
}

function oneOf(name: string, value: string, allowed: readonly string[]): string {
  const known = value.toLowerCase()
  if (allowed.includes(known)) return known
  const list = allowed.length === 1 ? 'on and off' : allowed.join(', ')
  throw invalid(name, value, list)
}

function invalid(name: string, value: string, allowed: string) {
  const shown = value.length > 64 ? `${value.slice(0, 64)}…` : value
  return pgError('settingInvalid', [name, shown, allowed])
}
