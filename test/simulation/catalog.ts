// The catalog in memory: epoch, owners, pins, moves with their compare-and-set, proxies with their heartbeats, the lock of
// each move's runner. What a state means for owners and reservations is told in catalog/move-store.ts.
import { assert } from '../../core/assert.ts'
import { type Epoch, epoch, type ShardId, vnode } from '../../core/ids.ts'
import { CatalogError } from '../../catalog/catalog-error.ts'
import { hasEnded, mayFollow, type MoveWish } from '../../catalog/move-state.ts'
import type {
  Move,
  MoveOptions,
  MoveProgress,
  NewMove,
  Transition,
} from '../../catalog/move-store.ts'
import { keyText } from '../../router/moved-set.ts'
import type { Topology } from '../../router/topology.ts'
import { Server } from './network.ts'
import { ProxyList } from './proxy-list.ts'
import type { Environment } from './environment.ts'
import type { Row } from './rows.ts'
import { hiddenOf, topologyMove } from './topology-of.ts'

type Listener = { readonly notify: () => void }

export class Catalog extends Server {
  readonly #environment: Environment
  readonly #shards: readonly ShardId[]
  readonly #rows: readonly Row[]
  readonly #owners: ShardId[]
  /** Move that has reserved each virtual node. */
  readonly #reserved: (number | null)[]
  readonly #pins = new Map<string, ShardId>()
  readonly moves = new Map<number, Move>()
  readonly proxies: ProxyList
  readonly #listeners = new Set<Listener>()
  /** By move: number of the runner that has its lock. */
  readonly #locks = new Map<number, number>()
  #runners = 0
  #epoch = 1
  #topology: Topology | null = null

  constructor(
    environment: Environment,
    layout: { readonly shards: readonly ShardId[]; readonly owners: readonly ShardId[] },
    rows: readonly Row[],
  ) {
    super('catalog')
    this.#environment = environment
    this.#shards = layout.shards
    this.#owners = [...layout.owners]
    this.#reserved = layout.owners.map(() => null)
    this.#rows = rows
    this.proxies = new ProxyList(environment)
  }

