// `auto` mode: looks at the measured balance every now and then, and when auto-verdict.ts says so, plans one move and
// has it run to its end before it looks again. Of all processes that do this for a cluster, the one with the session
// advisory lock on the home shard acts; the others try for the lock. Every decision is logged with its figures.
//
// States of a round: without the lock (it is tried for), looking, moving (until `run` has settled).
import { advisoryLocks, type CatalogConnection } from '../catalog/connection.ts'
import type { Clock, Timer } from '../core/clock.ts'
import type { Log } from '../core/log.ts'
import {
  type AutoPolicy,
  autoVerdict,
  type AutoVerdict,
  type BalancePoint,
} from './plan/auto-verdict.ts'
import { readLoadInput } from './load/read-plan-input.ts'
import type { PlanInput, Proposal, ProposedMove } from './plan/plan-input.ts'
import { presentBalance, propose } from './plan/propose.ts'

export type AutoOptions = {
  readonly policy: AutoPolicy
  /** Target of its plans; below what makes it stop, so that one plan is enough. */
  readonly epsilon: number
  /** Between two looks. */
  readonly intervalMs: number
  /** A connection to the catalog, with search_path = pg_catalog; kept for as long as the lock is. */
  readonly openCatalog: () => Promise<CatalogConnection>
  /** With sizes: read only when a plan is wanted. */
  readonly readInput: (
    target: Pick<PlanInput, 'epsilon' | 'bytesMax' | 'movesMax'>,
  ) => Promise<PlanInput>
  /** Runs the move to its end. */
  readonly run: (move: ProposedMove) => Promise<void>
  readonly clock: Clock
  /** Wall clock, ms since 1970. */
  readonly wallMs: () => number
  readonly log: Log
}

const pointsMax = 5_000
/** A plan that gains less of the mean is not worth a move. */
const gainMin = 0.01

/** Looks at once and then every `intervalMs` until closed; `close` waits for a move under way. */
export function startAuto(options: AutoOptions): { close(): Promise<void> } {
  const auto = new Auto(options)
  let timer: Timer | undefined
  let closed = false
  const round = async () => {
    await auto.round()
    if (closed) return
    timer = options.clock.after(options.intervalMs, () => {
      running = round()
    })
  }
  let running = round()
  return {
    close: async () => {
      closed = true
      timer?.cancel()
      await running
      await auto.leave()
    },
  }
}

class Auto {
  readonly #options: AutoOptions
  readonly #history: BalancePoint[] = []
  readonly #moved: { readonly atMs: number; readonly bytes: number }[] = []
  #catalog: CatalogConnection | null = null
  #told = ''

  constructor(options: AutoOptions) {
    this.#options = options
  }

  /** Never rejects: what fails is logged and tried again. */
  async round(): Promise<void> {
    try {
      const catalog = await this.#lead()
      if (catalog !== null) await this.#look(catalog)
    } catch (error) {
      this.#options.log.warn({ reason: reasonOf(error) }, 'auto: failed; will look again')
      await this.leave()
    }
  }

  /** Gives the lock up. */
  async leave(): Promise<void> {
    const catalog = this.#catalog
    this.#catalog = null
    await catalog?.end()
  }

  /** The connection that has the lock; null while another process has it. */
  async #lead(): Promise<CatalogConnection | null> {
    if (this.#catalog !== null) return this.#catalog
    const catalog = await this.#options.openCatalog()
    const { rows } = await catalog.client.query<{ won: boolean }>(
      `SELECT pg_try_advisory_lock(${advisoryLocks.autoBalance}) AS won`,
    )
    if (rows[0]?.won !== true) {
      await catalog.end()
      this.#history.length = 0
      this.#tell('auto: another process does it')
      return null
    }
    this.#catalog = catalog
    return catalog
  }

  async #look({ client }: CatalogConnection): Promise<void> {
    const { policy, epsilon, wallMs } = this.#options
    const input = await readLoadInput(client, { epsilon, bytesMax: null })
    const { maxOverMean, shards } = presentBalance(input)
    const measured = input.vnodes.some(({ load }) => load > 0)
    const load = measured ? shards.reduce((sum, shard) => sum + shard.load, 0) : 0
    this.#history.push({ atMs: wallMs(), maxOverMean, load })
    if (this.#history.length > pointsMax) this.#history.shift()
    const { rows } = await client.query<{ active: boolean }>(
      `SELECT EXISTS (SELECT FROM ringfence.move WHERE state NOT IN ('done', 'aborted')) AS active`,
    )
    const facts = {
      nowMs: wallMs(),
      history: this.#history,
      moved: this.#moved,
      moveUnderWay: rows[0]?.active === true,
    }
    const verdict = autoVerdict(facts, policy)
    this.#tell(`auto: ${verdict.kind}: ${verdict.why}`)
    if (verdict.kind === 'propose') await this.#act(verdict)
  }

  async #act({ bytesMax }: Extract<AutoVerdict, { kind: 'propose' }>): Promise<void> {
    const { epsilon, readInput, run, wallMs, log } = this.#options
    const proposal = propose(await readInput({ epsilon, bytesMax, movesMax: 1 }))
    const [move] = proposal.moves
    const figures = figuresOf(proposal)
    if (move === undefined || proposal.before.maxOverMean - proposal.after.maxOverMean < gainMin) {
      return this.#tell(`auto: no move gains enough: ${JSON.stringify(figures)}`)
    }
    log.info({ ...figures, ...described(move) }, 'auto: a move begins')
    // Counted before it is known how it ends: what a failed move has copied was moved too.
    this.#moved.push({ atMs: wallMs(), bytes: move.bytes })
    if (this.#moved.length > pointsMax) this.#moved.shift()
    const sinceMs = wallMs()
    try {
      await run(move)
      log.info({ ...described(move), tookMs: wallMs() - sinceMs }, 'auto: the move is done')
    } catch (error) {
      log.error({ ...described(move), reason: reasonOf(error) }, 'auto: the move has failed')
      // The imbalance has to last anew before the next try.
      this.#history.length = 0
    }
  }

  /** Said once until something else is to be said. */
  #tell(text: string): void {
    if (text === this.#told) return
    this.#told = text
    this.#options.log.info(text)
  }
}

function figuresOf({ before, after, lowerBoundBytes, notes }: Proposal) {
  return { before: before.maxOverMean, after: after.maxOverMean, lowerBoundBytes, notes }
}

function described({ from, to, vnodes, keys, load, bytes }: ProposedMove) {
  return { from, to, vnodes: vnodes.length, keys: keys.length, load, bytes }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
