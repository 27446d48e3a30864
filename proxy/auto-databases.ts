// The entry `*` of the configuration: any name that has no entry of its own is a database of that entry's server. Each
// such name gets pools and statistics of its own once a client asks for it, and loses them when nobody has been there
// for long.
import type { DatabaseOptions } from './database-options.ts'

/** Name of that entry. */
export const anyName = '*'

/** What the entry `*` says of one name: its server has a database called like that. */
export function autoOptions(template: DatabaseOptions, name: string): DatabaseOptions {
  const shards = template.shards.map((shard) => ({ ...shard, database: name }))
  return { ...template, name, shards, aliases: [], readOnlyAlias: null }
}

/** A database that was opened unasked, with the time when a client was last seen there. */
export type AutoUse = { usedAtMs: number }

/** The one of `all` without clients that has been so for longest; undefined when all have some. */
export function idleLongest<E extends { readonly auto: AutoUse | null; readonly clients: number }>(
  all: Iterable<E>,
): E | undefined {
  let found: E | undefined
  let sinceMs = Number.POSITIVE_INFINITY
  for (const each of all) {
    const { auto, clients } = each
    if (auto === null || clients > 0 || auto.usedAtMs >= sinceMs) continue
    found = each
    sinceMs = auto.usedAtMs
  }
  return found
}
