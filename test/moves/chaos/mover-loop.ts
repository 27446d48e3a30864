// Moves, one after the other: from one shard to another and back, now by `rebalance run`, now planned in the catalog and
// taken up by `rebalance resume`, which is also what follows when a mover was killed. Some moves are paused, aborted,
// or taken back after their switch, as an operator might.
import { setTimeout as delay } from 'node:timers/promises'
import type { Client } from 'pg'
import { hasEnded, isSwitched, type MoveWish } from '../../../catalog/move-state.ts'
import {
  createMove,
  listMoves,
  type Move,
  type NewMove,
  readMove,
  wish,
} from '../../../catalog/move-store.ts'
import { shardId, vnode } from '../../../core/ids.ts'
import { withClient } from '../../../demo/sql.ts'
import { defaultMoveOptions } from '../../../rebalancer/run-move.ts'
import { createRandom, type Random, seedOf } from '../../support/random.ts'
import type { Child } from './child.ts'
import { tenants } from './schema.ts'
import type { ChaosStack } from './stack.ts'

export type MoverOptions = {
  readonly at: number
  readonly stack: ChaosStack
  readonly seed: number
  /** Told when something is not as it has to be. */
  readonly violation: (what: string) => void
}

/** What the operator has in mind with a move. */
type Intent = 'through' | 'abort' | 'pause' | 'rollback' | 'complete'

const throughIntents: readonly Intent[] = ['through', 'through', 'through', 'through']
const waitingIntents: readonly Intent[] = ['rollback', 'rollback', 'complete']
const resume = ['resume', '--yes', '--verbose']
type Pair = readonly [from: string, to: string]
const pairs: readonly [Pair, ...Pair[]] = [
  ['s1', 's2'],
  ['s2', 's1'],
  ['s2', 's3'],
  ['s3', 's2'],
  ['s1', 's3'],
  ['s3', 's1'],
]
const keptMin = 200
const lookMs = 100
const moveDeadlineMs = 240_000
const catalogTriesMax = 300
const bytesPerSecond = 4 * 1024 * 1024

export class MoverLoop {
  readonly #options: MoverOptions
  readonly #random: Random
  #child: Child | null = null
  #stopping = false
  /** Nobody starts a mover before that. */
  #downUntilMs = 0
  #running: Promise<void> | null = null
  /** How moves ended, and how often. */
  readonly ends = new Map<string, number>()
  /** Why moves were aborted, and movers gave up. */
  readonly reasons = new Map<string, number>()
  readonly heldMs: number[] = []
  /** A move that does not come to its end. */
  failure: Error | null = null
  now = ''

  constructor(options: MoverOptions) {
    this.#options = options
    this.#random = createRandom(seedOf(options.seed, 100 + options.at))
  }

  get running(): boolean {
    return this.#child?.running === true
  }

