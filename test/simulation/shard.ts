// A shard in memory: rows, transactions with row locks, a log of what was committed, slots, fences. A crash loses what is
// not committed. What PostgreSQL does by itself happens here in one instant; what takes a round trip is called by one.
import { type MovedSet, setMembership } from '../../router/moved-set.ts'
import type { Environment } from './environment.ts'
import { MoverSessions } from './mover-sessions.ts'
import { Server, ServerRefusal } from './network.ts'
import type { Row, Table, Value } from './rows.ts'
import { type Author, type Change, type LogRecord, SimulatedTransaction } from './transaction.ts'

/** True for rows of a set. */
export type Contains = (row: Row) => boolean

export type Slot = { confirmed: number; holder: object | null }

/** What clients' statements come to. */
export type ShardEvents = {
  readonly committed: (shard: Shard, change: Change) => void
  /** By the fence of a move. */
  readonly refused: (shard: Shard, moveId: number) => void
}

const lockWaitMs = 1_000
const recordBytes = 8

/** Rows of a set. */
export function rowsOf(set: MovedSet): Contains {
  const contains = setMembership(set)
  return ({ key, vnode }) => contains(key, vnode)
}

export class Shard extends Server {
  readonly #environment: Environment
  readonly #events: ShardEvents
  readonly rows = new Map<Row, Value>()
  readonly log: LogRecord[] = []
  readonly slots = new Map<string, Slot>()
  /** By move. */
  readonly fences = new Map<number, Contains>()
  /** Positions that followers have recorded, by move and direction. */
  readonly progress = new Map<string, number>()
  /** Moves that have widened replica identities. */
  readonly widened = new Set<number>()
  readonly movers: MoverSessions
  readonly open = new Set<SimulatedTransaction>()
  readonly #locks = new Map<Row, SimulatedTransaction>()
  #appended: (() => void)[] = []
  endLsn = 1_000

  constructor(name: string, environment: Environment, events: ShardEvents) {
    super(name)
    this.#environment = environment
    this.#events = events
    this.movers = new MoverSessions(this, environment)
  }

  begin(author: Author): SimulatedTransaction {
    const transaction = new SimulatedTransaction(author)
    this.open.add(transaction)
    return transaction
  }

  /** What a statement of the transaction sees now. */
  read(transaction: SimulatedTransaction, row: Row): Value {
    mustBeOpen(transaction)
    return this.#seenBy(transaction, row)
  }

  /** Rows of a table, without those that `hidden` names. */
  readTable(table: Table, hidden: Contains): ReadonlyMap<Row, Value> {
    const found = new Map<Row, Value>()
    for (const [row, value] of this.rows) {
      if (row.table === table && !hidden(row)) found.set(row, value)
    }
    return found
  }

