// All sessions of a proxy, and the keys by which their clients may cancel what they do.
import { randomBytes, randomInt, timingSafeEqual } from 'node:crypto'
import type { Session } from './session.ts'

type Entry = { readonly secret: Uint8Array; readonly session: Session }

export type CancelKey = { readonly pid: number; readonly secret: Uint8Array }

const pidMax = 0x7fffffff

export class Sessions {
  readonly #entries = new Map<number, Entry>()
  #lastPid = randomInt(1, pidMax)

  get size(): number {
    return this.#entries.size
  }

  [Symbol.iterator](): IterableIterator<Session> {
    return [...this.#entries.values()].map(({ session }) => session).values()
  }

  /** A key for a new session; 4 bytes of secret before protocol 3.2, 32 since. */
  newKey(minor: number): CancelKey {
    do this.#lastPid = (this.#lastPid % pidMax) + 1
    while (this.#entries.has(this.#lastPid))
    return { pid: this.#lastPid, secret: randomBytes(minor >= 2 ? 32 : 4) }
  }

  add(key: CancelKey, session: Session): void {
    this.#entries.set(key.pid, { secret: key.secret, session })
  }

  remove(pid: number): void {
    this.#entries.delete(pid)
  }

  /** Cancels what the session with this key is doing now; a wrong key does nothing, like PostgreSQL. */
  cancel(pid: number, secret: Uint8Array): void {
    const entry = this.#entries.get(pid)
    if (entry === undefined || entry.secret.length !== secret.length) return
    if (!timingSafeEqual(entry.secret, secret)) return
    entry.session.cancel()
  }
}
