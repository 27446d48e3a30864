// What currval() and lastval() answer is remembered by the server that ran nextval(). Nothing is done about it until a
// client asks for the first time. From then on a server that changes hands forgets (DISCARD SEQUENCES, in the same
// write), so that nobody is told another client's number: at worst PostgreSQL says that there is none yet. And who asks
// outside of a transaction, where the next statement may be another server's, keeps its server once it writes.
import { isUnpinned, type Lease } from './leases.ts'
import type { SessionState } from './session-state.ts'

export class SequenceMemory {
  #asked = false
  readonly #askedAlone = new WeakSet<SessionState>()
  /** Whose numbers a server remembers, and nobody else's. */
  readonly #owners = new WeakMap<Lease['server'], SessionState>()
  readonly #owned = new WeakMap<SessionState, Lease['server']>()

  /** A statement of the session asks for such a number; `alone`: outside of a transaction. */
  asked(state: SessionState, alone: boolean): void {
    this.#asked = true
    if (alone) this.#askedAlone.add(state)
  }

  /**
   * `state` is about to use the server: what the server must be sent first, '' for nothing. A client has its
   * numbers on one server, the last that it used.
   */
  join(state: SessionState, lease: Lease, writes: boolean): string {
    if (!this.#asked) return ''
    const { server } = lease
    const mayPin = state.database.options.pin === 'allow' && server.target.role === 'primary'
    const pins = writes && mayPin && this.#askedAlone.has(state)
    if (pins && isUnpinned(lease)) lease.pinned = 'sequence'
    if (this.#owners.get(server) === state) return ''
    const alreadyIts = lease.pinned !== null && lease.pinned !== 'sequence'
    const before = this.#owned.get(state)
    if (before !== undefined && this.#owners.get(before) === state) this.#owners.delete(before)
    this.#owned.set(state, server)
    this.#owners.set(server, state)
    return alreadyIts ? '' : 'DISCARD SEQUENCES'
  }
}