  /** Changes a row once it is nobody else's; gives what it found. @throws 40001 at a fence, 40P01 */
  async write(
    transaction: SimulatedTransaction,
    row: Row,
    change: (before: Value) => Value,
  ): Promise<Value> {
    mustBeOpen(transaction)
    transaction.isWriting = true
    if (transaction.author.kind === 'client') {
      for (const [moveId, fenced] of this.fences) {
        if (!fenced(row)) continue
        this.abort(transaction)
        this.#events.refused(this, moveId)
        throw new ServerRefusal('40001', `row ${row.name} has moved or is about to`)
      }
    }
    const untilMs = this.#environment.scheduler.nowMs + lockWaitMs
    for (;;) {
      const holder = this.#locks.get(row)
      if (holder === undefined || holder === transaction) break
      await Promise.race([holder.ended(), this.#lockTimeout(untilMs)])
      mustBeOpen(transaction)
      if (holder.end === null) {
        this.abort(transaction)
        throw new ServerRefusal('40P01', 'deadlock detected')
      }
    }
    this.#locks.set(row, transaction)
    transaction.locked.add(row)
    const before = this.#seenBy(transaction, row)
    if (!transaction.found.has(row)) transaction.found.set(row, before)
    transaction.writes.set(row, change(before))
    return before
  }

  /** Writes without waiting. @throws 55P03 when somebody else has the row locked */
  writeNow(transaction: SimulatedTransaction, row: Row, after: Value): void {
    mustBeOpen(transaction)
    transaction.isWriting = true
    const holder = this.#locks.get(row)
    if (holder !== undefined && holder !== transaction) {
      throw new ServerRefusal('55P03', `row ${row.name} is locked`)
    }
    this.#locks.set(row, transaction)
    transaction.locked.add(row)
    if (!transaction.found.has(row)) transaction.found.set(row, this.rows.get(row) ?? null)
    transaction.writes.set(row, after)
  }

  commit(transaction: SimulatedTransaction): void {
    mustBeOpen(transaction)
    const changes: Change[] = []
    for (const [row, after] of transaction.writes) {
      const before = transaction.found.get(row) ?? null
      if (before === null && after === null) continue
      if (after === null) this.rows.delete(row)
      else this.rows.set(row, after)
      changes.push({ row, before, after })
    }
    const { author } = transaction
    if (changes.length > 0) {
      const origin = author.kind === 'mover' ? author.origin : null
      const startLsn = this.endLsn
      this.endLsn += recordBytes
      this.log.push({ startLsn, endLsn: this.endLsn, origin, changes })
    }
    this.#release(transaction, 'committed')
    if (author.kind === 'client') for (const change of changes) this.#events.committed(this, change)
    const waiting = this.#appended
    if (changes.length === 0 || waiting.length === 0) return
    this.#appended = []
    for (const resolve of waiting) resolve()
  }

  /** Harmless when it has ended. */
  abort(transaction: SimulatedTransaction): void {
    if (transaction.end === null) this.#release(transaction, 'aborted')
  }

  /** Resolves when something is in the log behind `position`. */
  appended(position: number): Promise<void> {
    if (this.endLsn > position) return Promise.resolve()
    return new Promise((resolve) => this.#appended.push(resolve))
  }

  /** Resolves when every transaction that writes now has ended: a consistent point. */
  async consistentPoint(): Promise<void> {
    const writing = [...this.open].filter(({ isWriting }) => isWriting)
    for (const transaction of writing) await transaction.ended()
  }

  /** Fences rows unless somebody is writing; gives the end of the log. */
  tryFence(moveId: number, contains: Contains): number | null {
    if (this.#environment.mutation === 'fenceDropped') return this.endLsn
    for (const { isWriting } of this.open) if (isWriting) return null
    this.fences.set(moveId, contains)
    return this.endLsn
  }

  /** Takes a fence away unless somebody uses the tables. */
  tryLift(moveId: number): boolean {
    if (!this.fences.has(moveId)) return true
    if (this.open.size > 0) return false
    return this.fences.delete(moveId)
  }

  crash(): void {
    this.up = false
    this.life += 1
    for (const transaction of this.open) this.abort(transaction)
    this.movers.endAll()
    for (const slot of this.slots.values()) slot.holder = null
    const waiting = this.#appended
    this.#appended = []
    for (const resolve of waiting) resolve()
  }

  restart(): void {
    this.up = true
  }

  #seenBy({ writes }: SimulatedTransaction, row: Row): Value {
    const own = writes.get(row)
    return own === undefined ? (this.rows.get(row) ?? null) : own
  }

  #release(transaction: SimulatedTransaction, end: 'committed' | 'aborted'): void {
    for (const row of transaction.locked) this.#locks.delete(row)
    this.open.delete(transaction)
    transaction.finish(end)
  }

  #lockTimeout(untilMs: number): Promise<void> {
    const { scheduler } = this.#environment
    return new Promise((resolve) => {
      scheduler.after(untilMs - scheduler.nowMs, resolve)
    })
  }
}

function mustBeOpen({ end }: SimulatedTransaction): void {
  if (end !== null) throw new ServerRefusal('25P02', 'the transaction has ended')
}
