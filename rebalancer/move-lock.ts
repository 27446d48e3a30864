// The lock of a move belongs to a session on the home shard. A runner that is cut off from it must have stopped before the server
// gives the lock to another one: here a session counts as lost sooner than the server takes it for lost.
import { type CatalogConnection, moveLock } from '../catalog/connection.ts'
import { systemClock } from '../core/clock.ts'

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
const lookMs = 250
/** Whatever else is answered tells as much. */
const askAfterMs = 1_000
const answerMsMax = 4_000

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
  let heardMs = systemClock.nowMs()
  let askedMs: number | null = null
  const heard = () => {
    heardMs = systemClock.nowMs()
    askedMs = null
  }
  client.connection.stream.on('data', heard)
  const look = () => {
    const now = systemClock.nowMs()
    if (askedMs !== null && now - askedMs >= answerMsMax) {
      loss.abort(new LockLost())
      destroy()
    } else if (askedMs === null && now - heardMs >= askAfterMs) {
      askedMs = now
      client.query('SELECT').catch(() => undefined)
    }
  }
  const looking = setInterval(look, lookMs)
  return { lost: loss.signal, stop: () => clearInterval(looking) }
}
