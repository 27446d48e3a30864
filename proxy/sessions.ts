// All sessions of a process, and the keys by which their clients may cancel what they do. Several processes may share the
// port: a cancel request reaches any of them, so the number in the key says which process gave it.
import { randomBytes, randomInt, timingSafeEqual } from 'node:crypto'
import { assert } from '../core/assert.ts'
import type { Session } from './session.ts'

/** `secret`: its bytes, one per character; a Buffer of its own would cost a client ten times as much. */
type Entry = { readonly secret: string; readonly session: Session }

export type CancelKey = { readonly pid: number; readonly secret: Uint8Array }

/** Processes that can share a port: the old and the new ones of an upgrade too. */
export const slotCount = 1024
/** A process id of PostgreSQL's protocol is a positive int4. */
const countMax = 2 ** 31 / slotCount - 1

/** Slot of the process that gave the key with this number. */
export function slotOf(pid: number): number {
  return pid % slotCount
}

export class Sessions {
  readonly slot: number
  readonly #entries = new Map<number, Entry>()
  #lastCount = randomInt(1, countMax)

  /** `slot`: from 0 below `slotCount`, different for all processes that share the port. */
  constructor(slot: number) {
    assert(slot >= 0 && slot < slotCount, `slot ${slot} is below ${slotCount}`)
    this.slot = slot
  }

  /** With the number of each one's cancel key. */
  *entries(): IterableIterator<readonly [pid: number, session: Session]> {
    for (const [pid, { session }] of this.#entries) yield [pid, session]
  }

  find(pid: number): Session | undefined {
    return this.#entries.get(pid)?.session
  }

  get size(): number {
    return this.#entries.size
  }

  [Symbol.iterator](): IterableIterator<Session> {
    return Array.from(this.#entries.values(), ({ session }) => session).values()
  }

  /** Without a copy of the list: for who looks at all of them again and again. */
  each(look: (session: Session) => void): void {
    this.#entries.forEach(({ session }) => look(session))
  }

  /** A key for a new session; 4 bytes of secret before protocol 3.2, 32 since. */
  newKey(minor: number): CancelKey {
    assert(this.#entries.size < countMax, 'there are keys left')
    let pid: number
    do {
      this.#lastCount = (this.#lastCount % countMax) + 1
      pid = this.#lastCount * slotCount + this.slot
    } while (this.#entries.has(pid))
    return { pid, secret: randomBytes(minor >= 2 ? 32 : 4) }
  }

  add(key: CancelKey, session: Session): void {
    const secret = Buffer.from(key.secret).toString('latin1')
    this.#entries.set(key.pid, { secret, session })
    session.processId = key.pid
  }

  remove(pid: number): void {
    this.#entries.delete(pid)
  }

  /**
   * Cancels what the session with this key is doing now; a wrong key does nothing, like PostgreSQL. Resolves once the
   * servers have been told.
   */
  async cancel(pid: number, secret: Uint8Array): Promise<void> {
    const entry = this.#entries.get(pid)
    if (entry === undefined || entry.secret.length !== secret.length) return
    if (!timingSafeEqual(Buffer.from(entry.secret, 'latin1'), secret)) return
    await entry.session.cancel()
  }
}
