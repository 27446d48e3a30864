// Follows a source into a target: decodes, filters, applies, records, and begins again from what
// the target has recorded whenever a connection is lost.
// States: following (a link, its assembler and its applier) ⇄ waiting to connect again → ended, by
// stop() or a problem.
import { tmpdir } from 'node:os'
import { type Clock, systemClock } from '../../core/clock.ts'
import type { Log } from '../../core/log.ts'
import { type Lsn, lsn } from '../../core/lsn.ts'
import type { MovedSet } from '../../router/moved-set.ts'
import type { KeyType } from '../../router/schema.ts'
import { isPassing } from '../stream/connection-lost.ts'
import { Signal } from '../stream/signal.ts'
import { TransactionAssembler } from '../stream/transactions.ts'
import { Applier, type AppliedCounts } from './applier.ts'
import { ChangeSelector } from './changes.ts'
import { type Link, type LinkOptions, openLink, originName } from './link.ts'
import { Milestones } from './milestones.ts'
import { PieceBuilder } from './piece-builder.ts'
import { PieceQueue } from './pieces.ts'

export type FollowOptions = LinkOptions & {
  readonly set: MovedSet
  readonly keyType: KeyType
  readonly vnodeBits: number
  readonly log: Log
  readonly clock?: Clock
  /**
   * Where large transactions wait for their commit; the system's directory for temporary files when
   * missing.
   */
  readonly spoolDir?: string
}

/** `serverLsn`: the end of the source's log half a second ago, or when it was lost. */
export type FollowProgress = {
  readonly receivedLsn: Lsn
  readonly appliedLsn: Lsn
  readonly serverLsn: Lsn
  /** Of the moved set, since start(). */
  readonly changes: number
  readonly transactions: number
  readonly bytes: number
}

const startAttemptsMax = 10
const backoffMinMs = 100
const backoffMaxMs = 5_000
/** A connection that held for so long was not one failure more in a row. */
const settledMs = 10_000
const spoolMemoryBytesMax = 1 << 20

/** One direction of one move. */
export class Follower {
  readonly #options: FollowOptions
  readonly #clock: Clock
  readonly #changed = new Signal()
  readonly #milestones: Milestones
  readonly #stopped = new AbortController()
  #link: Link | null
  #applier: Applier | null = null
  #received = lsn(0n)
  #server = lsn(0n)
  #counts: AppliedCounts = { transactions: 0, changes: 0, bytes: 0 }
  /** Rejects with the error that ended following; resolves once stop() was called and is done. */
  readonly ended: Promise<void>

  private constructor(options: FollowOptions, link: Link, clock: Clock) {
    this.#options = options
    this.#clock = clock
    this.#link = link
    this.#milestones = new Milestones(link.recorded, this.#changed)
    this.ended = this.#run()
    // Who does not look at `ended` hears of it from the next wait.
    this.ended.catch(() => undefined)
  }

  /**
   * Connects both sides and begins. @throws what keeps it from that: MoveProblem, or what pg
   * throws.
   */
  static async start(options: FollowOptions): Promise<Follower> {
    const clock = options.clock ?? systemClock
    for (let attempt = 1; ; attempt += 1) {
      try {
        return new Follower(options, await openLink(options, clock), clock)
      } catch (cause) {
        // What an earlier follower left has to go away first.
        if (!isPassing(cause) || attempt === startAttemptsMax) throw cause
      }
      await new Promise<void>((resolve) => {
        clock.after(backoffMinMs * attempt, resolve)
      })
    }
  }

