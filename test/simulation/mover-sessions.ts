// Sessions of movers on one shard. What a runner sends may arrive long after it gave it up, or after another one took over.
// Two rules keep that harmless, and servers-world.ts has to keep them: who opens a session of a move for some kind of work
// ends the earlier one of that kind; and once a runner has been there, none with a lower number is let in.
import type { Environment } from './environment.ts'
import { ServerRefusal } from './network.ts'
import type { SimulatedTransaction } from './transaction.ts'

/** Kinds of work that never run twice at the same time on one shard, for one move. */
export type Work = 'rows' | 'fence' | 'streams' | 'apply' | 'other'

export type MoverSession = {
  readonly moveId: number
  readonly runner: number
  ended: boolean
  transaction: SimulatedTransaction | null
}

type Aborting = { abort(transaction: SimulatedTransaction): void }

export class MoverSessions {
  readonly #shard: Aborting
  readonly #environment: Environment
  readonly #sessions = new Map<string, MoverSession>()
  /** Also those that others have taken the place of. */
  readonly #all = new Set<MoverSession>()
  readonly #newest = new Map<number, number>()

  constructor(shard: Aborting, environment: Environment) {
    this.#shard = shard
    this.#environment = environment
  }

  /** @throws 57P01 when a later runner has been here */
  open(moveId: number, work: Work, runner: number): MoverSession {
    const { mutation } = this.#environment
    const newest = this.#newest.get(moveId) ?? 0
    if (mutation !== 'runnersNotNumbered') {
      if (runner < newest) throw new ServerRefusal('57P01', 'another runner has taken over')
      if (runner > newest) this.#endOf(moveId)
    }
    this.#newest.set(moveId, Math.max(newest, runner))
    const name = `${moveId}/${work}`
    const earlier = this.#sessions.get(name)
    if (earlier !== undefined && mutation !== 'sessionsNotEnded') this.end(earlier)
    const session: MoverSession = { moveId, runner, ended: false, transaction: null }
    this.#sessions.set(name, session)
    this.#all.add(session)
    return session
  }

  /** @throws 57P01 when the session has been ended */
  check(session: MoverSession): void {
    if (session.ended) throw new ServerRefusal('57P01', 'the session was ended')
  }

  /** Its client is gone. */
  end(session: MoverSession): void {
    session.ended = true
    this.#all.delete(session)
    if (session.transaction !== null) this.#shard.abort(session.transaction)
    session.transaction = null
  }

  /** Every session of a process that has died. */
  endOfRunner(runner: number): void {
    for (const session of this.#all) if (session.runner === runner) this.end(session)
  }

  /** The server crashes. */
  endAll(): void {
    for (const session of this.#all) this.end(session)
  }

  #endOf(moveId: number): void {
    for (const session of this.#all) {
      if (session.moveId === moveId) this.end(session)
    }
  }
}