  get epoch(): Epoch {
    return epoch(this.#epoch)
  }

  get topology(): Topology {
    this.#topology ??= this.#read()
    return this.#topology
  }

  /** Shard that a row belongs to by what is published now. */
  ownerOf({ key, vnode }: Row): ShardId {
    const owner = this.#pins.get(keyText(key)) ?? this.#owners[vnode]
    assert(owner !== undefined, 'a virtual node has an owner')
    return owner
  }

  get active(): readonly Move[] {
    return [...this.moves.values()].filter(({ state }) => !hasEnded(state))
  }

  /** Moves that have virtual nodes reserved. */
  get reservations(): readonly number[] {
    return this.#reserved.filter((id) => id !== null)
  }

  read(id: number): Move {
    const move = this.moves.get(id)
    assert(move !== undefined, `there is move ${id}`)
    return move
  }

  create({ from, to, vnodes, keys, options }: NewMove): Move {
    const at = new Date(this.#environment.scheduler.nowMs)
    const move: Move = {
      id: this.moves.size + 1,
      cluster: '00000000',
      set: { vnodes, keys, except: [] },
      from,
      to,
      state: 'planned',
      wish: null,
      options: { ...options },
      progress: {},
      error: null,
      hint: null,
      createdAt: at,
      changedAt: at,
    }
    this.moves.set(move.id, move)
    return move
  }

  wish(id: number, wish: MoveWish | null): void {
    const move = this.read(id)
    if (!hasEnded(move.state)) this.moves.set(id, { ...move, wish })
  }

  /** See advanceMove. */
  advance(
    seen: Move,
    { next, progress = {}, error = null, granted }: Transition,
  ): Move | undefined {
    assert(mayFollow(seen.state, next), `a move goes from ${seen.state} to ${next}`)
    const move = this.read(seen.id)
    if (move.state !== seen.state) return undefined
    const carried = this.#carryOut(move, next)
    const after: Move = {
      ...carried,
      state: next,
      wish: granted === true ? null : move.wish,
      progress: { ...move.progress, ...progress },
      error: error?.message ?? null,
      hint: error?.hint ?? null,
      changedAt: new Date(this.#environment.scheduler.nowMs),
    }
    this.moves.set(move.id, after)
    const { error: why } = after
    this.#environment.trace(
      `move ${move.id} ${move.state} -> ${next}${why === null ? '' : `: ${why}`}`,
    )
    this.#publish()
    return after
  }

  /** See noteProgress. */
  note(seen: Move, progress: MoveProgress, error: Transition['error']): Move | undefined {
    const move = this.read(seen.id)
    if (move.state !== seen.state) return undefined
    const told = error === undefined ? {} : { error: error?.message ?? null, hint: null }
    const changedAt = new Date(this.#environment.scheduler.nowMs)
    const after: Move = { ...move, ...told, progress: { ...move.progress, ...progress }, changedAt }
    this.moves.set(move.id, after)
    return after
  }

  /** Calls `notify` with every change until the result is called. */
  listen(notify: () => void): () => void {
    const listener = { notify }
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Number of the runner that may work on the move from now on; null: somebody does. */
  lock(id: number): number | null {
    if (this.#locks.has(id)) return null
    this.#runners += 1
    this.#locks.set(id, this.#runners)
    return this.#runners
  }

  /** The lock is of the session that asks: without the one there is not the other. */
  hasLock(id: number, runner: number): boolean {
    return this.#locks.get(id) === runner
  }

  unlock(id: number, runner: number): void {
    if (this.#locks.get(id) === runner) this.#locks.delete(id)
  }

  /** Sessions, and with them locks and listeners, are gone. */
  crash(): void {
    this.up = false
    this.life += 1
    this.#locks.clear()
    this.#listeners.clear()
  }

  #publish(): void {
    this.#epoch += 1
    this.#topology = null
    for (const { notify } of this.#listeners) notify()
  }

  /** Owners, pins and reservations; gives the move as what it reserves has made it. */
  #carryOut(move: Move, next: Move['state']): Move {
    if (next === 'preparing') return this.#reserve(move)
    if (next === 'switched' && move.state === 'fencing') this.#giveTo(move, move.to)
    if (next === 'aborting' && move.state === 'rolling_back') this.#giveTo(move, move.from)
    if (hasEnded(next)) {
      for (const [at, id] of this.#reserved.entries()) {
        if (id === move.id) this.#reserved[at] = null
      }
    }
    return move
  }

  /** @throws CatalogError when what is to be moved is not the source's, or on another move */
  #reserve(move: Move): Move {
    const { set, from, id } = move
    const refuse = () => {
      throw new CatalogError('it cannot be moved', 'Plan the move again.')
    }
    for (const number of set.vnodes) {
      if (this.#owners[number] !== from || (this.#reserved[number] ?? id) !== id) refuse()
    }
    const others = this.active.filter((other) => other.id !== id && other.state !== 'planned')
    const moved = new Set<string>(others.flatMap((other) => other.set.keys))
    for (const row of this.#rows) {
      const key = keyText(row.key)
      const named = set.keys.includes(key)
      if (named && (this.#reserved[row.vnode] !== null || this.ownerOf(row) !== from)) refuse()
      if (moved.has(key) && (named || set.vnodes.includes(row.vnode))) refuse()
    }
    for (const number of set.vnodes) this.#reserved[number] = id
    const pinned = this.#rows.filter(({ key }) => this.#pins.has(keyText(key)))
    const inside = pinned.filter((row) => set.vnodes.includes(row.vnode))
    const except = [...new Set(inside.map(({ key }) => keyText(key)))]
    return { ...move, set: { ...set, except } }
  }

  #giveTo({ set }: Move, shard: ShardId): void {
    for (const number of set.vnodes) this.#owners[number] = shard
    for (const { key, vnode: number } of this.#rows) {
      const text = keyText(key)
      if (!set.keys.includes(text)) continue
      if (this.#owners[number] === shard) this.#pins.delete(text)
      else this.#pins.set(text, shard)
    }
  }

  #read(): Topology {
    const moves = this.active.filter(({ state }) => state !== 'planned').map(topologyMove)
    return {
      epoch: this.epoch,
      shards: this.#shards,
      owners: Uint16Array.from(this.#owners, (owner) => this.#shards.indexOf(owner)),
      moves,
      pins: new Map(this.#pins),
      hidden: hiddenOf(moves),
      floors: new Map(),
      joining: false,
    }
  }

  /** Virtual nodes of a shard that are free. */
  vnodesOf(shard: ShardId): readonly ReturnType<typeof vnode>[] {
    return this.#owners.flatMap((owner, number) => (owner === shard ? [vnode(number)] : []))
  }
}

/** Limits of a simulated move, in virtual time. */
export function moveOptions(own: Partial<MoveOptions>): MoveOptions {
  return {
    workers: 1,
    bytesPerSecond: null,
    maxWalRetainedBytes: 1_000_000,
    maxReplicaLagBytes: null,
    maxLatencyFactor: null,
    cutoverTimeoutMs: 600,
    cutoverTries: 9,
    prepareTimeoutMs: 9_000,
    verify: true,
    keepSourceMs: 500,
    maxMs: null,
    ...own,
  }
}
