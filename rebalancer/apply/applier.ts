// Takes pieces in commit order and applies them: several small transactions in one of the target's,
// a large one part by part inside of one. The source's position goes into the same transaction, so
// that none is applied twice or left out. Between two transactions it looks where to rest, whether
// to stop, and whether a position alone has to be recorded.
import { DatabaseError } from 'pg'
import { assert } from '../../core/assert.ts'
import type { Clock } from '../../core/clock.ts'
import type { Lsn } from '../../core/lsn.ts'
import type { Signal } from '../stream/signal.ts'
import { MoveProblem } from '../move-problem.ts'
import { type MovedRows, planByRow, planInOrder } from './batch-plan.ts'
import type { Change } from './changes.ts'
import type { Milestones } from './milestones.ts'
import type { ChangesPiece, PieceQueue } from './pieces.ts'
import { plainStatement, type Statement } from './statements.ts'
import type { TargetSession } from './target-session.ts'

export type ApplierOptions = {
  readonly session: TargetSession
  readonly pieces: PieceQueue
  readonly milestones: Milestones
  readonly moved: MovedRows
  /** Wakes the applier; notified by whoever changes what it looks at. */
  readonly changed: Signal
  readonly clock: Clock
  readonly moveId: number
  readonly direction: 'forward' | 'reverse'
  /** What the target has recorded. */
  readonly recorded: Lsn
  /** Makes the source tell its position, for somebody who waits for one. */
  readonly askPosition: () => void
  /** Told after every commit. */
  readonly onRecorded: (recorded: Lsn, counts: AppliedCounts) => void
}

export type AppliedCounts = {
  readonly transactions: number
  readonly changes: number
  readonly bytes: number
}

const batchChangesMax = 8192
const batchBytesMax = 4 << 20
/** A position without changes is recorded that often: the source keeps its log for as long. */
const recordEveryMs = 5_000
const askEveryMs = 20
/**
 * While nobody waits for a position, what comes within that time is committed together: each commit makes the disk wait,
 * which source and target may share.
 */
const gatherMs = 200
/** Unless so much has come: the target is to be kept busy then. */
const gatheredBytesMax = 256 << 10

const begin = plainStatement('BEGIN')
const commit = plainStatement('COMMIT')
const savepoint = plainStatement('SAVEPOINT piece')
const release = plainStatement('RELEASE SAVEPOINT piece')
const noCounts: AppliedCounts = { transactions: 0, changes: 0, bytes: 0 }
/** unique_violation, exclusion_violation. */
const conflictCodes = new Set(['23505', '23P01'])
/** The table is not what it was: columns, types, partitions, constraints. */
const schemaCodes = new Set(['42703', '42P01', '42804', '23514', '428C9', '0A000'])

/** One per connection to the target. */
export class Applier {
  readonly #options: ApplierOptions
  #recorded: Lsn
  #recordedMs: number
  #recordAsked = false
  #stopping = false

  constructor(options: ApplierOptions) {
    this.#options = options
    this.#recorded = options.recorded
    this.#recordedMs = options.clock.nowMs()
  }

