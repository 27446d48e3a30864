// The session's side of the relay: what completed statements leave behind, what a failure takes back.
import { type PgError, pgError } from '../core/errors.ts'
import type { ServerConnection } from '../pool/server-connection.ts'
import type { SettingsProfile } from '../pool/settings-profile.ts'
import type { SessionCommand } from '../router/plan.ts'
import { noTraces } from '../router/traces.ts'
import type { ClientOutput } from './client-output.ts'
import type { Ride } from './execute/ride.ts'
import { isUnpinned } from './leases.ts'
import type { RelayHost } from './relay.ts'
import { Relay } from './relay.ts'
import type { Repeats } from './repeats.ts'
import { SessionLoad } from './load-meter.ts'
import { noteLook } from './session-look.ts'
import type { SessionState } from './session-state.ts'
import type { SessionTimes } from './session-times.ts'
import { isPrepare } from './effects.ts'
import type { ClientStatement, Effect } from './statements.ts'

/** What the pump does when an exchange gets somewhere. */
export interface ExchangeEvents {
  /** The server waits for the client's COPY data. */
  copyInStarted(): void
  /** The COPY that was under way has failed. */
  copyInFailed(): void
  /** ReadyForQuery came, and all that it means is noted. */
  exchangeOver(): void
  /** All replies up to a Flush have come; after a failure the rest of the pipeline is skipped. */
  exchangePaused(failed: boolean): void
  /** The client is gone: nothing is run for it any more. */
  readonly closed: boolean
  /** The session ends without a word. */
  close(): void
  /** See RelayHost.repeat. */
  repeatCommand(server: ServerConnection, sqlstate: string | null): void
}

/** The session, as far as replies concern it. */
type Replying = ExchangeEvents & {
  readonly state: SessionState
  readonly output: ClientOutput
  readonly times: SessionTimes
  readonly repeats: Repeats
  readonly ride: Ride
}

export class Replies implements RelayHost {
  readonly relay: Relay
  /** Names of Parse messages that the present server has not answered yet; '' for unnamed ones. */
  readonly parses: string[] = []
  /** What the Describe messages that are not answered yet are of; null for what is not remembered. */
  readonly describes: (ClientStatement | null)[] = []
  /** Bytes told to the client since the exchange began. */
  answerBytes = 0
  /** Null where load is not measured. */
  readonly load: SessionLoad | null
  readonly #state: SessionState
  readonly #output: ClientOutput
  readonly #events: ExchangeEvents
  readonly #times: SessionTimes
  readonly #repeats: Repeats
  readonly #ride: Ride
  #effects: (Effect | null)[] = []
  #effectAt = 0
  #settingsBefore: SettingsProfile

  constructor(session: Replying) {
    const { state, output, times, repeats, ride } = session
    this.#state = state
    this.#output = output
    this.#times = times
    this.#repeats = repeats
    this.#ride = ride
    this.#events = session
    this.#settingsBefore = state.settings
    const { load } = state.database
    this.load = load === null ? null : new SessionLoad(load)
    this.relay = new Relay(this)
  }

  /** A new exchange: effects of its statements in order; those of a pipeline are added one by one. */
  expect(effects: readonly (Effect | null)[]): void {
    this.#effects = [...effects]
    this.#effectAt = 0
    if (this.describes.length > 0) this.describes.length = 0
    this.#settingsBefore = this.#state.settings
    this.answerBytes = 0
    this.load?.begin()
  }

  addEffect(effect: Effect | null): void {
    this.#effects.push(effect)
  }

  forward(bytes: Uint8Array): void {
    this.answerBytes += bytes.length
    this.load?.forwarded(bytes.length)
    this.#output.forward(bytes)
  }

  parameterReported(bytes: Uint8Array): void {
    this.#output.parameterReported(bytes)
    if (this.#state.dialect.differs) this.#keepUnread()
  }

  /** What came behind the change in the same pipeline was read as before it. */
  #keepUnread(): void {
    const { server, readAhead } = this.relay
    const lease = server === null ? undefined : this.#state.leases.get(server.shard)
    if (readAhead && lease !== undefined && isUnpinned(lease)) lease.pinned = 'session state'
  }

  statementCompleted(tag: string): void {
    const effect = this.#effects[this.#effectAt]
    this.#effectAt += 1
    this.load?.completed(tag)
    this.#times.tag = tag
    const { server } = this.relay
    if (effect === undefined || effect === null || server === null) return
    this.#state.apply(effect, tag, server)
    if (effect.command !== null || tag === 'PREPARE TRANSACTION') {
      this.#boundary(effect.command?.kind, tag, server)
    }
  }

