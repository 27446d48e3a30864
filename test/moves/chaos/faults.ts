// What goes wrong, and when: storms, in which every few seconds something is killed or a way is disturbed, and calms
// between them, in which nothing is. Each fault is written down from when it begins until what it hit is well again, so
// that errors can be told that it explains.
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { childrenOf, signalProcess, waitUntil } from '../../../demo/process.ts'
import { withClient } from '../../../demo/sql.ts'
import type { Fault as WayFault } from '../../support/fault-proxy.ts'
import { createRandom, type Random, seedOf } from '../../support/random.ts'
import type { MoverLoop } from './mover-loop.ts'
import { type ChaosStack, proxyCount, type Way } from './stack.ts'

/**
 * `backend`: one process of a server, which makes the server end all others and recover. `frozen`: a proxy or a mover that
 * does nothing for a while and then goes on as if nothing had happened.
 */
export type FaultKind = 'mover' | 'proxy' | 'server' | 'backend' | 'way' | 'frozen'

/** Something that went wrong; milliseconds of `performance.now()`. */
export type Fault = {
  readonly kind: FaultKind
  /** How, for the report. */
  readonly what: string
  /** The mover, proxy or shard, by its name; of a way both ends. */
  readonly victims: readonly string[]
  readonly beginMs: number
  /** Null while it lasts. */
  endMs: number | null
}

export type FaultsOptions = {
  readonly stack: ChaosStack
  readonly movers: readonly MoverLoop[]
  readonly seed: number
  /** Mean time between the beginnings of two faults in a storm. */
  readonly paceMs: number
  readonly stormMs: number
  readonly calmMs: number
  readonly say: (what: string) => void
}

const downMsMax = 1_500
/** Longer than a lease. */
const frozenMsMax = 10_000
const recoveryDeadlineMs = 60_000
const looseMs = 50

export class Faults {
  readonly all: Fault[] = []
  readonly #options: FaultsOptions
  readonly #random: Random
  readonly #stopping = new AbortController()
  readonly #underWay = new Set<Promise<void>>()
  readonly #busy = new Set<string>()
  #running: Promise<void> | null = null
  #phase: 'storm' | 'calm' = 'calm'
  /** What a fault could not be undone by: the run has failed. */
  failure: Error | null = null

  constructor(options: FaultsOptions) {
    this.#options = options
    this.#random = createRandom(seedOf(options.seed, 7))
  }

  get phase(): 'storm' | 'calm' {
    return this.#phase
  }

  start(): void {
    this.#running = this.#run()
  }

  /** Lets what is under way come to its end: everything is well again then. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#running
    await Promise.all(this.#underWay)
  }

  /** How often what happened. */
  counts(): ReadonlyMap<string, number> {
    const counts = new Map<string, number>()
    for (const { what } of this.all) counts.set(what, (counts.get(what) ?? 0) + 1)
    return counts
  }

  async #run(): Promise<void> {
    const { stormMs, calmMs, paceMs } = this.#options
    const { signal } = this.#stopping
    while (!signal.aborted) {
      this.#phase = 'calm'
      await this.#rest(calmMs)
      this.#phase = 'storm'
      const untilMs = performance.now() + stormMs
      while (!signal.aborted && performance.now() < untilMs) {
        await this.#rest(paceMs / 2 + this.#random.below(paceMs))
        if (!signal.aborted) this.#strike()
      }
      await Promise.all(this.#underWay)
    }
    this.#phase = 'calm'
  }

