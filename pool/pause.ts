// A pool that is paused, and who waits for all of its servers to come back.
import type { PgError } from '../core/errors.ts'

export class Pause {
  #ended: ((error: PgError | null) => void)[] | null = null

  get isOn(): boolean {
    return this.#ended !== null
  }

  /** Resolves with `allBack`. @throws PgError what it is ended with before that */
  begin(): Promise<void> {
    const ended = this.#ended ?? []
    this.#ended = ended
    return new Promise((resolve, reject) => {
      ended.push((error) => (error === null ? resolve() : reject(error)))
    })
  }

  /** Every server has come back. */
  allBack(): void {
    for (const end of this.#ended?.splice(0) ?? []) end(null)
  }

  end(error: PgError): void {
    const ended = this.#ended
    this.#ended = null
    for (const end of ended ?? []) end(error)
  }
}
