// A command that is run again since its server has failed it (repeats.ts): at once, or, when one server after the other is
// lost, after a pause in which the pool hears of those that have ended with them.
import type { ServerConnection } from '../../pool/server-connection.ts'
import { fenceError } from '../repeat-verdict.ts'
import type { Session } from '../session.ts'
import { resume, waitNewerTopology, waitUntil } from './lease.ts'

/** `sqlstate` as in `Repeats.take`. */
export function repeatCommand(
  session: Session,
  server: ServerConnection,
  sqlstate: string | null,
): void {
  const again = session.repeats.take(server, sqlstate)
  // Not in the middle of a dying connection's farewells.
  queueMicrotask(() => {
    if (session.closed || again === null) return
    if (sqlstate === fenceError) return waitNewerTopology(session, again)
    const pauseMs = server.closed ? session.repeats.pauseMs : 0
    if (pauseMs === 0) return resume(session, { again, end: 'sync' })
    const { clock } = session.state.database
    const over = new Promise<void>((resolve) => void clock.after(pauseMs, resolve))
    waitUntil(session, over, { again, end: 'sync' })
  })
}
