// The servers that one session holds, at most one per shard. A server comes from its pool clean and goes back
// clean, or is closed; while it is pinned it stays with the session between transactions.
import { type PgError, toPgError } from '../core/errors.ts'
import type { ShardId } from '../core/ids.ts'
import { AnswerSink, PreparingSink, sendQuery } from '../pool/exchange.ts'
import type { Pool } from '../pool/pool.ts'
import type { ServerConnection, ServerOwner } from '../pool/server-connection.ts'
import type { SettingsProfile } from '../pool/settings-profile.ts'
import type { PinReason } from '../router/plan.ts'
import type { Bulkhead, Slot } from './bulkhead.ts'
import { LeaseWait, type Wait } from './lease-wait.ts'
import type { WantedLook } from './session-look.ts'
import { resetServer } from './session-reset.ts'
import type { SessionTimes } from './session-times.ts'

export type Lease = {
  readonly server: ServerConnection
  readonly pool: Pool
  /** Why the client keeps it between transactions; null when it does not. */
  pinned: PinReason | null
  /** What has to be asked of it before it may serve another client. */
  look: WantedLook | null
  /** That is being asked now: what its client wants to be cancelled is something else. */
  looking: boolean
  /** Something was written, or may be, since it was lent. */
  writes: boolean
  /** Moves whose fence came while it was busy: it may end what it has begun. */
  passes: ReadonlySet<number> | null
}

/** Nothing is known that keeps it with its client. */
export function isUnpinned({ pinned }: Lease): boolean {
  return pinned === null || pinned === 'unknown session state'
}

const none: readonly never[] = []

export class Leases {
  readonly #owner: ServerOwner
  readonly #times: SessionTimes
  /** Replaced whenever it changes, so whoever goes through it may give servers back meanwhile; seldom more than one. */
  #held: readonly Lease[] = none
  /** What ends each of its waits: it may wait for several shards at once. */
  #waits: readonly Wait[] = none
  #slot: { readonly slot: Slot; readonly of: Bulkhead } | null = null
  readonly #share: string
  readonly #resetQuery: string | null
  /** The last look at its servers; null before the first. See session-look.ts. */
  looked: Promise<void> | null = null

  /**
   * `share`: whose share of the servers it waits for. `resetQuery`: servers are kept between transactions, and cleaned by
   * it when the client leaves; null: they are not kept.
   */
  constructor(
    owner: ServerOwner,
    times: SessionTimes,
    { share, resetQuery }: { readonly share: string; readonly resetQuery: string | null },
  ) {
    this.#owner = owner
    this.#share = share
    this.#resetQuery = resetQuery
    this.#times = times
  }

