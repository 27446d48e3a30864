// Statements that the client has prepared, on whichever server it is using now.
import type { ServerConnection } from '../../pool/server-connection.ts'
import { writeParse } from '../../wire/frontend.ts'
import type { Writer } from '../../wire/writer.ts'
import type { ClientStatement } from '../statements.ts'

/**
 * Makes sure that `server` has the statement: true when a Parse of ours was written for it, whose reply the
 * client must not see. Its name is added to `parses` until the server has accepted it.
 */
export function inject(
  server: ServerConnection,
  { cached, named }: ClientStatement,
  parses: string[],
  writer: Writer,
): boolean {
  const known = named ? server.prepared.has(cached.name) : server.unnamed === cached
  if (known) return false
  const name = named ? cached.name : ''
  writeParse(writer, name, cached.sql, cached.paramTypes)
  if (named) server.prepared.set(name, cached)
  else server.unnamed = cached
  parses.push(name)
  return true
}
