// Who waits until a pool has replaced all its connections.
import type { ServerConnection } from './server-connection.ts'

export class Renewals {
  readonly #all: ReadonlySet<ServerConnection>
  readonly #now: { readonly targetNumber: number }
  readonly #waiting: (() => void)[] = []

  /** `all`: the pool's connections; `now` has the number of those that are wanted. */
  constructor(all: ReadonlySet<ServerConnection>, now: { readonly targetNumber: number }) {
    this.#all = all
    this.#now = now
  }

  /** Resolves once no connection of an older number is left. */
  wait(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
      this.look()
    })
  }

  /** A connection has ended. */
  look(): void {
    if (this.#waiting.length === 0) return
    for (const server of this.#all) if (server.targetNumber !== this.#now.targetNumber) return
    for (const end of this.#waiting.splice(0)) end()
  }
}
