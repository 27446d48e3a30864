// A process of the simulation: a mover or a proxy. Once killed it hears of nothing any more; what it has sent is on its way.
import type { Clock, Timer } from '../../core/clock.ts'
import type { Scheduler } from './scheduler.ts'

export type ProcessKind = 'mover' | 'proxy'

export class Process {
  readonly name: string
  readonly kind: ProcessKind
  readonly clock: Clock
  readonly #scheduler: Scheduler
  #alive = true

  /** `rate`: of its clock, against virtual time. */
  constructor(scheduler: Scheduler, name: string, kind: ProcessKind, rate = 1) {
    this.name = name
    this.kind = kind
    this.#scheduler = scheduler
    this.clock = {
      nowMs: () => scheduler.nowMs * rate,
      after: (delayMs, fire) => this.after(delayMs / rate, fire),
    }
  }

  get alive(): boolean {
    return this.#alive
  }

  kill(): void {
    this.#alive = false
  }

  /** A timer that dies with the process. */
  after(delayMs: number, fire: () => void): Timer {
    return this.#scheduler.after(delayMs, () => {
      if (this.#alive) fire()
    })
  }

  /** @throws the signal's reason */
  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(signal.reason)
      const stop = () => {
        timer.cancel()
        reject(signal?.reason)
      }
      const timer = this.after(ms, () => {
        signal?.removeEventListener('abort', stop)
        resolve()
      })
      signal?.addEventListener('abort', stop, { once: true })
    })
  }
}
