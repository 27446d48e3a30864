// Reads the value back out of the statement that put a setting in force, as the session keeps it.
import { isTrue } from './transaction-modes.ts'

const leading = String.raw`^(?:\s|/\*(?:[^*]|\*(?!/))*\*/|--[^\n]*\n)*`
const value = String.raw`(?:'([^'\\]*)'|"?(\w+)"?)`
const set = new RegExp(
  String.raw`${leading}SET\s+(?:SESSION\s+)?\w+\s*(?:=|\sTO\s)\s*${value}\s*(?:;\s*)?$`,
  'i',
)
const setConfig = new RegExp(
  String.raw`${leading}SELECT\s+(?:pg_catalog\.)?set_config\(\s*'\w+'\s*,\s*${value}\s*,\s*\w+\s*\)`,
  'i',
)
const characteristics = new RegExp(
  String.raw`${leading}SET\s+SESSION\s+CHARACTERISTICS\s+AS\s+TRANSACTION\s+READ\s+ONLY\s*(?:;\s*)?$`,
  'i',
)

/** True when `sql` puts default_transaction_isolation to what no standby can do; undefined: it was not set. */
export function isSerializable(sql: string | undefined): boolean {
  return sql !== undefined && /serializable/i.test(sql)
}

/** True when `sql`, the SET or set_config() of a boolean setting, turns it on; false when unsure. */
export function isOn(sql: string): boolean {
  if (characteristics.test(sql)) return true
  const match = set.exec(sql) ?? setConfig.exec(sql)
  return isTrue(match?.[1] ?? match?.[2])
}

/** Names of before, which PostgreSQL still takes (guc.c). */
const renamed = new Map([
  ['sort_mem', 'work_mem'],
  ['vacuum_mem', 'maintenance_work_mem'],
])

/** The name by which a session keeps a setting. */
export function settingName(name: string): string {
  const lower = name.toLowerCase()
  return renamed.get(lower) ?? lower
}
