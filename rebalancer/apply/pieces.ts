// The bounded queue between decoding and applying: parts of transactions in commit order.
import type { Lsn } from '../../core/lsn.ts'
import type { Signal } from '../stream/signal.ts'
import type { Change } from './changes.ts'

/**
 * A transaction, or a part of one: `endLsn` is behind its commit record and null when more of it
 * follows.
 */
export type ChangesPiece = {
  readonly kind: 'changes'
  readonly finalLsn: Lsn
  readonly changes: readonly Change[]
  readonly bytes: number
  readonly endLsn: Lsn | null
}

/**
 * `advance`: whatever was committed before `lsn` stands before it in the queue, or is none of ours.
 */
export type Piece = ChangesPiece | { readonly kind: 'advance'; readonly lsn: Lsn }

const bytesMax = 16 << 20

/** First in, first out. Who puts in waits for room(); who takes out is woken by `filled`. */
export class PieceQueue {
  readonly #filled: Signal
  #pieces: Piece[] = []
  #at = 0
  #bytes = 0
  #closed = false
  #makeRoom: (() => void) | null = null

  constructor(filled: Signal) {
    this.#filled = filled
  }

  /** True once nothing will come or be taken any more. */
  get closed(): boolean {
    return this.#closed
  }

  /** Of the changes that wait to be taken. */
  get bytes(): number {
    return this.#bytes
  }

  /** Adds at the end. */
  push(piece: Piece): void {
    const last = this.#pieces.length - 1
    if (piece.kind === 'advance' && last >= this.#at && this.#pieces[last]?.kind === 'advance') {
      this.#pieces[last] = piece
      return
    }
    this.#pieces.push(piece)
    if (piece.kind === 'changes') this.#bytes += piece.bytes
    this.#filled.notify()
  }

  /** The oldest piece. */
  peek(): Piece | undefined {
    return this.#pieces[this.#at]
  }

  /** Removes the oldest piece. */
  shift(): void {
    const piece = this.#pieces[this.#at]
    if (piece?.kind === 'changes') this.#bytes -= piece.bytes
    this.#at += 1
    if (this.#at === this.#pieces.length || this.#at > 1024) {
      this.#pieces = this.#pieces.slice(this.#at)
      this.#at = 0
    }
    if (this.#bytes < bytesMax / 2) this.#release()
  }

  /** Null, or resolves when more may be added. */
  room(): Promise<void> | null {
    if (this.#bytes < bytesMax || this.#closed) return null
    return new Promise((resolve) => {
      this.#makeRoom = resolve
    })
  }

  /** Wakes both sides for good. */
  close(): void {
    this.#closed = true
    this.#release()
    this.#filled.notify()
  }

  #release(): void {
    this.#makeRoom?.()
    this.#makeRoom = null
  }
}
