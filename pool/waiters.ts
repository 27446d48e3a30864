// Who waits for a server connection. Everybody stands in the queue of his share, for instance the user that the client
// has logged in as; shares are served in turn, so that one that floods cannot starve the others. The bound
// is one for all shares: when it is reached, who came last of the longest share makes room for a shorter one.
//
// One timer serves all deadlines: everybody waits equally long, so the head of each share is the first that is due.
import type { Clock, Timer } from '../core/clock.ts'
import type { PgError } from '../core/errors.ts'
import type { ServerConnection } from './server-connection.ts'

/** Who asked for a server and could not have one at once. Exactly one of the two methods is called, once. */
export abstract class Waiter {
  /** Whose share of the servers it counts to. */
  readonly share: string
  /** Its place in a queue; `Waiters` alone touches these. */
  queuedAtMs = 0
  line: Line | null = null
  before: Waiter | null = null
  behind: Waiter | null = null

  constructor(share: string) {
    this.share = share
  }

  abstract granted(server: ServerConnection): void
  abstract refused(error: PgError): void
}

/** Those of one share, in the order of their arrival; lines form a ring. */
class Line {
  readonly share: string
  head: Waiter | null = null
  tail: Waiter | null = null
  size = 0
  previous: Line = this
  next: Line = this

  constructor(share: string) {
    this.share = share
  }
}

type WaitersBounds = {
  readonly sizeMax: number
  /** Longest wait; 0: for ever. */
  readonly waitMs: number
  /** How often to hear of those who wait, beside their deadlines; 0: never. */
  readonly reminderMs: number
}

type WaitersOptions = {
  readonly clock: Clock
  /** What is told to who has waited too long. */
  readonly late: () => PgError
  /** Somebody has waited for `reminderMs` since the last reminder. */
  readonly reminded: () => void
}

export class Waiters {
  readonly #options: WaitersOptions
  readonly #lines = new Map<string, Line>()
  /** Whose turn it is. */
  #turn: Line | null = null
  #size = 0
  #servedAtMs = Number.NEGATIVE_INFINITY
  #alarm: Timer | null = null
  #bounds: WaitersBounds = { sizeMax: 0, waitMs: 0, reminderMs: 0 }

  /** Takes nobody until `bind`. */
  constructor(options: WaitersOptions) {
    this.#options = options
  }

  /** Bounds from now on, also for who waits already. */
  bind(bounds: WaitersBounds): void {
    this.#bounds = bounds
    this.close()
    this.#arm()
  }

  get size(): number {
    return this.#size
  }

  /** True when somebody of that share waits. */
  has(share: string): boolean {
    return this.#lines.has(share)
  }

  /** When the one came who has waited longest; null when nobody waits. */
  get oldestSinceMs(): number | null {
    let oldest = Number.POSITIVE_INFINITY
    for (const { head } of this.#lines.values()) {
      if (head !== null && head.queuedAtMs < oldest) oldest = head.queuedAtMs
    }
    return oldest === Number.POSITIVE_INFINITY ? null : oldest
  }

  /** True when somebody has waited for `ms`, in which nobody's turn has come. */
  starves(ms: number): boolean {
    const oldestMs = this.oldestSinceMs
    if (oldestMs === null) return false
    return this.#options.clock.nowMs() - Math.max(oldestMs, this.#servedAtMs) > ms
  }

  /** Puts `waiter` at the end of its share. Gives who has no place any more: nobody, another one, or `waiter` itself. */
  push(waiter: Waiter): Waiter | null {
    const evicted = this.#size < this.#bounds.sizeMax ? null : this.#evict(waiter)
    if (evicted === waiter) return waiter
    const line = this.#lines.get(waiter.share) ?? this.#join(waiter.share)
    waiter.queuedAtMs = this.#options.clock.nowMs()
    waiter.line = line
    waiter.before = line.tail
    if (line.tail === null) line.head = waiter
    else line.tail.behind = waiter
    line.tail = waiter
    line.size += 1
    this.#size += 1
    this.#arm()
    return evicted
  }

  /** Takes `waiter` out of the queue; it hears nothing any more. */
  leave(waiter: Waiter): void {
    const { line, before, behind } = waiter
    if (line === null || this.#lines.get(line.share) !== line) return
    if (before === null) line.head = behind
    else before.behind = behind
    if (behind === null) line.tail = before
    else behind.before = before
    waiter.line = null
    waiter.before = null
    waiter.behind = null
    line.size -= 1
    this.#size -= 1
    if (line.size === 0) this.#part(line)
  }

  /** The next in turn, taken out; undefined when nobody waits. */
  shift(): Waiter | undefined {
    const line = this.#turn
    const next = line?.head ?? undefined
    if (line === null || next === undefined) return undefined
    this.#turn = line.next
    this.#servedAtMs = this.#options.clock.nowMs()
    this.leave(next)
    return next
  }

  refuseAll(error: PgError): void {
    // Who is refused may come back at once: only those count who wait now.
    for (let left = this.#size; left > 0; left -= 1) this.shift()?.refused(error)
  }

  /** No timer is left behind. */
  close(): void {
    this.#alarm?.cancel()
    this.#alarm = null
  }

  /** Full: who is told so, the newest of the longest share, unless that is the newcomer's own. */
  #evict(newcomer: Waiter): Waiter {
    const own = this.#lines.get(newcomer.share)?.size ?? 0
    let longest: Line | null = null
    for (const line of this.#lines.values()) {
      if (longest === null || line.size > longest.size) longest = line
    }
    const last = longest !== null && longest.size > own + 1 ? longest.tail : null
    if (last === null) return newcomer
    this.leave(last)
    return last
  }

  /** A new share comes last in this round. */
  #join(share: string): Line {
    const line = new Line(share)
    this.#lines.set(share, line)
    const turn = this.#turn
    if (turn === null) this.#turn = line
    else {
      line.previous = turn.previous
      line.next = turn
      turn.previous.next = line
      turn.previous = line
    }
    return line
  }

  #part(line: Line): void {
    this.#lines.delete(line.share)
    line.previous.next = line.next
    line.next.previous = line.previous
    if (this.#turn !== line) return
    this.#turn = line.next === line ? null : line.next
  }

  /** A timer that is set stays: it is never late, since who comes later is due later. */
  #arm(): void {
    const delayMs = this.#alarm === null ? this.#nextMs() : null
    if (delayMs === null) return
    this.#alarm = this.#options.clock.after(delayMs, () => {
      this.#alarm = null
      this.#ring()
    })
  }

  #nextMs(): number | null {
    const { clock } = this.#options
    const { waitMs, reminderMs } = this.#bounds
    const oldest = this.oldestSinceMs
    if (oldest === null) return null
    const due = waitMs === 0 ? Number.POSITIVE_INFINITY : oldest + waitMs - clock.nowMs()
    const delayMs = reminderMs === 0 ? due : Math.min(due, reminderMs)
    return delayMs === Number.POSITIVE_INFINITY ? null : Math.max(1, Math.ceil(delayMs))
  }

  #ring(): void {
    const { clock, late, reminded } = this.#options
    const { waitMs, reminderMs } = this.#bounds
    const dueMs = clock.nowMs() - waitMs
    if (waitMs > 0) {
      for (const line of Array.from(this.#lines.values())) {
        for (let { head } = line; head !== null && head.queuedAtMs <= dueMs; { head } = line) {
          this.leave(head)
          head.refused(late())
        }
      }
    }
    if (reminderMs > 0 && this.#size > 0) reminded()
    this.#arm()
  }
}
