// A follower of one direction of a move, as rebalancer/apply/ is: one reader of the slot, one session on the target, the
// position recorded in the transaction that applies, begun again from there whenever a connection is lost.
import type { ShardId } from '../../core/ids.ts'
import type { Lsn } from '../../core/lsn.ts'
import type { Move } from '../../catalog/move-store.ts'
import { isTransient } from '../../rebalancer/failure.ts'
import { MoveProblem } from '../../rebalancer/move-problem.ts'
import type { Direction, Following } from '../../rebalancer/world.ts'
import { Act, type Actor } from './act.ts'
import { shardOf } from './cluster.ts'
import { ConnectionBroken, ServerRefusal } from './network.ts'
import { rowsOf, type Shard } from './shard.ts'
import type { Change, LogRecord } from './transaction.ts'

export type FollowerOptions = {
  readonly actor: Actor
  readonly move: Move
  readonly direction: Direction
  readonly slot: string
  readonly startLsn: number
  /** Tables whose copies have what is before. */
  readonly copied: Readonly<Record<string, string>>
}

type Waiter = {
  readonly position: number
  readonly resolve: () => void
  readonly reject: (reason: unknown) => void
}
type Link = { readonly holder: object; readonly target: Act; position: number; recorded: number }

const recordsPerBatch = 3
const askEveryMs = 15
const keepaliveMs = 1_000
const backoffMs = 150
const applyMsMax = 40
const longOneIn = 20
const longMsMax = 900

export class SimulatedFollower implements Following {
  readonly #options: FollowerOptions
  readonly #source: Shard
  readonly #target: Shard
  readonly #waiting = new Set<Waiter>()
  readonly #stopping = new AbortController()
  #applied: number
  #pauseAt: number | null = null
  #failure: { readonly error: unknown } | null = null
  #wake: () => void = () => undefined
  readonly ended: Promise<void>

  private constructor(options: FollowerOptions, sides: readonly [Shard, Shard], link: Link) {
    this.#options = options
    this.#source = sides[0]
    this.#target = sides[1]
    this.#applied = link.recorded
    this.ended = this.#run(link)
    this.ended.catch(() => undefined)
  }

  /** @throws MoveProblem, ConnectionBroken, ServerRefusal */
  static async start(options: FollowerOptions): Promise<SimulatedFollower> {
    const { move, direction, actor } = options
    const [from, to] = direction === 'forward' ? [move.from, move.to] : [move.to, move.from]
    const shard = (id: ShardId) => shardOf(actor.cluster, id)
    const sides = [shard(from), shard(to)] as const
    return new SimulatedFollower(options, sides, await connect(options, sides))
  }

  reached(lsn: Lsn, signal: AbortSignal): Promise<void> {
    if (this.#options.actor.cluster.environment.mutation === 'notDrained') return Promise.resolve()
    return this.#until(Number(lsn), signal)
  }

  /** Rests before whatever begins at `position` or later; resolves once all before is applied. */
  async pauseAt(position: number, signal: AbortSignal): Promise<void> {
    this.#pauseAt = position
    await this.#until(position, signal)
  }

  resume(): void {
    this.#pauseAt = null
    this.#wake()
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error('following was stopped'))
    this.#wake()
    await this.ended.catch(() => undefined)
  }

