// How `ringfence serve` is told to end. The first order decides how it begins to end; a later one counts where it is sooner,
// such as SHUTDOWN while the last clients are waited for.
import type { Ending } from './service.ts'

/** As SHUTDOWN says, or because another process has taken over. */
export type End = Ending | 'replaced'

export class Ends {
  /** The first order. */
  readonly first: Promise<End>
  /** Clients are waited for no more, transactions are. */
  readonly soon: Promise<void>
  /** Nobody is waited for. */
  readonly now: Promise<void>
  readonly tell: (end: End) => void

  constructor() {
    const [first, soon, now] = [
      Promise.withResolvers<End>(),
      Promise.withResolvers<void>(),
      Promise.withResolvers<void>(),
    ]
    this.first = first.promise
    this.soon = soon.promise
    this.now = now.promise
    this.tell = (end) => {
      first.resolve(end)
      if (end === 'servers' || end === 'now') soon.resolve()
      if (end === 'now') now.resolve()
    }
  }
}
