// The lock of a move belongs to a session on the home shard. A runner that is cut off from it must have stopped before the server
// gives the lock to another one: here a session counts as lost sooner than the server takes it for lost.
import type { CatalogConnection } from '../catalog/connection.ts'
import { moveLock } from '../catalog/connection.ts'

/** What ends everything that is done under the lock. */
export class LockLost extends Error {
  constructor() {
    super('the connection to the catalog was lost, and with it the lock of the move')
    this.name = 'LockLost'
  }
}

/** Held until `connection` is closed. */
export type MoveLock = {
  /** Aborts with LockLost. */
  readonly lost: AbortSignal
  stop(): void
}

/** After so much silence the server ends the session: 5 + 3 × 2 s, or 11 s without an acknowledgement. */
const keepaliveSql = `SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2;
  SET tcp_keepalives_count = 3; SET tcp_user_timeout = 11000`
const askEveryMs = 1_000
const answerMsMax = 5_000

/** Null: somebody else has it. @throws what pg throws */
export async function lockMove(
  connection: CatalogConnection,
  moveId: number,
): Promise<MoveLock | null> {
  const { client, destroy } = connection
  const loss = new AbortController()
  client.on('end', () => loss.abort(new LockLost()))
  await client.query(keepaliveSql)
  const { rows } = await client.query<{ won: boolean }>(
    `SELECT pg_try_advisory_lock(${moveLock(moveId)}) AS won`,
  )
  if (rows[0]?.won !== true) return null
  let unanswered: NodeJS.Timeout | null = null
  const answered = () => {
    if (unanswered !== null) clearTimeout(unanswered)
    unanswered = null
  }
  const asking = setInterval(() => {
    if (unanswered !== null) return
    unanswered = setTimeout(() => {
      loss.abort(new LockLost())
      destroy()
    }, answerMsMax)
    client.query('SELECT').then(answered, () => undefined)
  }, askEveryMs)
  const stop = () => {
    clearInterval(asking)
    answered()
  }
  return { lost: loss.signal, stop }
}
