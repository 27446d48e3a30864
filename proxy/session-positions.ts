// What one session has written and seen on each shard, and so which replicas may serve its next
// read: those that neither lack a write of its own (read-your-writes) nor anything it has seen
// (monotonic reads). Pure: samples and clock readings come in, verdicts go out.
// A position is a known lower bound for a server's state. An observation is open as long as what
// was seen is not known: the first sample of that host asked after the statement ended is an upper
// bound of it. Until then only that very host may serve, as long as it has not restarted (a replica
// that restarts may show an older state), or the primary, which has everything.
import { assert } from '../core/assert.ts'
import type { ShardId } from '../core/ids.ts'
import { LateMap } from '../core/late.ts'
import { covers, laterPosition, type Position, type Positions } from '../core/position.ts'

/** A server as the monitor knows it now; `id`, `incarnation` and samples belong together. */
export type HostNow = {
  readonly id: string
  /** Another value whenever the server may have restarted; never empty. */
  readonly incarnation: string
  /** Position in a sample asked after `ms`, of this incarnation; null while there is none. */
  positionAfter(ms: number): Position | null
}

/**
 * Where a statement ran: `incarnation` as it was known before the statement was sent. Taken
 * afterwards, it might be that of a server which has restarted with less than was seen.
 */
export type ObservedHost = {
  readonly id: string
  readonly incarnation: string
  readonly primary: boolean
}

/**
 * What a server of a shard must have for the session: a view, good until the session changes.
 * `position` null: nothing is known to be needed. `open`: the last statement on that host ended at
 * `sinceMs`, and what it saw is not known yet.
 */
export type Needs = {
  readonly position: Position | null
  readonly open: readonly (ObservedHost & { readonly sinceMs: number })[]
}

/** Changed in place: a read on the host of the last one, the common case, allocates nothing. */
type Observation = ObservedHost & { sinceMs: number }
type ShardState = { position: Position | null; open: Observation[] }

const nothing: Needs = { position: null, open: [] }
/** Hosts of a shard with an open observation; beyond it the shard's reads go to the primary. */
const openMax = 16
/** An observation that no sample can settle: only the primary serves, until that is observed. */
const beyondSettling = (): Observation[] => [
  { id: '', incarnation: '', primary: false, sinceMs: Infinity },
]

/** Positions and open observations of one session, one state per shard. */
export class SessionPositions {
  readonly #shards = new LateMap<ShardId, ShardState>()
  #version = 0

  /** Grows with every change. */
  get version(): number {
    return this.#version
  }

  /**
   * Exact, from the primary: asked there after a write of the session was acknowledged.
   * Positions of any other origin belong into `merge`.
   */
  reached(shard: ShardId, position: Position): void {
    this.#move(this.#stateOf(shard), fromPrimary, position)
  }

  /** A token's positions: of any age, and perhaps of a cluster that the shard no longer is. */
  merge(positions: Positions): void {
    for (const [shard, position] of positions) {
      this.#move(this.#stateOf(shard), fromAnywhere, position)
    }
  }

  /**
   * A statement ended at `atMs` on this host. The primary has everything, so an observation there
   * replaces all others of the shard.
   */
  observed(shard: ShardId, host: ObservedHost, atMs: number): void {
    const state = this.#stateOf(shard)
    const { id, incarnation, primary } = host
    this.#version += 1
    if (primary && state.open.length > 1) state.open = []
    const before = state.open.find((open) => open.id === id)
    if (before?.incarnation === incarnation && before.primary === primary) {
      before.sinceMs = Math.max(before.sinceMs, atMs)
    } else if (primary) {
      state.open = [{ id, incarnation, primary, sinceMs: atMs }]
    } else if (before !== undefined || state.open.length === openMax) {
      // Of two lives of a host, samples tell about one at most.
      state.open = beyondSettling()
    } else {
      state.open.push({ id, incarnation, primary, sinceMs: atMs })
    }
  }

  /** Turns observations into positions where a sample taken since is there. */
  settle(shard: ShardId, hosts: readonly HostNow[]): void {
    const state = this.#shards.get(shard)
    if (state === undefined || state.open.length === 0) return
    const open = state.open
    state.open = []
    for (const observation of open) {
      const { id, incarnation, primary, sinceMs } = observation
      const host = hosts.find((now) => now.id === id && now.incarnation === incarnation)
      const position = host?.positionAfter(sinceMs) ?? null
      if (position === null) state.open.push(observation)
      else this.#move(state, primary ? fromPrimary : fromAnywhere, position)
    }
    if (state.open.length < open.length) this.#version += 1
  }

  /** What a server must have to serve the session's next read of the shard. */
  needs(shard: ShardId): Needs {
    return this.#shards.get(shard) ?? nothing
  }

  /**
   * For a token. Shards in `open` have something seen whose position is not known: settle them
   * first. What no sample settles (the host is gone) is settled by observing the primary.
   */
  snapshot(): { readonly positions: Positions; readonly open: ReadonlySet<ShardId> } {
    const positions = new Map<ShardId, Position>()
    const open = new Set<ShardId>()
    for (const [shard, state] of this.#shards) {
      if (state.position !== null) positions.set(shard, state.position)
      if (state.open.length > 0) open.add(shard)
    }
    return { positions, open }
  }

  /** Forgets everything: what follows is another session. */
  clear(): void {
    this.#shards.clear()
    this.#version += 1
  }

  #stateOf(shard: ShardId): ShardState {
    const known = this.#shards.get(shard)
    if (known !== undefined) return known
    const state: ShardState = { position: null, open: [] }
    this.#shards.set(shard, state)
    return state
  }

  #move(state: ShardState, origin: Origin, incoming: Position): void {
    const known = state.position
    if (known !== null && known.systemId !== incoming.systemId && origin === fromAnywhere) {
      // Which of two clusters the shard is now, only its primary can tell.
      state.open = beyondSettling()
    }
    const next = known === null ? incoming : origin(known, incoming)
    if (known !== null && covers(known, next)) return
    state.position = next
    this.#version += 1
  }
}

/**
 * True when a replica, whose newest sample is `position`, may serve a session with these needs. A
 * position of another cluster or timeline is not known to be covered: such a session reads on the
 * primary until an observation there is settled.
 * The verdict is about the life of the server that the sample is of: it holds on a connection that
 * was opened before that sample was asked, and on no other.
 */
export function mayRead(needs: Needs, host: HostNow & { readonly position: Position }): boolean {
  assert(host.incarnation !== '', 'a host that may be read has been sampled')
  for (const { id, incarnation } of needs.open) {
    if (id !== host.id || incarnation !== host.incarnation) return false
  }
  return needs.position === null || covers(host.position, needs.position)
}

type Origin = (known: Position, incoming: Position) => Position

/** A primary of a higher timeline has all there is: the rest of `known` went with the old one. */
const fromPrimary: Origin = (known, incoming) => {
  return incoming.timeline > known.timeline ? incoming : fromAnywhere(known, incoming)
}

/**
 * The later timeline and the later LSN, each for itself: a replica that has begun to receive a new
 * timeline reports it while it still replays what lies before the switch, so that 2 at 0/80 may
 * lack what 1 at 0/100 has. Of another cluster: as `laterPosition` says.
 */
const fromAnywhere: Origin = (known, incoming) => {
  const later = laterPosition(known, incoming)
  if (later.systemId !== known.systemId) return later
  const furthest = known.lsn > incoming.lsn ? known.lsn : incoming.lsn
  return later.lsn === furthest ? later : { ...later, lsn: furthest }
}
