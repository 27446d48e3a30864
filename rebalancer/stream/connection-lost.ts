// Tells what passes from what does not: a connection that is lost is opened again, a bug or a
// refusal is not.
import { DatabaseError } from 'pg'

/** A connection broke or could not be made; nothing of it is known to be wrong. */
export class ConnectionLost extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'ConnectionLost'
  }
}

/** What the server said, or that it is gone; `server` names it for people. */
export function lossOf(thrown: unknown, server: 'source' | 'target'): Error {
  if (thrown instanceof DatabaseError || thrown instanceof ConnectionLost) return thrown
  const reason = thrown instanceof Error ? thrown.message : String(thrown)
  return new ConnectionLost(`the ${server} cannot be reached: ${reason}`, thrown)
}

/**
 * Lack of resources, intervention of an operator, errors of the system: another attempt may
 * succeed.
 */
const passingClasses = new Set(['08', '53', '57', '58'])
/**
 * In use, lock timeout, serialization, deadlock, idle and transaction timeouts, not in the state
 * needed.
 */
const passingCodes = new Set(['55006', '55P03', '40001', '40P01', '25P03', '25P04', '55000'])

/** True when the same may be tried again on a new connection. */
export function isPassing(thrown: unknown): boolean {
  if (thrown instanceof ConnectionLost) return true
  if (!(thrown instanceof DatabaseError)) return false
  const code = thrown.code ?? ''
  return passingClasses.has(code.slice(0, 2)) || passingCodes.has(code)
}
