// Looks at all sessions now and then and does what their limits ask for: a notice to who waits, a cancel of what runs
// for too long, the end of who is silent for too long.
import { unreachable } from '../core/assert.ts'
import type { Clock, Timer } from '../core/clock.ts'
import { pgError } from '../core/errors.ts'
import { writeNotice } from '../wire/backend.ts'
import type { Session } from './session.ts'
import { type Overdue, overdue, type SessionLimits, sweepPauseMs } from './session-limits.ts'
import type { Sessions } from './sessions.ts'

export type SessionWatchOptions = {
  readonly clock: Clock
  readonly sessions: Pick<Sessions, 'each'>
  /** Limits that there are, of all databases and users. */
  readonly limits: () => Iterable<SessionLimits>
}

// A server that does not heed a cancel is closed.
const cancelPatienceMs = 5_000

/** What was done about a session: once for each wait, and for each statement. */
type Deeds = { notifiedSinceMs: number; cancelledSinceMs: number; cancelledAtMs: number }

export class SessionWatch {
  readonly #options: SessionWatchOptions
  readonly #deeds = new WeakMap<Session, Deeds>()
  /** The one look is over so often, over so many, that it leaves no garbage: V8 tidies up after logins once all is quiet. */
  readonly #look = (session: Session) => this.#lookAt(session)
  #nowMs = 0
  #timer: Timer | null = null
  #closed = false

  constructor(options: SessionWatchOptions) {
    this.#options = options
  }

  /** Looks from now on, until `close`. */
  start(): void {
    if (this.#closed) return
    const { clock, limits } = this.#options
    this.#timer = clock.after(sweepPauseMs(limits()), () => {
      this.look()
      this.start()
    })
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  /** One look at every session. */
  look(): void {
    this.#nowMs = this.#options.clock.nowMs()
    this.#options.sessions.each(this.#look)
  }

  #lookAt(session: Session): void {
    const late = overdue(session, this.#nowMs)
    if (late !== null) this.#act(session, late, this.#nowMs)
  }

  #act(session: Session, late: Overdue, nowMs: number): void {
    const { limits } = session
    switch (late) {
      case 'queued':
        return this.#notify(session)
      case 'query':
        return this.#cancel(session, nowMs)
      case 'transaction':
        return session.fatal(pgError('transactionTimeout', [limits.transactionTimeoutMs]))
      case 'idleTransaction':
        return session.fatal(pgError('idleTransactionTimeout'))
      case 'clientIdle':
        return session.fatal(pgError('clientIdleTimeout', [limits.clientIdleTimeoutMs]))
      case 'idleSession':
        return session.fatal(pgError('idleSessionTimeout'))
      default:
        return unreachable(late)
    }
  }

  #notify(session: Session): void {
    const deeds = this.#deedsOf(session)
    const sinceMs = session.times.waitingSinceMs ?? 0
    if (deeds.notifiedSinceMs === sinceMs) return
    deeds.notifiedSinceMs = sinceMs
    const message = 'no server connection is free, the statement waits for one'
    session.output.emit((writer) =>
      writeNotice(writer, { severity: 'NOTICE', sqlstate: '00000', message }),
    )
  }

  #cancel(session: Session, nowMs: number): void {
    const deeds = this.#deedsOf(session)
    const { beganMs } = session.times
    if (deeds.cancelledSinceMs !== beganMs) {
      deeds.cancelledSinceMs = beganMs
      deeds.cancelledAtMs = nowMs
      const message = `canceling statement due to query_timeout of ${session.limits.queryTimeoutMs} ms`
      session.tell((writer) =>
        writeNotice(writer, { severity: 'WARNING', sqlstate: '57014', message }),
      )
      void session.cancel()
    } else if (nowMs - deeds.cancelledAtMs > cancelPatienceMs) {
      session.fatal(pgError('queryTimeout', [session.limits.queryTimeoutMs]))
    }
  }

  #deedsOf(session: Session): Deeds {
    const known = this.#deeds.get(session)
    if (known !== undefined) return known
    const deeds = { notifiedSinceMs: -1, cancelledSinceMs: -1, cancelledAtMs: 0 }
    this.#deeds.set(session, deeds)
    return deeds
  }
}