  get progress(): FollowProgress {
    this.#note()
    const appliedLsn = this.#milestones.applied
    const receivedLsn = later(this.#received, appliedLsn)
    return { receivedLsn, serverLsn: later(this.#server, receivedLsn), appliedLsn, ...this.#counts }
  }

  /** Rests as soon as the transaction under way is done. */
  pause(signal?: AbortSignal): Promise<void> {
    return this.#milestones.pauseAt(lsn(0n), signal)
  }

  /**
   * Resolves once every transaction whose commit record starts before `position` is durably applied
   * and none that starts there or later is; then rests until resume(). @throws at once when one of
   * the latter has been applied.
   */
  pauseAt(position: Lsn, signal?: AbortSignal): Promise<void> {
    return this.#milestones.pauseAt(position, signal)
  }

  /** Ends a pause. */
  resume(): void {
    this.#milestones.resume()
  }

  /** Resolves once everything that the source had committed at `position` is durably applied. */
  reached(position: Lsn, signal?: AbortSignal): Promise<void> {
    return this.#milestones.reached(position, signal)
  }

  /** Ends after the transaction under way; the next start() goes on behind it. */
  async stop(): Promise<void> {
    this.#stopped.abort()
    this.#applier?.stop()
    await this.ended.catch(() => undefined)
  }

  async #run(): Promise<void> {
    try {
      for (let failures = 0; !this.#stopped.signal.aborted; ) {
        const sinceMs = this.#clock.nowMs()
        try {
          this.#link ??= await openLink(this.#options, this.#clock)
          await this.#follow(this.#link)
        } catch (cause) {
          if (!isPassing(cause)) throw cause
          failures = this.#clock.nowMs() - sinceMs > settledMs ? 1 : failures + 1
          await this.#backOff(failures, cause)
        } finally {
          this.#drop()
        }
      }
      this.#milestones.end(new Error('following was stopped'))
    } catch (cause) {
      this.#milestones.end(cause)
      throw cause
    }
  }

  /** Until stop(), or until either side is lost. */
  async #follow(link: Link): Promise<void> {
    const { source, sourceClock, session, recorded, tables, format } = link
    const { set, keyType, vnodeBits, moveId, direction } = this.#options
    const pieces = new PieceQueue(this.#changed)
    const applier = new Applier({
      session,
      pieces,
      milestones: this.#milestones,
      moved: { set, keyType },
      changed: this.#changed,
      clock: this.#clock,
      moveId,
      direction,
      recorded,
      askPosition: () => source.askPosition(),
      onRecorded: (position, counts) => {
        source.acknowledge(position)
        this.#count(counts)
      },
    })
    const sink = new PieceBuilder({
      selector: new ChangeSelector({ tables, format, set, keyType, vnodeBits }),
      pieces,
      ownOrigins: this.#options.origin?.replace(/[a-z]+$/, '') ?? originName(moveId, ''),
      fromLsn: recorded,
      asked: () => applier.recordSoon(),
    })
    const spools = {
      dir: this.#options.spoolDir ?? tmpdir(),
      memoryBytesMax: spoolMemoryBytesMax,
    }
    const assembler = new TransactionAssembler(source, sink, spools)
    this.#applier = applier
    if (this.#stopped.signal.aborted) applier.stop()
    const assembling = assembler.run()
    const applying = applier.run()
    try {
      await Promise.race([assembling, applying, sourceClock.lost])
      await Promise.all([source.end(), session.end()])
    } finally {
      this.#applier = null
      pieces.close()
      source.destroy()
      session.destroy()
      await Promise.allSettled([assembling, applying])
    }
  }

  #count(counts: AppliedCounts): void {
    const { transactions, changes, bytes } = this.#counts
    this.#counts = {
      transactions: transactions + counts.transactions,
      changes: changes + counts.changes,
      bytes: bytes + counts.bytes,
    }
  }

  async #backOff(failures: number, cause: unknown): Promise<void> {
    const { moveId, direction, log } = this.#options
    const delayMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(failures - 1, 10))
    const reason = cause instanceof Error ? cause.message : String(cause)
    log.warn({ move: moveId, direction, reason, delayMs }, 'following was interrupted')
    const { signal } = this.#stopped
    await new Promise<void>((resolve) => {
      const timer = this.#clock.after(delayMs, resolve)
      const stop = () => {
        timer.cancel()
        resolve()
      }
      if (signal.aborted) stop()
      else signal.addEventListener('abort', stop, { once: true })
    })
  }

  #drop(): void {
    const link = this.#link
    if (link === null) return
    this.#note()
    link.source.destroy()
    link.sourceClock.destroy()
    link.session.destroy()
    this.#link = null
  }

  /** What the link has heard of the source outlives it. */
  #note(): void {
    const link = this.#link
    if (link === null) return
    this.#received = later(this.#received, link.source.received)
    this.#server = later(this.#server, link.sourceClock.position)
  }
}

function later(a: Lsn, b: Lsn): Lsn {
  return a > b ? a : b
}