  get(shard: ShardId): Lease | undefined {
    for (const lease of this.#held) if (lease.pool.shard === shard) return lease
    return undefined
  }

  /** Servers may be given back while one goes through them. */
  [Symbol.iterator](): IterableIterator<Lease> {
    return this.#held.values()
  }

  /** True in session mode: whatever the client leaves on its server stays there with it. */
  get keeps(): boolean {
    return this.#resetQuery !== null
  }

  get isEmpty(): boolean {
    return this.#held.length === 0
  }

  /** Something has to be asked of one of them. */
  get wantLook(): boolean {
    if (this.#held.length === 0 || this.keeps) return false
    return this.#held.some(({ look }) => look !== null)
  }

  get pinReasons(): readonly PinReason[] {
    return this.#held.flatMap(({ pinned }) => (pinned === null ? [] : [pinned]))
  }

  /** Those whose server is working for the client now: what a CancelRequest is for. */
  get working(): readonly Lease[] {
    return this.#held.filter(({ server }) => server.exchangesOwed > 0)
  }

  /** Stops what servers are doing for the client, but nothing that is asked of them for its sake; resolves once they know. */
  async cancel(): Promise<void> {
    await Promise.all(this.working.map((lease) => this.#cancel(lease)))
  }

  async #cancel(lease: Lease): Promise<void> {
    const { server, pool } = lease
    for (let { head } = server; head instanceof PreparingSink; head = server.head) await head.over
    // Its statement may be over by now, and the server somebody else's.
    if (!lease.looking && this.working.includes(lease)) await pool.cancel(server)
  }

  /** A server of `pool` at once, or null: then one of the two is called later. */
  take(
    pool: Pool,
    profile: SettingsProfile,
    granted: (lease: Lease) => void,
    refused: (error: PgError) => void,
  ): Lease | null {
    const server = pool.lend(profile)
    if (server !== null) return this.hold(pool, server)
    const wait = new LeaseWait({ share: this.#share, pool, keeper: this }, granted, refused)
    this.#waits = [...this.#waits, wait]
    this.#times.waits()
    pool.wait(wait)
    return null
  }

  /** See LeaseWait. */
  waitOver(wait: Wait, granted: boolean): boolean {
    if (!this.#waits.includes(wait)) return false
    this.#waits = without(this.#waits, wait)
    if (!granted && this.#waits.length === 0) this.#times.waitsNoMore()
    return true
  }

  /** True while it has a place of a virtual node; see execute/key-slot.ts. */
  get hasSlot(): boolean {
    return this.#slot !== null
  }

  takeSlot(slot: Slot, of: Bulkhead): void {
    this.#slot = { slot, of }
  }

  /** Gives the place back, if it has one. */
  freeSlot(): void {
    const taken = this.#slot
    this.#slot = null
    taken?.of.leave(taken.slot)
  }

  /** Resolves with `until`; rejects when the session stops waiting, and calls `left`. */
  async waitFor(until: Promise<void>, left = () => {}): Promise<void> {
    const wait: Wait = { stop: () => {} }
    const stopped = new Promise<void>((_, reject) => {
      wait.stop = (error) => {
        left()
        reject(error)
      }
    })
    this.#waits = [...this.#waits, wait]
    try {
      await Promise.race([until, stopped])
    } finally {
      this.#waits = without(this.#waits, wait)
    }
  }

  /** The session's server on the pool's shard, leased now if it has none. @throws PgError 53300, 08001 */
  async obtain(pool: Pool, profile: SettingsProfile): Promise<Lease> {
    const held = this.get(pool.shard)
    if (held !== undefined) return held
    return new Promise((resolve, reject) => {
      const lease = this.take(pool, profile, resolve, (error) => reject(toPgError(error)))
      if (lease !== null) resolve(lease)
    })
  }

  /** Gives the server back unless it is pinned; the pool closes it when it is not clean. */
  settle(shard: ShardId): void {
    const lease = this.get(shard)
    if (lease === undefined) return
    if (lease.pinned !== null || lease.look !== null || this.keeps) {
      lease.writes = false
      lease.passes = null
      if (this.keeps) this.freeSlot()
      return
    }
    this.#drop(lease)
    lease.pool.release(lease.server)
  }

  /** Closes the session's server on `shard`: its state is unknown or of no more use. */
  discard(shard: ShardId, reason: string): void {
    const lease = this.get(shard)
    if (lease === undefined) return
    this.#drop(lease)
    lease.pool.discard(lease.server, reason)
  }

  /** Forgets a server that has died. */
  forget(server: ServerConnection): void {
    const lease = this.get(server.shard)
    if (lease?.server !== server) return
    this.#drop(lease)
    // The pool that lent it must hear of it too: it counts its connections.
    lease.pool.serverClosed(server, toPgError(new Error('died while leased')))
  }

  /** Cleans the servers that a client in session mode keeps; one that cannot be cleaned is closed. */
  async clean(): Promise<void> {
    const query = this.#resetQuery
    if (query === null) return
    const cleaned = this.#held.map(async (lease) => {
      if (!(await this.#reset(lease.server, 'DISCARD ALL'))) return
      if (lease.pinned !== 'LOAD' && lease.pinned !== 'session state') lease.pinned = null
    })
    await Promise.all(cleaned)
  }

  #reset(server: ServerConnection, query: string): Promise<boolean> {
    return new Promise((resolve) => {
      resetServer(server, query, (clean) => {
        if (!clean) this.discard(server.shard, 'it could not be reset')
        resolve(clean)
      })
    })
  }

  /** Closes pinned servers, whose session state nobody else may see. */
  unpin(reason: string): void {
    for (const lease of this.#held) {
      if (lease.pinned !== null) this.discard(lease.server.shard, reason)
    }
  }

  /** Leaves the queues it stands in, if any; who waits is refused with `error`. */
  stopWaiting(error: PgError): void {
    for (const wait of this.#waits) wait.stop(error)
  }

  /** The client is gone: idle servers are rolled back and given back, busy ones stopped and closed. */
  abandon(): void {
    for (const lease of this.#held) {
      const { server, pool, pinned, look } = lease
      const busy = server.exchangesOwed > 0
      if (busy) void pool.cancel(server)
      const resets = pinned !== 'LOAD' && pinned !== 'session state'
      if (this.#resetQuery !== null && !busy && resets) {
        void this.#giveBackClean(lease, this.#resetQuery)
      } else if (busy || pinned !== null || look !== null)
        this.discard(server.shard, 'its client is gone')
      else if (server.transactionStatus === 'I') this.settle(server.shard)
      else rollBackAndSettle(this, server)
    }
    if (this.#held.length === 0) this.freeSlot()
  }

  async #giveBackClean(lease: Lease, query: string): Promise<void> {
    if (!(await this.#reset(lease.server, query))) return
    this.#drop(lease)
    lease.pool.release(lease.server)
  }

  #drop(lease: Lease): void {
    this.#held = without(this.#held, lease)
    if (this.#slot !== null && this.#held.length === 0) this.freeSlot()
  }

  /** The session's from now on. */
  hold(pool: Pool, server: ServerConnection): Lease {
    const lease: Lease = {
      server,
      pool,
      pinned: null,
      look: null,
      looking: false,
      writes: false,
      passes: null,
    }
    server.owner = this.#owner
    this.#times.assigned()
    this.#held = this.#held.length === 0 ? [lease] : [...this.#held, lease]
    return lease
  }
}

function without<T>(list: readonly T[], gone: T): readonly T[] {
  return list.length === 1 && list[0] === gone ? none : list.filter((each) => each !== gone)
}

/** ROLLBACK for a client that is gone; the server goes back clean, or is closed. */
function rollBackAndSettle(leases: Leases, server: ServerConnection): void {
  const sink = new AnswerSink((error) => {
    if (error === null) leases.settle(server.shard)
    else leases.discard(server.shard, 'its rollback failed')
  })
  sendQuery(server, 'ROLLBACK', sink)
}
