// A machine that runs moves: it tries for the lock of each that has not ended, and lets a MoveRunner work under it, as
// rebalancer/run-move.ts does. When the lock is lost the runner is told, but not at once.
import type { Log } from '../../core/log.ts'
import type { Move } from '../../catalog/move-store.ts'
import { MoveRunner } from '../../rebalancer/runner.ts'
import type { Cluster } from './cluster.ts'
import { ConnectionBroken } from './network.ts'
import { Process } from './process.ts'
import { SimulatedWorld } from './world.ts'

type Running = {
  readonly runner: number
  readonly lose: () => void
  readonly stop: () => void
}

const lookMs = 400
const giveUpAfterMs = 8_000
const staleMsMax = 10_000
const unlockMsMax = 1_500

export class Host {
  readonly #cluster: Cluster
  readonly #log: Log
  readonly process: Process
  /** By move: number of its runner here, and what stops it. */
  /** Locks that it may have been given and has not heard of. */
  #looking: readonly { readonly move: Move; readonly runner: number }[] = []
  readonly #running = new Map<number, Running>()

  constructor(cluster: Cluster, name: string, log: Log) {
    this.#cluster = cluster
    this.#log = log
    this.process = new Process(cluster.environment.scheduler, name, 'mover')
    this.process.after(cluster.environment.scheduler.between(0, lookMs), () => void this.#look())
  }

  /** Its sessions end when the servers notice. */
  crash(): void {
    this.process.kill()
    const { environment, shards, catalog } = this.#cluster
    const { scheduler } = environment
    for (const { move, runner } of this.#looking) {
      scheduler.after(scheduler.between(0, unlockMsMax), () => catalog.unlock(move.id, runner))
    }
    for (const [moveId, { runner }] of this.#running) {
      scheduler.after(scheduler.between(0, unlockMsMax), () => catalog.unlock(moveId, runner))
      for (const shard of shards.values()) {
        scheduler.after(scheduler.between(0, unlockMsMax), () => shard.movers.endOfRunner(runner))
      }
    }
  }

  /** The catalog has ended the session of a runner, which learns of it later. */
  loseLock(moveId: number): void {
    const running = this.#running.get(moveId)
    if (running === undefined) return
    const { environment, catalog } = this.#cluster
    const { scheduler } = environment
    environment.trace(`${this.process.name} loses the lock of move ${moveId}`)
    scheduler.after(scheduler.between(0, unlockMsMax), () => {
      catalog.unlock(moveId, running.runner)
    })
    this.process.after(scheduler.between(0, staleMsMax), running.lose)
  }

  /** An operator stops the command that runs the move. */
  stop(moveId: number): void {
    this.#running.get(moveId)?.stop()
  }

  async #look(): Promise<void> {
    const { network, catalog, environment } = this.#cluster
    const found: { readonly move: Move; readonly runner: number }[] = []
    this.#looking = found
    let waits = true
    try {
      await network.call(this.process, catalog, () => {
        // Who is gone has no session, and so no lock.
        if (!waits || !this.process.alive) return
        for (const move of catalog.active) {
          const runner = this.#running.has(move.id) ? null : catalog.lock(move.id)
          if (runner !== null) found.push({ move, runner })
        }
      })
      for (const { move, runner } of found) void this.#run(move, runner)
    } catch (error) {
      if (!(error instanceof ConnectionBroken)) throw error
      waits = false
      // Without their session there are no locks.
      environment.scheduler.after(environment.scheduler.between(0, unlockMsMax), () => {
        for (const { move, runner } of found) catalog.unlock(move.id, runner)
      })
    }
    this.process.after(lookMs, () => void this.#look())
  }

  async #run({ id }: Move, runner: number): Promise<void> {
    const lost = new AbortController()
    const leave = new AbortController()
    const lose = () => lost.abort(new Error('the lock was lost'))
    const stop = () => leave.abort(new Error('the runner was asked to leave'))
    this.#running.set(id, { runner, lose, stop })
    const { process } = this
    const cluster = this.#cluster
    cluster.environment.trace(`${process.name} runs move ${id} as runner ${runner}`)
    let isTold = false
    const world = new SimulatedWorld({ cluster, process, moveId: id, runner }, () => {
      if (!isTold) this.loseLock(id)
      isTold = true
    })
    try {
      const options = { log: this.#log, giveUpAfterMs, lost: lost.signal }
      await new MoveRunner(world, options).run(leave.signal)
    } catch (error) {
      cluster.environment.trace(`runner ${runner} of move ${id} ended: ${String(error)}`)
    }
    this.#running.delete(id)
    cluster.catalog.unlock(id, runner)
  }
}