  #until(position: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== null) return reject(this.#failure.error)
      if (signal.aborted) return reject(signal.reason)
      if (this.#applied >= position) return resolve()
      const settle = (end: () => void) => {
        this.#waiting.delete(waiter)
        signal.removeEventListener('abort', aborted)
        end()
      }
      const aborted = () => waiter.reject(signal.reason)
      const waiter: Waiter = {
        position,
        resolve: () => settle(resolve),
        reject: (reason) => settle(() => reject(reason)),
      }
      this.#waiting.add(waiter)
      signal.addEventListener('abort', aborted, { once: true })
      this.#wake()
    })
  }

  async #run(first: Link): Promise<void> {
    let link: Link | null = first
    const { actor } = this.#options
    const { signal } = this.#stopping
    try {
      while (!signal.aborted) {
        try {
          link ??= await connect(this.#options, [this.#source, this.#target])
          await this.#follow(link)
        } catch (error) {
          if (error instanceof MoveProblem || !isTransient(error)) throw error
          link = null
          await actor.process.sleep(backoffMs, signal).catch(() => undefined)
        }
      }
      this.#end(signal.reason)
    } catch (error) {
      const { trace, violate } = actor.cluster.environment
      trace(`follower of move ${actor.moveId} ended: ${String(error)}`)
      // A slot may have been closed by who has taken over; nothing else goes wrong without a bug.
      const isBug = error instanceof MoveProblem && error.code !== 'slotLost'
      if (isBug) violate(`move ${actor.moveId}: ${error.message}`)
      this.#end(error)
      throw error
    }
  }

  #end(error: unknown): void {
    this.#failure = { error }
    for (const { reject } of Array.from(this.#waiting)) reject(error)
  }

  async #follow(link: Link): Promise<void> {
    const { signal } = this.#stopping
    while (!signal.aborted) {
      const records = await this.#read(link)
      if (records === null) return
      for (const record of records) {
        if (signal.aborted) return
        if (this.#pauseAt !== null && record.startLsn >= this.#pauseAt) {
          await new Promise<void>((resolve) => {
            this.#wake = resolve
          })
          break
        }
        await this.#apply(link, record)
        link.position = record.endLsn
        this.#advance(record.endLsn)
      }
    }
  }

  /** What is in the log behind the position; null when stopped. */
  async #read(link: Link): Promise<readonly LogRecord[] | null> {
    const { actor, slot } = this.#options
    const { cluster, process } = actor
    const { signal } = this.#stopping
    const isAwaited = this.#waiting.size > 0
    if (isAwaited) await process.sleep(askEveryMs, signal).catch(() => undefined)
    const reading = cluster.network.call(process, this.#source, async () => {
      const shard = this.#source
      const held = () => {
        const state = shard.slots.get(slot)
        if (state?.holder !== link.holder) throw new ConnectionBroken(shard.name)
        return state
      }
      held().confirmed = link.recorded
      if (!isAwaited) await Promise.race([shard.appended(link.position), this.#keepalive()])
      held()
      const at = shard.log.findIndex(({ startLsn }) => startLsn >= link.position)
      const records = at < 0 ? [] : shard.log.slice(at, at + recordsPerBatch)
      return { records, endLsn: at < 0 ? shard.endLsn : null }
    })
    const woken = new Promise<null>((resolve) => {
      this.#wake = () => resolve(null)
    })
    const answer = await Promise.race([reading, woken])
    if (answer === null) {
      // Whether the answer comes is of no interest; it will be asked for again.
      reading.catch(() => undefined)
      return signal.aborted ? null : []
    }
    if (answer.endLsn !== null) this.#advance(answer.endLsn)
    return answer.records
  }

  #keepalive(): Promise<void> {
    const { scheduler } = this.#options.actor.cluster.environment
    return new Promise((resolve) => {
      scheduler.after(keepaliveMs, resolve)
    })
  }

  #advance(position: number): void {
    if (position > this.#applied) this.#applied = position
    for (const waiter of this.#waiting) {
      if (waiter.position <= this.#applied) waiter.resolve()
    }
  }

  async #apply(link: Link, record: LogRecord): Promise<void> {
    const changes = this.#select(record)
    if (changes.length === 0) return
    const { actor } = this.#options
    const { scheduler } = actor.cluster.environment
    const isLong = scheduler.random.oneIn(longOneIn)
    await actor.process.sleep(scheduler.between(0, isLong ? longMsMax : applyMsMax))
    const { moveId } = actor
    const { mutation } = actor.cluster.environment
    const name = this.#progressName
    const expected = link.recorded
    await link.target.call((shard, session) => {
      const recorded = shard.progress.get(name)
      if (recorded !== expected) throw replaced()
      const transaction = shard.begin({ kind: 'mover', origin: originOf(moveId, this.direction) })
      session.transaction = transaction
      if (mutation === 'positionApart') shard.progress.set(name, record.endLsn)
      for (const { row, before, after } of changes) {
        if (before !== null && after !== null && !shard.rows.has(row)) throw missing(row.name)
        shard.writeNow(transaction, row, after)
      }
    })
    await link.target.call((shard, session) => {
      if (session.transaction === null) throw new ConnectionBroken(shard.name)
      shard.commit(session.transaction)
      session.transaction = null
      shard.progress.set(name, record.endLsn)
    })
    link.recorded = record.endLsn
  }

  get direction(): Direction {
    return this.#options.direction
  }

  get #progressName(): string {
    return `${this.#options.actor.moveId}/${this.direction}`
  }

  /** What is to be applied of a transaction of the source. */
  #select({ startLsn, origin, changes }: LogRecord): readonly Change[] {
    const { actor, move, copied } = this.#options
    const { mutation } = actor.cluster.environment
    if (origin?.startsWith(`ringfence_${actor.moveId}_`) === true) return []
    const contains = rowsOf(move.set)
    return changes.filter(({ row }) => {
      const fromLsn = this.direction === 'forward' ? Number(copied[row.table] ?? 0) : 0
      return contains(row) && (startLsn >= fromLsn || mutation === 'fromLsnIgnored')
    })
  }
}

async function connect(
  { actor, slot, startLsn, direction }: FollowerOptions,
  [source, target]: readonly [Shard, Shard],
): Promise<Link> {
  const { cluster, process, moveId } = actor
  const holder = {}
  const confirmed = await cluster.network.call(process, source, () => {
    const state = source.slots.get(slot)
    if (state === undefined) {
      throw new MoveProblem('slotLost', `slot ${slot} does not exist`, { hint: 'Abort.' })
    }
    state.holder = holder
    return state.confirmed
  })
  const act = new Act(actor, target, 'apply')
  const recorded = await act.call((shard) => {
    const name = `${moveId}/${direction}`
    const known = shard.progress.get(name)
    const isForgotten = cluster.environment.mutation === 'positionForgotten'
    if (known === undefined || isForgotten) shard.progress.set(name, startLsn)
    return known === undefined || isForgotten ? startLsn : known
  })
  if (confirmed > recorded && cluster.environment.mutation !== 'positionForgotten') {
    throw new MoveProblem('positionLost', 'the slot is ahead of the target', { hint: 'Abort.' })
  }
  return { holder, target: act, position: recorded, recorded }
}

function originOf(moveId: number, direction: Direction): string {
  return `ringfence_${moveId}_${direction}`
}

function replaced(): ServerRefusal {
  return new ServerRefusal('57P01', 'somebody else has applied changes of this move')
}

function missing(name: string): MoveProblem {
  return new MoveProblem('rowMissing', `${name} is updated and is not there`, { hint: 'Abort.' })
}
