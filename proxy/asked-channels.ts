// Whether a statement asks for the channels of its session, which its server does not know: the database's hub listens.
import { channelsFunction } from '../router/channel-calls.ts'
import type { Prepared } from '../router/router.ts'
import type { SessionState } from './session-state.ts'

/**
 * True when a statement of the text, or the one at `index`, calls pg_listening_channels() by its own words and the client
 * listens. False in a transaction that has failed: nothing is answered there.
 */
export function asksForChannels(state: SessionState, prepared: Prepared, index?: number): boolean {
  const { listening } = state
  if (listening === null || !listening.isInUse) return false
  const asks = prepared.statements.some(
    ({ traces }, at) =>
      (index === undefined || at === index) && traces.functions.includes(channelsFunction),
  )
  return asks && listening.channels.length > 0 && state.failure === 'none'
}
