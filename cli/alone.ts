// `ringfence serve` in one process.
import type { Config } from '../config/config.ts'
import { Proxy, type ProxyOptions } from '../proxy/proxy.ts'
import { slotCount } from '../proxy/sessions.ts'
import { proxyOptions } from './proxy-options.ts'
import { ConfigReload, type Version } from './reload.ts'
import type { Service, Surroundings } from './service.ts'
import { programVersion } from './version.ts'
import { LocalFleet } from './workers/local-fleet.ts'
import { freeSlots, type Estate } from './workers/estate.ts'

/** The proxy, in this process. @throws PgError 57P03, or the system's error */
export async function startAlone(version: Version, around: Surroundings): Promise<Service> {
  const { config } = version
  const { inherited } = around
  const { log, setLevel } = around
  const [slot = 0] = freeSlots(inherited?.slots ?? [], 1, slotCount)
  const reload = new ConfigReload(version, async (next) => {
    await proxy.configure(optionsOf(next))
    setLevel(next.log.level)
    around.configured(next)
  })
  const fleet = new LocalFleet(around.cancelElsewhere)
  const optionsOf = (wanted: Config): ProxyOptions => {
    const options = proxyOptions(wanted, programVersion(), log)
    return {
      ...options,
      listen: { ...options.listen, inherited },
      http: options.http === null ? null : { ...options.http, inherited: inherited?.http ?? null },
      fleet,
      slot,
      reload: () => around.reload(),
      settings: () => reload.shown(),
      set: (key, value) => reload.set(key, value),
      upgrade: () => around.upgrade(),
      shutdown: (ending) => around.shutdown(ending),
    }
  }
  const proxy = await Proxy.start(optionsOf(config))
  return new Alone(proxy, slot, reload)
}

class Alone implements Service {
  readonly workers = 1
  readonly #proxy: Proxy
  readonly #slot: number
  readonly #reload: ConfigReload

  constructor(proxy: Proxy, slot: number, reload: ConfigReload) {
    this.#proxy = proxy
    this.#slot = slot
    this.#reload = reload
  }

  get port(): number {
    return this.#proxy.port
  }

  get httpPort(): number | null {
    return this.#proxy.httpPort
  }

  get estate(): Estate {
    return { ...this.#proxy.descriptors, port: this.port, slots: [this.#slot] }
  }

  adopt(): void {
    this.#proxy.adoptSockets()
  }

  async notReady(): Promise<readonly string[]> {
    return this.#proxy.notReady
  }

  reload(): Promise<readonly string[]> {
    return this.#reload.run()
  }

  cancel(pid: number, secret: string): Promise<void> {
    return this.#proxy.sessions.cancel(pid, Buffer.from(secret, 'hex'))
  }

  retire(deadlineMs: number, drainMs: number): Promise<void> {
    return this.#proxy.retire(deadlineMs, drainMs)
  }

  drain(deadlineMs: number): Promise<void> {
    return this.#proxy.drain(deadlineMs)
  }

  close(): Promise<void> {
    return this.#proxy.close()
  }
}