  /**
   * In the middle of a string or pipeline a transaction begins or ends: what was set before belongs to the one that
   * begins, is kept by COMMIT whatever fails behind it, and taken back by ROLLBACK.
   */
  #boundary(kind: SessionCommand['kind'] | undefined, tag: string, server: ServerConnection): void {
    const state = this.#state
    const { transaction } = state
    if (kind === undefined && transaction !== null) {
      // Whatever becomes of what was prepared, the session goes on with what it has set.
      state.settings = transaction.session
      server.settings = transaction.session
      this.#settingsBefore = transaction.session
    } else if (kind === 'commit' && tag.startsWith('COMMIT')) {
      this.#settingsBefore = state.settings
    } else if (kind === 'begin' || kind === 'commit' || kind === 'rollback') {
      this.#takeBackSettings(server)
    }
  }

  #takeBackSettings(server: ServerConnection): void {
    if (this.#state.settings === this.#settingsBefore) return
    this.#state.settings = this.#settingsBefore
    server.settings = this.#settingsBefore
  }

  /** What has run of it has left as much as if it had come to its end: its portal may never be asked for more. */
  statementSuspended(): void {
    this.statementCompleted('')
  }

  definitionCompleted(): void {
    this.#state.confirmDefinition()
  }

  described(bytes: Uint8Array): void {
    this.describes.shift()?.told(bytes)
  }

  serverParsed(): void {
    this.parses.shift()
  }

  copyInStarted(): void {
    this.#events.copyInStarted()
  }

  statementFailed(sqlstate: string | null = null): void {
    this.#times.failed = true
    if (sqlstate !== null) this.#times.traffic.countError(sqlstate)
    this.#state.undoDefinitions()
    this.#state.fail()
    // A lock that was taken before the failure is kept.
    const shard = this.relay.server?.shard
    for (const effect of shard === undefined ? [] : this.#effects.slice(this.#effectAt)) {
      if (effect !== null && shard !== undefined) noteLook(this.#state, effect, shard)
    }
    this.#forgetParses(this.relay.server)
    this.#events.copyInFailed()
  }

  resultChanged(): void {
    this.#output.error(pgError('resultChanged'))
    this.statementFailed()
  }

  mayRepeat(): boolean {
    return this.#repeats.isArmed
  }

  repeatsAfter(sqlstate: string | null, bound: boolean): boolean {
    const { server } = this.relay
    if (server === null || this.#events.closed) return false
    return this.#repeats.after(server, sqlstate, bound)
  }

  repeat(server: ServerConnection, sqlstate: string | null): void {
    this.#forgetParses(server)
    this.#ride.failed()
    this.#events.repeatCommand(server, sqlstate)
  }

  /** What the server was to prepare, it may not have. */
  #forgetParses(server: ServerConnection | null): void {
    for (const name of this.parses.splice(0)) server?.prepared.delete(name)
    if (server !== null) server.unnamed = null
  }

  exchangeFinished(server: ServerConnection): void {
    this.load?.end()
    this.#ride.arrived()
    this.#times.served(server.shard)
    if (!this.relay.failed) this.#repeats.answered(server)
    const { transaction } = this.#state
    if (transaction !== null) {
      if (server.transactionStatus === 'I') this.#state.endTransaction('rolledBack')
    } else if (this.relay.failed) {
      this.#settingsFailed(server)
    }
    if (this.relay.quiet) this.#events.exchangePaused(this.relay.failed)
    else this.#events.exchangeOver()
  }

  /** PostgreSQL has rolled back what the failed string or pipeline has set, but for what a procedure has committed. */
  #settingsFailed(server: ServerConnection): void {
    const { settings } = this.#state
    if (settings === this.#settingsBefore) return
    this.#takeBackSettings(server)
    const traces = { ...noTraces, settings: settings.customNames }
    noteLook(this.#state, { look: 'settings', traces }, server.shard)
  }

  flushed(): void {
    this.#events.exchangePaused(this.relay.failed)
  }

  serverLost(error: PgError, torn: boolean): void {
    this.load?.end()
    this.#ride.arrived()
    // Whatever is said now would be read as the rest of that row: PostgreSQL's own clients are cut off there, too.
    if (torn) {
      this.#times.traffic.countError(error.sqlstate)
      return this.#events.close()
    }
    const pending = this.#effects.slice(this.#effectAt)
    const deciding = pending.some((effect) => decides(effect))
    if (!this.relay.failed) this.#output.error(deciding ? error : this.#state.meaningOf(error))
    this.statementFailed()
    // Nothing of the string or pipeline was committed that is known to have been.
    if (this.#state.transaction === null) this.#state.settings = this.#settingsBefore
    // COMMIT and ROLLBACK end the transaction, whatever becomes of them: clients do not send ROLLBACK after them.
    const ending = deciding || pending.some((effect) => effect?.command?.kind === 'rollback')
    if (ending) this.#state.endTransaction('rolledBack')
    if (this.relay.synced && !this.relay.quiet) this.#events.exchangeOver()
    else this.#events.exchangePaused(true)
  }
}

/** True for a statement after which the transaction may be kept though nobody has heard so. */
function decides(effect: Effect | null): boolean {
  return effect?.command?.kind === 'commit' || (effect !== null && isPrepare(effect.sql))
}
