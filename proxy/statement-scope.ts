// What tells a text that a client prepares now from the same text prepared otherwise: part of its key in the statement cache.
// Where nobody knows yet by what settings its server will read it, it is nobody else's.
import type { CachedStatement } from '../pool/statement-cache.ts'
import type { Prepared } from '../router/router.ts'
import { lookFor } from '../router/traces.ts'
import type { SessionState } from './session-state.ts'
import { readsConstants, scopeOf } from './statements.ts'

type Text = { readonly sql: Uint8Array; readonly types: readonly number[] }

/** `unsure`: something that may change the settings is still under way on its server. */
export function internNow(
  state: SessionState,
  { sql, types }: Text,
  unsure: boolean,
): CachedStatement {
  const { statements } = state.database
  if ((unsure || codeHasRun(state)) && readsConstants(sql)) return statements.alone(sql, types)
  return statements.intern(sql, types, scopeNow(state))
}

/**
 * After DDL of the client's own transaction a text is another statement than before: servers that have it already know it as
 * it was, and PostgreSQL would parse it anew.
 */
function scopeNow({ reading, transaction, database }: SessionState): string {
  const scope = scopeOf(reading.settings)
  if (transaction?.schemaChanged !== true) return scope
  return `${scope}\0${database.definitions} definitions`
}

/** What it has set is found out when the transaction ends. */
function codeHasRun({ transaction, leases }: SessionState): boolean {
  if (transaction === null) return false
  for (const { look } of leases) if (look?.settings === true) return true
  return false
}

/** True for a statement behind which its server may read constants otherwise. */
export function mayChangeReading(prepared: Prepared, { database }: SessionState): boolean {
  const [statement] = prepared.statements
  if (statement === undefined) return false
  return (
    statement.command === 'session' || lookFor(statement.traces, database.code.known) !== 'none'
  )
}
