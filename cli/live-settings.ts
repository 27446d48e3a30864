// The settings in force as the admin console shows them, and one of them changed by SET: as if it stood in the file, until
// the file is read again.
import { parse } from 'yaml'
import { aboutOf, declarations, given, isMapping, schemaAt, type Path } from '../config/setting.ts'
import { fileSchema } from '../config/settings.ts'
import { pathText } from '../config/problems.ts'
import { pgError } from '../core/errors.ts'
import type { Rows } from '../proxy/fleet.ts'

/** PgBouncer's names of settings that SET may change. */
const otherNames: ReadonlyMap<string, string> = new Map([
  ['log_connections', 'log.connections'],
  ['log_disconnections', 'log.disconnections'],
  ['log_pooler_errors', 'log.pooler_errors'],
  ['stats_period', 'log.stats_period'],
])
/** Their values are nobody's to see. */
const secrets: ReadonlySet<string> = new Set(['password', 'verifier', 'session_tokens.key'])
const hidden = '********'

/** Key, value, default, and whether SET may change it; `inForce` as written in the file. */
export function shownSettings(inForce: unknown): Rows {
  const there = given(fileSchema, inForce)
  const stated = new Set(there.map(({ path }) => pathText(path)))
  const standard = declarations(fileSchema).flatMap((each) => {
    const open = each.kind === 'section' || each.path.some((name) => /^<|^\[\]$/.test(name))
    if (open || stated.has(pathText(each.path))) return []
    return [{ path: each.path, about: each.about, value: each.about.standard }]
  })
  return [...there, ...standard]
    .map(({ path, about, value }) => [
      pathText(path),
      isSecret(path) ? hidden : withoutPassword(textOf(value)),
      about.standard === undefined ? null : textOf(about.standard),
      about.applies === 'reload' && hasName(path) ? 'yes' : 'no',
    ])
    .sort(([a = ''], [b = '']) => (String(a) < String(b) ? -1 : 1))
}

/**
 * `inForce` with another value at `key`, whose names are joined by dots. @throws PgError 55P02 for what is no setting or
 * needs a restart, 22023 for what is no value
 */
export function settingChanged(inForce: unknown, key: string, text: string): unknown {
  // Names of databases and users are as they are written; settings are small, whoever shouts them.
  const exact = (otherNames.get(key.toLowerCase()) ?? key).split('.')
  const isKnown = aboutOf(schemaAt(fileSchema, exact)) !== undefined
  const path = isKnown ? exact : exact.map((name) => name.toLowerCase())
  const about = aboutOf(schemaAt(fileSchema, path))
  if (about?.applies !== 'reload') throw pgError('adminSettingFixed', [key])
  return withValue(inForce, path, valueOf(key, text))
}

/** Entries of lists have none that SET could say. */
function hasName(path: Path): boolean {
  return path.every((name) => typeof name === 'string' && !name.includes('.'))
}

function withValue(value: unknown, path: Path, wanted: unknown): unknown {
  const [name, ...rest] = path
  if (name === undefined) return wanted
  const inside = isMapping(value) ? value : {}
  return { ...inside, [name]: withValue(inside[name], rest, wanted) }
}

/** As it would stand in the file. */
function valueOf(key: string, text: string): unknown {
  try {
    const value: unknown = parse(text)
    // PgBouncer's way of saying yes and no.
    if (otherNames.has(key.toLowerCase()) && (value === 0 || value === 1)) return value === 1
    return value
  } catch {
    throw pgError('adminValueInvalid', [key, `"${text}"`])
  }
}

function isSecret(path: Path): boolean {
  return secrets.has(String(path.at(-1))) || secrets.has(pathText(path))
}

function withoutPassword(text: string): string {
  return text.replaceAll(/(\/\/[^/@\s:]*):[^@\s]*@/g, `$1:${hidden}@`)
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value ?? null)
}
