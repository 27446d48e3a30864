// Statements that ask for the channels of their session, of a client that listens through its database's hub: they are run
// with its channels written into them, one step at a time. Nothing of this is looked at for clients that do not listen.
import { type PgError, pgError } from '../../core/errors.ts'
import { ServerError, shiftPosition } from '../../pool/exchange.ts'
import { writeChannels } from '../../router/channel-calls.ts'
import { asksForChannels } from '../asked-channels.ts'
import type { SessionState } from '../session-state.ts'
import type { Unit } from './unit.ts'

/** What runs in place of a statement. */
export type InOwnWords = {
  readonly sql: string
  /** The same error at the client's positions. */
  readonly asTold: (error: PgError) => PgError
}

/** Null when the statement runs as it is. @throws PgError 0A000 when the channels cannot be written into it */
export function withOwnChannels(
  state: SessionState,
  { prepared, index, sql }: Unit,
): InOwnWords | null {
  if (!asksForChannels(state, prepared, index)) return null
  const written = writeChannels(sql, state.listening?.channels ?? [])
  if (written === null) throw pgError('channelsInside')
  const asTold = (error: PgError) => {
    const { position } = error
    if (!(error instanceof ServerError) || position === undefined) return error
    return shiftPosition(error, written.positionBefore(position) - position)
  }
  return { sql: written.sql, asTold }
}

/** @throws PgError 0A000 for what several servers answer, or one under another text */
export function refuseChannels(
  state: SessionState,
  { prepared, index }: Pick<Unit, 'prepared' | 'index'>,
): void {
  if (asksForChannels(state, prepared, index)) throw pgError('channelsInside')
}
