// What tells a text that a client prepares now from the same text prepared otherwise: part of its key in the statement cache.
import type { SessionState } from './session-state.ts'
import { scopeOf } from './statements.ts'

/**
 * After DDL of the client's own transaction a text is another statement than before: servers that have it already know it as
 * it was, and PostgreSQL would parse it anew.
 */
export function scopeNow({ reading, transaction, database }: SessionState): string {
  const scope = scopeOf(reading.settings)
  if (transaction?.schemaChanged !== true) return scope
  return `${scope}\0${database.definitions} definitions`
}
