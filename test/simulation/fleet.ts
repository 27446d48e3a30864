// The processes of a simulated run: two hosts that run moves, two or three proxies. What crashes comes back as a new one.
import type { Log } from '../../core/log.ts'
import type { Cluster } from './cluster.ts'
import { Host } from './host.ts'
import { SimulatedProxy } from './proxy.ts'

const hostNames = ['m1', 'm2'] as const

export class Fleet {
  readonly #cluster: Cluster
  readonly #log: Log
  readonly #hosts = new Map<string, Host | null>()
  readonly #proxies = new Map<string, SimulatedProxy | null>()
  #lives = 0

  constructor(cluster: Cluster, log: Log) {
    this.#cluster = cluster
    this.#log = log
    for (const name of hostNames) this.#startHost(name)
    const proxies = 2 + cluster.environment.scheduler.random.below(2)
    for (let number = 1; number <= proxies; number += 1) this.#startProxy(`p${number}`)
  }

  get names(): readonly string[] {
    return [...this.#hosts.keys(), ...this.#proxies.keys()]
  }

  /** Proxies that run. */
  get proxies(): readonly SimulatedProxy[] {
    return [...this.#proxies.values()].filter((proxy) => proxy !== null)
  }

  crashHost(downMs: number): string {
    const name = this.#pick(this.#hosts)
    const host = this.#hosts.get(name)
    if (host === null || host === undefined) return 'none'
    host.crash()
    this.#hosts.set(name, null)
    this.#after(downMs, () => this.#startHost(name))
    return `${name} crashes`
  }

  crashProxy(downMs: number): string {
    const name = this.#pick(this.#proxies)
    const proxy = this.#proxies.get(name)
    if (proxy === null || proxy === undefined) return 'none'
    proxy.crash()
    this.#proxies.set(name, null)
    this.#after(downMs, () => this.#startProxy(name))
    return `${name} crashes`
  }

  loseLock(moveId: number): void {
    for (const host of this.#hosts.values()) host?.loseLock(moveId)
  }

  stopRunner(moveId: number): void {
    for (const host of this.#hosts.values()) host?.stop(moveId)
  }

  restartAll(): void {
    for (const name of this.#hosts.keys()) this.#startHost(name)
    for (const name of this.#proxies.keys()) this.#startProxy(name)
    const { catalog, shards } = this.#cluster
    for (const server of [catalog, ...shards.values()]) server.up = true
  }

  #startHost(name: string): void {
    const running = this.#hosts.get(name)
    if (running !== null && running !== undefined) return
    this.#hosts.set(name, new Host(this.#cluster, name, this.#log))
  }

  #startProxy(name: string): void {
    const running = this.#proxies.get(name)
    if (running !== null && running !== undefined) return
    this.#lives += 1
    this.#proxies.set(name, new SimulatedProxy(this.#cluster, name, this.#lives))
  }

  #pick(from: ReadonlyMap<string, unknown>): string {
    const names = [...from.keys()]
    return names[this.#cluster.environment.scheduler.random.below(names.length)] ?? ''
  }

  #after(delayMs: number, run: () => void): void {
    this.#cluster.environment.scheduler.after(delayMs, run)
  }
}
