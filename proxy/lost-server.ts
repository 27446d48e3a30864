// A server of a session has died: what that means for its transaction, and for state that only that server had.
import { type PgError, pgError } from '../core/errors.ts'
import type { ServerConnection } from '../pool/server-connection.ts'
import type { SessionState } from './session-state.ts'

/** Forgets the server. What the client must be told at once, as the end of its session; null when nothing. */
export function loseServer(
  state: SessionState,
  server: ServerConnection,
  error: PgError,
): PgError | null {
  const { leases, transaction } = state
  const lease = leases.get(server.shard)
  // Its client may have rows of it, in a transaction that is not over.
  if (lease?.server === server) state.reads.observed(server)
  leases.forget(server)
  if (transaction?.participants.delete(server.shard) === true) state.lose(error)
  // Temporary tables and session locks are gone: to go on would be to pretend they were there.
  if (lease === undefined) return null
  const kept = lease.pinned !== null || lease.look?.likely === true || leases.keeps
  return kept ? pgError('sessionStateLost', [error.message], { cause: error }) : null
}
