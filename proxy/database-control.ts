// What an operator does to a database as a whole: keep new clients out, replace all server connections, close all
// connections, stop reading from clients. The admin console gives these commands.
import { pgError } from '../core/errors.ts'
import type { Pool } from '../pool/pool.ts'
import type { Session } from './session.ts'

/** A database, as its control sees it. */
export interface Controlled {
  readonly options: { readonly name: string }
  readonly pools: readonly Pool[]
  readonly notify: { renew(reason: string): void }
  pause(shard: null): Promise<void>
  resume(shard: null): void
}

// How often a suspend looks whether all have come to rest.
const pollMs = 20

export class DatabaseControl {
  readonly #database: Controlled
  #disabled = false
  #suspended = false

  constructor(database: Controlled) {
    this.#database = database
  }

  /** True while new clients are refused. */
  get disabled(): boolean {
    return this.#disabled
  }

  /** Refuses new clients (57P03); those that are there go on. */
  disable(): void {
    this.#disabled = true
  }

  enable(): void {
    this.#disabled = false
  }

  /** Every server connection is closed and opened anew: an idle one at once, another when it is given back. */
  reconnect(): void {
    for (const pool of this.#database.pools) pool.reconnect()
    this.#database.notify.renew('reconnecting')
  }

  /** Resolves once no server connection from before the last `reconnect` is left. */
  async waitClose(): Promise<void> {
    await Promise.all(this.#database.pools.map((pool) => pool.untilRenewed()))
  }

  /**
   * Closes all clients (of `sessions` those of this database) and all server connections at once. Clients that come
   * later wait until RESUME.
   */
  kill(sessions: Iterable<Session>): void {
    const { name } = this.#database.options
    const error = pgError('databaseKilled', [name])
    const paused = this.#database.pause(null)
    // Nobody waits for it: whatever could keep it from ending is closed.
    paused.catch(() => undefined)
    for (const session of this.#of(sessions)) session.fatal(error)
    for (const pool of this.#database.pools) pool.kill(error)
  }

  /**
   * Answers go out, nothing more is read from clients, those that come later included; resolves once no statement is under way.
   * Ends with `wake`.
   */
  async suspend(sessions: Iterable<Session>): Promise<void> {
    const all = this.#of(sessions)
    this.#suspended = true
    for (const session of all) session.suspended = true
    const isBusy = ({ phase }: Session) => phase !== 'ready' && phase !== 'closed'
    while (all.some((session) => session.suspended && isBusy(session))) {
      await new Promise((resolve) => setTimeout(resolve, pollMs))
    }
  }

  /** A client has logged in; nothing is read from it yet. */
  entered(session: Session): void {
    session.suspended = this.#suspended
  }

  /** Clients are read again. */
  wake(sessions: Iterable<Session>): void {
    this.#suspended = false
    for (const session of this.#of(sessions)) {
      if (!session.suspended) continue
      session.suspended = false
      session.pump()
    }
  }

  #of(sessions: Iterable<Session>): readonly Session[] {
    return [...sessions].filter(({ state }) => state.database.control === this)
  }
}
