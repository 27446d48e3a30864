// All that the runner of a move may do to the world, one idempotent act each. Two implementations: servers-world.ts acts on
// PostgreSQL, test/simulation on shards in memory, with crashes between any two acts.
import type { Move, MoveProgress, Transition } from '../catalog/move-store.ts'
import type { RegisteredProxy } from '../catalog/proxy-registry.ts'
import type { Epoch } from '../core/ids.ts'
import type { Lsn } from '../core/lsn.ts'
import type { Position } from '../core/position.ts'

/** The shard that gives or the one that takes. */
export type Side = 'source' | 'target'

/** `reverse`: from the target back to the source, after the switch. */
export type Direction = 'forward' | 'reverse'

/** Follows the changes of the set on one side and applies them on the other. */
export type Following = {
  /** Resolves once everything committed at or before `lsn` is applied for good. */
  reached(lsn: Lsn, signal: AbortSignal): Promise<void>
  /** Rejects with what ended it. */
  readonly ended: Promise<void>
  stop(): Promise<void>
}

export type Verified = {
  readonly rows: number
  readonly differing: number
  readonly differences: readonly unknown[]
}

export interface MoveWorld {
  /** Monotonic milliseconds. */
  nowMs(): number
  /** Milliseconds since 1970, as the catalog's server has them, nearly. */
  wallMs(): number
  sleep(ms: number, signal: AbortSignal): Promise<void>

  // ---- catalog
  readMove(): Promise<Move>
  /** Undefined: somebody else was quicker. */
  advance(move: Move, transition: Transition): Promise<Move | undefined>
  note(move: Move, progress: MoveProgress, error?: Transition['error']): Promise<Move | undefined>
  epoch(): Promise<Epoch>
  proxies(): Promise<readonly RegisteredProxy[]>

  // ---- before and after
  /** Every problem that keeps the move from starting, one sentence each. */
  findProblems(move: Move, signal: AbortSignal): Promise<readonly string[]>
  /** Tables, by side, whose replica identity does not tell the key, and what it is; none that `move` knows already. */
  narrowIdentities(move: Move): Promise<Readonly<Record<string, string>>>
  /** Those of `move.progress.identities` become FULL. Idempotent. */
  widenIdentities(move: Move): Promise<void>
  restoreIdentities(move: Move): Promise<void>
  /** Forgets positions and origins of the move on both shards. */
  forget(move: Move): Promise<void>

  // ---- streams
  /** Publication and slot, fresh: what was there under the name is dropped. */
  openStream(
    move: Move,
    direction: Direction,
    signal: AbortSignal,
  ): Promise<{ readonly slot: string; readonly lsn: Lsn }>
  /** Idempotent. */
  closeStream(move: Move, direction: Direction): Promise<void>
  /** Log that the slot keeps, bytes; null: the slot is gone. */
  retained(move: Move, direction: Direction): Promise<number | null>
  follow(move: Move, direction: Direction, signal: AbortSignal): Promise<Following>

  // ---- rows
  /** Copies the tables that are not in `move.progress.copied` yet; each is told once it is complete. */
  copy(
    move: Move,
    done: (table: string, lsn: Lsn) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void>
  verify(move: Move, following: Following, signal: AbortSignal): Promise<Verified>
  /** Deletes the set's rows on a side that does not serve them. */
  deleteRows(move: Move, side: Side, signal: AbortSignal): Promise<number>

  // ---- cutover
  /** @throws when writers do not let go within `timeoutMs` */
  fence(move: Move, side: Side, timeoutMs: number): Promise<Lsn>
  /** Writers pass again; nobody who only reads is waited for. */
  liftFence(move: Move, side: Side): Promise<void>
  /** Takes away what a fence has left behind. */
  dropFence(move: Move, side: Side): Promise<void>
  position(move: Move, side: Side): Promise<Position>
}
