// Transaction control and session state where no single server can answer for it: no server has joined yet,
// or several have, or the proxy alone knows (prepared statements, EXPLAIN (ROUTE), SHOW ringfence.…).
import { pgError } from '../../core/errors.ts'
import type { ServerConnection } from '../../pool/server-connection.ts'
import { quoteSetting, SettingsProfile } from '../../pool/settings-profile.ts'
import type { SessionCommand } from '../../router/plan.ts'
import { writeEmptyQueryResponse } from '../../wire/backend.ts'
import { effectOf } from '../effects.ts'
import { ask } from '../../pool/exchange.ts'
import type { Session } from '../session.ts'
import { Transaction } from '../transaction.ts'
import { commitTransaction, rollbackTransaction } from './commit.ts'
import { joinShard } from './join-shard.ts'
import { acknowledge, complete, runExplainRoute } from './local-replies.ts'
import { runListen, runListeningChannels, runNotify, runUnlisten } from './listen.ts'
import { runExecute, runPrepare } from './sql-prepare.ts'
import { runSetRingfence, runShowRingfence } from './own-settings.ts'
import { runUnit, type Unit } from './unit.ts'

/** Answered by us at their end, with no rows. */
const answeredHere: ReadonlySet<SessionCommand['kind']> = new Set<SessionCommand['kind']>([
  'commit',
  'rollback',
  'reset',
  'resetAll',
  'discardAll',
  'deallocate',
  'prepare',
  'listen',
  'unlisten',
  'setRingfence',
])

/** @throws PgError what the client is told. */
export async function runCommand(
  session: Session,
  unit: Unit,
  command: SessionCommand,
): Promise<void> {
  try {
    await startCommand(session, unit, command)
  } catch (error) {
    // PostgreSQL finds what is wrong with a command when it executes it: its portal is bound by then.
    if (answeredHere.has(command.kind)) acknowledge(session, unit)
    throw error
  }
}

function startCommand(session: Session, unit: Unit, command: SessionCommand): Promise<void> | void {
  const { state } = session
  switch (command.kind) {
    case 'empty':
      acknowledge(session, unit)
      return session.output.emit(writeEmptyQueryResponse)
    case 'begin':
      state.begin(unit.sql, command)
      return complete(session, unit, /^\W*start\b/i.test(unit.sql) ? 'START TRANSACTION' : 'BEGIN')
    case 'commit':
      return endTransaction(session, unit, command.chain, 'commit')
    case 'rollback':
      return endTransaction(session, unit, command.chain, 'rollback')
    case 'savepoint':
    case 'release':
    case 'rollbackTo':
      if (state.transaction?.implicit !== false) acknowledge(session, unit)
      refuseOutsideBlock(session, blockWords[command.kind])
      return everyParticipant(session, unit)
    case 'set':
    case 'setLocal':
    case 'setConfig':
      return everyParticipant(session, unit)
    case 'reset':
      return reset(session, unit, command)
    case 'resetAll':
      return reset(session, unit, command)
    case 'discardAll':
      return discardAll(session, unit)
    case 'deallocate':
      return deallocate(session, unit, command.name)
    case 'prepare':
      return runPrepare(session, unit, command)
    case 'execute':
      return runExecute(session, unit, command)
    case 'listen':
      return runListen(session, unit, command.channel)
    case 'unlisten':
      return runUnlisten(session, unit, command.channel)
    case 'listeningChannels':
      return runListeningChannels(session, unit, command.column)
    case 'notify':
      return runNotify(session, unit)
    case 'explainRoute':
      return runExplainRoute(session, unit, command.sql)
    case 'showRingfence':
      return runShowRingfence(session, unit, command)
    case 'setRingfence':
      return runSetRingfence(session, unit, command)
  }
}

const blockWords = {
  savepoint: 'SAVEPOINT',
  release: 'RELEASE SAVEPOINT',
  rollbackTo: 'ROLLBACK TO SAVEPOINT',
} as const

/** The transaction that a string or pipeline has by itself is none of the client's. @throws PgError 25P01 */
function refuseOutsideBlock({ state }: Session, words: string): void {
  if (state.transaction?.implicit !== false) throw pgError('blockOnly', [words])
}