  /**
   * Applies until stop(), and then ends between two transactions. @throws MoveProblem, or what was
   * lost.
   */
  async run(): Promise<void> {
    const { pieces, milestones } = this.#options
    while (!this.#stopping) {
      const head = pieces.peek()
      const position = head?.kind === 'changes' ? head.finalLsn : head?.lsn
      if (head === undefined || position === undefined || milestones.blocks(position)) {
        milestones.rest(position)
        if (this.#recordDue()) await this.#recordPosition()
        else await this.#idle()
      } else if (head.kind === 'advance') {
        pieces.shift()
        milestones.advance(head.lsn)
      } else if (head.endLsn === null) await this.#applyLarge(head.finalLsn)
      else {
        const waitMs = this.#waitForMoreMs()
        await (waitMs > 0 ? this.#wait(waitMs) : this.#applyBatch())
      }
      if (pieces.closed) return
    }
    if (milestones.applied > this.#recorded) await this.#recordPosition()
  }

  /** Makes run() end after the transaction under way. */
  stop(): void {
    this.#stopping = true
    this.#options.changed.notify()
  }

  /** The source waits to hear that we have everything. */
  recordSoon(): void {
    this.#recordAsked = true
    this.#options.changed.notify()
  }

  async #idle(): Promise<void> {
    const { changed, milestones } = this.#options
    const { awaited } = milestones
    if (awaited) this.#options.askPosition()
    const pending = milestones.applied > this.#recorded
    if (awaited || pending) await this.#wait(awaited ? askEveryMs : recordEveryMs)
    else await changed.wait()
  }

  async #wait(delayMs: number): Promise<void> {
    const { clock, changed } = this.#options
    const timer = clock.after(delayMs, () => changed.notify())
    await changed.wait()
    timer.cancel()
  }

  /** How long what stands in the queue may wait for more. */
  #waitForMoreMs(): number {
    const { clock, milestones, pieces } = this.#options
    if (milestones.awaited || this.#recordAsked || pieces.bytes >= gatheredBytesMax) return 0
    return this.#recordedMs + gatherMs - clock.nowMs()
  }

  #recordDue(): boolean {
    const { clock, milestones } = this.#options
    if (milestones.applied <= this.#recorded) return false
    return this.#recordAsked || clock.nowMs() - this.#recordedMs >= recordEveryMs
  }

  async #recordPosition(): Promise<void> {
    const { session, milestones } = this.#options
    const position = milestones.applied
    this.#check([this.#progress(position)], await session.run([this.#progress(position)]))
    this.#noteRecorded(position, noCounts)
  }

  /** Complete transactions up to the bounds, in one of the target's. */
  async #applyBatch(): Promise<void> {
    const { pieces, milestones, session } = this.#options
    const changes: Change[] = []
    let bytes = 0
    let transactions = 0
    let endLsn = this.#recorded
    let finalLsn = this.#recorded
    while (changes.length < batchChangesMax && bytes < batchBytesMax) {
      const piece = pieces.peek()
      if (piece === undefined || milestones.blocks(positionOf(piece))) break
      if (piece.kind === 'advance') endLsn = later(endLsn, piece.lsn)
      else {
        if (piece.endLsn === null) break
        for (const change of piece.changes) changes.push(change)
        bytes += piece.bytes
        transactions += 1
        endLsn = later(endLsn, piece.endLsn)
        finalLsn = piece.finalLsn
      }
      pieces.shift()
    }
    await this.#inOneOrder(changes, [begin], [this.#progress(endLsn)], 'ROLLBACK')
    await session.run([commit])
    milestones.advance(endLsn, finalLsn)
    this.#noteRecorded(endLsn, { transactions, changes: changes.length, bytes })
  }

  /**
   * One transaction that comes in parts; when the rest of it does not come, nothing of it stays.
   */
  async #applyLarge(finalLsn: Lsn): Promise<void> {
    const { session, milestones } = this.#options
    let changes = 0
    let bytes = 0
    await session.run([begin])
    for (;;) {
      const piece = await this.#nextPart(finalLsn)
      if (piece === null) return session.rollBack('ROLLBACK')
      await this.#inOneOrder(piece.changes, [savepoint], [release], 'ROLLBACK TO SAVEPOINT piece')
      changes += piece.changes.length
      bytes += piece.bytes
      const { endLsn } = piece
      if (endLsn === null) continue
      const record = [this.#progress(endLsn)]
      this.#check(record, await session.run(record))
      await session.run([commit])
      milestones.advance(endLsn, finalLsn)
      return this.#noteRecorded(endLsn, { transactions: 1, changes, bytes })
    }
  }

  /** The next part of a transaction; null when we are to stop or the source is lost. */
  async #nextPart(finalLsn: Lsn): Promise<ChangesPiece | null> {
    const { pieces, changed } = this.#options
    for (;;) {
      if (this.#stopping || pieces.closed) return null
      const piece = pieces.peek()
      if (piece?.kind === 'changes') {
        assert(piece.finalLsn === finalLsn, 'parts of a transaction come without others between')
        pieces.shift()
        return piece
      }
      if (piece !== undefined) pieces.shift()
      else await changed.wait()
    }
  }

  /**
   * Puts changes of the same rows together where the target accepts that, else one by one in the
   * source's order.
   */
  async #inOneOrder(
    changes: readonly Change[],
    before: readonly Statement[],
    after: readonly Statement[],
    undo: string,
  ): Promise<void> {
    const { session, moved } = this.#options
    const quick = [...before, ...planByRow(changes, moved), ...after]
    try {
      this.#check(quick, await session.run(quick))
      return
    } catch (cause) {
      const doubtful =
        isConflict(cause) || (cause instanceof MoveProblem && cause.code === 'rowMissing')
      if (!doubtful) throw problemOf(cause)
      await session.rollBack(undo)
    }
    const again = undo === 'ROLLBACK' ? before : []
    const ordered = [...again, ...planInOrder(changes, moved), ...after]
    try {
      this.#check(ordered, await session.run(ordered))
    } catch (cause) {
      throw problemOf(cause)
    }
  }

  /** @throws MoveProblem when a statement touched another number of rows than it had to. */
  #check(statements: readonly Statement[], counts: readonly number[]): void {
    for (const [index, { expects }] of statements.entries()) {
      if (expects === null || counts[index] === expects.rows) continue
      if (expects.table === null) throw replaced()
      const { schema, name } = expects.table
      const missing = expects.rows - (counts[index] ?? 0)
      const message = `${missing} updated rows of table "${schema}.${name}" are not on the target`
      const hint = 'Abort the move and begin it again; nobody else may write the moved rows.'
      throw new MoveProblem('rowMissing', message, { hint })
    }
  }

  /** Compare-and-set: whoever else applies this move makes us fail, and the other way round. */
  #progress(position: Lsn): Statement {
    const { moveId, direction } = this.#options
    return {
      text: `UPDATE ringfence.move_progress SET lsn = $1
             WHERE move_id = $2 AND direction = $3 AND lsn = $4`,
      types: [3220, 20, 25, 3220],
      params: [
        eightBytes(position),
        eightBytes(BigInt(moveId)),
        text(direction),
        eightBytes(this.#recorded),
      ],
      expects: { rows: 1, table: null },
    }
  }

  #noteRecorded(position: Lsn, counts: AppliedCounts): void {
    this.#recorded = position
    this.#recordedMs = this.#options.clock.nowMs()
    this.#recordAsked = false
    this.#options.onRecorded(position, counts)
  }
}

