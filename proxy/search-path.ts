// The search_path in force, as schema names: read from the statement that set it.
import type { Schema } from '../router/schema.ts'

const nameOrString = /\s*(?:"((?:[^"]|"")*)"|'((?:[^']|'')*)'|([^\s,"']+))\s*(?:,|$)/gy

/** Schema names of a search_path value such as `"$user", public`; `$user` becomes `user`. */
function parseSearchPath(value: string, user: string): readonly string[] {
  const names: string[] = []
  nameOrString.lastIndex = 0
  for (const match of value.matchAll(nameOrString)) {
    const [, quoted, string, bare] = match
    const name =
      quoted?.replaceAll('""', '"') ?? string?.replaceAll("''", "'") ?? bare?.toLowerCase()
    if (name === undefined || name === '') continue
    names.push(name === '$user' ? user : name)
  }
  return names
}

const setStatement = /^SET\s+(?:SESSION\s+|LOCAL\s+)?search_path(?:\s*=|\s+TO\s)([^;]*);?$/i
const setConfigStatement =
  /^SELECT pg_catalog\.set_config\('search_path', ?E?'((?:[^'\\]|''|\\\\)*)'/

/** Schemas that `sql`, the statement that set search_path, makes visible; undefined when unreadable. */
function searchPathOf(sql: string, user: string): readonly string[] | undefined {
  const set = setStatement.exec(sql.trim())?.[1]
  if (set !== undefined) return parseSearchPath(set.trim(), user)
  const config = setConfigStatement.exec(sql)?.[1]
  if (config === undefined) return undefined
  return parseSearchPath(config.replaceAll("''", "'").replaceAll('\\\\', '\\'), user)
}

const pathsMax = 1_000
const none: readonly string[] = []

/** Paths of statements that set them, each read once: the plan cache compares paths by identity first. */
export class SearchPaths {
  readonly #paths = new Map<string, readonly string[]>()

  /** Schemas that `login` sees whose client has run `sql`, or has left its default in force; none when nobody knows. */
  inForce(sql: string | undefined, login: string, schema: Schema | null): readonly string[] {
    if (sql !== undefined) return this.#of(sql, login)
    if (schema === null) return none
    const { loginPaths, defaultSearchPath } = schema
    if (loginPaths === undefined) return defaultSearchPath
    const setting = loginPaths.own.get(login) ?? loginPaths.common
    return setting === null ? none : this.#of(`SET search_path = ${setting}`, login)
  }

  /** Schemas that `sql` makes visible to `user`; none when it cannot be read. */
  #of(sql: string, user: string): readonly string[] {
    const key = `${user}\0${sql}`
    const known = this.#paths.get(key)
    if (known !== undefined) return known
    const path = searchPathOf(sql, user) ?? none
    if (this.#paths.size >= pathsMax) this.#paths.clear()
    this.#paths.set(key, path)
    return path
  }
}
