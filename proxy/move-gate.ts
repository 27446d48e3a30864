// What moves ask of this proxy. It holds new statements on virtual nodes that are fenced, and on all that are on the move
// while the catalog has not heard of it for a lease's time; and it finds out when nothing it runs was routed by an older
// topology, which the catalog is told as `seen` (docs/moving-vnodes.md).
//
// A lease that was busy on the serving shard when the fence came passes it until it ends: the switch waits for it.
import { leaseMs } from '../catalog/proxy-registry.ts'
import type { Clock } from '../core/clock.ts'
import { pgError } from '../core/errors.ts'
import { type Epoch, epoch, type ShardId } from '../core/ids.ts'
import type { Topology, TopologyMove } from '../router/topology.ts'
import type { ServerConnection } from '../pool/server-connection.ts'
import type { Lease } from './leases.ts'
import type { Transaction } from './transaction.ts'

type GatedLease = Pick<Lease, 'writes' | 'passes'> & {
  readonly server: Pick<ServerConnection, 'exchangesOwed'>
}

/** The servers that a session holds. */
export type GatedLeases = { get(shard: ShardId): GatedLease | undefined }

/** A session as far as moves concern it. */
export type GatedSession = {
  readonly leases: GatedLeases
  readonly transaction: Pick<Transaction, 'participants' | 'everywhere'> | null
  /** Its statement on a server that it shares with others. */
  readonly riding: Riding
}

/** The latest of a session's statements on the fast lane. */
export type Riding = {
  /** Where it is under way; null once it has been answered. */
  readonly shard: ShardId | null
  readonly number: number
}

export type MoveGateOptions = {
  readonly clock: Clock
  readonly sessions: Iterable<GatedSession>
  /** Statements held at most, and how long each, 0: for ever; read at every use. */
  readonly limits: () => { readonly waitersMax: number; readonly queryWaitTimeoutMs: number }
  /** `seen` has grown, or the topology is known to be old: the catalog is to be told and asked. */
  readonly onSeen: () => void
}

/** True once what it stands for has ended. */
type Obligation = () => boolean

const lookMs = 2
const holdMsMax = 24 * 3_600_000

export class MoveGate {
  readonly #options: MoveGateOptions
  /** Work that goes to several shards, by the topology it was planned with. */
  readonly #spanning = new Set<object>()
  readonly #held = new Set<() => void>()
  #topology: Topology | null = null
  #seen = epoch(0)
  #obligations: Obligation[] = []
  #looking = false
  #beatenMs = Number.NEGATIVE_INFINITY
  /** Statements that have been held, and for how long, milliseconds. */
  readonly counts = { held: 0, heldMs: 0, refused: 0 }

  constructor(options: MoveGateOptions) {
    this.#options = options
  }

  /** Newest epoch that all work of this proxy is routed by. */
  get seen(): Epoch {
    return this.#seen
  }

  /** Statements that wait now. */
  get heldNow(): number {
    return this.#held.size
  }

