// LISTEN, UNLISTEN and NOTIFY of a client: through the database's hub, so that listening takes no server.
import { pgError } from '../../core/errors.ts'
import { ask } from '../../pool/exchange.ts'
import type { ServerConnection } from '../../pool/server-connection.ts'
import { hearsUtf8, Listening } from '../notify/listening.ts'
import type { Session } from '../session.ts'
import { noteLook } from '../session-look.ts'
import type { SessionState } from '../session-state.ts'
import type { ListenAction } from '../transaction.ts'
import { joinShard } from './join-shard.ts'
import { complete, sendRows } from './local-replies.ts'
import { runUnit, type Unit } from './unit.ts'

/** The session hears channels from now on, or from the commit of its transaction. @throws PgError 54000, 08001 */
export async function runListen(session: Session, unit: Unit, channel: string): Promise<void> {
  const { state } = session
  if (state.reads.readOnly) throw pgError('listenOnStandby')
  const encoding = session.output.parameter('client_encoding') ?? 'UTF8'
  // The hub hears UTF-8: whoever wants another encoding listens for itself.
  if (!hearsUtf8(encoding)) return listenAlone(session, unit)
  const listening = state.listening ?? listeningOf(session)
  state.listening = listening
  await state.leases.waitFor(listening.prepare(channel), () => listening.giveUp(channel))
  act(session, { kind: 'listen', channel })
  complete(session, unit, 'LISTEN')
}

export async function runUnlisten(
  session: Session,
  unit: Unit,
  channel: string | null,
): Promise<void> {
  const { state } = session
  if (pinnedHome(state) !== null) await runOnHome(session, unit, 'nobody')
  const { listening, transaction } = state
  if (transaction === null && listening?.isInUse === true) {
    // What was sent before is heard before it.
    await state.leases.waitFor(listening.catchUp())
    listening.flush()
  }
  act(session, { kind: 'unlisten', channel })
  complete(session, unit, 'UNLISTEN')
}

/** NOTIFY by a client that listens: what others have sent before, it hears before its own. */
export async function runNotify(session: Session, unit: Unit): Promise<void> {
  await session.state.database.notify.caughtUp()
  await runOnHome(session, unit, 'all')
}

/** SELECT pg_listening_channels(): what the hub hears for the client, and what a server of its own does. */
export async function runListeningChannels(
  session: Session,
  unit: Unit,
  column: string,
): Promise<void> {
  const { state } = session
  const pinned = pinnedHome(state)
  const alone =
    pinned === null ? null : await ask(pinned, 'SELECT pg_catalog.pg_listening_channels()')
  const channels = (state.listening?.channels ?? []).map((channel) => [channel])
  const rows = [...channels, ...(alone?.rows ?? [])]
  sendRows(session, unit, { columns: [column], rows, tag: `SELECT ${rows.length}` })
}

/** The server that the client keeps: it may listen there, by a function or in another encoding. */
function pinnedHome({ leases, database }: SessionState): ServerConnection | null {
  const lease = leases.get(database.home)
  return lease === undefined || lease.pinned === null ? null : lease.server
}

function act({ state }: Session, action: ListenAction): void {
  const { transaction, listening } = state
  if (transaction === null) listening?.ended([action])
  else transaction.listens = [...transaction.listens, action]
}

async function listenAlone(session: Session, unit: Unit): Promise<void> {
  const { state } = session
  if (state.database.options.pin === 'refuse') throw pgError('pinRefused', ['LISTEN'])
  const { server } = await runOnHome(session, unit, 'all')
  const { traces } = unit.prepared.statements[unit.index] ?? { traces: null }
  if (traces !== null) noteLook(state, { look: 'things', traces }, server.shard)
}

async function runOnHome(session: Session, unit: Unit, audience: 'all' | 'nobody') {
  const { state } = session
  const lease = await joinShard(session, state.database.home, false)
  const { error, complete } = await runUnit(session, lease.server, unit, { audience })
  if (error !== null) throw error
  if (complete !== null && audience === 'all') session.output.defer(complete)
  return lease
}

function listeningOf(session: Session): Listening {
  const { state, output } = session
  const { database, leases } = state
  return new Listening({
    hub: database.notify,
    output,
    target: () => state.poolOf(database.home).target,
    isIdle: () =>
      session.phase === 'ready' && state.transaction === null && session.relay.server === null,
    ownPid: session.processId,
    isOwn: (pid) => [...leases].some(({ server }) => server.processId === pid),
  })
}
