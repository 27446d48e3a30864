// Statements that share a server with those of other clients (pool/lane.ts): reads of one statement outside transactions,
// of sessions that hold no server, that leave nothing behind. Whatever else a statement is, it gets a server to itself.
//
// While it rides, the session's bytes are kept: when its server dies, or when it stood behind a statement that is slow or
// was cancelled, it is run once more, on a server of its own.
import { pgError } from '../../core/errors.ts'
import type { ShardId } from '../../core/ids.ts'
import { scratchBytes } from '../../pool/outbox.ts'
import type { Lane, LaneServer, Rider } from '../../pool/lane.ts'
import type { Pace } from '../../pool/pace.ts'
import type { ReplySink, ServerConnection } from '../../pool/server-connection.ts'
import type { AutoPrepare } from '../../router/auto-prepare.ts'
import type { Plan } from '../../router/plan.ts'
import type { Statement } from '../../router/router.ts'
import { lookFor } from '../../router/traces.ts'
import { type Frame, Framer } from '../../wire/framer.ts'
import type { Views } from '../../wire/views.ts'
import type { Batch, BatchItem } from '../batch.ts'
import type { Portal } from '../statements.ts'
import type { SimpleQuery } from '../query.ts'
import type { Session } from '../session.ts'
import { type Reworded, sendReworded } from './auto-prepare.ts'
import { sendBatch, sendSimple } from './single.ts'

/** Runs a command again from its bytes. */
export type RunAgain = (session: Session, bytes: Uint8Array) => void

// What is longer gets a server of its own rather than a copy.
const bytesMax = scratchBytes

/** What a simple query is sent on the lane with. */
export type Passage = {
  readonly shard: ShardId
  readonly bytes: Uint8Array
  readonly reworded: Reworded | null
}