  /** For whoever watches. */
  get figures() {
    const { counts, heldNow } = this
    return { active: this.#topology?.moves.length ?? 0, heldNow, counts }
  }

  /** The catalog has written a heartbeat that was sent at `sentMs`. */
  beaten(sentMs: number): void {
    const expired = this.#isExpired
    this.#beatenMs = sentMs
    if (expired) this.#letGo()
  }

  /** Routing goes by `topology` from now on. */
  adopt(topology: Topology): void {
    const before = this.#topology
    this.#topology = topology
    this.#obligations.push(...this.#obligationsOf(before, topology))
    this.#letGo()
    this.#look()
  }

  /** A fence that the topology lacks was met: there is a newer one, or will be. */
  askCatalog(): void {
    this.#options.onSeen()
  }

  /** Work that goes to several shards by the topology of now; call the result when it has ended. */
  enter(): () => void {
    const token = {}
    this.#spanning.add(token)
    return () => this.#spanning.delete(token)
  }

  /**
   * True when a statement of these moves has to wait. At a switch that goes for what reads all
   * shards too: another proxy may write on the new owner already.
   */
  holds(moves: readonly TopologyMove[], leases: GatedLeases): boolean {
    if (moves.length === 0) return false
    if (this.#isExpired) return true
    return moves.some(({ id, phase, serving }) => {
      return phase === 'fenced' && leases.get(serving)?.passes?.has(id) !== true
    })
  }

  /** Resolves when it is worth planning again. @throws PgError 53300, or 57P03 after `holdMs` since `sinceMs` */
  async hold(sinceMs: number): Promise<void> {
    const { clock, limits } = this.#options
    const { waitersMax: heldMax, queryWaitTimeoutMs } = limits()
    // A move does not last for ever, whatever statements may do.
    const holdMs = queryWaitTimeoutMs === 0 ? holdMsMax : queryWaitTimeoutMs
    if (this.#held.size >= heldMax) {
      this.counts.refused += 1
      throw pgError('tooManyHeld')
    }
    const startMs = clock.nowMs()
    const leftMs = sinceMs + holdMs - startMs
    if (leftMs <= 0) {
      this.counts.refused += 1
      throw pgError('vnodesHeld', [
        this.#isExpired ? 'the catalog cannot be reached' : 'their switch takes too long',
      ])
    }
    this.counts.held += 1
    await new Promise<void>((resolve) => {
      const go = () => {
        timer.cancel()
        this.#held.delete(go)
        resolve()
      }
      const timer = clock.after(leftMs, go)
      this.#held.add(go)
    })
    this.counts.heldMs += clock.nowMs() - startMs
  }

  get #isExpired(): boolean {
    return this.#options.clock.nowMs() - this.#beatenMs > leaseMs
  }

  #letGo(): void {
    for (const go of Array.from(this.#held)) go()
  }

  #obligationsOf(before: Topology | null, now: Topology): readonly Obligation[] {
    const spanning = [...this.#spanning].map((token) => () => !this.#spanning.has(token))
    const found: Obligation[] = spanning
    const movesBefore = new Map(before?.moves.map((move) => [move.id, move]))
    for (const session of this.#options.sessions) {
      const { transaction } = session
      // It has gone to all shards there were, or has changed the schema.
      if (transaction?.everywhere === true) found.push(() => session.transaction !== transaction)
      for (const move of now.moves) {
        const earlier = movesBefore.get(move.id)
        if (earlier?.phase !== move.phase && move.phase === 'fenced') {
          found.push(...passing(session, move))
        }
        // After the switch, and after the way back.
        const servedBy = earlier?.serving ?? move.from
        if (servedBy !== move.serving) found.push(...leaving(session, servedBy))
      }
    }
    return found
  }

  #look(): void {
    this.#obligations = this.#obligations.filter((done) => !done())
    if (this.#obligations.length === 0) {
      const { epoch: now } = this.#topology ?? { epoch: this.#seen }
      if (now === this.#seen) return
      this.#seen = now
      this.#options.onSeen()
      return
    }
    if (this.#looking) return
    this.#looking = true
    this.#options.clock.after(lookMs, () => {
      this.#looking = false
      this.#look()
    })
  }
}

/** What is under way on the serving shard may end there: a transaction, or a write by itself. */
function passing(session: GatedSession, { id, serving }: TopologyMove): readonly Obligation[] {
  const lease = session.leases.get(serving)
  if (lease === undefined || !isBusy(session, lease, serving)) return []
  lease.passes = new Set([...(lease.passes ?? []), id])
  return [ended(session, lease, serving)]
}

/** What the former owner is still answering must be over before its rows go. */
function leaving(session: GatedSession, from: ShardId): readonly Obligation[] {
  const { riding } = session
  if (riding.shard === from) {
    const { number } = riding
    return [() => riding.shard === null || riding.number !== number]
  }
  const lease = session.leases.get(from)
  if (lease === undefined || lease.server.exchangesOwed === 0) return []
  return [ended(session, lease, from)]
}

function isBusy({ transaction }: GatedSession, lease: GatedLease, shard: ShardId): boolean {
  if (transaction !== null) return transaction.participants.has(shard)
  return lease.writes && lease.server.exchangesOwed > 0
}

function ended(session: GatedSession, lease: GatedLease, shard: ShardId): Obligation {
  const { transaction } = session
  return () => {
    if (session.leases.get(shard) !== lease) return true
    if (transaction !== null) return session.transaction !== transaction
    // A pinned server stays with its client.
    return lease.server.exchangesOwed === 0
  }
}
