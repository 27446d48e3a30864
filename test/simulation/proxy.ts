// A proxy: the real MoveGate over a topology that it learns by notifications, which may be lost, and by polling, as
// catalog/topology-store.ts does; its heartbeats are its polls.
import { epoch, type Epoch } from '../../core/ids.ts'
import type { Timer } from '../../core/clock.ts'
import { MoveGate } from '../../proxy/move-gate.ts'
import type { Topology } from '../../router/topology.ts'
import type { Cluster } from './cluster.ts'
import { Process } from './process.ts'
import type { ProxySession } from './proxy-session.ts'

const pollMs = 1_000
const backoffMsMin = 100
const backoffMsMax = 5_000
/** Statements that are held for longer are refused. */
export const holdMs = 12_000
const limits = () => ({ waitersMax: 100, queryWaitTimeoutMs: holdMs })
const notificationMsMax = 40
const notificationLostOneIn = 6

export class SimulatedProxy {
  readonly #cluster: Cluster
  readonly process: Process
  readonly gate: MoveGate
  readonly sessions = new Set<ProxySession>()
  /** Clients that have to go elsewhere then. */
  readonly onCrash = new Set<() => void>()
  readonly #incarnation: string
  readonly #id: string
  #topology: Topology | null = null
  #registeredAs = ''
  #connected = false
  #unlisten: () => void = () => undefined
  #timer: Timer | null = null
  #backoffMs = backoffMsMin
  #refreshing = false
  #refreshAgain = false

  constructor(cluster: Cluster, id: string, life: number) {
    this.#cluster = cluster
    this.#id = id
    this.#incarnation = String(life)
    const { scheduler, mutation } = cluster.environment
    const rate = scheduler.between(0.93, 1.07)
    this.process = new Process(scheduler, id, 'proxy', rate)
    const { clock } = this.process
    const { sessions } = this
    const onSeen = () => void this.#refresh()
    this.gate = new MoveGate({ clock, sessions, limits, onSeen })
    if (mutation === 'leaseIgnored') this.#pretend()
    void this.#connect()
  }

  /** Null until the catalog was read for the first time. */
  get topology(): Topology | null {
    return this.#topology
  }

  crash(): void {
    this.process.kill()
    this.#unlisten()
    for (const session of this.sessions) session.abandon()
    for (const tell of this.onCrash) tell()
  }

  #pretend(): void {
    this.gate.beaten(this.process.clock.nowMs())
    this.process.after(pollMs, () => this.#pretend())
  }

  async #connect(): Promise<void> {
    const { network, catalog, environment } = this.#cluster
    const { scheduler } = environment
    try {
      await network.call(this.process, catalog, () => {
        this.#unlisten()
        this.#unlisten = catalog.listen(() => {
          if (!this.process.alive || network.isCut(this.process.name, catalog.name)) return
          if (scheduler.random.oneIn(notificationLostOneIn)) return
          const delayMs = scheduler.between(0.5, notificationMsMax)
          this.process.after(delayMs, () => void this.#refresh())
        })
      })
      await this.#beatAndRead()
      this.#connected = true
      this.#backoffMs = backoffMsMin
      this.#schedule(pollMs, () => void this.#poll())
    } catch {
      this.#lost()
    }
  }

  async #poll(): Promise<void> {
    await this.#refresh()
    if (this.#connected) this.#schedule(pollMs, () => void this.#poll())
  }

  async #refresh(): Promise<void> {
    this.#refreshAgain = this.#refreshing
    if (this.#refreshing || !this.#connected) return
    this.#refreshing = true
    try {
      await this.#beatAndRead()
    } catch {
      this.#lost()
    } finally {
      this.#refreshing = false
    }
    if (this.#refreshAgain) await this.#refresh()
  }

  /** A heartbeat, and the topology if there is a newer one: then only is the lease renewed. */
  async #beatAndRead(): Promise<void> {
    const { network, catalog, environment } = this.#cluster
    const sentMs = this.process.clock.nowMs()
    const known = await network.call(this.process, catalog, () => this.#beat())
    if (environment.mutation === 'leaseRenewedEarly') this.gate.beaten(sentMs)
    if (known !== this.#topology?.epoch) {
      this.#adopt(await network.call(this.process, catalog, () => catalog.topology))
    }
    this.gate.beaten(sentMs)
  }

  #beat(): Epoch {
    const { catalog, environment } = this.#cluster
    const seen = environment.mutation === 'seenTooSoon' ? this.#topology?.epoch : this.gate.seen
    const { proxies } = catalog
    const [id, incarnation] = [this.#id, this.#incarnation]
    const name = this.#registeredAs
    if (name !== '' && proxies.beat(id, name, incarnation, seen ?? epoch(0))) return catalog.epoch
    this.#registeredAs = proxies.register(id, incarnation)
    return catalog.epoch
  }

  #adopt(topology: Topology): void {
    if (this.#topology?.epoch === topology.epoch) return
    this.#cluster.environment.trace(`${this.process.name} adopts epoch ${topology.epoch}`)
    this.#topology = topology
    this.gate.adopt(topology)
  }

  #lost(): void {
    this.#connected = false
    this.#schedule(this.#backoffMs, () => void this.#connect())
    this.#backoffMs = Math.min(backoffMsMax, this.#backoffMs * 2)
  }

  #schedule(delayMs: number, run: () => void): void {
    this.#timer?.cancel()
    this.#timer = this.process.after(delayMs, run)
  }
}