  start(): void {
    this.#running = this.#run().catch((error: Error) => {
      this.failure ??= error
    })
  }

  /** The move under way goes to its end. */
  async stop(): Promise<void> {
    this.#stopping = true
    await this.#running
  }

  /** Kills the mover now; it stays away for `downMs`. */
  async kill(downMs: number): Promise<void> {
    this.#downUntilMs = performance.now() + downMs
    await this.#child?.kill()
    await delay(downMs)
  }

  /** Lets the mover do nothing for `ms`; its locks stay. */
  async freeze(ms: number): Promise<void> {
    const child = this.#child
    child?.freeze()
    await delay(ms)
    child?.thaw()
  }

  /** At once, when the run is over before the move is. */
  async abandon(): Promise<void> {
    this.#stopping = true
    this.#downUntilMs = Number.POSITIVE_INFINITY
    await this.#child?.kill()
  }

  async #run(): Promise<void> {
    const random = this.#random
    while (!this.#stopping) {
      const intent = random.pick<Intent>(['abort', 'pause', ...throughIntents, ...waitingIntents])
      const wanted = await this.#choose(intent)
      if (wanted === null) continue
      const byHand = intent === 'through' && wanted.keys.length === 0 && random.oneIn(2)
      if (byHand) await this.#runByHand(wanted)
      else {
        const move = await this.#inCatalog((client) => createMove(client, wanted))
        await this.#bringToEnd(
          move,
          intent,
          random.oneIn(2) ? ['run', '--yes', '--verbose'] : resume,
        )
      }
    }
  }

  /** Some of the virtual nodes that a shard has and no other move wants, or some tenants. */
  async #choose(intent: Intent): Promise<NewMove | null> {
    const random = this.#random
    const [from, to] = random.pick(pairs)
    const count = 1 + random.below(random.oneIn(4) ? 1_200 : 200)
    const keepSourceMs = waitingIntents.includes(intent) ? null : random.below(3) * 500
    const options = { ...defaultMoveOptions, bytesPerSecond, keepSourceMs }
    if (random.oneIn(4)) {
      const keys = await this.#chooseKeys(from)
      const isNone = keys.length === 0
      return isNone ? null : { from: shardId(from), to: shardId(to), vnodes: [], keys, options }
    }
    const free = await this.#inCatalog(async (client) => {
      const { rows } = await client.query<{ vnode: number }>(
        `SELECT vnode FROM ringfence.vnode v WHERE shard = $1 AND move_id IS NULL
         AND NOT EXISTS (SELECT FROM ringfence.move m
                         WHERE m.state NOT IN ('done', 'aborted') AND v.vnode = ANY (m.vnodes))`,
        [from],
      )
      return rows
    })
    // A shard keeps some: its part of every read has to be right.
    const chosen = sample(free, Math.min(count, free.length - keptMin), random)
    if (chosen.length === 0) return null
    return {
      from: shardId(from),
      to: shardId(to),
      vnodes: chosen.map((row) => vnode(row.vnode)).sort((a, b) => a - b),
      keys: [],
      options,
    }
  }

  /** One or a few tenants of a shard that no other move wants. */
  async #chooseKeys(from: string): Promise<readonly string[]> {
    const random = this.#random
    const free = await this.#inCatalog(async (client) => {
      const { rows } = await client.query<{ key: string }>(
        `SELECT k.key::text FROM generate_series(1::bigint, $2::bigint) k (key)
         JOIN ringfence.vnode v ON v.vnode = ringfence.vnode(k.key)
         LEFT JOIN ringfence.pin p ON p.key = k.key::text
         WHERE coalesce(p.shard, v.shard) = $1 AND v.move_id IS NULL
           AND NOT EXISTS (SELECT FROM ringfence.move m WHERE m.state NOT IN ('done', 'aborted')
                           AND (v.vnode = ANY (m.vnodes) OR k.key::text = ANY (m.keys)))`,
        [from, tenants],
      )
      return rows
    })
    return sample(free, 1 + random.below(3), random).map(({ key }) => key)
  }

  /** As an operator types it. A mover that is killed early enough has not even made the move. */
  async #runByHand({ from, to, vnodes }: NewMove): Promise<void> {
    const args = [
      '--from',
      from,
      '--to',
      to,
      '--vnodes',
      vnodes.join(','),
      '--rate',
      '4MiB',
      '--yes',
    ]
    const newest = await this.#inCatalog((client) => listMoves(client, { limit: 1 }))
    const code = await this.#runMover(['run', ...args])
    const moves = await this.#inCatalog((client) => listMoves(client, { limit: 20 }))
    const made = moves.find((move) => {
      const isNew = move.id > (newest[0]?.id ?? 0)
      return isNew && move.from === from && move.set.vnodes.join() === vnodes.join()
    })
    if (made === undefined) return
    if (hasEnded(made.state)) this.#note(made, 'through')
    else {
      await this.#complain(code)
      await this.#bringToEnd(made, 'through', resume)
    }
  }

  async #bringToEnd(planned: Move, intent: Intent, first: readonly string[]): Promise<void> {
    const untilMs = performance.now() + moveDeadlineMs
    const wishing = this.#wishFor(planned, intent)
    for (let args = first; this.#downUntilMs < Number.POSITIVE_INFINITY; args = resume) {
      if (performance.now() > untilMs) {
        throw new Error(`move ${planned.id} does not come to its end: ${this.now}`)
      }
      const code = await this.#runMover(args)
      const move = await this.#inCatalog((client) => readMove(client, planned.id))
      this.now = `move ${move.id} ${move.state}`
      if (hasEnded(move.state)) {
        this.#note(move, intent)
        break
      }
      await this.#complain(code)
      await delay(lookMs)
    }
    await wishing
  }

  /** Runs one mover to its end; gives its exit code, or the signal that killed it. */
  async #runMover(args: readonly string[]): Promise<number | string> {
    const leftMs = this.#downUntilMs - performance.now()
    if (leftMs === Number.POSITIVE_INFINITY) return 'SIGKILL'
    if (leftMs > 0) await delay(leftMs)
    const child = await this.#options.stack.startMover(this.#options.at, args)
    this.#child = child
    // It may have been meant to die while it was being started.
    if (performance.now() < this.#downUntilMs) await child.kill()
    return await child.ended
  }

  async #complain(code: number | string): Promise<void> {
    if (code === 'SIGKILL' || code === 0) return
    const said = lastLine((await this.#child?.output()) ?? '')
    count(this.reasons, `mover ended with ${code}: ${said}`)
  }

  #note(move: Move, intent: Intent): void {
    const { rolledBack = false, heldMs } = move.progress
    count(this.ends, rolledBack ? 'rolled back' : move.state)
    if (heldMs !== undefined) this.heldMs.push(heldMs)
    if (move.state !== 'aborted' || rolledBack) return
    if (intent === 'abort' && move.error === null) return
    count(this.reasons, `aborted: ${move.error ?? 'nobody says why'}`)
    if (/differ|not on the target|already there/.test(move.error ?? '')) {
      this.#options.violation(`move ${move.id}: ${move.error}`)
    }
  }

  /** What the operator does meanwhile. */
  async #wishFor({ id }: Move, intent: Intent): Promise<void> {
    const random = this.#random
    const laterMs = random.below(4_000)
    if (intent === 'through') return
    if (intent === 'abort' || intent === 'pause') {
      await delay(laterMs)
      await this.#wish(id, intent)
      if (intent === 'abort') return
      await delay(random.below(2_000))
      await this.#wish(id, null)
      return
    }
    for (;;) {
      const move = await this.#inCatalog((client) => readMove(client, id))
      this.now = `move ${id} ${move.state}`
      if (hasEnded(move.state) || this.#downUntilMs === Number.POSITIVE_INFINITY) return
      if (isSwitched(move.state)) break
      await delay(lookMs)
    }
    await delay(laterMs / 2)
    await this.#wish(id, intent)
    // A rollback may be put off; the move ends some day all the same.
  }

  #wish(id: number, wanted: MoveWish | null): Promise<void> {
    return this.#inCatalog((client) => wish(client, id, wanted))
  }

  /** Past all relays; the catalog's server may be dead for a while. */
  async #inCatalog<T>(use: (client: Client) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await withClient(this.#options.stack.catalogUrl, use)
      } catch (error) {
        if (tries === catalogTriesMax) throw error
        await delay(lookMs)
      }
    }
  }
}

function sample<T>(all: readonly T[], count: number, random: Random): readonly T[] {
  const left = [...all]
  const chosen: T[] = []
  while (chosen.length < count && left.length > 0) {
    chosen.push(...left.splice(random.below(left.length), 1))
  }
  return chosen
}

function count(counts: Map<string, number>, what: string): void {
  counts.set(what, (counts.get(what) ?? 0) + 1)
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1)?.slice(0, 300) ?? ''
}