async function endTransaction(
  session: Session,
  unit: Unit,
  chain: boolean,
  how: 'commit' | 'rollback',
): Promise<void> {
  const { state } = session
  if (chain)
    refuseOutsideBlock(session, how === 'commit' ? 'COMMIT AND CHAIN' : 'ROLLBACK AND CHAIN')
  const before = state.transaction
  const committing = how === 'commit' && before?.failed !== true
  const lost = how === 'commit' ? before?.lost : null
  if (committing) await commitTransaction(session)
  else await rollbackTransaction(session)
  // ROLLBACK as an answer to COMMIT is enough only for who knows of the failure.
  if (lost !== undefined && lost !== null) throw lost
  if (chain && before !== null) state.chain(before)
  complete(session, unit, committing ? 'COMMIT' : 'ROLLBACK')
}

/** The same statement on every server of the transaction; the first one's answer is the client's. */
async function everyParticipant(session: Session, unit: Unit): Promise<void> {
  const { state } = session
  const servers = await joinedServers(session)
  const [first, ...others] = servers
  if (first === undefined) return
  const { error, tag, complete } = await runUnit(session, first, unit, { audience: 'all' })
  if (error !== null) throw error
  const rest = others.map((server) => runUnit(session, server, unit, { audience: 'nobody' }))
  for (const outcome of await Promise.all(rest)) if (outcome.error !== null) throw outcome.error
  const effect = effectOf(state, unit)
  if (effect !== null) state.apply(effect, tag, first)
  if (complete !== null) session.output.defer(complete)
}

type Reset = Extract<SessionCommand, { kind: 'reset' | 'resetAll' }>

/** RESET goes back to what the client asked for in its startup packet, which the server never heard of. */
async function reset(session: Session, unit: Unit, command: Reset): Promise<void> {
  const { state } = session
  const { startup } = state
  const change = (settings: SettingsProfile) => {
    if (command.kind === 'resetAll') return settings.resetTo(startup)
    const sql = startup.get(command.name)
    return sql === undefined ? settings.without(command.name) : settings.with(command.name, sql)
  }
  const sql =
    command.kind === 'resetAll'
      ? ['RESET ALL', startup.replayFrom(SettingsProfile.empty)]
          .filter((part) => part !== '')
          .join(';')
      : (startup.get(command.name) ?? `RESET ${quoteSetting(command.name)}`)
  const servers = await joinedServers(session)
  for (const server of servers) await ask(server, sql)
  const [first] = servers
  if (first === undefined) return
  state.set(sql, change, first)
  complete(session, unit, command.kind === 'reset' ? command.tag : 'RESET')
  session.output.tellParameters(first.parameters)
}

async function discardAll(session: Session, unit: Unit): Promise<void> {
  const { state } = session
  const { transaction } = state
  const inString = unit.extended === null && unit.prepared.statements.length > 1
  const inBlock =
    transaction !== null && (!transaction.implicit || transaction.participants.size > 0)
  if (inBlock || inString) {
    throw pgError('activeTransaction', ['DISCARD ALL'])
  }
  if (state.leases.keeps) await state.leases.clean()
  else state.leases.unpin('DISCARD ALL')
  state.statements.clear()
  state.portals.clear()
  state.listening?.clear()
  state.settings = state.startup
  state.reads.forget()
  if (transaction !== null) state.transaction = new Transaction('BEGIN', state.startup, true)
  const reported = await state.database.reports.of(state.startup, state.client)
  complete(session, unit, 'DISCARD ALL')
  session.output.tellParameters(reported)
}

function deallocate(session: Session, unit: Unit, name: string | null): void {
  const { statements } = session.state
  if (name === null) statements.clear()
  else if (!statements.delete(name)) throw pgError('preparedStatementUnknown', [name])
  complete(session, unit, name === null ? 'DEALLOCATE ALL' : 'DEALLOCATE')
}

/** Servers of the transaction; the home shard joins when there is none yet. */
async function joinedServers(session: Session): Promise<readonly ServerConnection[]> {
  const { state } = session
  const joined = [...(state.transaction?.participants.keys() ?? [])]
  const shards = joined.length === 0 ? [state.database.home] : joined
  const servers: ServerConnection[] = []
  for (const shard of shards) servers.push((await joinShard(session, shard, false)).server)
  return servers
}
