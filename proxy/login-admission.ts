// How many clients may be logging in at once. Who connects and says nothing does not keep others out: when the places
// are taken, the oldest login is given up, if it has had its time.
import type { Clock } from '../core/clock.ts'
import { type PgError, pgError } from '../core/errors.ts'

/** A login that can be given up. */
export type Refusable = { readonly refuse: (error: PgError) => void }

/** A login that takes longer may lose its place to a new one. */
const graceMs = 1_000

export class LoginAdmission {
  readonly #clock: Clock
  /** In the order in which they came. */
  readonly #since = new Map<Refusable, number>()
  max: number

  constructor(max: number, clock: Clock) {
    this.max = max
    this.#clock = clock
  }

  get size(): number {
    return this.#since.size
  }

  /** Takes a place; without one, `login` or an older one is refused (53300). */
  enter(login: Refusable): void {
    const now = this.#clock.nowMs()
    if (this.#since.size >= this.max) {
      const [oldest] = this.#since
      const error = pgError('loginsTooMany')
      if (oldest === undefined || now - oldest[1] < graceMs) return login.refuse(error)
      this.#since.delete(oldest[0])
      oldest[0].refuse(error)
    }
    this.#since.set(login, now)
  }

  /** The login has ended in whichever way; harmless when it had no place. */
  leave(login: Refusable): void {
    this.#since.delete(login)
  }
}
