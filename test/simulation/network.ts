// Requests and their answers between processes and servers. Any pair can be cut; while the network is bad a request or an
// answer may be lost, and what a mover has sent may arrive long after it was given up.
import type { Environment } from './environment.ts'
import type { Process } from './process.ts'

/** A server process: the catalog or a shard. */
export class Server {
  readonly name: string
  up = true
  /** Grows with every restart: connections do not outlive it. */
  life = 0

  constructor(name: string) {
    this.name = name
  }
}

/** What a client of a server gets when the connection breaks: the outcome is unknown. */
export class ConnectionBroken extends Error {
  readonly code = 'ECONNRESET'

  constructor(server: string) {
    super(`connection to ${server} was lost`)
    this.name = 'ConnectionBroken'
  }
}

/** What a server answers instead of a result. */
export class ServerRefusal extends Error {
  /** SQLSTATE */
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.name = 'ServerRefusal'
    this.code = code
  }
}

const hopMs = { least: 0.2, most: 6 }
/** Until a lost message is noticed. */
const lossMs = { least: 5, most: 1_500 }
const lateMs = { least: 300, most: 20_000 }

export class Network {
  readonly #environment: Environment
  readonly #cuts = new Set<string>()
  /** One message of so many is lost; 0: none. */
  lossOneIn = 0
  /** One message of a mover out of so many is late; 0: none. */
  lateOneIn = 0

  constructor(environment: Environment) {
    this.#environment = environment
  }

  cut(a: string, b: string): void {
    this.#cuts.add(pair(a, b))
  }

  heal(a: string, b: string): void {
    this.#cuts.delete(pair(a, b))
  }

  /** No fault is left. */
  calm(): void {
    this.#cuts.clear()
    this.lossOneIn = 0
    this.lateOneIn = 0
  }

  isCut(a: string, b: string): boolean {
    return this.#cuts.size > 0 && this.#cuts.has(pair(a, b))
  }

  /** Runs `work` on the server; a promise of it that is not settled keeps the request there. @throws ConnectionBroken */
  call<T>(from: Process, to: Server, work: () => T | Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (!from.alive) return
      const { scheduler } = this.#environment
      const settle = (delayMs: number, end: () => void) => from.after(delayMs, end)
      const broken = (waitMs = scheduler.between(lossMs.least, lossMs.most)) => {
        settle(waitMs, () => reject(new ConnectionBroken(to.name)))
      }
      const answer = (life: number, end: () => void) => {
        if (to.life !== life || this.isCut(from.name, to.name) || this.#oneIn(this.lossOneIn)) {
          return broken()
        }
        settle(this.#hop(), end)
      }
      const arrive = () => {
        if (this.isCut(from.name, to.name) || this.#oneIn(this.lossOneIn)) return broken()
        if (!to.up) return broken(this.#hop())
        const { life } = to
        this.#serve(work, {
          done: (value) => answer(life, () => resolve(value)),
          failed: (error) => answer(life, () => reject(error)),
        })
      }
      if (from.kind === 'mover' && this.#oneIn(this.lateOneIn)) {
        broken()
        return this.#arriveLate(to, work)
      }
      scheduler.after(this.#hop(), arrive)
    })
  }

  #arriveLate<T>(to: Server, work: () => T | Promise<T>): void {
    const { scheduler } = this.#environment
    scheduler.after(scheduler.between(lateMs.least, lateMs.most), () => {
      // Nobody hears how it ends.
      if (to.up) this.#serve(work, { done: () => undefined, failed: () => undefined })
    })
  }

  #serve<T>(
    work: () => T | Promise<T>,
    end: { readonly done: (value: T) => void; readonly failed: (error: unknown) => void },
  ): void {
    let result: T | Promise<T>
    try {
      result = work()
    } catch (error) {
      return end.failed(error)
    }
    if (result instanceof Promise) result.then(end.done, end.failed)
    else end.done(result)
  }

  #hop(): number {
    return this.#environment.scheduler.between(hopMs.least, hopMs.most)
  }

  #oneIn(times: number): boolean {
    return times > 0 && this.#environment.scheduler.random.oneIn(times)
  }
}

function pair(a: string, b: string): string {
  return a < b ? `${a}|${b}` : `${b}|${a}`
}
