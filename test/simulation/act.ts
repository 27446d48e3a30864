// An act of a mover on one shard: a session for one kind of work, opened with its first request.
import type { Cluster } from './cluster.ts'
import type { MoverSession, Work } from './mover-sessions.ts'
import { ConnectionBroken } from './network.ts'
import type { Process } from './process.ts'
import type { Row, Value } from './rows.ts'
import type { Shard } from './shard.ts'

const noticedMsMax = 2_000

/** Who acts for a move, with the number that the catalog gave it. */
export type Actor = {
  readonly cluster: Cluster
  readonly process: Process
  readonly moveId: number
  readonly runner: number
}

export class Act {
  readonly #actor: Actor
  readonly #shard: Shard
  readonly #work: Work
  #session: MoverSession | null = null
  #broken = false

  constructor(actor: Actor, shard: Shard, work: Work) {
    this.#actor = actor
    this.#shard = shard
    this.#work = work
  }

  /** Runs `request` on the shard. @throws ConnectionBroken, ServerRefusal */
  async call<T>(request: (shard: Shard, session: MoverSession) => T | Promise<T>): Promise<T> {
    const { cluster, process } = this.#actor
    const shard = this.#shard
    this.#session ??= this.#open()
    const session = this.#session
    try {
      return await cluster.network.call(process, shard, () => {
        if (session === null) throw new ConnectionBroken(shard.name)
        shard.movers.check(session)
        // The request has come late: behind it comes the end of the connection.
        if (this.#broken) this.#endSoon(session)
        return request(shard, session)
      })
    } catch (error) {
      if (error instanceof ConnectionBroken && session !== null) {
        this.#broken = true
        this.#endSoon(session)
      }
      throw error
    }
  }

  /** A connection is there before the first request is sent; null: there is none to be had. */
  #open(): MoverSession | null {
    const { cluster, process, moveId, runner } = this.#actor
    const shard = this.#shard
    if (!process.alive || !shard.up || cluster.network.isCut(process.name, shard.name)) return null
    return shard.movers.open(moveId, this.#work, runner)
  }

  /** One transaction in one request. */
  write(change: (put: (row: Row, value: Value) => void, shard: Shard) => void): Promise<void> {
    return this.call((shard) => {
      const transaction = shard.begin({ kind: 'mover', origin: null })
      try {
        change((row, value) => shard.writeNow(transaction, row, value), shard)
        shard.commit(transaction)
      } catch (error) {
        shard.abort(transaction)
        throw error
      }
    })
  }

  /** The server notices that nobody is there. */
  #endSoon(session: MoverSession): void {
    const { scheduler } = this.#actor.cluster.environment
    scheduler.after(scheduler.between(0, noticedMsMax), () => this.#shard.movers.end(session))
  }
}
