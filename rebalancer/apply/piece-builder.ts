// Collects the moved set's changes of each transaction into pieces of a bounded size.
import type { Lsn } from '../../core/lsn.ts'
import { lsn } from '../../core/lsn.ts'
import type { PgoutputRelation, PgoutputRow, PgoutputTruncate } from '../../wire/pgoutput.ts'
import type { TransactionSink } from '../stream/transactions.ts'
import type { Change, ChangeSelector } from './changes.ts'
import type { PieceQueue } from './pieces.ts'

export type PieceBuilderOptions = {
  readonly selector: ChangeSelector
  readonly pieces: PieceQueue
  /** Transactions of an origin that starts so are our own, come back. */
  readonly ownOrigins: string
  /** Transactions whose final LSN is below have been applied. */
  readonly fromLsn: Lsn
  readonly asked: () => void
}

const pieceChangesMax = 4096
const pieceBytesMax = 2 << 20
/** What a change and a value of it cost beside their bytes. */
const changeBytes = 160
const valueBytes = 96

/** One per connection to the source. */
export class PieceBuilder implements TransactionSink {
  readonly #options: PieceBuilderOptions
  #finalLsn = lsn(0n)
  #skips = false
  #started = false
  #changes: Change[] = []
  #bytes = 0

  constructor(options: PieceBuilderOptions) {
    this.#options = options
  }

  begin(finalLsn: Lsn): void {
    this.#finalLsn = finalLsn
    this.#skips = finalLsn < this.#options.fromLsn
    this.#started = false
  }

  origin(name: string): void {
    if (name.startsWith(this.#options.ownOrigins)) this.#skips = true
  }

  relation(message: PgoutputRelation): void {
    this.#options.selector.relation(message)
  }

  change(message: PgoutputRow | PgoutputTruncate): void {
    if (this.#skips) return
    for (const change of this.#options.selector.select(message, this.#finalLsn)) {
      this.#changes.push(change)
      this.#bytes += sizeOf(change)
    }
    const full = this.#changes.length >= pieceChangesMax || this.#bytes >= pieceBytesMax
    if (full) this.#push(null)
  }

  commit(endLsn: Lsn): void {
    if (this.#started || this.#changes.length > 0) this.#push(endLsn)
    else this.advance(endLsn)
  }

  advance(position: Lsn): void {
    this.#options.pieces.push({ kind: 'advance', lsn: position })
  }

  asked(): void {
    this.#options.asked()
  }

  room(): Promise<void> | null {
    return this.#options.pieces.room()
  }

  #push(endLsn: Lsn | null): void {
    const { pieces } = this.#options
    const changes = this.#changes
    pieces.push({ kind: 'changes', finalLsn: this.#finalLsn, changes, bytes: this.#bytes, endLsn })
    this.#started = true
    this.#changes = []
    this.#bytes = 0
  }
}

function sizeOf(change: Change): number {
  if (change.kind === 'truncate') return changeBytes
  let bytes = changeBytes
  for (const value of change.row) bytes += valueBytes + (value?.length ?? 0)
  return bytes
}
