// Commands that are run again. A read outside a transaction whose server fails before its first row
// has gone out is run once more on another server: nothing of the first try can be seen. So is what
// the fence of a move has refused, outside a transaction as well, on the new owner. Everything else
// is told of the failure.
import type { ServerConnection } from '../pool/server-connection.ts'
import type { AutoPrepare } from '../router/auto-prepare.ts'
import type { Lease } from './leases.ts'
import type { ReadFacts } from './read-facts.ts'
import { afterReplica, fenceError, isGone, isOfWords } from './repeat-verdict.ts'
import type { SessionState } from './session-state.ts'

// So often at most; then the client is told.
const repeatsMax = 3
// A restart takes all servers of a pool along within moments, also those that the command has been given meanwhile: what
// ends by order of an administrator soon after the first loss does not count, up to a bound of its own.
const lostTogetherMs = 3_000
const lostTogetherMax = 20
// Before the first, second and every later time, when servers are lost.
const pausesMs = [0, 20, 50] as const

export class Repeats {
  readonly #state: SessionState
  #run: (() => void) | null = null
  #isRead = false
  /** The command was sent in other words than its own: errors about those are asked for again. */
  #reworded: AutoPrepare | null = null
  #count = 0
  /** Of `#count`, those that `repeatsMax` is for. */
  #counted = 0
  #firstAtMs = 0
  #readSinceMs = 0

  constructor(state: SessionState) {
    this.#state = state
  }

  /** The client's next command. */
  nextCommand(): void {
    this.#run = null
    this.#count = 0
    this.#counted = 0
  }

  /** True when what is about to be sent on `lease` may be run again elsewhere, should its server fail. */
  allowed(facts: ReadFacts, { server, pinned }: Lease): boolean {
    const { transaction, database } = this.#state
    if (!facts.repeatable || transaction !== null || pinned !== null) return false
    if (this.#isWornOut) return false
    return server.target.role === 'replica' || database.options.failover.waitMs > 0
  }

  /** True when a fence may meet what is about to be sent, and it may be run again then. */
  allowedAtFence(onTheMove: boolean, { pinned }: Lease): boolean {
    if (!onTheMove || pinned !== null) return false
    return this.#state.transaction === null && !this.#isWornOut
  }

  get #isWornOut(): boolean {
    return this.#counted >= repeatsMax || this.#count >= lostTogetherMax
  }

  /** True once the command is on its second run. */
  get hasRun(): boolean {
    return this.#count > 0
  }

  /** How long what `take` gave should wait when its server was lost. */
  get pauseMs(): number {
    return pausesMs[Math.min(this.#count, pausesMs.length) - 1] ?? 0
  }

  get isArmed(): boolean {
    return this.#run !== null
  }

  /**
   * The command about to be sent on `lease` may be run again by `run`; unless it `isRead`, after a
   * fence's error only.
   */
  arm(
    { server }: Pick<Lease, 'server'>,
    run: () => void,
    {
      isRead,
      reworded = null,
    }: { readonly isRead: boolean; readonly reworded?: AutoPrepare | null },
  ): void {
    this.#run = run
    this.#isRead = isRead
    this.#reworded = reworded
    // Only replicas are chosen by how fast they are.
    if (server.target.role === 'replica') this.#readSinceMs = this.#state.database.clock.nowMs()
  }

  /**
   * True when the command is to be run again after that error; null: the connection was lost. See
   * `fenceError`. `bound`: it had begun to run.
   */
  after({ target }: ServerConnection, sqlstate: string | null, bound: boolean): boolean {
    if (this.#run === null) return false
    if (sqlstate === fenceError) return true
    if (this.#reworded !== null && sqlstate !== null && isOfWords(sqlstate, bound)) {
      this.#reworded.failed()
      return true
    }
    if (!this.#isRead) return false
    if (sqlstate === null) return true
    if (target.role !== 'replica') return isGone(sqlstate)
    const { reads, effective } = this.#state
    const elsewhere = afterReplica(sqlstate)
    return elsewhere === 'another' || (elsewhere === 'primary' && !reads.avoidsPrimary(effective))
  }

  /** Leaves the server that has failed; gives what runs the command again. */
  take(server: ServerConnection, sqlstate: string | null): (() => void) | null {
    const state = this.#state
    const run = this.#run
    this.#run = null
    const nowMs = state.database.clock.nowMs()
    if (this.#count === 0) this.#firstAtMs = nowMs
    this.#count += 1
    const together = server.endedOnOrder && nowMs - this.#firstAtMs < lostTogetherMs
    if (!together) this.#counted += 1
    state.rewindDefinitions()
    if (sqlstate === fenceError) {
      state.leases.settle(server.shard)
      return run
    }
    const elsewhere = sqlstate === null ? 'another' : afterReplica(sqlstate)
    leaveServer(state, server, elsewhere === 'primary' ? 'primary' : 'another')
    return run
  }

  /** The command that could have been run again was answered. */
  answered(server: ServerConnection): void {
    if (this.#run === null) return
    this.#run = null
    noteAnswered(this.#state, server, this.#readSinceMs)
  }
}

/** A read outside a transaction was answered that began at `sinceMs`. */
export function noteAnswered(state: SessionState, server: ServerConnection, sinceMs: number): void {
  if (server.target.role !== 'replica') return
  const { clock } = state.database
  const servers = state.database.serversOf(server.shard)
  const host = servers.hostOf(server)
  if (host !== null) servers.answered(host, clock.nowMs() - sinceMs)
}

/** Gives back or closes the server that has failed a read, and notes where not to go again. */
export function leaveServer(
  { database, reads, leases }: SessionState,
  server: ServerConnection,
  elsewhere: 'another' | 'primary',
): void {
  const servers = database.serversOf(server.shard)
  servers.counts.retried += 1
  if (elsewhere === 'primary') reads.needsPrimary()
  else if (server.target.role === 'replica') {
    const host = servers.hostOf(server)
    if (host !== null) reads.failed(host, server.shard)
  }
  if (server.closed) leases.discard(server.shard, 'it was lost')
  else leases.settle(server.shard)
}
