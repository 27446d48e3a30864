// The workers of one supervisor. Each is in one state:
//   starting  its process runs and has not said yet that it serves
//   serving   clients reach it
//   missing   its process has ended; the next one is started after a pause
// A worker that dies takes its clients along; its socket stays (sockets.ts) and so do the others.
import type { Log } from '../../core/log.ts'
import type { Offered } from './channel.ts'
import { Child, firstInherited } from './child.ts'
import type { WorkerStart } from './messages.ts'

export type CrewOptions = {
  readonly count: number
  /** Of each worker, in their order. */
  readonly slots: readonly number[]
  /** File that a worker runs. */
  readonly entry: string
  /** Shared among the workers in turn. */
  readonly tcp: readonly number[]
  /** For every worker. */
  readonly unix: number | null
  /** Read at each start: what a worker is told besides who it is. */
  readonly told: () => Pick<WorkerStart, 'file' | 'text' | 'port' | 'secret' | 'standing'>
  readonly offered: (worker: number) => Offered
  readonly log: Log
}

/** What one worker has answered. */
export type Answered = { readonly worker: number; readonly value: unknown }

type Member = {
  readonly worker: number
  readonly slot: number
  child: Child | null
  losses: number
}

const startMs = 60_000
// How long a worker must have served for the next loss to count as the first.
const steadyMs = 60_000
const pausesMs = [0, 500, 1_000, 2_000, 5_000] as const
// After what it was given to end by itself.
const patienceMs = 5_000
const timerMsMax = 2 ** 31 - 1

/** All workers. */
export class Crew {
  readonly #options: CrewOptions
  readonly #members: readonly Member[]
  #ending = false

  constructor(options: CrewOptions) {
    this.#options = options
    this.#members = options.slots.map((slot, at) => {
      return { worker: at + 1, slot, child: null, losses: 0 }
    })
  }

  /** Starts all; resolves once all serve. @throws PgError of the first that cannot */
  async start(): Promise<void> {
    await Promise.all(this.#members.map((member) => this.#begin(member)))
  }

  /** Calls `method` of every worker that runs, and leaves out who does not answer in time. */
  async ask(method: string, given: unknown, deadlineMs: number): Promise<readonly Answered[]> {
    const answers = await Promise.allSettled(this.#call(method, given, deadlineMs))
    return answers.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []))
  }

  /**
   * Calls `method` of every worker that runs and waits for all; who dies meanwhile counts as done. @throws PgError of
   * the first that refused
   */
  async tell(method: string, given: unknown): Promise<readonly Answered[]> {
    const living = this.#members.filter(({ child }) => child !== null)
    const told = living.map(async ({ worker, child }): Promise<Answered[]> => {
      try {
        return [{ worker, value: await child?.channel.call(method, given, null) }]
      } catch (error) {
        if (child === null || child.channel.closed) return []
        throw error
      }
    })
    const outcomes = await Promise.allSettled(told)
    for (const each of outcomes) if (each.status === 'rejected') throw each.reason
    return outcomes.flatMap((each) => (each.status === 'fulfilled' ? each.value : []))
  }

  /** Calls `method` of the worker with that slot; false when there is none. */
  async callSlot(slot: number, method: string, given: unknown): Promise<boolean> {
    const child = this.#members.find((member) => member.slot === slot)?.child ?? null
    if (child === null) return this.#options.slots.includes(slot)
    await child.channel.call(method, given, null)
    return true
  }

  /** Calls `method`, after which each worker ends by itself, at `deadlineMs` in any case; resolves when all have. */
  async end(method: string, given: unknown, deadlineMs: number): Promise<void> {
    this.#ending = true
    await Promise.all(
      this.#members.map(async ({ child }) => {
        if (child === null) return
        const killer = setTimeout(() => child.kill(), Math.min(deadlineMs + patienceMs, timerMsMax))
        child.channel.call(method, given, null).catch(() => undefined)
        await child.ended
        clearTimeout(killer)
      }),
    )
  }

  /** Ends all at once. */
  kill(): void {
    this.#ending = true
    for (const { child } of this.#members) child?.kill()
  }

  #call(method: string, given: unknown, deadlineMs: number): readonly Promise<Answered>[] {
    return this.#members.flatMap(({ worker, child }) => {
      if (child === null) return []
      const answer = child.channel.call(method, given, deadlineMs)
      return [answer.then((value) => ({ worker, value }))]
    })
  }

  async #begin(member: Member): Promise<void> {
    const { count, entry, tcp, unix, told, offered } = this.#options
    const { worker, slot } = member
    const own = socketsOf(tcp, worker - 1, count)
    const child = new Child({
      argv: [entry],
      inherits: unix === null ? own : [...own, unix],
      offered: offered(worker),
    })
    member.child = child
    const start: WorkerStart = {
      ...told(),
      worker,
      count,
      slot,
      tcp: own.map((_, at) => firstInherited + at),
      unix: unix === null ? null : firstInherited + own.length,
    }
    const startedMs = performance.now()
    try {
      await child.channel.call('start', start, startMs)
    } catch (error) {
      member.child = null
      child.kill()
      throw error
    }
    void child.ended.then((how) => {
      member.child = null
      if (performance.now() - startedMs > steadyMs) member.losses = 0
      this.#replace(member, how)
    })
  }

  #replace(member: Member, reason: string): void {
    if (this.#ending) return
    const pauseMs = pausesMs[member.losses] ?? pausesMs[pausesMs.length - 1] ?? 0
    member.losses += 1
    const { worker } = member
    this.#options.log.error({ worker, reason, pauseMs }, 'a worker has ended; it is started again')
    setTimeout(() => {
      if (this.#ending) return
      this.#begin(member).then(
        () => this.#options.log.info({ worker }, 'the worker serves again'),
        (error: unknown) => {
          this.#replace(member, error instanceof Error ? error.message : String(error))
        },
      )
    }, pauseMs)
  }
}

/** As many sockets as workers: one each. Fewer: shared. More, from a former generation: all are served. */
function socketsOf(all: readonly number[], index: number, count: number): readonly number[] {
  const own = all.filter((_, at) => at % count === index)
  const [shared] = all.slice(index % Math.max(1, all.length))
  return own.length > 0 || shared === undefined ? own : [shared]
}
