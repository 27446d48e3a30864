// Session mode: a client keeps its server until it leaves. What it leaves behind is cleaned by the reset query, and the
// server goes back to its pool as if it were new; where that fails, or would not help, it is closed.
import { AnswerSink, sendQuery } from '../pool/exchange.ts'
import type { ServerConnection } from '../pool/server-connection.ts'
import { SettingsProfile } from '../pool/settings-profile.ts'

/** After a reset query of the operator's own, statements are prepared anew: nobody knows which of them are left. */
const outdated = -1

/** Cleans an idle server, rolling back first what is open. `done` hears whether it is as good as new. */
export function resetServer(
  server: ServerConnection,
  query: string,
  done: (clean: boolean) => void,
): void {
  let rolledBack = true
  if (server.transactionStatus !== 'I') {
    const rollback = new AnswerSink((error) => {
      rolledBack = error === null
    })
    sendQuery(server, 'ROLLBACK', rollback)
  }
  const reset = new AnswerSink((error) => {
    const clean = rolledBack && error === null && !server.closed
    if (clean) forget(server, query)
    done(clean)
  })
  sendQuery(server, query, reset)
}

/** What is known of the server's session no longer holds. */
function forget(server: ServerConnection, query: string): void {
  server.unnamed = null
  if (/^\s*DISCARD\s+ALL\s*(?:;\s*)?$/i.test(query)) {
    server.settings = SettingsProfile.empty
    server.prepared.clear()
  } else {
    server.preparedGeneration = outdated
  }
}