/** One session's place on the lane; it has at most one statement there. */
export class Ride implements Rider {
  readonly #session: Session
  readonly #run = () => {
    if (this.#kept === null) return
    this.#again?.(this.#session, this.#kept.first(this.#keptBytes))
    // Whoever needs the bytes for longer has copied them.
    if (this.#lent === null) this.#giveBack()
  }
  /** Of those that all sessions share: null while the session has none. */
  #kept: Views | null = null
  #keptBytes = 0
  #again: RunAgain | null = null
  #lane: Lane | null = null
  #lent: LaneServer | null = null
  #pace: Pace | null = null
  #preparing = ''

  constructor(session: Session) {
    this.#session = session
  }

  get sink(): ReplySink {
    return this.#session.relay
  }

  get pace(): Pace | null {
    return this.#pace
  }

  get answerBytes(): number {
    return this.#session.replies.answerBytes
  }

  /** Sends a simple query on the lane; false when it does not ride. `again` runs it from its bytes. */
  takeQuery(query: SimpleQuery, on: Passage, again: RunAgain): boolean {
    const { shard, bytes, reworded } = on
    const { prepared, plans } = query
    const statement = prepared?.statements[0]
    if (statement === undefined || plans.length !== 1 || query.facts.hints !== null) return false
    if (!this.#mayRide(statement, plans[0], bytes.length)) return false
    const name = reworded?.cached.name ?? ''
    const lent = this.#board(shard, statement, name)
    if (lent === null) return false
    this.#keep(bytes, 0)
    this.#begin(lent.server, again, reworded?.auto ?? null)
    const { replies } = this.#session
    replies.expect(query.effects)
    if (prepared !== null && plans[0] !== undefined) replies.load?.add(prepared, 0, plans[0], null)
    if (reworded === null) sendSimple(this.#session, lent.server, bytes)
    else sendReworded(this.#session, lent.server, reworded)
    this.#notePreparing(lent, name)
    return true
  }

  /** The same for a pipeline up to its Sync. */
  takeBatch(batch: Batch, frames: readonly Frame[], shard: ShardId, again: RunAgain): boolean {
    const only = onlyExecute(batch)
    if (only === null) return false
    const { portal } = only
    const statement = portal.prepared.statements[0]
    if (statement === undefined || portal.prepared.hints !== null) return false
    const length = frames.reduce((sum, { bytes }) => sum + bytes.length, 0)
    if (!this.#mayRide(statement, portal.plan, length)) return false
    const name = portal.statement.named ? portal.statement.cached.name : ''
    const lent = this.#board(shard, statement, name)
    if (lent === null) return false
    let at = 0
    for (const { bytes } of frames) {
      this.#keep(bytes, at)
      at += bytes.length
    }
    // Another client's Parse is on its way there, and may be refused.
    if (lent.riders.length > 1) lent.server.unnamed = null
    this.#begin(lent.server, again, null)
    const { replies } = this.#session
    replies.expect([])
    sendBatch(this.#session, lent.server, batch, 'sync')
    this.#notePreparing(lent, name)
    return true
  }

  /** The exchange with the server has ended, and with it the statement. */
  arrived(): void {
    if (this.#lent === null) return
    this.failed()
    this.#giveBack()
  }

  /** The exchange with the server has ended; the statement is run again. */
  failed(): void {
    const lane = this.#lane
    const lent = this.#leave()
    if (lent !== null) lane?.left(lent)
  }

  rescued(server: ServerConnection): void {
    this.#leave()
    const { relay, replies } = this.#session
    relay.leave()
    replies.parses.length = 0
    this.#session.repeatCommand(server, null)
  }

  /** The client wants its statement stopped. Resolves once the server has been told. */
  async cancel(): Promise<void> {
    if (this.#lent === null || this.#lane === null) return
    const told = this.#lane.cancel(this.#lent, this)
    if (told !== null) return await told
    // It had not begun, and nobody will hear that it does.
    const session = this.#session
    this.#forgetParses(this.#lent)
    this.#leave()
    session.relay.leave()
    session.refuse(pgError('statementCancelled'), 'sync')
    session.pump()
  }

  /** The client is gone. */
  abandon(): void {
    const lane = this.#lane
    if (this.#lent !== null) this.#forgetParses(this.#lent)
    const lent = this.#leave()
    if (lent === null || lane === null) return
    void lane.cancel(lent, this)
    lane.forget(lent, this)
  }

  #mayRide({ shape }: Statement, plan: Plan | undefined, length: number): boolean {
    const { state, repeats } = this.#session
    if (state.dialect.differs) return false
    if (plan?.kind !== 'single' || plan.moves.length > 0 || length > bytesMax) return false
    if (shape.command !== 'select' || shape.replica.kind !== 'allowed' || !shape.isReadOnly) {
      return false
    }
    if (lookFor(shape.traces, state.database.code.known) !== 'none') return false
    const { leases, database } = state
    if (state.transaction !== null || !leases.isEmpty || leases.keeps || repeats.hasRun)
      return false
    if (database.hasReplicas || state.reads.readOnly || database.bulkhead !== null) return false
    return !state.reads.ids.inUse(state.settings)
  }

  #board(shard: ShardId, { shape }: Statement, name: string): LaneServer | null {
    const { state } = this.#session
    const { lane } = state.poolOf(shard)
    if (lane.serversMax === 0) return null
    this.#pace = state.database.paces.of(shape)
    this.#lane = lane
    this.#lent = lane.board(this, state.settings, name)
    return this.#lent
  }

  /** Until the server has accepted it, nobody else may build on it. */
  #notePreparing(lent: LaneServer, name: string): void {
    if (name === '' || !this.#session.replies.parses.includes(name)) return
    this.#preparing = name
    lent.preparing.add(name)
  }

  #begin(server: ServerConnection, again: RunAgain, reworded: AutoPrepare | null): void {
    const session = this.#session
    this.#again = again
    session.repeats.arm({ server }, this.#run, { isRead: true, reworded })
    session.state.routedBy = session.state.database.topology
    session.state.riding.began(server.shard)
    session.output.shared = server
    session.times.assigned()
    session.enter('running')
  }

  /** What its server was sent to prepare for it, it may refuse, and nobody hears of that any more. */
  #forgetParses({ server }: LaneServer): void {
    const parses = this.#session.replies.parses.splice(0)
    if (parses.length === 0) return
    server.unnamed = null
    if (parses.some((name) => name !== '')) server.forgetPrepared()
  }

  #leave(): LaneServer | null {
    const lent = this.#lent
    if (lent === null) return null
    this.#lent = null
    this.#session.output.unshare()
    this.#session.state.riding.over()
    if (this.#preparing !== '') lent.preparing.delete(this.#preparing)
    this.#preparing = ''
    return lent
  }

  #giveBack(): void {
    const kept = this.#kept
    this.#kept = null
    if (kept !== null) this.#session.context.turn.giveBack(kept)
  }

  /** Keeps `bytes` behind the first `at` that are kept already; at most `bytesMax` in all. */
  #keep(bytes: Uint8Array, at: number): void {
    this.#kept ??= this.#session.context.turn.take()
    this.#kept.buffer.set(bytes, at)
    this.#keptBytes = at + bytes.length
  }
}

/** Frames of a pipeline that was kept. */
export function framesIn(bytes: Uint8Array): readonly Frame[] {
  const framer = new Framer(bytesMax)
  framer.push(bytes)
  const frames: Frame[] = []
  for (let frame = framer.next(); frame !== undefined; frame = framer.next()) frames.push(frame)
  return frames
}

type Execute = Extract<BatchItem, { kind: 'execute' }>

/** The one portal that a pipeline runs to its end; null when it does anything else. */
function onlyExecute({ items, error }: Batch): Execute | null {
  if (error !== null) return null
  const executes = items.filter((item) => item.kind === 'execute')
  const [only, ...more] = executes
  if (only === undefined || more.length > 0 || only.maxRows !== 0) return null
  return items.every((item) => isPartOf(item, only.portal)) ? only : null
}

/** True for what leads to the portal's one run, and for what no server has to do. */
function isPartOf(item: BatchItem, portal: Portal): boolean {
  switch (item.kind) {
    case 'parse':
    case 'describeStatement':
      return item.statement === portal.statement
    case 'bind':
    case 'describePortal':
    case 'execute':
      return item.portal === portal
    case 'closeStatement':
      return true
    case 'closePortal':
    case 'foreign':
      return false
  }
}
