// Runs one move: reads its state from the catalog, does one idempotent step, changes the state by compare-and-set, again.
// It may be killed at any instant and started again anywhere. What fails for the moment is tried again; what cannot go on
// before the switch is aborted, which leaves both shards clean; after the switch nothing is given up by itself.
import { hasEnded, isFenced, isSwitched, type MoveState } from '../catalog/move-state.ts'
import type { Move, Transition } from '../catalog/move-store.ts'
import type { Log } from '../core/log.ts'
import { Interrupted, watch } from './guard.ts'
import { MoveProblem } from './move-problem.ts'
import { describeFailure, isTransient } from './failure.ts'
import { steps } from './steps/steps.ts'
import type { Direction, Following, MoveWorld } from './world.ts'

export type RunnerOptions = {
  readonly log: Log
  /** After every change of state, and now and then in between. */
  readonly onMove?: (move: Move) => void
  /** Failures of the moment, one after the other, after which the runner leaves the move to a later one. */
  readonly giveUpAfterMs: number
  /** The lock of the move is lost: whatever is under way stops at once. */
  readonly lost?: AbortSignal
}

const never = new AbortController().signal
const backoffMinMs = 200
const backoffMaxMs = 5_000

/** Ends without an error when the move has ended; the last state is given. */
export class MoveRunner {
  readonly world: MoveWorld
  readonly log: Log
  readonly #options: RunnerOptions
  #following: { readonly direction: Direction; readonly following: Following } | null = null

  constructor(world: MoveWorld, options: RunnerOptions) {
    this.world = world
    this.log = options.log
    this.#options = options
  }

  /**
   * `stop` asks it to leave the move to a later runner: what is under way is stopped, but no fence is left up. @throws the
   * signals' reasons, a MoveProblem after the switch, or what kept failing
   */
  async run(stop: AbortSignal): Promise<Move> {
    const { world } = this
    let failingSinceMs: number | null = null
    let backoffMs = backoffMinMs
    try {
      for (;;) {
        let move: Move | null = null
        try {
          this.#lost.throwIfAborted()
          move = await world.readMove()
          this.#options.onMove?.(move)
          if (hasEnded(move.state)) return move
          // Clients wait for whoever has put the fence up.
          if (!isFenced(move.state)) stop.throwIfAborted()
          await this.#step(move, isFenced(move.state) ? this.#lost : this.#either(stop))
          failingSinceMs = null
          backoffMs = backoffMinMs
        } catch (error) {
          this.#lost.throwIfAborted()
          if (stop.aborted && (move === null || !isFenced(move.state))) throw stop.reason
          if (error instanceof Interrupted) continue
          failingSinceMs ??= world.nowMs()
          await this.#stopFollowing()
          const lasting = world.nowMs() - failingSinceMs >= this.#options.giveUpAfterMs
          if (await this.#settle(move, error, lasting)) continue
          await world.sleep(backoffMs, this.#lost)
          backoffMs = Math.min(backoffMs * 2, backoffMaxMs)
        }
      }
    } finally {
      await this.#stopFollowing()
    }
  }

  get #lost(): AbortSignal {
    return this.#options.lost ?? never
  }

  #either(stop: AbortSignal): AbortSignal {
    return AbortSignal.any([stop, this.#lost])
  }

  /** The stream of one direction, running; the other is stopped. */
  async following(move: Move, direction: Direction, signal: AbortSignal): Promise<Following> {
    if (this.#following?.direction === direction) return this.#following.following
    await this.#stopFollowing()
    const following = await this.world.follow(move, direction, signal)
    // Whoever waits for it hears of its end; if nobody does, the next step will.
    following.ended.catch(() => {
      if (this.#following?.following === following) this.#following = null
    })
    this.#following = { direction, following }
    return following
  }

  /** True when this runner has followed the changes up to now. */
  isFollowing(direction: Direction): boolean {
    return this.#following?.direction === direction
  }

  async stopFollowing(): Promise<void> {
    await this.#stopFollowing()
  }

  /** For who watches. */
  tell(move: Move): void {
    this.#options.onMove?.(move)
  }

  async #step(move: Move, signal: AbortSignal): Promise<void> {
    const { world, log } = this
    const controller = new AbortController()
    const stop = () => controller.abort(signal.reason)
    signal.addEventListener('abort', stop, { once: true })
    const watching = watch(this, move, controller)
    let transition: Transition | null
    try {
      transition = await steps[move.state](this, move, controller.signal)
    } catch (error) {
      controller.signal.throwIfAborted()
      throw error
    } finally {
      signal.removeEventListener('abort', stop)
      await watching.stop()
    }
    if (transition === null) return
    const next = await world.advance(move, transition)
    if (next === undefined) {
      log.warn({ move: move.id, state: move.state }, 'the move was taken further by somebody else')
      return
    }
    log.info({ move: move.id, from: move.state, to: next.state }, 'move goes on')
    this.#options.onMove?.(next)
  }

  /** True when the move goes on at once, in another state. @throws what nobody but an operator can settle */
  async #settle(move: Move | null, error: unknown, lasting: boolean): Promise<boolean> {
    const { world, log } = this
    const failure = describeFailure(error)
    log.warn(
      { move: move?.id, state: move?.state, error: failure.message },
      'a step of the move failed',
    )
    if (move === null) {
      if (lasting) throw error
      return false
    }
    // What a move is aborted for is told in the end, not what went wrong meanwhile.
    const noted = move.state === 'aborting' ? undefined : failure
    if (isTransient(error) && !lasting) {
      await world.note(move, {}, noted).catch(() => undefined)
      return false
    }
    const next = afterFailure(move.state)
    if (next !== null && (error instanceof MoveProblem || !isTransient(error) || lasting)) {
      const advanced = await world.advance(move, { next, error: failure }).catch(() => undefined)
      return advanced !== undefined
    }
    await world.note(move, {}, noted).catch(() => undefined)
    if (lasting || (isSwitched(move.state) && error instanceof MoveProblem)) throw error
    return false
  }

  async #stopFollowing(): Promise<void> {
    const current = this.#following
    this.#following = null
    await current?.following.stop().catch(() => undefined)
  }
}

/** Where a move goes that cannot go on; null: it stays. */
function afterFailure(state: MoveState): MoveState | null {
  switch (state) {
    case 'planned':
      return 'aborted'
    case 'preparing':
    case 'copying':
    case 'catching_up':
    case 'verifying':
    case 'unfencing':
      return 'aborting'
    case 'fencing':
      return 'unfencing'
    case 'rolling_back':
      return 'unfencing_back'
    default:
      return null
  }
}
