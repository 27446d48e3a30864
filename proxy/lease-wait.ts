// A session's place in a pool's queue, from asking to one of three ends: granted, refused by the pool, stopped by
// the session itself.
import type { PgError } from '../core/errors.ts'
import type { Pool } from '../pool/pool.ts'
import type { ServerConnection } from '../pool/server-connection.ts'
import { Waiter } from '../pool/waiters.ts'

/** What a session waits for, and can stop waiting for. */
export interface Wait {
  stop(error: PgError): void
}

/** Who keeps the session's waits. */
interface WaitKeeper<L> {
  /** The wait is over, whatever its end. False when it was before. */
  waitOver(wait: Wait, granted: boolean): boolean
  hold(pool: Pool, server: ServerConnection): L
}

/** Waits for a server of `pool`; `L` is what the session makes of it. */
export class LeaseWait<L> extends Waiter implements Wait {
  readonly #pool: Pool
  readonly #keeper: WaitKeeper<L>
  readonly #onGranted: (lease: L) => void
  readonly #onRefused: (error: PgError) => void

  constructor(
    { share, pool, keeper }: { share: string; pool: Pool; keeper: WaitKeeper<L> },
    granted: (lease: L) => void,
    refused: (error: PgError) => void,
  ) {
    super(share)
    this.#pool = pool
    this.#keeper = keeper
    this.#onGranted = granted
    this.#onRefused = refused
  }

  granted(server: ServerConnection): void {
    this.#keeper.waitOver(this, true)
    this.#onGranted(this.#keeper.hold(this.#pool, server))
  }

  refused(error: PgError): void {
    // Whose wait was stopped has been refused already.
    if (this.#keeper.waitOver(this, false)) this.#onRefused(error)
  }

  /** Leaves the queue and is refused with `error`. */
  stop(error: PgError): void {
    this.#pool.leave(this)
    this.refused(error)
  }
}
