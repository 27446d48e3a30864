// Which database of the file a command is about.
import type { DatabaseConfig } from '../config/config.ts'
import { CommandFailure } from './load-config.ts'

/** The one that is named, or the only one. @throws CommandFailure listing what there is */
export function chooseDatabase(
  databases: readonly DatabaseConfig[],
  name: string | undefined,
): DatabaseConfig {
  const named = databases.filter((database) => name === undefined || database.name === name)
  const [only] = named
  if (only !== undefined && named.length === 1) return only
  const known = databases.map((database) => database.name).join(', ')
  throw new CommandFailure(`choose one database with --database: ${known}`)
}
