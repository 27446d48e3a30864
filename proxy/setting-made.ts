// What set_config() and SET LOCAL make of a session's settings, as far as it can be told from their words.
import { quoteLiteral, SettingsProfile } from '../pool/settings-profile.ts'
import type { SetConfigCall } from '../router/plan.ts'
import type { BoundParams } from '../router/router.ts'
import { settingName } from '../router/setting-value.ts'
import { isTrue } from '../router/transaction-modes.ts'
import { scalar } from './scalar.ts'

/** A setting with the SQL that puts it in force anywhere. */
export type SettingMade = { readonly name: string; readonly sql: string; readonly local: boolean }

/** Null for a call without a name, which PostgreSQL refuses. */
export function settingOf(call: SetConfigCall, params: BoundParams | null): SettingMade | null {
  const written = scalar(call.name, params)
  if (written === null) return null
  const name = settingName(written)
  const value = scalar(call.value, params)
  // What is of the transaction alone ends with it, whatever the call says.
  const isLocal = name.startsWith('transaction_') || isTrue(scalar(call.local, params)?.trim())
  const setting = value === null ? 'NULL' : quoteLiteral(value)
  const sql = `SELECT pg_catalog.set_config(${quoteLiteral(name)}, ${setting}, ${isLocal})`
  return { name, sql, local: isLocal }
}

const local = /^\s*SET\s+LOCAL\s+(?:(time\s+zone)|(names)|(xml\s+option)|"?([\w.]+)"?)/i

/** What a SET LOCAL changes of how statements are read from then on; undefined: nothing. */
export function localChange(
  sql: string,
): ((settings: SettingsProfile) => SettingsProfile) | undefined {
  const name = localName(sql)
  const { literals } = SettingsProfile.empty.with(name, sql)
  if (name !== 'search_path' && literals === '') return undefined
  return (settings) => settings.with(name, sql)
}

function localName(sql: string): string {
  const [, zone, encoding, xml, name = ''] = local.exec(sql) ?? []
  if (zone !== undefined) return 'timezone'
  if (encoding !== undefined) return 'client_encoding'
  return xml === undefined ? name.toLowerCase() : 'xmloption'
}
