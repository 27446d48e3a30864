// Settings of pools and names of databases that are fine alone and wrong together, see contradictions.ts.
import { type Contradiction, error } from './contradiction.ts'
import type { FileSettings } from './settings.ts'
import type { Path } from './setting.ts'

type FileDatabase = FileSettings['databases'][string]

/** Name of the entry that stands for all others. */
const anyName = '*'

/** Limits that cannot hold together, modes that leave no room for what else is asked. */
export function poolContradictions(database: Path, file: FileDatabase): Contradiction[] {
  const { pool, reads, sharding, server_settings: settings } = file
  const at = [...database, 'pool']
  const found: Contradiction[] = []
  if (pool.min > pool.size) {
    const message = `${pool.min} is more than pool.size, which is ${pool.size}`
    found.push(error([...at, 'min'], message, 'lower min or raise size', [[...at, 'size']]))
  }
  if (pool.mode === 'session' && reads.target === 'replica') {
    const message = 'in session mode a client has one server, so its writes would fail on a replica'
    const remedy = 'choose reads.target: auto, or a read_only_alias for clients that only read'
    found.push(error([...at, 'mode'], message, remedy, [[...database, 'reads', 'target']]))
  }
  const encoding = Object.entries(settings).find(([name]) => /^client_encoding$/i.test(name))?.[1]
  if (sharding !== undefined && encoding !== undefined && !/^utf-?8$/i.test(encoding)) {
    const path = [...database, 'server_settings', 'client_encoding']
    const message = `shard keys are read as UTF8, not as ${encoding}`
    found.push(error(path, message, 'remove it', [[...database, 'sharding']]))
  }
  return found
}

/** Names that clients cannot tell apart, and what the entry `*` cannot be. */
export function databaseNameContradictions(file: FileSettings): Contradiction[] {
  const found: Contradiction[] = []
  const names = new Set(Object.keys(file.databases))
  const taken = new Map<string, string>()
  for (const [name, database] of Object.entries(file.databases)) {
    const at = ['databases', name]
    if (name === anyName) found.push(...anyContradictions(at, database))
    for (const [index, alias] of database.aliases.entries()) {
      const path = [...at, 'aliases', index]
      const owner = names.has(alias) ? alias : taken.get(alias)
      const reserved = alias === 'ringfence' || alias === anyName
      taken.set(alias, name)
      if (owner === undefined && !reserved) continue
      const whose = reserved ? 'is reserved' : `is also a name of database "${owner}"`
      found.push(error(path, `"${alias}" ${whose}`, 'choose a name of its own'))
    }
  }
  return found
}

function anyContradictions(at: Path, database: FileDatabase): Contradiction[] {
  const found: Contradiction[] = []
  const because = 'each name is a database of its own on one server'
  if (database.shards.length > 1 || database.sharding !== undefined) {
    found.push(error(at, `"*" cannot be sharded: ${because}`, 'name the database'))
  }
  if (database.aliases.length > 0 || database.read_only_alias !== null) {
    found.push(error(at, `"*" has no aliases: ${because}`, 'remove them'))
  }
  return found
}