function positionOf(
  piece: { kind: 'changes'; finalLsn: Lsn } | { kind: 'advance'; lsn: Lsn },
): Lsn {
  return piece.kind === 'changes' ? piece.finalLsn : piece.lsn
}

function later(a: Lsn, b: Lsn): Lsn {
  return a > b ? a : b
}

function eightBytes(value: bigint) {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64BE(BigInt.asIntN(64, value))
  return { kind: 'value', bytes } as const
}

function text(value: string) {
  return { kind: 'value', bytes: Buffer.from(value) } as const
}

function isConflict(cause: unknown): boolean {
  return cause instanceof DatabaseError && conflictCodes.has(cause.code ?? '')
}

/** What the target refuses whenever it is asked is a problem of the move. */
function problemOf(cause: unknown): unknown {
  if (!(cause instanceof DatabaseError)) return cause
  const code = cause.code ?? ''
  const hint = 'Abort the move, settle what the target complains about, and begin it again.'
  const message = `the target refused a change: ${cause.message}`
  if (conflictCodes.has(code)) return new MoveProblem('rowConflict', message, { hint, cause })
  if (schemaCodes.has(code)) return new MoveProblem('schemaChanged', message, { hint, cause })
  return /^(?:2|42)/.test(code) && !code.startsWith('25')
    ? new MoveProblem('applyFailed', message, { hint, cause })
    : cause
}

function replaced(): MoveProblem {
  return new MoveProblem('applierReplaced', 'somebody else has applied changes of this move', {
    hint: 'Let one runner work on a move; this one has stopped.',
  })
}
