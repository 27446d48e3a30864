// One run: a stack, clients, movers, faults; then everything comes to rest, and what stands on the shards is compared with
// what clients were told.
import { setTimeout as delay } from 'node:timers/promises'
import { assert } from '../../../core/assert.ts'
import { work } from './client-loop.ts'
import { Faults } from './faults.ts'
import { HeldStatements } from './held.ts'
import { Ledger } from './ledger.ts'
import { MoverLoop } from './mover-loop.ts'
import { reckon } from './reckoning.ts'
import { findRemains, untilSettled } from './remains.ts'
import { type RunReport, reportOf } from './report.ts'
import { type ChaosStack, startStack } from './stack.ts'
import { Tally } from './tally.ts'

export type ChaosOptions = {
  readonly seed: number
  readonly minutes: number
  readonly clients: number
  readonly movers: number
  /** Major version of PostgreSQL. */
  readonly version: number
  /** Mean time between two faults in a storm; null: none at all. */
  readonly paceMs: number | null
  /** How long storms last, and the calms before and between them. */
  readonly stormMs: number
  readonly calmMs: number
  readonly pauseMs: number
  readonly logDir: string
  /** Servers log every statement: to find out about a violation. */
  readonly logStatements: boolean
  readonly say: (line: string) => void
}

const progressMs = 10_000
const settleMs = 120_000

/** Starts everything, runs, checks, stops everything. */
export async function runChaos(options: ChaosOptions): Promise<RunReport> {
  const { seed, version, movers, logDir, logStatements, say } = options
  say(
    `seed ${seed}: 3 shards of PostgreSQL ${version}, 2 proxies, ${movers} movers; logs in ${logDir}`,
  )
  const stack = await startStack({ version, logDir, logStatements, movers })
  const run = new ChaosRun(stack, options)
  try {
    return await run.toEnd()
  } finally {
    await run.abandon()
    await stack.stop()
  }
}

class ChaosRun {
  readonly #stack: ChaosStack
  readonly #options: ChaosOptions
  readonly #ledger: Ledger
  readonly #movers: readonly MoverLoop[]
  readonly #faults: Faults
  readonly #tally: Tally
  readonly #held: HeldStatements
  readonly #startMs = performance.now()
  #isOver = false

  constructor(stack: ChaosStack, options: ChaosOptions) {
    const { seed, paceMs, stormMs, calmMs } = options
    this.#stack = stack
    this.#options = options
    this.#ledger = new Ledger((what) => this.#say(`VIOLATION ${what}`))
    const violation = (what: string) => this.#ledger.violation(what)
    this.#movers = Array.from({ length: options.movers }, (_, at) => {
      return new MoverLoop({ at, stack, seed, violation })
    })
    this.#faults = new Faults({
      stack,
      seed,
      movers: this.#movers,
      paceMs: paceMs ?? 0,
      stormMs: paceMs === null ? 0 : stormMs,
      calmMs,
      say: (what) => this.#say(what),
    })
    this.#tally = new Tally(this.#faults.all)
    this.#held = new HeldStatements(stack)
  }

  async toEnd(): Promise<RunReport> {
    const { minutes, clients } = this.#options
    const endMs = this.#startMs + minutes * 60_000
    const progress = setInterval(() => this.#tellProgress(), progressMs)
    try {
      for (const mover of this.#movers) mover.start()
      this.#faults.start()
      this.#held.start()
      const { seed, pauseMs } = this.#options
      const shared = { stack: this.#stack, ledger: this.#ledger, tally: this.#tally, seed, pauseMs }
      const isOver = () => this.#isOver
      const working = Array.from({ length: clients }, (_, at) =>
        work({ ...shared, client: at + 1 }, isOver),
      )
      while (performance.now() < endMs && !this.#hasFailed) await delay(100)
      await this.#faults.stop()
      this.#say('faults have stopped; moves under way go to their end')
      // Clients see the last moves through.
      const ended = Promise.all(this.#movers.map((mover) => mover.stop()))
      await Promise.race([ended, delay(settleMs)])
      this.#isOver = true
      await Promise.all(working)
      return await this.#check()
    } finally {
      this.#isOver = true
      clearInterval(progress)
      this.#held.stop()
    }
  }

  async abandon(): Promise<void> {
    this.#isOver = true
    await this.#faults.stop()
    await Promise.all(this.#movers.map((mover) => mover.abandon()))
  }

  async #check(): Promise<RunReport> {
    const ledger = this.#ledger
    const stack = this.#stack
    for (const failure of [this.#faults.failure, ...this.#movers.map((each) => each.failure)]) {
      if (failure !== null) ledger.violation(`the run failed: ${failure.message}`)
    }
    await this.#resumeAll()
    if (!(await untilSettled(stack))) ledger.violation('transactions in doubt were not settled')
    this.#say('comparing what stands on the shards')
    for (const what of await findRemains(stack)) ledger.violation(`left behind: ${what}`)
    const rows = await reckon(stack, ledger)
    return reportOf({
      seed: this.#options.seed,
      seconds: (performance.now() - this.#startMs) / 1_000,
      ledger,
      tally: this.#tally,
      faults: this.#faults,
      movers: this.#movers,
      held: this.#held,
      rows,
    })
  }

  /** What an operator does last. */
  async #resumeAll(): Promise<void> {
    const child = await this.#stack.startMover(0, ['resume', '--yes'])
    const timer = setTimeout(() => void child.kill(), settleMs)
    const code = await child.ended
    clearTimeout(timer)
    if (code !== 0) this.#ledger.violation(`the last resume: ${code}: ${await child.output()}`)
  }

  get #hasFailed(): boolean {
    if (this.#faults.failure !== null || this.#ledger.violationCount > 0) return true
    return this.#movers.some(({ failure }) => failure !== null)
  }

  #tellProgress(): void {
    const { operations, errorCount, unexplainedCount, longestMs } = this.#tally
    const ends = endsOf(this.#movers)
    const moves = [...ends].map(([how, count]) => `${count} ${how}`).join(', ')
    const now = this.#movers.map((mover) => mover.now).join('; ')
    this.#say(
      `${this.#faults.phase}: ${operations} operations, ${this.#ledger.writes} writes, moves: ${moves} (${now}), ` +
        `${this.#faults.all.length} faults, ${errorCount} errors, ${unexplainedCount} unexplained, ` +
        `longest ${Math.round(longestMs)} ms, ${this.#ledger.violationCount} violations`,
    )
  }

  #say(what: string): void {
    const seconds = (performance.now() - this.#startMs) / 1_000
    this.#options.say(`${seconds.toFixed(1).padStart(7)} s  ${what}`)
  }
}

function endsOf(movers: readonly MoverLoop[]): ReadonlyMap<string, number> {
  const ends = new Map<string, number>()
  for (const mover of movers) {
    for (const [how, count] of mover.ends) ends.set(how, (ends.get(how) ?? 0) + count)
  }
  assert(ends.size <= 10, 'moves end in few ways')
  return ends
}