  async #rest(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#stopping.signal }).catch(() => undefined)
  }

  #strike(): void {
    const random = this.#random
    const kind = random.below(100)
    const shard = `s${1 + random.below(3)}`
    if (kind < 20) this.#killMover()
    else if (kind < 25) this.#freezeMover()
    else if (kind < 30) this.#freezeProxy(random.below(proxyCount))
    else if (kind < 40) this.#killProxy(random.below(proxyCount))
    else if (kind < 60) this.#killServer(shard)
    else if (kind < 65) this.#killBackend(shard)
    else if (kind < 70) {
      // Mover and a server at once.
      this.#killMover()
      this.#killServer(shard)
    } else this.#disturb()
  }

  #killMover(): void {
    const at = this.#random.below(this.#options.movers.length)
    const mover = this.#options.movers[at]
    const downMs = this.#random.below(downMsMax)
    if (mover === undefined || !mover.running) return
    this.#during('mover', 'mover killed', [`mover-${at}`], async () => {
      await mover.kill(downMs)
    })
  }

  #killProxy(at: number): void {
    const { stack } = this.#options
    const downMs = this.#random.below(downMsMax)
    this.#during('proxy', 'proxy killed', [`proxy-${at}`], async () => {
      await stack.killProxy(at)
      await delay(downMs)
      await stack.startProxy(at)
    })
  }

  /** Clients whose statements are held for its switch wait for it. */
  #freezeMover(): void {
    const at = this.#random.below(this.#options.movers.length)
    const mover = this.#options.movers[at]
    const ms = this.#random.below(frozenMsMax)
    if (mover === undefined || !mover.running) return
    this.#during('frozen', 'mover frozen', [`mover-${at}`], () => mover.freeze(ms))
  }

  /** Moves go on without it, and it must not go on with what it knew. */
  #freezeProxy(at: number): void {
    const ms = 500 + this.#random.below(frozenMsMax)
    const { stack } = this.#options
    this.#during('frozen', 'proxy frozen', [`proxy-${at}`], () => stack.freezeProxy(at, ms))
  }

  #killServer(id: string): void {
    const { server } = this.#options.stack.shard(id)
    const downMs = this.#random.below(downMsMax)
    const what = id === 's1' ? 'server with the catalog killed' : 'server killed'
    this.#during('server', what, [id], async () => {
      await server.kill()
      await delay(downMs)
      await server.start()
    })
  }

  /** Its postmaster starts all over: crash recovery under the same process id. */
  #killBackend(id: string): void {
    const { stack } = this.#options
    const { server } = stack.shard(id)
    const at = this.#random.below(1_000)
    this.#during('backend', 'process of a server killed', [id], async () => {
      const workers = childrenOf(server.pid ?? 0).filter(isClientBackend)
      const victim = workers[at % Math.max(1, workers.length)]
      if (victim === undefined) return
      signalProcess(victim, 'SIGKILL')
      await delay(looseMs)
      const answers = () =>
        withClient(stack.url(id), (client) => client.query('SELECT')).then(
          () => true,
          () => false,
        )
      if (await waitUntil(answers, recoveryDeadlineMs)) return
      throw new Error(`${id} did not recover`)
    })
  }

  #disturb(): void {
    const { ways } = this.#options.stack
    const random = this.#random
    const way = ways[random.below(ways.length)]
    if (way === undefined) return
    const fault = wayFault(random)
    // Now and then for longer than a lease.
    const ms = random.oneIn(6) ? 7_000 + random.below(3_000) : 200 + random.below(3_000)
    const what = `way ${nameOf(way)}: ${fault.kind}`
    this.#during('way', what, [way.from, way.shard], async () => {
      await way.relay.set(fault)
      await delay(ms)
      await way.relay.set({ kind: 'none' })
    })
  }

  /** Nothing is hit twice at a time. */
  #during(
    kind: FaultKind,
    what: string,
    victims: readonly string[],
    happen: () => Promise<void>,
  ): void {
    const place = kind === 'way' ? victims.join(' ') : (victims[0] ?? '')
    if (this.#busy.has(place)) return
    this.#busy.add(place)
    const fault: Fault = { kind, what, victims, beginMs: performance.now(), endMs: null }
    this.all.push(fault)
    this.#options.say(`${what} (${victims.join(', ')})`)
    const running = happen()
      .catch((error: Error) => {
        this.failure ??= error
      })
      .finally(() => {
        fault.endMs = performance.now()
        this.#busy.delete(place)
        this.#underWay.delete(running)
      })
    this.#underWay.add(running)
  }
}

function wayFault(random: Random): WayFault {
  return random.pick<WayFault>([
    { kind: 'blackHole' },
    { kind: 'blackHole' },
    { kind: 'reset' },
    { kind: 'refuse' },
    { kind: 'oneWay', swallowed: 'toServer' },
    { kind: 'oneWay', swallowed: 'toClient' },
    { kind: 'latency', ms: 30 + random.below(200), jitterMs: 50 },
  ])
}

/** Proxies are alike. */
function nameOf({ from, shard }: Way): string {
  return `${from.replace(/-\d+$/, '')}–${shard === 's1' ? 'catalog' : 'shard'}`
}

/** Not one of the server's own, such as the checkpointer. */
function isClientBackend(pid: number): boolean {
  try {
    return /^postgres: (?:walsender )?demo /.test(readFileSync(`/proc/${pid}/cmdline`, 'utf8'))
  } catch {
    return false
  }
}
