// Looks at fences that stay up for longer than a switch takes: their runner may be gone, and clients wait.
import { liftAbandonedFence } from '../catalog/abandoned-fence.ts'
import type { ShardId } from '../core/ids.ts'
import type { Log } from '../core/log.ts'
import type { Topology } from '../router/topology.ts'

export type FenceWatchOptions = {
  /** Of a shard's primary, for the catalog's own use. */
  readonly urlOf: (shard: ShardId) => string
  readonly home: ShardId
  readonly log: Log
}

/** Longer than any switch that has a runner, with its default limit. */
const patienceMs = 4_000

export class FenceWatch {
  readonly #options: FenceWatchOptions
  /** Since when each fenced move has been seen, by `nowMs`. */
  readonly #since = new Map<number, number>()
  #working = false

  constructor(options: FenceWatchOptions) {
    this.#options = options
  }

  /** Called on a timer with what is routed by. */
  look(topology: Topology, nowMs: number): void {
    const fenced = topology.moves.filter(({ phase }) => phase === 'fenced').map(({ id }) => id)
    for (const id of this.#since.keys()) if (!fenced.includes(id)) this.#since.delete(id)
    for (const id of fenced) if (!this.#since.has(id)) this.#since.set(id, nowMs)
    if (this.#working) return
    const late = fenced.find((id) => nowMs - (this.#since.get(id) ?? nowMs) > patienceMs)
    if (late !== undefined) void this.#lift(late, nowMs)
  }

  async #lift(moveId: number, nowMs: number): Promise<void> {
    this.#working = true
    try {
      await liftAbandonedFence({ moveId, ...this.#options })
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      this.#options.log.warn({ move: moveId, reason }, 'could not look after a fence; will retry')
    } finally {
      this.#working = false
      // Whoever runs it, or another proxy, gets as long again.
      if (this.#since.has(moveId)) this.#since.set(moveId, nowMs)
    }
  }
}
